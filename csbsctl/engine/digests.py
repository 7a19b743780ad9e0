"""Digests of plain values: how a saved plan knows whether what it was made from is still the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from csbsctl.clock import format_instant
from csbsctl.model.control import StackState
from csbsctl.model.server import Server, protectability


def digest_of(value: Any) -> str:
    """Return the SHA-256 (hex) of a plain value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_state(state: StackState | None) -> str:
    """Return the digest of one stack's part of the control document; the empty text where the stack is not there."""
    return digest_of(asdict(state)) if state else ""


def fingerprint(server: Server) -> str:
    """Return a digest of what planning depends on in a server: not whether it runs, nor what its disks hold."""
    refusal = protectability(server)
    facts = [
        server.provider,
        server.id,
        server.name,
        server.availability_zone,
        server.metadata,
        sorted(server.tags),
        [(volume.id, volume.size, volume.shared) for volume in server.volumes],
        refusal.code if refusal else None,
    ]
    return digest_of(facts)[:32]


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return format_instant(value)
    return str(value)
