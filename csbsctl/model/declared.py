"""Everything one stack declares: policies, bindings, objectives, guardrails, access (design section 3)."""

from __future__ import annotations

import enum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from csbsctl.model.base import Model, Name
from csbsctl.model.policy import Duration, Policy


class Match(Model):
    """A rule that picks servers by what they are; every condition that is given must hold."""

    name: str | None = None
    """Shell pattern on the server's name: web-*"""
    metadata: dict[str, str] = Field(default_factory=dict)
    """Keys and values that the server must carry."""
    tags: tuple[str, ...] = ()
    """Tags that the server must carry, all of them."""
    availability_zone: str | None = None
    """The zone that the server must be in."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.name is None and not self.metadata and not self.tags and self.availability_zone is None:
            raise ValueError(
                "an empty `match` would mean nothing: give name, metadata, tags or availability_zone"
            )
        return self


class Expect(Model):
    """How many servers a binding must reach; a plan outside of it is an error."""

    min: Annotated[int, Field(ge=0)] = 0
    """The fewest."""
    max: Annotated[int, Field(ge=0)] | None = None
    """The most."""


class Binding(Model):
    """Which servers a policy protects: named ones and/or those that fit a rule, less the excluded."""

    policy: Name
    """Name of the policy."""
    provider: Name = "default"
    """The cloud that the servers run in."""
    servers: tuple[str, ...] = ()
    """Names or IDs."""
    match: Match | None = None
    """A rule, resolved live at every run."""
    exclude: tuple[str, ...] = ()
    """Names or IDs that are left out."""
    expect: Expect | None = None
    """How many servers it must reach; else a plan is refused, and a run goes on with those it knows."""
    rebind: bool = False
    """Take over servers that another stack has bound."""
    image_backed_root: Literal["refuse", "snapshot"] = "refuse"
    """What to do with servers whose root disk is not a volume (OpenStack): `snapshot` protects it by an image of it."""

    @model_validator(mode="after")
    def _reaches_something(self) -> Self:
        if not self.servers and self.match is None:
            raise ValueError("give `servers` or `match`: a binding must say which servers it means")
        return self


class Objective(Model):
    """What must be true of some servers: protected at all, and how old the newest good backup may be."""

    match: Match
    """The servers it is about."""
    rpo: Duration | None = None
    """The newest good backup is never older than this."""
    protected: Literal["required", "optional"] = "optional"
    """Whether a server that fits must be in a policy."""


class Weakening(enum.StrEnum):
    """What a guardrail does about a plan that weakens protection."""

    ALLOW = "allow"
    WARN = "warn"
    DENY = "deny"


class Guardrails(Model):
    """Limits that apply refuses to go past unless ``--allow`` names them."""

    max_backups_deleted: Annotated[int, Field(ge=0)] | None = None
    """How many existing backups a plan may condemn."""
    strengthens: Weakening = Weakening.ALLOW
    """About a plan that only improves protection."""
    neutral: Weakening = Weakening.ALLOW
    """About a plan that changes nothing of protection."""
    weakens: Weakening = Weakening.ALLOW
    """About a plan that weakens protection."""
    destroys_data: Annotated[Weakening, Field(alias="destroys-data")] = Weakening.ALLOW
    """About a plan that makes existing backups die earlier."""
    keep_last_good: Annotated[int, Field(ge=1)] = 1
    """The newest good backups of every server that nothing may expire; no flag overrides it."""


class Access(Model):
    """Who may do what through the service (design section 9)."""

    principal: str
    """A user or group: user:NAME, group:NAME."""
    role: Name
    """viewer, operator, administrator or a custom one."""
    provider: Name | None = None
    """Only for this cloud; for all when absent."""


class Declared(Model):
    """What one stack declares; the keys are the names, an address is ``policy.gold`` or ``binding.shop-web``."""

    policies: dict[Name, Policy] = Field(default_factory=dict)
    """Policies by name: when servers are backed up, and how long backups stay."""
    bindings: dict[Name, Binding] = Field(default_factory=dict)
    """Bindings by name: which servers a policy protects."""
    objectives: dict[Name, Objective] = Field(default_factory=dict)
    """Objectives by name: what must be true of some servers."""
    guardrails: Guardrails = Guardrails()
    """What apply refuses to do."""
    access: tuple[Access, ...] = ()
    """Who may do what through the service."""
