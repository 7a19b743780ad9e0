"""What the control document holds of one stack. Kept as plain JSON values: ten thousand bindings are compared, rarely parsed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class StackState:
    """One stack in the vault.

    ``live`` and ``applied`` are ``Declared.canonical()`` forms: what is in force, and what the last apply wrote;
    they differ only after a live edit (console, ``policy disable``). ``since`` says when an address last came into
    force, by address (``policy.gold``: created, enabled or given other slots; ``binding.web``; ``binding.web/<server id>`` for a server
    that joined later); a slot before that is not due. ``anchors`` are the first instants of ``every_days`` cadences
    by policy. ``members`` is whom each binding reached at the last apply: binding -> server id -> server name.
    ``edits`` says who changed what live since the last apply: address -> {path: {by, at, generation, via}}.
    ``former`` are the names a policy had before it was renamed (``moved:``): backups made under them are still its own.
    A policy that came with its import has them as ``STACK/NAME``. ``reused`` says since when a former name is that of
    another policy: backups made since are the other one's.
    """

    live: dict[str, Any]
    applied: dict[str, Any]
    since: dict[str, datetime] = field(default_factory=dict)
    anchors: dict[str, datetime] = field(default_factory=dict)
    members: dict[str, dict[str, str]] = field(default_factory=dict)
    edits: dict[str, dict[str, Any]] = field(default_factory=dict)
    former: dict[str, list[str]] = field(default_factory=dict)
    reused: dict[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ControlDocument:
    """One generation of the control document: every stack, who wrote it, when, from which commit, and why."""

    generation: int
    stacks: dict[str, StackState] = field(default_factory=dict)
    stack: str | None = None
    """Which stack this generation changed."""
    at: datetime | None = None
    by: str = ""
    commit: str | None = None
    summary: str = ""
    audit_heads: dict[str, str] = field(default_factory=dict)
