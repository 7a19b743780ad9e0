"""Expressions of a whole configuration: finds them, evaluates each where it stands, keeps secrets out of what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from csbsctl.config.expressions import ExpressionError, evaluate, is_expression, variables_in
from csbsctl.config.gathering import Gathered, KeyPath
from csbsctl.config.variables import texts_in
from csbsctl.diagnostics import Diagnostic

_LITERAL = frozenset({"version", "include", "variables"})
"""Sections read before variables have values."""
_SECRET_KEEPING = frozenset({"vault", "providers"})
"""Sections that are never stored in the vault or a plan."""


class Evaluator:
    """Replaces expressions by their values; ``problems`` says which cannot be, ``sensitive`` what came of secrets."""

    def __init__(self, gathered: Gathered, variables: Mapping[str, Any], secrets: frozenset[str]) -> None:
        self._gathered = gathered
        self._variables = variables
        self._secrets = secrets
        raw = gathered.document.get("variables")
        self._worthless = frozenset(raw) - variables.keys() if isinstance(raw, dict) else frozenset()
        """Declared, but without a usable value; that is reported already, and not again at every use."""
        self.problems: list[Diagnostic] = []
        self.sensitive: set[str] = set()

    def run(self) -> dict[str, Any]:
        """Return the document with every expression evaluated."""
        return {section: self._value(value, (section,)) for section, value in self._gathered.document.items()}

    def _value(self, value: Any, path: KeyPath) -> Any:
        if isinstance(value, str):
            return self._text(value, path) if is_expression(value) else value
        if isinstance(value, dict):
            return {key: self._value(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def _text(self, text: str, path: KeyPath) -> Any:
        if path[0] in _LITERAL:
            self._problem("expressions are not allowed here: this is read before variables have values", path)
            return FAILED
        if _uses(text, self._worthless):
            return FAILED
        secret = _uses(text, self._secrets)
        if secret and path[0] not in _SECRET_KEEPING:
            self._problem(
                "a sensitive variable may only be used in `vault` and `providers`: the rest is stored in the vault",
                path,
            )
            return FAILED
        try:
            result = evaluate(text, self._variables)
        except ExpressionError as error:
            self._problem(str(error), path)
            return FAILED
        if secret:
            self.sensitive.update(texts_in(result))
        return result

    def _problem(self, summary: str, path: KeyPath) -> None:
        self.problems.append(Diagnostic(summary, self._gathered.locate(path)))


def _uses(text: str, names: frozenset[str]) -> bool:
    if not names:
        return False
    used = variables_in(text)
    return used is None or not used.isdisjoint(names)


FAILED = "\N{REPLACEMENT CHARACTER} not evaluated"
"""Stands for a value whose expression failed; what validation says about it is of no interest."""
