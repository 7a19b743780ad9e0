"""Whose backups are: under the present names of policies, and of which stack."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from csbsctl.model.control import StackState
from csbsctl.rules.renames import under_present_names

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("policy", "stack", "age", "present"),
    [
        ("silver", "shop", 5, "silver"),
        ("gold", "shop", 5, "platinum"),
        ("gold", None, 5, "platinum"),
        ("gold", "shop", 1, "gold"),
        ("silver", "lab", 5, "lab/silver"),
        ("iron", "lab", 5, "steel"),
        (None, "lab", 5, None),
    ],
)
def test_a_backup_is_of_the_policy_that_made_it(make_backup, policy, stack, age, present):
    state = StackState(
        live={},
        applied={},
        former={"platinum": ["gold"], "steel": ["lab/iron"]},
        reused={"gold": NOW - 2 * DAY},
    )
    backup = make_backup(NOW - age * DAY, policy=policy, stack=stack)
    assert [b.policy for b in under_present_names([backup], state, "shop")] == [present]
