"""Loading: read, parse, merge, fill in variables, evaluate, validate, check; every problem at once, each with its place."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, to_json

from csbsctl.config.checks import cross_check
from csbsctl.config.configuration import Configuration, ProviderSettings
from csbsctl.config.document import Document, Variable, VariableName
from csbsctl.config.evaluation import FAILED, Evaluator
from csbsctl.config.gathering import EXTENSION, Gathered, gather
from csbsctl.config.messages import diagnose
from csbsctl.config.variables import Variables, texts_in
from csbsctl.diagnostics import Diagnostic, Place
from csbsctl.errors import ConfigError

_VARIABLES = TypeAdapter(dict[VariableName, Variable])


def load(
    directory: Path,
    *,
    variables: Sequence[str] = (),
    var_files: Sequence[Path] = (),
    environ: Mapping[str, str],
    overlays: Sequence[Mapping[str, Any]] = (),
) -> Configuration:
    """Load ``csbs.yaml`` of a folder, with variables from ``NAME=VALUE`` texts, files and ``CSBSCTL_VAR_*``.

    ``overlays`` are laid over what the files say, the last on top: mappings merge, None removes.

    Raises:
        ConfigError: with all diagnostics, in the order of the files and lines they are about.
    """
    with _collector_resting():
        return _load(directory, variables, var_files, environ, overlays)


def _load(
    directory: Path,
    variables: Sequence[str],
    var_files: Sequence[Path],
    environ: Mapping[str, str],
    overlays: Sequence[Mapping[str, Any]],
) -> Configuration:
    gathered = gather(directory)
    for overlay in overlays:
        gathered.lay_over(overlay)
    sensitive = set(_sensitive_defaults(gathered))
    if gathered.incomplete:
        raise ConfigError(_presentable(gathered.problems, gathered, sensitive))
    problems = list(gathered.problems)
    values = Variables(_declared_variables(gathered), gathered)
    values.resolve(environ, var_files, variables)
    problems += values.problems
    sensitive |= values.sensitive
    content = gathered.document
    if gathered.templated:
        evaluator = Evaluator(gathered, values.values, values.sensitive_names)
        content = evaluator.run()
        problems += evaluator.problems
        sensitive |= evaluator.sensitive
    document = _validated(content, gathered, problems)
    problems += cross_check(content, gathered)
    if problems or document is None:
        raise ConfigError(_presentable(problems, gathered, sensitive))
    del content  # the models have it all now, and ten thousand bindings need not be in memory twice
    gathered.forget()
    return _configuration(directory, gathered, document, frozenset(sensitive))


@contextlib.contextmanager
def _collector_resting() -> Iterator[None]:
    """Keep Python's cycle collector out: loading makes containers by the hundred thousand, and no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _configuration(
    directory: Path, gathered: Gathered, document: Document, sensitive: frozenset[str]
) -> Configuration:
    declared = document.declared()
    canonical = declared.canonical()
    return Configuration(
        root=directory.absolute(),
        files=tuple(source.path for source in gathered.sources),
        stack=document.stack,
        vault=document.vault,
        providers={
            name: ProviderSettings(name, entry.type, _without_extensions(entry.model_extra or {}))
            for name, entry in document.providers.items()
        },
        declared=declared,
        canonical=canonical,
        moved=document.moved,
        digest=_digest(document, canonical),
        sensitive=sensitive,
        _gathered=gathered,
    )


def _without_extensions(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if not key.startswith(EXTENSION)}


def _digest(document: Document, canonical: dict[str, Any]) -> str:
    rest = document.model_dump(mode="json", include={"stack", "vault", "providers", "moved"})
    sections = {
        name: dict(sorted(section.items())) if isinstance(section, dict) else section
        for name, section in canonical.items()
    }
    return hashlib.sha256(to_json([rest, sections])).hexdigest()


def _declared_variables(gathered: Gathered) -> dict[str, Variable]:
    """Return the variables that are declared well; the others are reported by the validation of the whole."""
    raw = gathered.document.get("variables")
    declared: dict[str, Variable] = {}
    for name, value in raw.items() if isinstance(raw, dict) else ():
        with contextlib.suppress(ValidationError):
            declared |= _VARIABLES.validate_json(json.dumps({name: value}), strict=True)
    return declared


def _sensitive_defaults(gathered: Gathered) -> Iterator[str]:
    """Yield the secrets that stand in the files themselves, also those of variables that are declared badly."""
    raw = gathered.document.get("variables")
    for value in raw.values() if isinstance(raw, dict) else ():
        if isinstance(value, dict) and value.get("sensitive") not in {None, False}:
            yield from texts_in(value.get("default"))


def _validated(content: dict[str, Any], gathered: Gathered, problems: list[Diagnostic]) -> Document | None:
    try:
        return _validate(content)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    ignorable = [found["loc"] for found in errors if _is_extension(found)]
    if ignorable:
        content = copy.deepcopy(content)
        for path in ignorable:
            _remove(content, path)
        return _validated(content, gathered, problems)
    # What validation says of a failed expression is noise, unless nobody else says anything.
    telling = [found for found in errors if found["input"] != FAILED] or ([] if problems else errors)
    problems += diagnose(telling, gathered, _schema())
    return None


@functools.cache
def _schema() -> dict[str, Any]:
    return Document.model_json_schema()


def _validate(content: dict[str, Any]) -> Document:
    """Validate by way of JSON: strict about types (``"30"`` is no number, ``on`` no boolean), lists are tuples."""
    return Document.model_validate_json(json.dumps(content), strict=True)


def _is_extension(found: ErrorDetails) -> bool:
    return found["type"] == "extra_forbidden" and str(found["loc"][-1]).startswith(EXTENSION)


def _remove(content: Any, path: Sequence[str | int]) -> None:
    for step in path[:-1]:
        content = content[step]
    content.pop(path[-1], None)


def _presentable(problems: Iterable[Diagnostic], gathered: Gathered, sensitive: set[str]) -> list[Diagnostic]:
    """Return problems in the order of the files, each once, without secrets."""
    order = {source.shown: number for number, source in enumerate(gathered.sources)}

    def position(problem: Diagnostic) -> tuple[int, int, int]:
        place = problem.place
        return (
            (order.get(place.file, len(order)), place.line, place.column) if place else (len(order) + 1, 0, 0)
        )

    secrets = sorted({part for text in sensitive for part in (text, *text.splitlines()) if part}, key=len)
    pattern = re.compile("|".join(map(re.escape, reversed(secrets)))) if secrets else None
    return [_redacted(problem, pattern) for problem in sorted(dict.fromkeys(problems), key=position)]


def _redacted(problem: Diagnostic, secrets: re.Pattern[str] | None) -> Diagnostic:
    if secrets is None:
        return problem

    def clean(text: str) -> str:
        return secrets.sub(lambda found: "*" * len(found.group()), text)

    def clean_place(place: Place) -> Place:
        return replace(place, text=clean(place.text))

    return replace(
        problem,
        summary=clean(problem.summary),
        hint=clean(problem.hint) if problem.hint else None,
        place=clean_place(problem.place) if problem.place else None,
        related=tuple(map(clean_place, problem.related)),
    )
