"""Which release of the time zone database is in use: two machines may plan the same policy for different instants."""

from __future__ import annotations

import zoneinfo
from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def zone_data_version() -> str:
    """Return the release, ``2026a`` say: that of the system where it has one (it comes first), else the package's."""
    for folder in map(Path, zoneinfo.TZPATH):
        for name in ("tzdata.zi", "+VERSION"):
            try:
                with (folder / name).open(encoding="ascii") as file:
                    first = file.readline().strip()
            except (OSError, UnicodeDecodeError):
                continue
            return first.removeprefix("# version").strip()
    try:
        return metadata.version("tzdata")
    except metadata.PackageNotFoundError:
        return "unknown"
