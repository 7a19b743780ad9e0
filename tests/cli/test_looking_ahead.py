"""``forecast`` and ``graph`` through the real command line, and the hooks that other repositories use."""

from __future__ import annotations

import json
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
CONFIG = """\
version: 1
stack: shop
vault: ./vault
providers:
  default: {type: local, path: ./cloud}
policies:
  gold:
    schedule:
      at: ["02:00"]
    retention:
      count: 5
bindings:
  web:
    policy: gold
    servers: [web-01]
"""


@pytest.fixture
def shop(csbsctl):
    csbsctl.write(CONFIG)
    csbsctl("sim", "server", "create", "web-01", "--disk", "16M")
    return csbsctl


def test_a_forecast_in_every_form(shop):
    assert "No policy is in force" in shop("forecast").out
    shop.at = "2026-11-22T12:00:00Z"
    shop("apply", "--yes")
    schema = json.loads((REPOSITORY / "schemas" / "forecast.schema.json").read_text())
    document = shop("forecast", "--days", "10", "--json").json
    jsonschema.validate(document, schema)
    assert [point["backups"] for point in document["timeline"]] == [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5]
    assert shop("forecast", "--format", "json", "--days", "10").json["timeline"] == document["timeline"]
    assert ET.fromstring(shop("forecast", "--format", "svg").out).tag.endswith("svg")
    assert "did you mean" in shop("forecast", "--policy", "golden", expect=1).err
    assert "formats are text, json, svg" in shop("forecast", "--format", "png", expect=1).err


def test_a_graph_before_anything_is_applied(shop):
    assert '"policy.gold\\n02:00 UTC"' in shop("graph").out
    assert shop("graph", "--format", "mermaid").out.startswith("flowchart LR\n")
    document = shop("graph", "--json").json
    assert [node["kind"] for node in document["nodes"]] == ["policy", "binding", "server"]
    assert document["edges"][0]["from"] == document["nodes"][0]["id"]


def test_every_hook_is_a_command_that_passes_and_fails_as_hooks_must(shop):
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-hooks.yaml").read_text())
    assert {hook["id"] for hook in hooks} == {"csbsctl-validate", "csbsctl-fmt"}
    for hook in hooks:
        assert (hook["language"], hook["pass_filenames"]) == ("python", False)
        program, *words = shlex.split(hook["entry"])
        assert program == "csbsctl"
        shop(*words)
    before = shop.write(CONFIG.replace("count: 5", "count:   5")).read_text()
    shop("fmt")
    assert (shop.folder / "csbs.yaml").read_text() != before, "pre-commit fails a hook that changed a file"
    shop.write(CONFIG.replace("count: 5", "count: none"))
    shop("validate", expect=1)
