"""The table of attributes: what a change of each declared value does to protection (design section 4).

One half of a change's class. Values are judged one by one, from the canonical JSON of before and after; what a
schedule and a retention mean together is the other half (``comparison``), so those have few rules here. The worse
half counts. Every rule has a name, says in words what it saw, and stands in one table by kind of address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from csbsctl.model.declared import Weakening
from csbsctl.model.plan import ChangeClass
from csbsctl.model.policy import Consistency
from csbsctl.units import parse_duration

Values = Mapping[str, Any]

STRENGTHENS, NEUTRAL, WEAKENS = ChangeClass.STRENGTHENS, ChangeClass.NEUTRAL, ChangeClass.WEAKENS


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one rule says of a change."""

    rule: str
    change_class: ChangeClass
    reason: str


@dataclass(frozen=True, slots=True)
class Classification:
    """The class of a change by its attributes: the worst judgement, NEUTRAL where no rule has a say."""

    change_class: ChangeClass
    judgements: tuple[Judgement, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return the sentences behind the class: those of the judgements of that class."""
        return tuple(j.reason for j in self.judgements if j.change_class is self.change_class)


Rule = Callable[[Values, Values], Iterator[tuple[ChangeClass, str]]]
"""Compares two canonical forms and yields what it finds."""


def classify(address: str, before: Values | None, after: Values | None) -> Classification:
    """Return the class of a change by its attributes.

    Args:
        address: ``policy.gold``, ``binding.web``, ``objective.prod``, ``guardrails`` or ``access``.
        before: the canonical form in force, None where there is none; for ``access`` ``{"access": [...]}``.
        after: the canonical form declared, None where it is to go.
    """
    kind = address.partition(".")[0]
    name = address.partition(".")[2]
    if before is None and after is None:
        return Classification(NEUTRAL, ())
    if kind in _COMES_AND_GOES and (before is None or after is None):
        gained, lost = _COMES_AND_GOES[kind]
        judgement = (
            Judgement(f"{kind}.created", STRENGTHENS, gained.format(name))
            if before is None
            else Judgement(f"{kind}.removed", WEAKENS, lost.format(name))
        )
        return Classification(judgement.change_class, (judgement,))
    judgements = tuple(
        Judgement(f"{kind}.{rule.__name__.strip('_')}", change_class, reason)
        for rule in RULES.get(kind, ())
        for change_class, reason in rule(before or {}, after or {})
    )
    return Classification(worst(j.change_class for j in judgements), judgements)


def classify_members(before: Mapping[str, str], after: Mapping[str, str]) -> Classification:
    """Return the class of a change of who is protected, given server ID -> name on both sides: unbinding weakens."""
    lost = [name for server_id, name in before.items() if server_id not in after]
    gained = [name for server_id, name in after.items() if server_id not in before]
    judgements = []
    if lost:
        judgements.append(Judgement("members.lost", WEAKENS, f"{_names(lost)} will have no policy"))
    if gained:
        judgements.append(Judgement("members.gained", STRENGTHENS, f"{_names(gained)} will be protected"))
    return Classification(worst(j.change_class for j in judgements), tuple(judgements))


def worst(classes: Iterator[ChangeClass] | list[ChangeClass]) -> ChangeClass:
    """Return the class that counts when several apply: danger over all, strengthening over no effect."""
    found = set(classes)
    for candidate in (ChangeClass.DESTROYS_DATA, WEAKENS, STRENGTHENS):
        if candidate in found:
            return candidate
    return NEUTRAL


# --- policies -------------------------------------------------------------------------------------------------------


def _enabled(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    if before["enabled"] and not after["enabled"]:
        yield WEAKENS, "the policy is disabled: nothing is backed up by schedule and nothing expires"
    if after["enabled"] and not before["enabled"]:
        yield STRENGTHENS, "the policy is enabled"


def _consistency(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    old, new = Consistency(before["consistency"]), Consistency(after["consistency"])
    if new.rank < old.rank:
        yield WEAKENS, f"lower consistency is accepted: {old} -> {new}"
    if new.rank > old.rank:
        yield STRENGTHENS, f"higher consistency is demanded: {old} -> {new}"


def _instant_restore(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    if before["instant_restore"] and not after["instant_restore"]:
        yield WEAKENS, "instant restore is given up"
    if after["instant_restore"] and not before["instant_restore"]:
        yield STRENGTHENS, "instant restore is kept ready"


def _start_within(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    old, new = before["schedule"]["start_within"], after["schedule"]["start_within"]
    if parse_duration(new) < parse_duration(old):
        yield WEAKENS, f"a missed run is made up for within {new} instead of {old}"
    if parse_duration(new) > parse_duration(old):
        yield STRENGTHENS, f"a missed run is made up for within {new} instead of {old}"


def _permanent(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    old, new = before["retention"].get("permanent", False), after["retention"].get("permanent", False)
    if old and not new:
        yield WEAKENS, "backups are no longer kept permanently"
    if new and not old:
        yield STRENGTHENS, "backups are kept permanently"


# --- bindings -------------------------------------------------------------------------------------------------------


def _servers(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    lost, gained = _difference(before.get("servers", ()), after.get("servers", ()))
    if lost:
        yield WEAKENS, f"no longer listed under `servers`: {_names(lost)}"
    if gained:
        yield STRENGTHENS, f"listed under `servers`: {_names(gained)}"


def _exclude(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    readmitted, excluded = _difference(before.get("exclude", ()), after.get("exclude", ()))
    if excluded:
        yield WEAKENS, f"excluded: {_names(excluded)}"
    if readmitted:
        yield STRENGTHENS, f"no longer excluded: {_names(readmitted)}"


def _match(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    old, new = before.get("match"), after.get("match")
    if old == new:
        return
    if new is None:
        yield WEAKENS, "`match` is removed: servers it would have found are not protected"
    elif old is None:
        yield STRENGTHENS, "`match` finds servers by rule"
    elif _covers(new, old):
        yield STRENGTHENS, "`match` is wider: it fits every server that it did, and more"
    elif _covers(old, new):
        yield WEAKENS, "`match` is narrower: it fits fewer servers"
    else:
        yield WEAKENS, "`match` differs: servers that fitted may not fit any more"


def _provider(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    if before["provider"] != after["provider"]:
        yield (
            WEAKENS,
            f"looks in provider {after['provider']!r}: servers of {before['provider']!r} are let go",
        )


def _expect(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    old, new = before.get("expect") or {}, after.get("expect") or {}
    fewest = old.get("min", 0), new.get("min", 0)
    most = old.get("max", float("inf")), new.get("max", float("inf"))
    if fewest[1] < fewest[0] or most[1] > most[0]:
        yield WEAKENS, "`expect` guards less: a binding that reaches too few or too many servers may pass"
    if fewest[1] > fewest[0] or most[1] < most[0]:
        yield STRENGTHENS, "`expect` guards more"


def _image_backed_root(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    old, new = before["image_backed_root"], after["image_backed_root"]
    if (old, new) == ("snapshot", "refuse"):
        yield WEAKENS, "servers whose root disk is not a volume are refused"
    if (old, new) == ("refuse", "snapshot"):
        yield STRENGTHENS, "servers whose root disk is not a volume are protected too"


# --- objectives -----------------------------------------------------------------------------------------------------


def _rpo(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    old, new = before.get("rpo"), after.get("rpo")
    if old == new:
        return
    if old is not None and (new is None or parse_duration(new) > parse_duration(old)):
        yield WEAKENS, f"a recovery point may be older: {old} -> {new or 'any age'}"
    else:
        yield STRENGTHENS, f"a recovery point must be younger: {old or 'any age'} -> {new}"


def _protected(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    old, new = before["protected"], after["protected"]
    if (old, new) == ("required", "optional"):
        yield WEAKENS, "protection is no longer required"
    if (old, new) == ("optional", "required"):
        yield STRENGTHENS, "protection is required"


# --- guardrails and access ------------------------------------------------------------------------------------------


def _max_backups_deleted(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    old, new = before.get("max_backups_deleted"), after.get("max_backups_deleted")
    if old == new:
        return
    words = f"a plan may delete {'any number of' if new is None else new} backups"
    yield (WEAKENS if old is not None and (new is None or new > old) else STRENGTHENS), words


def _limits_on_classes(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    order = list(Weakening)
    for change_class in ChangeClass:
        old = Weakening(before.get(change_class, Weakening.ALLOW))
        new = Weakening(after.get(change_class, Weakening.ALLOW))
        words = f"what {change_class} is met with: {old} -> {new}"
        if order.index(new) < order.index(old):
            yield WEAKENS, words
        if order.index(new) > order.index(old):
            yield STRENGTHENS, words


def _keep_last_good(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    old, new = before.get("keep_last_good", 1), after.get("keep_last_good", 1)
    words = f"good backups that nothing may expire: {old} -> {new}"
    if new < old:
        yield WEAKENS, words
    if new > old:
        yield STRENGTHENS, words


def _grants(before: Values, after: Values) -> Iterator[tuple[ChangeClass, str]]:
    """Find who may delete from now on, and who may not any more; a custom role may hold the right to."""
    harmless = ("viewer", "operator")
    old = {tuple(sorted(grant.items())) for grant in before.get("access", ())}
    new = {tuple(sorted(grant.items())) for grant in after.get("access", ())}
    for grant in sorted(new - old):
        values = dict(grant)
        if values["role"] not in harmless:
            yield (
                WEAKENS,
                f"{values['principal']} becomes {values['role']}, who may delete backups and policies",
            )
    for grant in sorted(old - new):
        values = dict(grant)
        if values["role"] not in harmless:
            yield STRENGTHENS, f"{values['principal']} is no longer {values['role']}"


RULES: Mapping[str, tuple[Rule, ...]] = {
    "policy": (_enabled, _consistency, _instant_restore, _start_within, _permanent),
    "binding": (_servers, _exclude, _match, _provider, _expect, _image_backed_root),
    "objective": (_rpo, _protected, _match),
    "guardrails": (_max_backups_deleted, _limits_on_classes, _keep_last_good),
    "access": (_grants,),
}
"""The rules by kind of address. What none of them looks at is neutral: descriptions, tags, spread, full_every."""

_COMES_AND_GOES = {
    "policy": ("policy {} is new", "policy {} goes: it takes no more backups; those it made stay"),
    "binding": ("binding {} is new", "binding {} goes: its servers lose their policy; their backups stay"),
    "objective": ("objective {} is new", "objective {} goes: nobody is told any more when it is not met"),
}


def _covers(wide: Values, narrow: Values) -> bool:
    """Return whether a rule surely fits every server that another one fits."""
    if not dict(wide.get("metadata", {})).items() <= dict(narrow.get("metadata", {})).items():
        return False
    if not set(wide.get("tags", ())) <= set(narrow.get("tags", ())):
        return False
    zone = wide.get("availability_zone")
    if zone is not None and zone != narrow.get("availability_zone"):
        return False
    return _pattern_covers(wide.get("name"), narrow.get("name"))


def _pattern_covers(wide: str | None, narrow: str | None) -> bool:
    if wide is None or wide == narrow:
        return True
    prefix = wide[:-1]
    # Only `prefix*` is compared: containment of shell patterns in general is not worth its price.
    return (
        narrow is not None
        and wide == f"{prefix}*"
        and not set("*?[") & set(prefix)
        and narrow.startswith(prefix)
    )


def _difference(before: Any, after: Any) -> tuple[list[str], list[str]]:
    """Return what is only before and what is only after, in order."""
    old, new = set(before), set(after)
    return [item for item in before if item not in new], [item for item in after if item not in old]


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"  # noqa: PLR2004
