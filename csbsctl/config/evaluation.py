"""Expressions of a whole configuration: finds them, evaluates each where it stands, keeps secrets out of what is stored."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from csbsctl.config.expressions import ExpressionError, evaluate, is_expression
from csbsctl.config.gathering import Gathered, Path_
from csbsctl.config.variables import texts_in
from csbsctl.diagnostics import Diagnostic

_LITERAL = frozenset({"version", "include", "variables"})
"""Sections read before variables have values."""
_SECRET_KEEPING = frozenset({"vault", "providers"})
"""Sections that are never stored in the vault or a plan."""
_BARE_VAR = re.compile(r"\bvar\b(?!\s*\.\s*[A-Za-z_])")


class Evaluator:
    """Replaces expressions by their values; ``problems`` says which cannot be, ``sensitive`` what came of secrets."""

    def __init__(self, gathered: Gathered, variables: Mapping[str, Any], secrets: frozenset[str]) -> None:
        self._gathered = gathered
        self._variables = variables
        raw = gathered.document.get("variables")
        self._names_secret = _any_word(secrets)
        self._waits_for = _any_word(raw.keys() - variables.keys() if isinstance(raw, dict) else ())
        self.problems: list[Diagnostic] = []
        self.sensitive: set[str] = set()

    def run(self) -> dict[str, Any]:
        """Return the document with every expression evaluated."""
        return {section: self._value(value, (section,)) for section, value in self._gathered.document.items()}

    def _value(self, value: Any, path: Path_) -> Any:
        if isinstance(value, str):
            return self._text(value, path) if is_expression(value) else value
        if isinstance(value, dict):
            return {key: self._value(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def _text(self, text: str, path: Path_) -> Any:
        if path[0] in _LITERAL:
            self._problem("expressions are not allowed here: this is read before variables have values", path)
            return FAILED
        if self._waits_for and self._waits_for.search(text):
            return FAILED
        secret = self._uses_secret(text)
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

    def _uses_secret(self, text: str) -> bool:
        if self._names_secret is None:
            return False
        return bool(self._names_secret.search(text) or _BARE_VAR.search(text))

    def _problem(self, summary: str, path: Path_) -> None:
        self.problems.append(Diagnostic(summary, self._gathered.locate(path)))


def _any_word(words: Collection[str]) -> re.Pattern[str] | None:
    return re.compile(rf"\b({'|'.join(map(re.escape, words))})\b") if words else None


FAILED = "{{ }}"
"""Stands for a value whose expression failed; what validation says about it is of no interest."""
