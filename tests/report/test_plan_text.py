from __future__ import annotations

import re

import pytest

from csbsctl.model.plan import Action, Change, ChangeClass, PathChange
from csbsctl.report import render_drift, render_plan
from csbsctl.report.plan_text import complete_line

SAMPLE = """\
csbsctl will perform the following actions:

  # policy.gold will be updated in-place                      destroys-data
  ~ policy.gold
      ~ retention.count = 30 -> 7
      ! 46 backups of 2 servers (118 GiB) expire at the next run; oldest recovery point 2026-10-24 -> 2026-11-16
  # binding.legacy will be destroyed                          weakens
  - binding.legacy
      ! db-07 will have no policy; its 14 backups stay
  # policy.silver will be created                             strengthens
  + policy.silver
      + description = "<b>every</b> night"
      + schedule.at = ["02:00"]
      + schedule.timezone = "Asia/Shanghai"
      + retention.count = 5
      next runs: 2026-11-23 02:00 CST (18:00 UTC), ...

Note: Objects have changed outside of csbsctl
  ~ policy.gold.enabled = true -> false   (console: ops, generation 41, 2026-11-22 10:12 UTC)

Plan: 1 to add, 1 to change, 1 to destroy.
Protected: 42 -> 41 of 44 servers. Quota: backups peak at 9 of 10 on 2026-12-01.
"""


def test_the_text_is_the_one_people_know(plan):
    assert render_plan(plan, "text") == SAMPLE


def test_nothing_to_do_is_said_in_terraforms_words(empty):
    assert render_plan(empty) == (
        "No changes. Your infrastructure matches the configuration.\nProtected: 2 of 3 servers.\n"
    )


@pytest.mark.parametrize(
    "pattern",
    [
        # Atlantis
        r"Plan: (?:(\d+) to import, )?(\d+) to add, (\d+) to change, (\d+) to destroy(?:, (\d+) to forget)?\.",
        # tfcmt
        r"(?m)^(Plan: \d|No changes.)",
        r"[1-9][0-9]* to destroy\.",
        r"# \S+ will be created",
        r"will be updated in-place",
        r"will be destroyed",
        # how differences are coloured
        r"(?m)^\s+[-+~] \S+ = .* -> .*",
    ],
)
def test_tools_that_read_terraforms_text_find_their_lines(plan, pattern):
    assert re.search(pattern, render_plan(plan))


def test_tools_find_that_there_is_nothing_to_do(empty):
    pattern = r"No changes. (Infrastructure is up-to-date|Your infrastructure matches the configuration)."
    assert re.search(pattern, render_plan(empty))


def test_the_last_line_of_an_apply_is_terraforms(plan):
    assert complete_line(plan) == "Apply complete! Resources: 1 added, 1 changed, 1 destroyed."


def test_moves_and_imports_are_said_as_terraform_says_them(empty):
    moved = Change(address="policy.new", action=Action.NO_OP, origin="policy.old")
    taken = Change(address="policy.bronze", action=Action.IMPORT, origin="lab")
    text = render_plan(empty.model_copy(update={"changes": (moved, taken)}))
    assert "# policy.old has moved to policy.new" in text
    assert "# policy.bronze will be imported" in text
    assert "# (imported from stack lab)" in text
    assert "Plan: 1 to import, 0 to add, 0 to change, 0 to destroy." in text


def many(count, change_class=ChangeClass.STRENGTHENS):
    after = {"policy": "gold", "provider": "default", "servers": ["s"]}
    return tuple(
        Change(address=f"binding.b{n}", action=Action.CREATE, change_class=change_class, after=after)
        for n in range(count)
    )


def test_beyond_a_screenful_only_the_dangerous_is_told_in_full(plan):
    huge = plan.model_copy(update={"changes": (*plan.changes, *many(5000))})
    text = render_plan(huge)
    assert len(text.splitlines()) < 60
    assert "! 46 backups" in text
    assert "4,990 more of type binding will be created" in text
    assert "Plan: 5001 to add" in text
    assert len(render_plan(huge, verbose=True).splitlines()) > 15000


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_consequences_and_classes_fit_the_width(plan, width):
    lines = render_plan(plan, width=width).splitlines()
    told = [line for line in lines if line.lstrip().startswith(("!", "next runs", "oldest"))]
    assert all(len(line) <= max(width, 28) for line in told)


def test_colour_only_adds_codes(plan):
    coloured = render_plan(plan, color=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == SAMPLE
    assert "\x1b" not in render_plan(plan)


def test_drift_is_told_by_class_with_what_to_do(findings):
    text = render_drift(findings, "text")
    assert "objective:\n  Error: server.web-01: the newest good backup" in text
    assert "since 2026-11-22 12:00 UTC" in text
    assert text.endswith("Drift: 3 findings (1 objective, 1 config, 1 binding).\n")
    assert render_drift([], "text") == "No drift. The live state is what the configuration says.\n"


def test_of_long_lists_only_the_difference_is_told(empty):
    before, after = ([f"web-{n:03}" for n in numbers] for numbers in (range(500), range(1, 502)))
    path = PathChange(path="servers", before=before, after=after)
    change = Change(address="binding.web", action=Action.UPDATE, paths=(path,))
    text = render_plan(empty.model_copy(update={"changes": (change,)}))
    assert '~ servers = 500 -> 501 entries (+ "web-500", "web-501"; - "web-000")' in text
    created = Change(address="binding.web", action=Action.CREATE, after={"servers": before})
    text = render_plan(empty.model_copy(update={"changes": (created,)}))
    assert '+ servers = ["web-000", "web-001", "web-002", ... 497 more]' in text
