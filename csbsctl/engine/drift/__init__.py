"""Drift: everything in which the running system differs from what the repository says, as findings (design section 4).

Configuration drift and facts about the running system are kept apart by class. What moves by itself (counts, last
runs, sizes) is never a finding. Addresses and messages are stable, so that alerting can rely on them.
"""

from __future__ import annotations

from csbsctl.engine.drift.detector import Detector, DriftReport
from csbsctl.engine.drift.evidence import Evidence

__all__ = ["Detector", "DriftReport", "Evidence"]
