"""Servers and volumes as a cloud has them now: plain slotted data, made by the thousand, never stored by the core."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any


class ServerState(enum.StrEnum):
    """What a server is doing, reduced to what protection needs to know."""

    ACTIVE = "active"
    STOPPED = "stopped"
    PAUSED = "paused"
    BUSY = "busy"
    """Building, migrating, resizing, with a task of the cloud's own: wait, then look again."""
    ERROR = "error"
    """Faulty, or in a state from which it can be neither backed up nor restored."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A disk attached to a server. ``size`` is bytes; ``position`` is its place in the server, the system disk 0."""

    id: str
    name: str
    size: int
    bootable: bool = False
    shared: bool = False
    position: int = 0
    type: str | None = None
    """The cloud's volume type."""
    state: str = "in-use"
    encrypted: bool = False
    """Whether the cloud encrypts it: it can then be restored onto volumes of its own type only."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something cannot be done: a CSBS code (csbs.md 2.11) and a sentence."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Server:
    """A server with its disks in order."""

    id: str
    name: str
    provider: str
    state: ServerState
    volumes: tuple[Volume, ...] = ()
    availability_zone: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    created_at: datetime | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    """Enough to build the server anew (flavour, networks, keys); only the provider reads it."""
    refusal: Refusal | None = None
    """A reason of the provider's own why it cannot be protected; see ``protectability``."""
    image_backed_root: bool = False
    """Whether its system disk is no volume and nobody has said yet that an image of it will do; see ``accepting_image``."""


def accepting_image(server: Server) -> Server:
    """Return a server as one sees it who takes an image of its root disk for a backup, where that disk is no volume."""
    return replace(server, image_backed_root=False) if server.image_backed_root else server


def seen_alike(fresh: Server, before: Server) -> Server:
    """Return a server that was read again as one sees it who saw it before: an image still does where it did."""
    return fresh if before.image_backed_root else accepting_image(fresh)


def protectability(server: Server) -> Refusal | None:
    """Return why a server cannot be backed up now, or None when it can (csbs.md 1.8, 1.15)."""
    if server.refusal:
        return server.refusal
    if server.image_backed_root:
        return Refusal(
            "CSBS.6003",
            f"server {server.name} boots from an image: its root disk is not a volume, and is protected only where "
            "the binding says `image_backed_root: snapshot`",
        )
    if not server.volumes:
        return Refusal("CSBS.6007", f"server {server.name} has no disk to back up")
    for volume in server.volumes:
        if volume.shared:
            return Refusal(
                "CSBS.6010",
                f"volume {volume.name} ({volume.id}) of server {server.name} is shared with another",
            )
    if server.state is ServerState.ERROR:
        return Refusal("CSBS.6006", f"server {server.name} is in state error")
    return None
