"""How csbsctl's marker, and what a rebuild of the catalogue needs, are written onto things in the cloud.

Metadata values hold 255 characters at most. The marker is one readable key a field; everything else is one document,
compressed and cut into numbered keys. Volumes are marked in their description, because Cinder replaces the metadata of
a volume when it restores onto it. Knows nothing of the APIs.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

from csbsctl.errors import Damaged
from csbsctl.provider import Marker

PREFIX = "csbsctl:"
VALUE_LENGTH = 255
PAUSED = f"{PREFIX}paused"
"""On a server, while it is paused for its snapshots: who paused it, for which job, since when."""
BUILT = f"{PREFIX}built"
"""On a server that csbsctl built, once it is whole."""
KEPT = f"{PREFIX}kept"
"""On a snapshot that outlives its backup job, for instant restores."""
GROUP = "group/"
"""What the names of groups begin with where snapshots and groups are told apart by name."""
IMAGE = "image/"
"""What the names of images begin with where they stand for disks, beside Cinder's snapshots and backups."""
SEALED = f"{PREFIX}sealed"
"""On the first snapshot of a set, once all of it was taken at one instant."""
PROTECTED = f"{PREFIX}protected"
"""On a backup that somebody protected."""
_FIELDS = ("vault", "job", "server", "backup", "policy", "slot")
_DESCRIPTION = re.compile(
    r"csbsctl (?P<vault>\S+) (?P<job>\S+) (?P<server>\S+) (?P<backup>\S+) (?P<role>\S+)$"
)


def metadata(marker: Marker, document: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the metadata that carries a marker and a document."""
    fields = {PREFIX + field: value[:VALUE_LENGTH] for field in _FIELDS if (value := getattr(marker, field))}
    return fields | (pack(document) if document else {})


def marker_of(found: dict[str, Any] | None) -> Marker | None:
    """Return the marker that metadata carries, or None when it carries none."""
    found = found or {}
    if PREFIX + "vault" not in found or PREFIX + "job" not in found:
        return None
    vault, job, server, backup, policy, slot = (str(found.get(PREFIX + field, "")) for field in _FIELDS)
    return Marker(vault, job, server, backup, policy, slot)


def same(marker: Marker, found: dict[str, Any] | None) -> bool:
    """Return whether metadata carries this very marker: same vault, job, server and backup."""
    other = marker_of(found)
    return other is not None and identity(other) == identity(marker)


def identity(marker: Marker) -> tuple[str, str, str, str]:
    """Return what makes two markers the same; policy and slot only inform."""
    return marker.vault, marker.job, marker.server, marker.backup


def pack(document: dict[str, Any], key: str = "data", length: int = VALUE_LENGTH) -> dict[str, str]:
    """Return a JSON document as metadata: ``csbsctl:data.0`` and so on, each value of some length at most."""
    text = json.dumps(document, separators=(",", ":"), sort_keys=True)
    packed = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode()
    parts = [packed[start : start + length] for start in range(0, len(packed), length)]
    return {f"{PREFIX}{key}.{number}": part for number, part in enumerate(parts)}


def unpack(found: dict[str, Any] | None, key: str = "data") -> dict[str, Any]:
    """Return the document that metadata carries, {} when none. Raises Damaged when somebody edited it."""
    found = found or {}
    parts: list[str] = []
    while (name := f"{PREFIX}{key}.{len(parts)}") in found:
        parts.append(str(found[name]))
    if not parts:
        return {}
    try:
        document: dict[str, Any] = json.loads(zlib.decompress(base64.urlsafe_b64decode("".join(parts))))
    except (ValueError, zlib.error) as error:
        raise Damaged("the metadata that csbsctl wrote was changed by somebody") from error
    return document


def is_image(ref: str) -> bool:
    """Whether a disk, frozen or stored, is an image in Glance, and nothing of Cinder's."""
    return ref.startswith(IMAGE)


def image_id(ref: str) -> str:
    """Return the ID of the image that a disk is."""
    return ref.removeprefix(IMAGE)


def foreign(found: dict[str, str] | None) -> dict[str, str]:
    """Return metadata without csbsctl's own keys: what users wrote and what rules may match."""
    return {key: value for key, value in (found or {}).items() if not key.startswith(PREFIX)}


def describe(marker: Marker, role: str) -> str:
    """Return the description that marks a volume; ``role`` (no spaces) says what it is for."""
    return " ".join(["csbsctl", *(field or "-" for field in identity(marker)), role])


def described(description: str | None) -> tuple[Marker, str] | None:
    """Return the marker and role of a volume's description, or None when it has none."""
    match = _DESCRIPTION.match(description or "")
    if not match:
        return None
    vault, job, server, backup, role = ("" if text == "-" else text for text in match.groups())
    return Marker(vault, job, server, backup), role
