"""Weighs changes: classes, consequences, quota. Apart from planning so that a plan without changes never loads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from csbsctl.engine.capacity import quota_line
from csbsctl.engine.consequences import Consequences, Scene
from csbsctl.engine.desired import Desired
from csbsctl.engine.reach import Reach
from csbsctl.engine.situation import ServerKey, Situation
from csbsctl.model.control import StackState
from csbsctl.model.plan import Change


@dataclass(frozen=True, slots=True)
class Weighed:
    """Changes with their classes and consequences, the servers they touch, and the line about quota."""

    changes: Sequence[Change]
    touched: frozenset[ServerKey]
    quota: str | None


def weigh(  # noqa: PLR0917
    changes: Sequence[Change],
    situation: Situation,
    state: StackState,
    desired: Desired,
    reach: Reach,
    days: int,
) -> Weighed:
    """Return what changes from a state to what is desired lead to, looking some days ahead."""
    scene = Scene(
        desired.stack, situation, state, desired.canonical, reach.before, reach.after, days, reach.taken
    )
    consequences = Consequences(scene)
    return Weighed(
        changes=[consequences.judged(change) for change in changes],
        touched=consequences.touched | reach.touched(change.address for change in changes),
        quota=quota_line(situation, reach.after, scene.coming, scene.histories),
    )
