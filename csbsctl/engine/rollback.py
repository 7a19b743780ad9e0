"""``rollback``: a plan like any other, toward what one stack had in force at an earlier generation."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from pydantic import ValidationError

from csbsctl.engine.desired import Desired
from csbsctl.errors import NotFound, Refused
from csbsctl.model.control import ControlDocument, StackState


class ControlHistory(Protocol):
    """Older generations of the control document."""

    def at(self, generation: int) -> ControlDocument:
        """Return one generation. Raises NotFound."""
        ...


def at_generation(history: ControlHistory, stack: str, generation: int) -> Desired:
    """Return the wish for what a stack had in force at a generation; live edits of that time included.

    Raises:
        NotFound: that generation is not kept, or the stack was not there then.
        Refused: what it had then is not valid any more.
    """
    state = history.at(generation).stacks.get(stack)
    if state is None:
        message = f"stack {stack} did not exist at generation {generation}"
        raise NotFound(message, hint="to remove it, use destroy", code="stack.unknown")
    desired = Desired.form(stack, state.live)
    try:
        desired.declared  # noqa: B018 - parsed here, so that what is wrong is said in terms of the generation
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise Refused(
            f"generation {generation} is not valid for this version: {place}: {problem['msg']}",
            hint="choose another generation, or apply a configuration",
            code="rollback.invalid",
        ) from error
    return desired


def undo_renames(desired: Desired, state: StackState) -> Desired:
    """Return the wish with policies that were renamed since then moved back, rather than deleted and created anew."""
    then, now = desired.canonical["policies"], state.live.get("policies", {})
    moved: dict[str, str] = {}
    for name, earlier in state.former.items():
        if name in now and name not in then:
            former = next((old for old in reversed(earlier) if old in then and old not in now), None)
            if former is not None:
                moved[f"policy.{name}"] = f"policy.{former}"
    return replace(desired, moved=moved) if moved else desired
