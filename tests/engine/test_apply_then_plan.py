"""Apply, then plan is always empty, and apply, then drift finds nothing: over generated configurations and clouds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csbsctl.engine import Desired
from csbsctl.engine.drift import Detector, Evidence
from csbsctl.errors import ConfigError
from csbsctl.report import render_plan

NAMES = st.sampled_from(["gold", "silver", "bronze"])
SERVERS = ["web-01", "web-02", "web-03", "db-07", "db-08"]

clock_times = st.sets(st.integers(0, 23), min_size=1, max_size=4).map(
    lambda hours: [f"{h:02}:30" for h in hours]
)
schedules = st.one_of(
    st.fixed_dictionaries(
        {"at": clock_times, "timezone": st.sampled_from(["UTC", "Asia/Shanghai", "Europe/Berlin"])},
        optional={
            "days": st.sets(st.sampled_from(["mon", "wed", "sun"]), min_size=1).map(list),
            "start_within": st.sampled_from(["1h", "90m", "2d"]),
            "spread": st.sampled_from(["0s", "30m"]),
        },
    ),
    st.fixed_dictionaries({"at": clock_times, "every_days": st.integers(1, 30)}),
    st.just({"rrule": "FREQ=MONTHLY;BYDAY=-1SU;BYHOUR=3"}),
)
retentions = st.one_of(
    st.just({"permanent": True}),
    st.fixed_dictionaries(
        {"count": st.integers(1, 40)}, optional={"weekly": st.integers(1, 8), "yearly": st.integers(1, 3)}
    ),
    st.fixed_dictionaries({"days": st.integers(1, 400)}),
)
policies = st.fixed_dictionaries(
    {"schedule": schedules, "retention": retentions},
    optional={
        "enabled": st.booleans(),
        "description": st.sampled_from(["", "nightly", "Grüße"]),
        "tags": st.dictionaries(st.sampled_from(["team", "env"]), st.sampled_from(["a", "b"])),
        "full_every": st.integers(1, 10),
    },
)
matches = st.one_of(
    st.sampled_from(["web-*", "db-0?", "*", "none-*"]).map(lambda name: {"name": name}),
    st.sampled_from(["web", "db"]).map(lambda tier: {"metadata": {"tier": tier}}),
    st.just({"tags": ["prod", "blue"]}),
)
bindings = st.one_of(
    st.fixed_dictionaries({"servers": st.lists(st.sampled_from(SERVERS), min_size=1, unique=True)}),
    st.fixed_dictionaries(
        {"match": matches}, optional={"exclude": st.lists(st.sampled_from(SERVERS), unique=True)}
    ),
)
objectives = st.fixed_dictionaries(
    {"match": matches}, optional={"rpo": st.sampled_from(["26h", "7d"]), "protected": st.just("optional")}
)
rails = st.fixed_dictionaries(
    {},
    optional={
        "max_backups_deleted": st.integers(0, 5),
        "weakens": st.sampled_from(["allow", "warn"]),
        "keep_last_good": st.integers(1, 3),
    },
)


@st.composite
def configurations(draw: Any) -> dict[str, Any]:
    declared = draw(st.dictionaries(NAMES, policies, max_size=3))
    bound = draw(st.dictionaries(st.sampled_from(["one", "two"]), bindings, max_size=2)) if declared else {}
    for binding in bound.values():
        binding["policy"] = draw(st.sampled_from(sorted(declared)))
    return {
        "policies": declared,
        "bindings": bound,
        "objectives": draw(st.dictionaries(st.just("prod"), objectives, max_size=1)),
        "guardrails": draw(rails),
    }


@pytest.mark.slow
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(configurations(), min_size=1, max_size=3))
def test_apply_then_plan_is_empty_and_drift_finds_nothing(world, declared):
    allowed = ("max_backups_deleted", "weakens", "destroys-data")
    world.servers = [
        world.server(n, metadata={"tier": n[:-3]}, tags=("blue", "prod") if n < "web-02" else ())
        for n in SERVERS
    ]
    world.apply(Desired.nothing("shop"), allow=allowed)
    for form in declared:
        try:
            proposal = world.plan(form)
        except ConfigError:
            continue  # two bindings reach one server: refused, and rightly so
        rendered = render_plan(proposal.plan)
        assert ("No changes." in rendered) == proposal.plan.empty
        world.apply(proposal, allow=allowed)
        again = world.plan(form)
        assert again.plan.empty
        assert again.plan.drift == ()
        assert not world.apply(again).committed
        report = Detector(world.situation(), Evidence()).detect(world.wish(form))
        assert report.findings == ()
