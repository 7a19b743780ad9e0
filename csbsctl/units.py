"""Sizes and durations as people write them. K, M, G, T are powers of 1024; durations are ``30m``, ``26h``, ``1d12h``."""

from __future__ import annotations

import re
from datetime import timedelta

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+)([smhdw])")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_size(text: str | int) -> int:
    """Return bytes for ``10G``, ``512M``, ``1.5T``, ``4096``.

    Raises:
        ValueError: the text is not a size.
    """
    match = _SIZE.fullmatch(str(text).strip())
    if not match:
        msg = f"{text!r} is not a size: write a number with K, M, G or T, such as 10G"
        raise ValueError(msg)
    number, unit = match.groups()
    return int(float(number) * 1024 ** _POWERS[unit.upper()])


def format_size(size: float) -> str:
    """Return bytes for people: ``118 GiB``, ``1.5 MiB``, ``512 B``; at most one decimal, none from 10 up."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":  # noqa: PLR2004
            break
        value /= 1024
    text = f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"  # noqa: PLR2004
    return f"{text} {unit}"


def parse_duration(text: str) -> timedelta:
    """Return the span of ``90s``, ``30m``, ``4h``, ``2d``, ``1w`` or a sum such as ``1d12h``.

    Raises:
        ValueError: the text is not a duration.
    """
    parts = _DURATION.findall(text.strip())
    if not parts or "".join(n + u for n, u in parts) != text.strip():
        msg = f"{text!r} is not a duration: write 30m, 4h, 2d or 1d12h"
        raise ValueError(msg)
    return timedelta(seconds=sum(int(number) * _SECONDS[unit] for number, unit in parts))


def format_duration(span: timedelta) -> str:
    """Return a span for people and files: ``4h``, ``26h``, ``3d``, ``1h30m``; the inverse of ``parse_duration``.

    Days appear only when the span is whole days: ``26h`` is how people write that, not ``1d2h``.
    """
    seconds = round(span.total_seconds())
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    parts = []
    for unit in ("d",) if seconds % _SECONDS["d"] == 0 else ("h", "m", "s"):
        count, seconds = divmod(seconds, _SECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return sign + ("".join(parts) or "0s")
