"""Puts the detectors of all classes of findings together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import assert_never

from csbsctl.diagnostics import did_you_mean
from csbsctl.engine.desired import Desired
from csbsctl.engine.drift.backups import out_of_reach_findings
from csbsctl.engine.drift.configuration import config_findings
from csbsctl.engine.drift.evidence import Evidence, Scene
from csbsctl.engine.drift.leftovers import quota_findings
from csbsctl.engine.drift.servers import binding_findings, objective_findings, unprotected_findings
from csbsctl.engine.drift.slots import missed_findings
from csbsctl.engine.drift.survey import Survey
from csbsctl.engine.readable import damage_findings
from csbsctl.engine.situation import Situation
from csbsctl.errors import UsageError
from csbsctl.model.plan import Finding, FindingClass

_SURVEYED = {
    FindingClass.BINDING,
    FindingClass.MISSED,
    FindingClass.OBJECTIVE,
    FindingClass.BACKUP,
    FindingClass.CHAIN,
    FindingClass.ORPHAN,
}
"""The classes for which all backups must be looked at."""

_SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What was found, the worst first."""

    stack: str
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """Return 2 when something was found, else 0."""
        return 2 if self.findings else 0

    @property
    def summary(self) -> dict[str, int]:
        """Return how many findings each class has; classes without any are left out."""
        return dict(Counter(finding.finding_class.value for finding in self.findings))


@dataclass(frozen=True)
class Detector:
    """Finds drift in one situation."""

    situation: Situation
    evidence: Evidence

    def detect(self, desired: Desired, *, only: Collection[str] = ()) -> DriftReport:
        """Return every finding about a stack, or those of some classes.

        Raises:
            UsageError: a class does not exist.
        """
        classes = _chosen(only)
        scene = Scene(desired.stack, desired, self.situation, self.evidence)
        survey = Survey(scene, classes) if _SURVEYED & set(classes) else None
        found = [finding for chosen in classes for finding in _of_class(chosen, scene, survey)]
        found.sort(key=lambda finding: _SEVERITIES.index(finding.severity))
        return DriftReport(desired.stack, tuple(found))


def _of_class(chosen: FindingClass, scene: Scene, survey: Survey | None) -> Iterable[Finding]:
    """Return the findings of one class; ``survey`` is made where a class needs it."""
    match chosen:
        case FindingClass.CONFIG:
            return config_findings(scene)
        case FindingClass.UNPROTECTED:
            return unprotected_findings(scene)
        case FindingClass.BINDING:
            return binding_findings(scene, survey.disks if survey else ())
        case FindingClass.QUOTA:
            return quota_findings(scene)
        case FindingClass.MISSED:
            return missed_findings(scene, survey.served | survey.unread) if survey else ()
        case FindingClass.OBJECTIVE:
            return objective_findings(scene, survey.newest, survey.unread) if survey else ()
        case FindingClass.BACKUP:
            damaged = damage_findings(scene.situation)
            return (*damaged, *survey.states, *out_of_reach_findings(scene, survey.reach)) if survey else ()
        case FindingClass.CHAIN:
            return survey.chains if survey else ()
        case FindingClass.ORPHAN:
            return survey.orphans if survey else ()
        case never:
            assert_never(never)


def _chosen(only: Collection[str]) -> list[FindingClass]:
    known = [finding_class.value for finding_class in FindingClass]
    for name in only:
        if name not in known:
            hint = did_you_mean(name, known) or f"classes are {', '.join(known)}"
            raise UsageError(f"{name!r} is not a class of findings", hint=hint)
    return [finding_class for finding_class in FindingClass if not only or finding_class.value in only]
