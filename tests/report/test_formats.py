from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from csbsctl.errors import UsageError
from csbsctl.model.control import ControlDocument
from csbsctl.report import FORMATS, history_json, render_drift, render_history, render_plan
from csbsctl.report.plan_json import apply_json

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SCHEMAS = Path(__file__).parents[2] / "schemas"


def holds(name, document):
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    checker = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    checker.check_schema(schema)
    checker.validate(document)


def test_json_outputs_hold_to_their_schemas(plan, empty, findings):
    for each in (plan, empty, plan.model_copy(update={"findings": tuple(findings)})):
        holds("plan", json.loads(render_plan(each, "json")))
        holds("apply", apply_json(each, generation=42, applied=True))
    holds("drift", json.loads(render_drift(findings, "json")))
    holds("drift", json.loads(render_drift([], "json")))


def test_the_json_of_a_plan_has_the_keys_that_scripts_rely_on(plan):
    document = json.loads(render_plan(plan, "json"))
    assert document["summary"] == {"add": 1, "change": 1, "destroy": 1}
    assert document["protected"] == {"before": 42, "after": 41, "servers": 44}
    first = document["changes"][0]
    assert (first["address"], first["action"], first["class"]) == ("policy.gold", "update", "destroys-data")
    assert first["paths"] == [{"path": "retention.count", "before": 30, "after": 7}]
    assert first["consequences"][0]["backups"] == 46


def test_history_is_newest_first_as_text_and_json():
    documents = [
        ControlDocument(2, stack="shop", at=NOW, by="ann", commit="a" * 40, summary="1 changed"),
        ControlDocument(1, stack="shop", at=NOW, by="ann", summary="2 added"),
    ]
    holds("history", history_json(documents))
    assert [entry["generation"] for entry in history_json(documents)] == [2, 1]
    assert render_history(documents).splitlines()[1].split() == [
        *("2", "2026-11-22", "12:00", "UTC", "ann", "shop", "aaaaaaaaaaaa", "1", "changed")
    ]
    assert render_history([]) == ""


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_renders_every_plan(plan, empty, findings, format_):
    for each in (
        plan,
        empty,
        plan.model_copy(update={"findings": tuple(findings), "notes": ("Warning: x",)}),
    ):
        assert render_plan(each, format_).endswith("\n")


@pytest.mark.parametrize("format_", [name for name in FORMATS if name != "terraform"])
def test_every_format_renders_findings(findings, format_):
    assert render_drift(findings, format_).endswith("\n")
    assert render_drift([], format_).endswith("\n")


def test_formats_that_do_not_exist_are_refused(plan):
    with pytest.raises(UsageError):
        render_plan(plan, "yaml")
    with pytest.raises(UsageError):
        render_drift([], "terraform")


class Page(HTMLParser):
    """Checks that tags nest, and collects what would be fetched from elsewhere."""

    VOID = frozenset({"meta", "br", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_html_page_stands_alone_nests_and_escapes(plan, findings):
    for text in (render_plan(plan, "html"), render_drift(findings, "html")):
        page = Page()
        page.feed(text)
        assert page.open == []
        assert page.fetched == []
    assert "<b>every</b>" not in render_plan(plan, "html")
    assert "&lt;of&gt;" in render_drift(findings, "html")


def test_markdown_cannot_be_broken_out_of(findings):
    text = render_drift(findings, "markdown")
    assert "changed \\| outside \\<of\\> csbsctl: 50% done really" in text


def test_github_gets_annotations_that_cannot_be_forged_and_a_summary(plan, findings):
    lines = render_plan(plan, "github").splitlines()
    assert lines[0].startswith(
        "::error title=csbsctl%3A destroys-data::policy.gold will be updated in-place: 46"
    )
    assert lines[1].startswith("::warning ")
    assert "### csbsctl plan: shop" in lines
    forged = [line for line in render_drift(findings, "github").splitlines() if line.startswith("::")]
    assert len(forged) == 3
    assert forged[1].endswith("50%25 done%0Areally")


def test_junit_counts_what_is_dangerous_as_failed(plan, empty, findings):
    suite = ET.fromstring(render_plan(plan, "junit"))[0]
    assert (suite.get("tests"), suite.get("failures")) == ("3", "2")
    assert ET.fromstring(render_plan(empty, "junit"))[0].get("failures") == "0"
    assert ET.fromstring(render_drift(findings, "junit"))[0].get("failures") == "2"


def test_sarif_has_a_rule_for_every_result_and_stable_fingerprints(plan, findings):
    for text in (render_plan(plan, "sarif"), render_drift(findings, "sarif")):
        (run,) = json.loads(text)["runs"]
        rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
        assert {result["ruleId"] for result in run["results"]} <= rules
        assert len({result["partialFingerprints"]["csbsctl/v1"] for result in run["results"]}) == len(
            run["results"]
        )


def test_terraforms_format_is_one_line_with_what_its_readers_need(plan):
    text = render_plan(plan, "terraform")
    assert text.count("\n") == 1
    document = json.loads(text)
    for key in (
        "format_version",
        "terraform_version",
        "planned_values",
        "configuration",
        "prior_state",
        "variables",
    ):
        assert key in document
    resources = document["planned_values"]["root_module"]["resources"]
    assert [r["address"] for r in resources] == ["csbsctl_policy.gold", "csbsctl_policy.silver"]
    assert all({"type", "name", "address", "mode", "values"} <= r.keys() for r in resources)
    for change in document["resource_changes"]:
        assert {"address", "mode", "type", "name", "change"} <= change.keys()
        assert {"actions", "before", "after", "after_unknown"} <= change["change"].keys()
    # what GitLab counts
    actions = [action for change in document["resource_changes"] for action in change["change"]["actions"]]
    assert sorted(actions) == ["create", "delete", "update"]


def test_a_move_has_its_previous_address_in_terraforms_format(empty):
    from csbsctl.model.plan import Action, Change

    moved = Change(
        address="policy.new", action=Action.NO_OP, after={"a": 1}, before={"a": 1}, origin="policy.old"
    )
    document = json.loads(render_plan(empty.model_copy(update={"changes": (moved,)}), "terraform"))
    assert document["resource_changes"][0]["previous_address"] == "csbsctl_policy.old"


FEATURE = """\
Feature: retention
  Scenario: every policy keeps at least {least} backups
    Given I have csbsctl_policy defined
    When it has retention
    Then it must have retention
    And it must have count
    And its value must be greater than {least}
"""


@pytest.mark.parametrize(("least", "code"), [(4, 0), (6, 1)])
def test_terraform_compliance_reads_our_plan(plan, tmp_path, least, code):
    if importlib.util.find_spec("terraform_compliance") is None:
        pytest.skip("terraform-compliance is not installed")
    (tmp_path / "plan.json").write_text(render_plan(plan, "terraform"))
    (tmp_path / "retention.feature").write_text(FEATURE.format(least=least))
    command = [
        Path(sys.executable).with_name("terraform-compliance"),
        "-f",
        tmp_path,
        "-p",
        tmp_path / "plan.json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr


REGO = """\
package csbsctl
deny contains change.address if {
  some change in input.resource_changes
  change.type == "csbsctl_policy"
  change.change.after.retention.count < 10
}
"""


def test_a_rego_engine_reads_our_plan(plan):
    if importlib.util.find_spec("regopy") is None:
        pytest.skip("regopy is not installed")
    from regopy import Interpreter

    engine = Interpreter()
    engine.add_module("csbsctl", REGO)
    engine.set_input(json.loads(render_plan(plan, "terraform")))
    denied = json.loads(str(engine.query("x = data.csbsctl.deny")))
    assert "csbsctl_policy.gold" in json.dumps(denied)
