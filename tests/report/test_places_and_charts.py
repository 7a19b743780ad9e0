"""What formats are handed besides the plan: where addresses stand in the files, and what the plan leads to."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

from csbsctl.diagnostics import Place
from csbsctl.engine.prospect import Point, Prospect
from csbsctl.report import render_drift, render_plan

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def standing(address, *path):
    return Place("policies/gold tier.yaml", 7, 3) if address.startswith("policy.") else None


def regions(text):
    (run,) = json.loads(text)["runs"]
    return {
        result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]: (
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
            result["locations"][0]["physicalLocation"]["region"]["startLine"],
        )
        for result in run["results"]
    }


def test_sarif_points_at_the_line_of_an_address_and_at_the_top_for_what_is_not_in_the_files(plan, findings):
    shown = regions(render_plan(plan, "sarif", place=standing)) | regions(
        render_drift(findings, "sarif", place=standing)
    )
    places = {address: place for address, place in shown.items() if address.startswith("policy.")}
    assert set(places.values()) == {("policies/gold%20tier.yaml", 7)}
    assert {place for address, place in shown.items() if address not in places} == {("csbs.yaml", 1)}


def test_the_page_of_a_plan_draws_what_it_leads_to(plan):
    points = tuple(
        Point(date=date(2026, 12, day), backups=day, stored=day << 30, recovery_point=timedelta(days=1))
        for day in range(1, 4)
    )
    prospect = Prospect(
        now=NOW, days=3, servers=1, points=points, policies=(), quotas=(),
        frozen_backups=0, frozen_stored=0, guessed=False,
    )  # fmt: skip
    assert "<svg" in render_plan(plan, "html", forecast=prospect)
    assert "<svg" not in render_plan(plan, "html")
