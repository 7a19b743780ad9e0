from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from csbsctl.config.schema import json_schema, render
from csbsctl.config.source import Source, read_source
from csbsctl.config.starter import starter
from csbsctl.config.tree import parse

REPOSITORY = Path(__file__).parents[2]
CHECKED_IN = REPOSITORY / "schemas" / "csbs.schema.json"
EXAMPLES = sorted(
    path
    for path in (REPOSITORY / "examples").rglob("*.yaml")
    if not path.name.endswith((".vars.yaml", ".csbstest.yaml"))
)
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def wrong(text: str) -> bool:
    return not VALIDATOR.is_valid(parse(Source(Path("x"), "x", text)).value)


def test_the_schema_that_is_checked_in_is_current():
    assert CHECKED_IN.read_text(encoding="utf-8") == render(json_schema()), (
        "run `python -m csbsctl.config.schema schemas/csbs.schema.json`"
    )


def test_the_schema_is_valid_and_names_only_what_it_defines():
    jsonschema.Draft202012Validator.check_schema(json_schema())
    text = json.dumps(json_schema())
    used = {part.split('"')[0] for part in text.split("#/$defs/")[1:]}
    assert used == set(json_schema()["$defs"])
    assert "csbs.md" not in text
    assert "design" not in text


@pytest.mark.parametrize("path", EXAMPLES, ids=[str(path.relative_to(REPOSITORY)) for path in EXAMPLES])
def test_every_example_fits_the_schema(path):
    tree = parse(read_source(path))
    assert tree.problems == []
    VALIDATOR.validate(tree.value)


@pytest.mark.parametrize("provider", ["local", "openstack"])
def test_the_starters_fit_the_schema(provider):
    VALIDATOR.validate(parse(Source(Path("x"), "x", starter(provider))).value)


@pytest.mark.parametrize(
    "text",
    [
        "polices: {}",
        "policies: {gold: {retention: {count: 1}}}",
        "policies: {gold: {schedule: {at: ['2:00']}, retention: {count: 1}}}",
        "policies: {gold: {schedule: {at: ['02:00']}, retention: {count: many}}}",
        "policies: {gold: {schedule: {at: ['02:00']}, retention: {count: 1}, enabled: on}}",
        "policies: {'a b': {schedule: {at: ['02:00']}, retention: {count: 1}}}",
        "bindings: {b: {policy: x, servers: a}}",
        "guardrails: {weakens: never}",
        "variables: {a: {type: int}}",
        "variables: {a: {sensitive: '{{ var.b }}'}}",
        "vault: 3",
        "providers: {a: {path: x}}",
    ],
)
def test_editors_flag_what_loading_refuses(text):
    assert wrong(text)


@pytest.mark.parametrize(
    "text",
    [
        "policies: {gold: {schedule: {at: ['{{ var.at }}']}, retention: {count: '{{ var.keep }}'}}}",
        "policies: {gold: {schedule: {at: '{{ var.at }}'}, retention: {days: 1}, enabled: '{{ var.on }}', x-a: 1}}",
        "vault: s3://a/b",
        "vault: {url: s3://a/b, encryption: {key_file: x}}",
        "include: a.yaml",
        "include: [a.yaml]",
        "x-anything: [1]",
        "bindings: {b: {policy: '{{ var.p }}', servers: '{{ var.all }}', expect: {min: 1}}}",
        "guardrails: {destroys-data: deny, max_backups_deleted: 0}",
    ],
)
def test_editors_accept_what_loading_accepts(text):
    assert not wrong(text)


def test_every_key_has_a_description_in_the_editor():
    schema = json_schema()
    models = {"configuration": schema, **schema["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, model in models.items()
        for key, value in model.get("properties", {}).items()
        if "description" not in value
    ]
    assert bare == []
