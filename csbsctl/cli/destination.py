"""Where a restore goes: which of its options belong to which destination, and which exclude each other.

Knows the command line only; whether a destination can be reached is judged where restores are done.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from csbsctl.errors import UsageError


class Destination(enum.Enum):
    """What becomes of a backup's data; the value is the option that says so."""

    SERVER = "--in-place"
    NEW_SERVER = "--as"
    VOLUMES = "--no-server"
    DISKS = "--to"
    FILES = "--path"


_FITTING = {
    "--onto": {Destination.SERVER},
    "--map": {Destination.SERVER},
    "--no-safety-backup": {Destination.SERVER, Destination.NEW_SERVER},
    "--no-power-on": {Destination.SERVER, Destination.NEW_SERVER},
    "--instant": {Destination.SERVER, Destination.NEW_SERVER, Destination.VOLUMES},
    "--set": {Destination.NEW_SERVER},
    "--as": {Destination.NEW_SERVER, Destination.VOLUMES},
    "--to": {Destination.DISKS, Destination.FILES},
}
"""The destinations that each option makes sense with; options that are not named here fit all."""


def destination_of(given: Mapping[str, object]) -> Destination:
    """Return where a restore goes by the options that were given (by name; a false value is one that was not).

    Raises:
        UsageError: no destination or several, or an option that does not fit the destination.
    """
    there = {option for option, value in given.items() if value}
    destination = _named(there)
    for option in sorted(there & _FITTING.keys()):
        if destination not in _FITTING[option]:
            raise UsageError(
                f"{destination.value} excludes {option}", hint=f"{option} goes with {_goes_with(option)}"
            )
    if destination is Destination.FILES and not there & {"--to", "--dry-run"}:
        raise UsageError(
            "--path needs --to DIR, the folder that gets the files",
            hint="with --dry-run instead, it lists what would be fetched",
        )
    return destination


def _named(there: set[str]) -> Destination:
    named = [each for each in Destination if each.value in there]
    if Destination.FILES in named:
        named = [each for each in named if each is not Destination.DISKS]
    if Destination.VOLUMES in named:
        named = [each for each in named if each is not Destination.NEW_SERVER]
    if not named:
        raise UsageError(
            "say where to restore to",
            hint="--in-place, --as NAME, --no-server (volumes alone), --to DIR (disk images) or --path FILE --to DIR",
        )
    if len(named) > 1:
        raise UsageError(f"{named[0].value} excludes {named[1].value}", hint="one destination at a time")
    return named[0]


def _goes_with(option: str) -> str:
    return " or ".join(each.value for each in Destination if each in _FITTING[option])
