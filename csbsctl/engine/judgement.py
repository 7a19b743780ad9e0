"""The first judgement of a change, by its attributes; the second, by living both futures, is ``rules.comparison``."""

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
