"""What pydantic found, said as people would, with a place and a hint."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from csbsctl.diagnostics import Diagnostic, did_you_mean
from csbsctl.model.base import NAME_PATTERN

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from csbsctl.config.gathering import Gathered

_EXPECTED = {
    "int": "a whole number",
    "bool": "true or false",
    "string": "text",
    "float": "a number",
    "dict": "a mapping",
    "model": "a mapping",
    "tuple": "a list",
    "list": "a list",
    "time_delta": "a duration such as 4h or 1d12h",
}
_SUFFIXES = re.compile("_attributes_type$|_type$|_parsing(_size)?$|_from_float$")
_LIMITS = {
    "greater_than_equal": "expected at least {ge}, got {got}",
    "less_than_equal": "expected at most {le}, got {got}",
    "string_too_long": "at most {max_length} characters are allowed",
    "string_too_short": "must not be empty",
    "too_long": "at most {max_length} entries are allowed, not {actual_length}",
}
_PATTERNS = {
    NAME_PATTERN: "names have 1 to 255 letters, digits, _ and -",
    r"^[^<>]*$": "descriptions hold no < and >",
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$": 'expected a time of day such as "02:00"',
    r"^[A-Za-z0-9_-]{1,36}$": "keys of tags have 1 to 36 letters, digits, _ and -",
    r"^[A-Za-z0-9_-]{0,43}$": "values of tags have at most 43 letters, digits, _ and -",
    r"^[A-Za-z_][A-Za-z0-9_]{0,254}$": "names of variables have letters, digits and _",
    r"^(policy|binding|objective)\.[A-Za-z0-9_-]{1,255}$": "expected an address such as policy.gold",
}
_YAML_1_1_WORDS = {"on": "true", "yes": "true", "y": "true", "off": "false", "no": "false", "n": "false"}


def diagnose(
    errors: Sequence[ErrorDetails], gathered: Gathered, schema: Mapping[str, Any]
) -> list[Diagnostic]:
    """Return a diagnostic for each error of a validation; ``schema`` is the JSON Schema of what was validated."""
    return [_diagnose(error, gathered, schema) for error in errors]


def _diagnose(error: ErrorDetails, gathered: Gathered, schema: Mapping[str, Any]) -> Diagnostic:
    path = tuple(error["loc"])
    about_key = bool(path) and path[-1] == "[key]"
    if about_key:
        path = path[:-1]
    address = ".".join(str(step) for step in path)
    match error["type"]:
        case "extra_forbidden":
            place = gathered.locate(path, key=True)
            known = _keys(schema, path[:-1])
            summary = f"unknown key {str(path[-1])!r}" + (
                f" in {_joined(path[:-1])}" if len(path) > 1 else ""
            )
            return Diagnostic(summary, place, hint=_hint_for_key(str(path[-1]), known), address=address)
        case "missing":
            summary = f"{_joined(path[:-1]) or 'the configuration'} needs `{path[-1]}`"
            return Diagnostic(summary, gathered.locate(path[:-1]), address=address)
    summary, hint = _sentence(error, about_key=about_key)
    return Diagnostic(
        f"{_joined(path)}: {summary}", gathered.locate(path, key=about_key), hint=hint, address=address
    )


def _joined(path: Sequence[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def _sentence(error: ErrorDetails, *, about_key: bool) -> tuple[str, str | None]:
    """Return what is wrong in words, and how to mend it."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    got = _shown(value)
    base = _SUFFIXES.sub("", kind)
    if base != kind and base in _EXPECTED:
        return f"expected {_EXPECTED[base]}, got {got}", _hint_for_value(base, value)
    if kind in {"enum", "literal_error"}:
        choices = str(context["expected"]).replace("'", "")
        known = choices.replace(" or ", ", ").split(", ")
        close = f"leave the quotes out: {value}" if value in known else did_you_mean(str(value), known)
        return f"expected {choices}, got {got}", close
    if kind == "string_pattern_mismatch":
        rule = _PATTERNS.get(str(context["pattern"]), f"does not fit {context['pattern']}")
        expects = rule.startswith("expected") and not about_key
        return (f"{rule}, got {got}" if expects else f"{got} is not allowed: {rule}"), None
    if kind in _LIMITS:
        return _LIMITS[kind].format(**context, got=got), None
    return str(context["error"]) if kind == "value_error" else error["msg"][:1].lower() + error["msg"][
        1:
    ], None


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "…"  # noqa: PLR2004 - a line of a terminal


def _hint_for_value(base: str, value: Any) -> str | None:
    if base == "string" and isinstance(value, int | float):
        return f'quote it: "{_shown(value)}"'
    if base == "bool" and isinstance(value, str):
        word = _YAML_1_1_WORDS.get(value.lower(), value.lower())
        return f"write {word}" if word in {"true", "false"} else None
    if base == "int" and isinstance(value, str) and value.strip().lstrip("-").isdigit():
        return f"leave the quotes out: {value.strip()}"
    if base in {"tuple", "list"} and isinstance(value, str):
        return f"write a list: [{value}]"
    return None


def _hint_for_key(key: str, known: Mapping[str, Mapping[str, Any]]) -> str | None:
    close = did_you_mean(key, known)
    if close:
        return close
    below = [name for name, keys in known.items() if key in keys]
    if below:
        return f"`{key}` belongs under `{below[0]}`"
    return f"known keys: {', '.join(known)}" if known else None


def _keys(schema: Mapping[str, Any], path: Sequence[str | int]) -> dict[str, Mapping[str, Any]]:
    """Return the keys a mapping at a path may have, each with the keys of the mapping below it."""
    node: Mapping[str, Any] = schema
    for step in path:
        node = _child(schema, node, step)
    properties = _resolved(schema, node).get("properties", {})
    return {key: _resolved(schema, value).get("properties", {}) for key, value in properties.items()}


def _child(schema: Mapping[str, Any], node: Mapping[str, Any], step: str | int) -> Mapping[str, Any]:
    node = _resolved(schema, node)
    if isinstance(step, int):
        return node.get("items") or {}
    if step in node.get("properties", {}):
        return node["properties"][step] or {}
    patterns = node.get("patternProperties")
    return next(iter(patterns.values())) if patterns else {}


def _resolved(schema: Mapping[str, Any], node: Any) -> Mapping[str, Any]:
    """Follow a reference, and of several alternatives the one that is a mapping or a list."""
    while isinstance(node, Mapping):
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        elif "anyOf" in node:
            node = next(
                (option for option in node["anyOf"] if option.get("type") not in {"null", "string"}), {}
            )
        else:
            return node
    return {}
