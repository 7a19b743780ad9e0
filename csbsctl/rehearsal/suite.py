"""The shape of a ``*.csbstest.yaml``: servers, a span of virtual time, what happens in it, and what must hold.

Texts under attributes are the words of the JSON Schema and the reference. Knows nothing of how a test is run.
"""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from csbsctl.model.base import Model, Name
from csbsctl.model.policy import Duration
from csbsctl.units import format_duration, format_size, parse_duration, parse_size

GIB = 1 << 30

MOMENT = r"^(start|end|([0-9]+[smhdw])+|[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?)?)$"
Moment = Annotated[
    str,
    StringConstraints(pattern=MOMENT),
    WithJsonSchema(
        {"type": "string", "pattern": MOMENT, "examples": ["10d", "2027-03-28", "2027-03-28 02:30", "end"]}
    ),
]
"""``10d`` after the start, a date or a local time in the test's zone, RFC 3339 with an offset, ``start``, ``end``."""


def _size(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _skew(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    span = parse_duration(value.removeprefix("-").removeprefix("+"))
    return -span if value.startswith("-") else span


Size = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=0),
    PlainSerializer(format_size, return_type=str),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "examples": ["500M", "2T"]}]}
    ),
]
Skew = Annotated[
    timedelta,
    BeforeValidator(_skew),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[+-]?([0-9]+[smhdw])+$", "examples": ["-2h", "40d"]}),
]
Share = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?%$")]
"""A share of what a server's disks hold, such as ``2%``."""
Servers = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1)], ...],
    Field(min_length=1),
    BeforeValidator(_several),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    ),
]
"""Names of servers, or patterns with ``*`` and ``?``."""


class Where(enum.StrEnum):
    """Where guests write."""

    RANDOM = "random"
    APPEND = "append"


class Fleet(Model):
    """One server, or several of a kind."""

    count: Annotated[int, Field(ge=1, le=200)] | None = None
    """How many: they are called NAME-01, NAME-02 and so on; one server called NAME when left out."""
    disks: Annotated[tuple[Size, ...], Field(min_length=1)] = (10 * GIB,)
    """Sizes of the disks, the system disk first."""
    provider: Name = "default"
    """The provider of the configuration that it runs in."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """What `match: {metadata: ...}` looks at."""
    tags: tuple[str, ...] = ()
    """What `match: {tags: ...}` looks at."""
    availability_zone: str | None = None
    """What `match: {availability_zone: ...}` looks at."""
    used: Share = "100%"
    """How much of the disks holds data at the start; for `storage`."""
    writes: Size | Share = 0
    """How much is written a day: bytes, or a share of what is used; for `storage`."""
    where: Where = Where.RANDOM
    """`random` overwrites old data, `append` always writes new."""


class Failing(Model):
    """A step of the cloud that fails for a while."""

    step: str
    """A step of `csbsctl sim fail`: snapshot, store, delete, restore ..."""
    error: Literal["not-found", "conflict", "quota", "unavailable", "refused"] = "refused"
    """What the cloud says."""
    server: Name | None = None
    """Only for this server."""
    lasts: Duration
    """How long."""


class DiskChange(Model):
    """A disk of a server; `size` where one is attached or resized."""

    server: Name
    """The server."""
    disk: Annotated[int, Field(ge=0)] | None = None
    """Which disk, the system disk is 0; not for a new one."""
    size: Size | None = None
    """The new size."""


class Written(Model):
    """Bytes that guests write at once."""

    servers: Servers
    """Which servers."""
    size: Size
    """How much."""


class Applied(Model):
    """An edit of the configuration, planned and applied as a person would."""

    change: dict[str, Any]
    """Laid over the configuration: mappings merge, everything else replaces, `null` removes."""
    allow: tuple[str, ...] = ()
    """Guardrails to go past (`apply --allow`)."""


class ClockJump(Model):
    """The runner's clock is wrong for a while."""

    by: Skew
    """How far: `-2h` is two hours slow, `40d` is forty days fast."""
    lasts: Duration
    """How long until it is set right."""


class Happening(Model):
    """Something that happens at a moment: exactly one thing beside `at`."""

    at: Moment
    """When: `10d` after the start, a date or time in the test's zone, or RFC 3339."""
    runner_down: Duration | None = None
    """Nobody runs `csbsctl run` for so long."""
    cloud_down: Duration | None = None
    """No cloud answers for so long."""
    store_down: Duration | None = None
    """The vault does not answer for so long."""
    fail: Failing | None = None
    """A step of the cloud fails."""
    clock: ClockJump | None = None
    """The runner's clock jumps."""
    attack: Servers | None = None
    """Ransomware encrypts these servers' disks."""
    write: Written | None = None
    """Guests write much at once."""
    create: Annotated[dict[Name, Fleet], Field(min_length=1)] | None = None
    """New servers."""
    delete: Servers | None = None
    """These servers are deleted, disks and all."""
    stop: Servers | None = None
    """These servers are shut down."""
    start: Servers | None = None
    """These servers are started."""
    attach: DiskChange | None = None
    """A new disk."""
    detach: DiskChange | None = None
    """A disk less."""
    resize: DiskChange | None = None
    """A larger disk."""
    backup: Servers | None = None
    """`csbsctl backup create` by hand."""
    apply: Applied | None = None
    """The configuration is edited and applied."""

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        _exactly_one(self, {"at"}, "an event is one thing that happens")
        return self

    @property
    def kind(self) -> str:
        """Return the key of what happens."""
        return next(
            name for name in type(self).model_fields if name != "at" and getattr(self, name) is not None
        )


class Range(Model):
    """At least and at most so many."""

    min: Annotated[int, Field(ge=0)] | None = None
    """The fewest."""
    max: Annotated[int, Field(ge=0)] | None = None
    """The most."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give `min`, `max` or both")
        return self


class Copies(Model):
    """The newest periods in the policy's zone each have a restore point; the present one may not have one yet."""

    daily: Annotated[int, Field(ge=1)] | None = None
    """So many local days."""
    weekly: Annotated[int, Field(ge=1)] | None = None
    """So many ISO weeks."""
    monthly: Annotated[int, Field(ge=1)] | None = None
    """So many months."""
    yearly: Annotated[int, Field(ge=1)] | None = None
    """So many years."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give one of daily, weekly, monthly and yearly")
        return self


class Restoring(Model):
    """A restore that is really done, as a new server, and held against the bytes of that time."""

    as_of: Moment | Literal["before-attack"]
    """The newest restore point not after this; `before-attack`: not after the server's last attack."""


class Planned(Model):
    """What `csbsctl plan` and `apply` would say of an edit; it is not applied."""

    change: dict[str, Any]
    """Laid over the configuration: mappings merge, everything else replaces, `null` removes."""
    change_class: Annotated[
        Literal["strengthens", "neutral", "weakens", "destroys-data"] | None, Field(alias="class")
    ] = None
    """The worst class among its changes."""
    refused: bool | None = None
    """Whether guardrails refuse it without `--allow`."""


class FindingLimit(Model):
    """What `csbsctl drift` may find."""

    only: tuple[str, ...] = ()
    """Classes of findings: objective, unprotected, missed ...; all but `config` and `orphan` when left out."""
    max: Annotated[int, Field(ge=0)] = 0
    """How many are fine."""


class Usage(Model):
    """What the cloud's quota would count: one backup for each disk, its full size also for increments."""

    backups: Annotated[int, Field(ge=0)] | None = None
    """At most so many backups of disks, hidden ones included."""
    size: Size | None = None
    """At most so many bytes."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.backups is None and self.size is None:
            raise ValueError("give `backups`, `size` or both")
        return self


TIMING = frozenset({"at", "always", "since", "until", "servers"})


class Expectation(Model):
    """What must hold: exactly one thing, at a moment (the end when none is given) or throughout a time."""

    at: Moment | None = None
    """Checked at this moment, after what ran then."""
    always: bool = False
    """Checked from the start to the end."""
    since: Moment | None = None
    """Checked all the time from this moment on."""
    until: Moment | None = None
    """Checked all the time up to this moment."""
    servers: Servers | None = None
    """For each of these servers (names or patterns); every server there is when left out."""
    rpo: Duration | None = None
    """The newest restore point is never older; a new server's age counts from its creation."""
    restore_points: Range | None = None
    """How many good backups each server has, made by hand or not."""
    reaches_back: Duration | None = None
    """The oldest restore point is at least this old."""
    copies: Copies | None = None
    """Each of the newest days, weeks, months or years has a restore point."""
    restore: Restoring | None = None
    """A restore gives the bytes that the disks had at that time."""
    protected: bool | None = None
    """Whether each server is under a policy."""
    missed: Range | None = None
    """How many slots of each server nobody served, until then or in that time."""
    failed: Range | None = None
    """How many backups of each server failed, until then or in that time."""
    storage: Size | None = None
    """At most so many bytes of backups of these servers together, by the declared writes, uncompressed."""
    quota: Usage | None = None
    """What the backups of these servers together take of the cloud's quota."""
    findings: FindingLimit | None = None
    """What `csbsctl drift` finds."""
    plan: Planned | None = None
    """What a change of the configuration would be called, and whether guardrails stop it."""

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        _exactly_one(self, TIMING, "an expectation is one thing that must hold")
        if self.at is not None and self.throughout:
            raise ValueError(
                "`at` is one moment; `always`, `since` and `until` are a time: give one or the other"
            )
        if self.always and (self.since or self.until):
            raise ValueError("`always` is from start to end; leave it out, or `since` and `until`")
        if self.throughout and self.kind in {"restore", "plan", "findings"}:
            raise ValueError(f"`{self.kind}` is checked at one moment: give `at`")
        if self.servers is not None and self.kind in {"plan", "findings"}:
            raise ValueError(f"`{self.kind}` is about the whole configuration: leave `servers` out")
        return self

    @property
    def throughout(self) -> bool:
        """Whether it is held all the time and not at one moment."""
        return self.always or self.since is not None or self.until is not None

    @property
    def kind(self) -> str:
        """Return the key of what must hold."""
        return next(
            name for name in type(self).model_fields if name not in TIMING and getattr(self, name) is not None
        )


class RunnerHabit(Model):
    """When somebody runs `csbsctl run`."""

    every: Duration | None = None
    """As a timer does, so often from the start on; the moment something is due when left out."""


class Case(Model):
    """One policy test."""

    description: str = ""
    """What it proves, for people."""
    start: Moment
    """When virtual time begins: a date or time."""
    span: Duration
    """How long it goes on."""
    timezone: str = "UTC"
    """IANA name in which dates and times of this test are meant."""
    variables: dict[str, Any] = Field(default_factory=dict)
    """Values of the configuration's variables for this test."""
    runner: RunnerHabit = RunnerHabit()
    """When somebody runs `csbsctl run`."""
    servers: dict[Name, Fleet] = Field(default_factory=dict)
    """Servers that exist at the start. Those that bindings name and that are not here get one disk of 10 GiB."""
    events: tuple[Happening, ...] = ()
    """What happens."""
    expect: Annotated[tuple[Expectation, ...], Field(min_length=1)]
    """What must hold."""


class Suite(Model):
    """A file of policy tests."""

    configuration: str | None = None
    """Folder of the csbs.yaml under test, from this file's; its own folder or the one above when left out."""
    variables: dict[str, Any] = Field(default_factory=dict)
    """Values of the configuration's variables for all tests."""
    tests: Annotated[dict[Name, Case], Field(min_length=1)]
    """Tests by name."""


def _exactly_one(model: Model, besides: set[str] | frozenset[str], saying: str) -> None:
    names = [name for name in type(model).model_fields if name not in besides]
    given = [name for name in names if getattr(model, name) is not None]
    if len(given) != 1:
        got = f"`{'`, `'.join(given)}` are {len(given)}" if given else f"give one of {', '.join(names)}"
        raise ValueError(f"{saying}: {got}")
