"""Desired plus live gives a plan; a plan is committed in one step; drift is found against the same record.

The way through, for whoever drives it (the command line, the console, a test)::

    situation = Situation(document=vault.control.head(), inventory=…, catalogue=vault.catalogue, now=clock.now(), …)
    proposal = Planner(situation).plan(Desired.of(configuration))         # ConfigError with places; reads only
    render_plan(proposal.plan, "text")                                    # csbsctl.report
    refuse(proposal.verdicts, allow)                                      # GuardrailRefusal, exit code 4
    applied = Executor(vault.control, clock, by).apply(proposal, allow=allow)   # Stale, GuardrailRefusal

``destroy`` plans ``Desired.nothing(stack)``; ``rollback`` plans ``at_generation(…)``; ``import`` plans with
``adopt=[address]``. Saved plans: ``planfile.save``, ``planfile.load`` and ``planfile.reopen``. Planning never writes.
"""

from __future__ import annotations

from csbsctl.engine.commit import Applied, Executor
from csbsctl.engine.desired import Desired
from csbsctl.engine.planner import Planner, Proposal
from csbsctl.engine.situation import BackupReader, NoBackups, Situation
from csbsctl.engine.verdicts import Verdict, check_allowed, fail_on, refuse

__all__ = [
    "Applied",
    "BackupReader",
    "Desired",
    "Executor",
    "NoBackups",
    "Planner",
    "Proposal",
    "Situation",
    "Verdict",
    "check_allowed",
    "fail_on",
    "refuse",
]
