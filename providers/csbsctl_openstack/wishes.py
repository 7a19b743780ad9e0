"""What the user wants otherwise in a new server: the words of ``restore --as NAME --set KEY=VALUE``, read.

Knows the form only; whether the cloud has what is wished for, ``offers.py`` finds out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from csbsctl.diagnostics import did_you_mean
from csbsctl.errors import CloudRefused
from csbsctl.model.backup import StoredVolume

NONE = "none"
"""The value that takes something away: no key, no network, no security group, no tag."""
_ONE = ("flavor", "availability_zone", "key_name")
_MANY = ("network", "port", "security_group", "tag", "metadata", "volume_type")
KEYS = (*_ONE, *_MANY)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What shall be different; None (or no entry) keeps what the backup says."""

    flavor: str | None = None
    zone: str | None = None
    key: str | None = None
    """``none``: no key."""
    networks: tuple[str, ...] | None = None
    ports: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    metadata: dict[str, str] | None = None
    types: dict[str, str] = field(default_factory=dict)
    """Volume types by name or ID of the backup's disk; ``""`` stands for all others."""

    def type_of(self, stored: StoredVolume) -> str | None:
        """Return the volume type that a disk shall have, its own where nothing else is wished."""
        for name in (stored.volume_id, stored.name, ""):
            if name in self.types:
                return self.types[name]
        own: str | None = stored.extra.get("type")
        return own


def read_wishes(words: Mapping[str, Sequence[str]]) -> Wishes:
    """Return what was asked for.

    Raises:
        CloudRefused: an unknown key, a key that takes one value given twice, a value of the wrong form (CSBS.9001).
    """
    for key, values in words.items():
        if key not in KEYS:
            hint = did_you_mean(key, KEYS) or f"it has {', '.join(KEYS)}"
            raise _wrong(f"a new server has no setting {key!r}", hint)
        if key in _ONE and len(values) > 1:
            raise _wrong(f"{key} was given {len(values)} values: {', '.join(values)}", "a server has one")
        if "" in values:
            raise _wrong(f"{key} was given no value", f"{key}={NONE} takes it away where that is possible")
    if "network" in words and "port" in words:
        raise _wrong("network and port exclude each other", "a port has its network")
    one = {key: words[key][0] for key in _ONE if words.get(key)}
    return Wishes(
        flavor=one.get("flavor"),
        zone=one.get("availability_zone"),
        key=one.get("key_name"),
        networks=_several(words, "network"),
        ports=_several(words, "port"),
        groups=_several(words, "security_group"),
        tags=_several(words, "tag"),
        metadata=_pairs(words["metadata"]) if "metadata" in words else None,
        types=dict(_type(word) for word in words.get("volume_type", ())),
    )


def _several(words: Mapping[str, Sequence[str]], key: str) -> tuple[str, ...] | None:
    if key not in words:
        return None
    return () if list(words[key]) == [NONE] else tuple(words[key])


def _pairs(words: Sequence[str]) -> dict[str, str]:
    if list(words) == [NONE]:
        return {}
    pairs = {}
    for word in words:
        key, found, value = word.partition("=")
        if not found or not key:
            raise _wrong(f"metadata {word!r} is not KEY=VALUE", "--set metadata=tier=web")
        pairs[key] = value
    return pairs


def _type(word: str) -> tuple[str, str]:
    """Return disk and volume type of ``TYPE`` or ``DISK=TYPE``."""
    disk, found, kind = word.rpartition("=")
    if not kind or (found and not disk):
        raise _wrong(f"volume_type {word!r} is neither TYPE nor DISK=TYPE", "--set volume_type=data=ssd")
    return disk, kind


def _wrong(message: str, hint: str) -> CloudRefused:
    return CloudRefused(message, code="CSBS.9001", hint=hint)
