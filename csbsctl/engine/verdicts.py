"""Guardrails: what a plan goes past, and the refusal of it (design section 3).

``max_backups_deleted`` counts existing backups that the plan condemns; ``weakens``, ``destroys-data`` and their
harmless sisters say what becomes of a plan that has a change of that class. ``keep_last_good`` is not judged here: the
retention rules themselves never go below it, and no flag reaches it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from csbsctl.diagnostics import did_you_mean
from csbsctl.engine.addresses import Canonical, default_guardrails
from csbsctl.errors import GuardrailRefusal, UsageError
from csbsctl.model.declared import Weakening
from csbsctl.model.plan import Change, ChangeClass

ALLOWABLE = ("max_backups_deleted", *(change_class.value for change_class in ChangeClass))
"""What ``--allow`` may name."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One guardrail that a plan goes past: which, whether it only warns, and what it found."""

    guardrail: str
    denies: bool
    message: str


def judge(changes: Sequence[Change], rails: Iterable[Canonical]) -> tuple[Verdict, ...]:
    """Return every guardrail the changes go past; of several sets of guardrails the strictest word counts.

    Both those in force and those the plan would bring are given: taking a guardrail away in the same plan that goes
    past it does not open the door.
    """
    sets = list(rails) or [default_guardrails()]
    verdicts = [_limit(changes, sets), *(_class(changes, sets, cls) for cls in reversed(ChangeClass))]
    return tuple(verdict for verdict in verdicts if verdict)


def refuse(verdicts: Iterable[Verdict], allow: Collection[str]) -> None:
    """Raise GuardrailRefusal when a denying verdict is not allowed by name.

    Raises:
        UsageError: ``allow`` names a guardrail that does not exist or that nothing overrides.
        GuardrailRefusal: the plan is refused.
    """
    check_allowed(allow)
    denied = [verdict for verdict in verdicts if verdict.denies and verdict.guardrail not in allow]
    if denied:
        names = " ".join(f"--allow {verdict.guardrail}" for verdict in denied)
        raise GuardrailRefusal(
            "; ".join(verdict.message for verdict in denied), hint=f"if this is meant, add {names}"
        )


def check_allowed(allow: Iterable[str]) -> None:
    """Raise UsageError for a name that is no guardrail, or one that no flag overrides."""
    for name in allow:
        if name == "keep_last_good":
            raise UsageError(
                "no flag overrides keep_last_good", hint="lower it in the configuration, apply, try again"
            )
        if name not in ALLOWABLE:
            hint = did_you_mean(name, ALLOWABLE) or f"guardrails are {', '.join(ALLOWABLE)}"
            raise UsageError(f"{name!r} is not a guardrail", hint=hint)


def fail_on(changes: Iterable[Change], classes: Collection[str]) -> None:
    """Raise GuardrailRefusal when a change is of one of the classes, or worse than one (``plan --fail-on``).

    Raises:
        UsageError: a class does not exist.
        GuardrailRefusal: there is such a change.
    """
    known = [change_class.value for change_class in ChangeClass]
    for name in classes:
        if name not in known:
            hint = did_you_mean(name, known) or f"classes are {', '.join(known)}"
            raise UsageError(f"{name!r} is not a class of change", hint=hint)
    if not classes:
        return
    threshold = min(ChangeClass(name).rank for name in classes)
    caught = [change for change in changes if change.change_class.rank >= threshold]
    if caught:
        what = ", ".join(f"{change.address} ({change.change_class.value})" for change in caught[:5])
        more = f" and {len(caught) - 5} more" if len(caught) > 5 else ""  # noqa: PLR2004
        raise GuardrailRefusal(f"--fail-on {' '.join(sorted(classes))}: {what}{more}", code="fail-on")


def condemned(changes: Iterable[Change]) -> int:
    """Return how many existing backups the changes condemn."""
    return sum(
        c.details.get("backups", 0)
        for change in changes
        for c in change.consequences
        if c.kind == "backups-expire"
    )


def _limit(changes: Sequence[Change], rails: Sequence[Canonical]) -> Verdict | None:
    limits = [rail["max_backups_deleted"] for rail in rails if rail.get("max_backups_deleted") is not None]
    count = condemned(changes)
    if not limits or count <= min(limits):
        return None
    noun = "backup" if count == 1 else "backups"
    message = f"guardrail max_backups_deleted is {min(limits)}: this plan condemns {count} {noun}"
    return Verdict("max_backups_deleted", denies=True, message=message)


def _class(
    changes: Sequence[Change], rails: Sequence[Canonical], change_class: ChangeClass
) -> Verdict | None:
    words = {Weakening(rail.get(change_class.value, "allow")) for rail in rails}
    caught = [change.address for change in changes if change.change_class is change_class]
    if not caught or words == {Weakening.ALLOW}:
        return None
    denies = Weakening.DENY in words
    shown = ", ".join(caught[:5]) + (f" and {len(caught) - 5} more" if len(caught) > 5 else "")  # noqa: PLR2004
    message = f"guardrail {change_class.value} is {'deny' if denies else 'warn'}: {shown}"
    return Verdict(change_class.value, denies=denies, message=message)
