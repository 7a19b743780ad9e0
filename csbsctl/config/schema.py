"""The JSON Schema (2020-12) of ``csbs.yaml``, for editors; made from the models, never written by hand.

``python -m csbsctl.config.schema FILE`` writes it.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from csbsctl.config.document import Document
from csbsctl.units import format_duration

_LITERAL = frozenset({"version", "include", "variables"})
"""Sections that are read before variables have values."""
_ORDER = (
    "version", "stack", "vault", "include", "providers", "variables", "policies", "bindings", "objectives",
    "guardrails", "access", "moved",
)  # fmt: skip
_ISO_DURATION = re.compile(r"P(T?[0-9]+[A-Z])+")
_REFERENCES = re.compile(r"\s*\((csbs\.md|design)[^)]*\)")
"""Pointers to papers that users of an editor do not have."""
_EXPRESSION: dict[str, Any] = {
    "type": "string",
    "title": "Expression",
    "description": 'A Jinja2 expression over variables: "{{ var.name }}"',
    "pattern": r"\{\{|\{%",
    "examples": ["{{ var.name }}"],
}


def json_schema() -> dict[str, Any]:
    """Return the schema of a configuration file; wherever a plain value may stand, an expression may stand too."""
    schema = Document.model_json_schema(mode="validation")
    definitions: dict[str, Any] = schema["$defs"]
    literal = _reachable({name: schema["properties"][name] for name in _LITERAL}, definitions)
    models = frozenset(name for name, definition in definitions.items() if "properties" in definition)
    defined = {
        name: _definition(definition, models, templated=name not in literal)
        for name, definition in sorted(definitions.items())
    }
    properties = {
        name: _property(schema["properties"][name], models, templated=name not in _LITERAL) for name in _ORDER
    }
    properties["vault"] = {
        **properties["vault"],
        "default": "./vault",
        "anyOf": [
            {"type": "string", "examples": ["./vault", "s3://bucket/prefix"]},
            _reference("VaultSettings"),
        ],
    }
    properties["vault"].pop("$ref", None)
    one_or_more = [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
    properties["include"] = {"description": properties["include"]["description"], "anyOf": one_or_more}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "csbsctl configuration",
        "description": Document.__doc__,
        "type": "object",
        "properties": properties,
        "patternProperties": {"^x-": {"description": "Ignored; a place for YAML anchors"}},
        "additionalProperties": False,
        "$defs": {**defined, "Expression": _EXPRESSION},
    }


def render(schema: dict[str, Any]) -> str:
    """Return a schema as it is checked in."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _reachable(node: Any, definitions: dict[str, Any]) -> set[str]:
    """Return the names of the definitions that a part of the schema refers to, directly or not."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).rpartition("/")[2]
            if name and name not in found:
                found.add(name)
                waiting.append(definitions[name])
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return found


def described_plainly(definition: dict[str, Any], models: frozenset[str]) -> dict[str, Any]:
    """Return the definition of a model whose values are never expressions, with texts and defaults as people write."""
    return _definition(definition, models, templated=False)


def _definition(definition: dict[str, Any], models: frozenset[str], *, templated: bool) -> dict[str, Any]:
    """Return the definition of a model with expressions in its values and ``x-`` keys; enumerations stay."""
    text = _REFERENCES.sub("", " ".join(str(definition.get("description", "")).split()))
    if "properties" not in definition:
        return {**definition, "description": text}
    properties = {
        name: _property(value, models, templated=templated)
        for name, value in definition["properties"].items()
    }
    return {**definition, "description": text, "properties": properties, "patternProperties": {"^x-": {}}}


def _property(value: dict[str, Any], models: frozenset[str], *, templated: bool) -> dict[str, Any]:
    """Return the schema of a property: its texts, and what it or an expression in its place must look like."""
    outside: dict[str, Any] = {}
    if "description" in value:
        outside["description"] = _REFERENCES.sub("", " ".join(value["description"].split()))
    if isinstance(value.get("default"), str | int):
        outside["default"] = _as_written(value["default"])
    inside = {key: item for key, item in value.items() if key not in {"description", "default", "title"}}
    return {**outside, **_value(inside, models, templated=templated)}


def _as_written(default: Any) -> Any:
    """Return a default as people write it; pydantic gives durations in ISO 8601."""
    if isinstance(default, str) and _ISO_DURATION.fullmatch(default):
        return format_duration(TypeAdapter(timedelta).validate_python(default))
    return default


def _value(value: dict[str, Any], models: frozenset[str], *, templated: bool) -> dict[str, Any]:
    """Return the schema of a value; unless it is a model or any text fits anyway, it may be an expression."""
    options = [_option(option, models, templated=templated) for option in value.get("anyOf", [value])]
    if templated and not any(_is_model(option, models) or _is_free_text(option) for option in options):
        options.append(_reference("Expression"))
    return options[0] if len(options) == 1 else {"anyOf": options}


def _option(value: dict[str, Any], models: frozenset[str], *, templated: bool) -> dict[str, Any]:
    value = dict(value)
    for key in ("items", "additionalProperties"):
        if isinstance(value.get(key), dict):
            value[key] = _value(value[key], models, templated=templated)
    if "patternProperties" in value:
        named = value["patternProperties"].items()
        value["patternProperties"] = {
            pattern: _value(item, models, templated=templated) for pattern, item in named
        }
        value["additionalProperties"] = False
    return value


def _is_model(option: dict[str, Any], models: frozenset[str]) -> bool:
    """Say whether it is a model, or a list or mapping of models: structure that no expression stands for."""
    inner = [option, option.get("items"), *option.get("patternProperties", {}).values()]
    names = (str(part.get("$ref", "")).rpartition("/")[2] for part in inner if isinstance(part, dict))
    return any(name in models for name in names)


def _is_free_text(option: dict[str, Any]) -> bool:
    return not option or (option.get("type") == "string" and not option.keys() & {"pattern", "enum"})


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "schemas/csbs.schema.json").write_text(
        render(json_schema()), encoding="utf-8"
    )
