"""Forecasts of what is in force: figures, quotas, forms."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest

from csbsctl.engine.forecasting import look_ahead
from csbsctl.errors import NotFound
from csbsctl.provider import Quota
from csbsctl.report.forecast import forecast_json, forecast_text, render_forecast
from csbsctl.report.forecast_svg import svg_of
from csbsctl.report.style import Style

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "forecast.schema.json").read_text())
GOLD = {"schedule": {"at": ["02:00"]}, "retention": {"count": 5}}
SHOP = {"policies": {"gold": GOLD}, "bindings": {"web": {"policy": "gold", "servers": ["web-01", "web-02"]}}}


def ahead(world, days=30, **more):
    return look_ahead(world.situation(), "shop", days=days, **more)


def test_a_steady_policy_stays_as_it_is(world):
    world.apply(SHOP)
    for name in ("web-01", "web-02"):
        world.nightly(name, 5)
    seen = ahead(world)
    assert (seen.servers, len(seen.points), seen.guessed) == (2, 31, True)
    assert {point.backups for point in seen.points} == {10}
    assert seen.policies[0].recovery_point == timedelta(days=1)
    assert seen.points[0].recovery_point == timedelta(hours=22)
    assert {point.recovery_point for point in seen.points[1:]} == {timedelta(days=1)}


def test_a_new_policy_fills_up_and_has_no_recovery_point_before_its_first_run(world):
    world.apply(SHOP)
    seen = ahead(world, days=10)
    assert [point.backups for point in seen.points] == [0, 2, 4, 6, 8, 10, 10, 10, 10, 10, 10]
    assert seen.points[0].recovery_point is None
    assert seen.points[1].recovery_point is None
    assert seen.points[2].recovery_point == timedelta(days=1)
    assert "none yet" in forecast_text(seen, Style())


def test_a_disabled_policy_grows_older_every_day(world):
    world.apply({**SHOP, "policies": {"gold": {**GOLD, "enabled": False}}})
    world.nightly("web-01", 2)
    world.nightly("web-02", 3)
    seen = ahead(world, days=3)
    assert [p.recovery_point for p in seen.points] == [timedelta(hours=h) for h in (22, 46, 70, 82)]
    assert seen.policies[0].runs == 0
    assert "gold (off)" in forecast_text(seen, Style())


def test_quotas_count_disks_and_say_when_they_do_not_suffice(world):
    world.quotas["default"] = Quota(backups=8, backups_used=0, size=100 << 30, size_used=0)
    world.apply(SHOP)
    places, size = ahead(world).quotas
    assert (places.peak, places.limit, str(places.exceeded_on)) == (10, 8, "2026-11-27")
    assert size.exceeded_on is None
    assert "does not suffice from 2026-11-27 on" in forecast_text(ahead(world), Style())


def test_backups_of_servers_in_no_policy_are_told_apart(world):
    world.apply(SHOP)
    world.nightly("db-07", 3, policy="legacy")
    seen = ahead(world)
    assert (seen.frozen_backups, seen.frozen_stored) == (3, 3 << 30)
    assert seen.points[0].backups == 0


def test_one_server_or_one_policy_can_be_asked_for(world):
    silver = {**GOLD, "retention": {"count": 2}}
    bindings = {**SHOP["bindings"], "db": {"policy": "silver", "servers": ["db-07"]}}
    world.apply({"policies": {"gold": GOLD, "silver": silver}, "bindings": bindings})
    assert ahead(world, policy="silver").points[-1].backups == 2
    assert ahead(world, server="web-01").points[-1].backups == 5
    assert [policy.name for policy in ahead(world, server="id-db-07").policies] == ["silver"]
    with pytest.raises(NotFound, match="'silvr'") as caught:
        ahead(world, policy="silvr")
    assert "silver" in caught.value.hint
    with pytest.raises(NotFound, match="in no policy"):
        ahead(world, server="web-09")


def test_policies_of_distant_time_zones_add_up_day_by_day(world):
    far = {**GOLD, "schedule": {"at": ["02:00"], "timezone": "Pacific/Kiritimati"}}
    bindings = {**SHOP["bindings"], "db": {"policy": "far", "servers": ["db-07"]}}
    world.apply({"policies": {"gold": GOLD, "far": far}, "bindings": bindings})
    for name in ("web-01", "web-02"):
        world.nightly(name, 5)
    world.nightly("db-07", 5, policy="far")
    assert {point.backups for point in ahead(world).points} == {15}


@pytest.mark.parametrize("applied", [True, False])
def test_every_form_is_well_formed_with_and_without_policies(world, applied):
    if applied:
        world.quotas["default"] = Quota(backups=8, backups_used=2)
        world.apply(SHOP)
    seen = ahead(world)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    document = json.loads(render_forecast(seen, "json"))
    jsonschema.validate(document, SCHEMA)
    assert document == forecast_json(seen)
    assert ET.fromstring(svg_of(seen)).attrib["role"] == "img"
    assert render_forecast(seen).endswith("\n")


def test_long_forecasts_are_told_by_the_week(world):
    world.apply(SHOP)
    assert "DAY  " in forecast_text(ahead(world, days=14), Style())
    assert len(forecast_text(ahead(world, days=90), Style()).splitlines()) < 25
