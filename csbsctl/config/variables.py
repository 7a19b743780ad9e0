"""The values of variables, from (weakest first) defaults, the environment, variable files and ``--var``.

Knows types and precedence; must not know what the values are used for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from csbsctl.config.document import Variable, VariableType
from csbsctl.config.gathering import Gathered
from csbsctl.config.source import Source, read_source
from csbsctl.config.tree import parse
from csbsctl.diagnostics import Diagnostic, Place, did_you_mean
from csbsctl.errors import ConfigError

PREFIX = "CSBSCTL_VAR_"


@dataclass(frozen=True, slots=True)
class _Given:
    """A value from somewhere: ``origin`` names it in messages."""

    name: str
    value: Any
    origin: str
    place: Place | None = None
    textual: bool = False
    """It came as text (a flag, the environment) and is read according to the variable's type."""


class Variables:
    """Resolves what every declared variable is worth; ``problems`` has what is wrong with them."""

    def __init__(self, declared: Mapping[str, Variable], gathered: Gathered) -> None:
        self._declared = declared
        self._gathered = gathered
        self.values: dict[str, Any] = {}
        self.sensitive: set[str] = set()
        """Every text that must never be shown: sensitive values, also overridden and refused ones."""
        self.problems: list[Diagnostic] = []

    @property
    def sensitive_names(self) -> frozenset[str]:
        """Return the names of variables whose values must never be shown."""
        return frozenset(name for name, variable in self._declared.items() if variable.sensitive)

    def resolve(self, environ: Mapping[str, str], files: Sequence[Path], flags: Sequence[str]) -> None:
        """Fill ``values`` from all origins, the strongest last."""
        for name, variable in self._declared.items():
            if "default" in variable.model_fields_set:
                self._default(name, variable)
        for given in self._given(environ, files, flags):
            if given.name in self._declared:
                self._set(given)
            else:
                self._unknown(given)
        for name in self._declared:
            if name not in self.values and not any(p.address == f"variable.{name}" for p in self.problems):
                self._missing(name)

    def _given(
        self, environ: Mapping[str, str], files: Sequence[Path], flags: Sequence[str]
    ) -> Iterator[_Given]:
        for name in self._declared:
            if PREFIX + name in environ:
                yield _Given(name, environ[PREFIX + name], PREFIX + name, textual=True)
        for path in files:
            yield from self._from_file(path)
        for flag in flags:
            name, separator, value = flag.partition("=")
            if separator and name.strip():
                yield _Given(name.strip(), value, f"--var {name.strip()}", textual=True)
            else:
                self.problems.append(Diagnostic("--var needs NAME=VALUE", hint="such as --var keep=7"))

    def _from_file(self, path: Path) -> Iterator[_Given]:
        try:
            source = read_source(path)
        except ConfigError as error:
            self.problems += error.diagnostics
            return
        tree = parse(source, marks=True)
        self.problems += tree.problems
        if tree.value is None:
            return
        if not isinstance(tree.value, dict):
            self.problems.append(
                Diagnostic(
                    "a variable file is a mapping of names to values", source.place(0, 0), hint="keep: 30"
                )
            )
            return
        for name, value in tree.value.items():
            key, mark = tree.marks[id(tree.value)][name]
            yield _Given(name, value, name, source.place(*(key if isinstance(value, dict | list) else mark)))

    def _default(self, name: str, variable: Variable) -> None:
        place = self._gathered.locate(("variables", name, "default"))
        if variable.default is None:
            self.values[name] = None
        else:
            self._set(_Given(name, variable.default, f"default of variable {name}", place))

    def _set(self, given: _Given) -> None:
        variable = self._declared[given.name]
        if variable.sensitive:
            self.sensitive.update(texts_in(given.value))
        try:
            self.values[given.name] = convert(given.value, variable.type, textual=given.textual)
        except ValueError as error:
            shown = "the sensitive value does not fit" if variable.sensitive else str(error)
            place = given.place
            if variable.sensitive and place:
                place = replace(place, text="")  # the secret may stand in the line in escaped form
            self.problems.append(
                Diagnostic(
                    f"{given.origin}: expected {_EXPECTED[variable.type]}, {shown}",
                    place,
                    address=f"variable.{given.name}",
                )
            )

    def _unknown(self, given: _Given) -> None:
        place = given.place
        known = ", ".join(self._declared) or "none"
        hint = did_you_mean(given.name, self._declared) or f"declared variables: {known}"
        self.problems.append(Diagnostic(f"variable {given.name!r} is not declared", place, hint=hint))

    def _missing(self, name: str) -> None:
        self.problems.append(
            Diagnostic(
                f"variable {name!r} has no value",
                self._gathered.locate(("variables", name), key=True),
                hint=f"give --var {name}=…, put it in a --var-file, set {PREFIX}{name}, or declare a default",
                address=f"variable.{name}",
            )
        )


_EXPECTED = {
    VariableType.STRING: "text",
    VariableType.INTEGER: "a whole number",
    VariableType.NUMBER: "a number",
    VariableType.BOOLEAN: "true or false",
    VariableType.LIST: "a list",
    VariableType.MAP: "a mapping",
}


_CLASSES: dict[VariableType, type | tuple[type, ...]] = {
    VariableType.STRING: str,
    VariableType.INTEGER: int,
    VariableType.NUMBER: (int, float),
    VariableType.BOOLEAN: bool,
    VariableType.LIST: list,
    VariableType.MAP: dict,
}


def convert(value: Any, kind: VariableType, *, textual: bool = False) -> Any:
    """Return a value as its variable's type, converting only where nothing can be misread.

    Raises:
        ValueError: it does not fit; the message says what was got.
    """
    if textual and not _is_unicode(value):
        raise ValueError("got bytes that are not UTF-8")
    if textual and kind in {VariableType.LIST, VariableType.MAP}:
        value = _read(value)
    fits = isinstance(value, _CLASSES[kind]) and (kind is VariableType.BOOLEAN or not isinstance(value, bool))
    if fits:
        return value
    converted = _converted(value, kind)
    if converted is None:
        raise ValueError(f"got {_shown(value)}")
    return converted


def _converted(value: Any, kind: VariableType) -> Any:
    match kind, value:
        case (VariableType.STRING, int() | float()) if not isinstance(value, bool):
            return str(value)
        case (VariableType.BOOLEAN, str()):
            return {"true": True, "false": False}.get(value.strip().lower())
        case (VariableType.INTEGER | VariableType.NUMBER, str()):
            return _number(value, whole=kind is VariableType.INTEGER)
    return None


def _is_unicode(value: Any) -> bool:
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(text: str) -> Any:
    tree = parse(Source(Path("-"), "-", text))
    return text if tree.problems else tree.value


def _number(text: str, *, whole: bool) -> int | float | None:
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        return None
    return number if whole or math.isfinite(number) else None


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return repr(value)
    return {None: "nothing", True: "true", False: "false"}.get(value, str(value))


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text and number in a value as text; true, false and empty text are nobody's secret."""
    if isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif not isinstance(value, bool) and value not in {None, ""}:
        yield str(value)
