"""Names of backups: ``autobk_xxxx``, ``manualbk_xxxx``, and the suffixes of one request over several servers."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from csbsctl.errors import Refused, UsageError
from csbsctl.ids import new_suffix
from csbsctl.model.backup import Backup, Trigger
from csbsctl.model.base import NAME_PATTERN

PREFIXES = {Trigger.AUTO: "autobk_", Trigger.MANUAL: "manualbk_"}

_TRIES = 16


def check_name(name: str) -> str:
    """Return the name when it is one (1 to 255 letters, digits, ``_``, ``-``). Raises UsageError."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"{name!r} is not a name: 1 to 255 letters, digits, `_` and `-`", code="CSBS.9001")
    return name


def draw_name(trigger: Trigger, taken: Collection[str]) -> str:
    """Return a new system-made name that is not taken: four hex digits, more when those collide."""
    digits = 1
    while True:
        for _ in range(_TRIES):
            name = PREFIXES[trigger] + "".join(new_suffix() for _ in range(digits))
            if name not in taken:
                return name
        digits += 1


def names_of_request(name: str | None, servers: Sequence[str]) -> dict[str, str | None]:
    """Return what the backup of each server (by ID) is called when one request covers them all.

    One server: the name itself. Several: ``-0001``, ``-0002`` ... behind it. No name: each draws its own, unless
    there are several, which share one drawn name.
    """
    if len(servers) < 2:  # noqa: PLR2004 - one is no series
        return dict.fromkeys(servers, name)
    base = name or draw_name(Trigger.MANUAL, ())
    return {server: f"{base}-{number:04d}" for number, server in enumerate(servers, start=1)}


def claim_name(wanted: str | None, trigger: Trigger, existing: Sequence[Backup]) -> str:
    """Return the name of a new backup of a server that has the existing ones.

    Raises:
        Refused: the wanted name is taken on this server.
    """
    taken = {backup.name for backup in existing}
    if wanted is None:
        return draw_name(trigger, taken)
    if check_name(wanted) in taken:
        raise Refused(
            f"server {existing[0].server.name} already has a backup named {wanted}",
            hint=f"choose another name, or `csbsctl backup delete {wanted}@{existing[0].server.name}` first",
            code="CSBS.9001",
        )
    return wanted
