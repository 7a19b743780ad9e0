"""The two judgements of a change: by its attributes, and by what a simulation of old against new shows."""

from __future__ import annotations

from collections.abc import Iterator

from csbsctl.model.plan import Action, Change, ChangeClass

Judgement = tuple[ChangeClass, str]


def attribute_class(change: Change) -> Iterator[Judgement]:
    """Yield what the table of attributes says."""
    if change.action is Action.CREATE:
        yield ChangeClass.STRENGTHENS, "new"
    if change.action is Action.DELETE:
        yield ChangeClass.WEAKENS, "removed"


def outlook_class(*_args: object) -> Iterator[tuple[None, Judgement]]:
    """Yield nothing yet."""
    return iter(())
