"""Plans and findings: what would change, what it would cost, and what is wrong with the running system (design 4, 11)."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from csbsctl.model.base import Record


class Action(enum.StrEnum):
    """What a plan does to one address."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    IMPORT = "import"
    NO_OP = "no-op"


class ChangeClass(enum.StrEnum):
    """What a change does to protection, ordered from harmless to dangerous."""

    STRENGTHENS = "strengthens"
    NEUTRAL = "neutral"
    WEAKENS = "weakens"
    DESTROYS_DATA = "destroys-data"

    @property
    def rank(self) -> int:
        """Return 0 to 3; the worst of several classes is the one of highest rank."""
        return list(ChangeClass).index(self)


class PathChange(Record):
    """One attribute that differs: a dotted path with both values (None where absent)."""

    path: str
    before: Any = None
    after: Any = None


class Consequence(Record):
    """What a change leads to: a kind for machines, a sentence for people, and figures under further keys."""

    kind: str
    message: str
    details: dict[str, Any] = {}


class Change(Record):
    """What a plan does to one address: ``policy.gold``, ``binding.shop-web``, ``objective.prod``, ``guardrails``."""

    address: str
    action: Action
    change_class: ChangeClass = ChangeClass.NEUTRAL
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    paths: tuple[PathChange, ...] = ()
    consequences: tuple[Consequence, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why it has its class: the rules that fired, in words."""
    origin: str | None = None
    """For drift: who did it, where and when. For a move: the former address. For an import: the stack it leaves."""


class FindingClass(enum.StrEnum):
    """Kinds of findings (design section 4)."""

    CONFIG = "config"
    UNPROTECTED = "unprotected"
    BINDING = "binding"
    MISSED = "missed"
    OBJECTIVE = "objective"
    BACKUP = "backup"
    CHAIN = "chain"
    ORPHAN = "orphan"
    QUOTA = "quota"


class Finding(Record):
    """Something about the running system that a person should know: what, since when, and what to do."""

    finding_class: FindingClass
    severity: str
    """``error``, ``warning`` or ``note``."""
    address: str
    message: str
    since: datetime | None = None
    hint: str | None = None


class Protected(Record):
    """How many of the servers are in a policy, before and after."""

    before: int
    after: int
    servers: int


class Plan(Record):
    """The result of planning, frozen: every view and apply itself walk this and nothing else."""

    stack: str
    vault_id: str | None
    base_generation: int
    changes: tuple[Change, ...] = ()
    drift: tuple[Change, ...] = ()
    findings: tuple[Finding, ...] = ()
    protected: Protected = Protected(before=0, after=0, servers=0)
    quota: str | None = None
    """A line about quota, where the provider has one."""
    notes: tuple[str, ...] = ()
    created_at: datetime
    commit: str | None = None
    """The git commit of the configuration, where there is one."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to apply; a mere move is something."""
        return all(change.action is Action.NO_OP and not change.origin for change in self.changes)

    def count(self, action: Action) -> int:
        """Return how many addresses get this action."""
        return sum(change.action is action for change in self.changes)
