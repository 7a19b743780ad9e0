"""Policy tests: policies rehearsed in virtual time, with the real engine and runner on simulated clouds.

``find`` and ``load`` read test files, ``play_all`` runs their tests side by side and yields an Outcome each. Knows
nothing of how outcomes are shown, and touches no vault and no cloud that a configuration names.
"""

from __future__ import annotations

from csbsctl.rehearsal.loading import SUFFIX, TestFile, find, load
from csbsctl.rehearsal.outcome import Failure, Outcome
from csbsctl.rehearsal.side_by_side import Planned, play_all
from csbsctl.rehearsal.world import Inputs

__all__ = ["SUFFIX", "Failure", "Inputs", "Outcome", "Planned", "TestFile", "find", "load", "play_all"]
