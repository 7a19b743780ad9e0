"""The decision table of csbs.md 1.4, row by row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from csbsctl.model.backup import Kind, Trigger
from csbsctl.rules.eligibility import Circumstances, Eligibility, enables, instant_restore

FEATURE = datetime(2026, 6, 1, tzinfo=UTC)


def decide(*, trigger=Trigger.MANUAL, kind=Kind.FULL, ticked=False, older=False, enabled=False, at=FEATURE):
    return instant_restore(Circumstances(at, trigger, kind, ticked, older, enabled), FEATURE)


@pytest.mark.parametrize("trigger", list(Trigger))
@pytest.mark.parametrize("older", [True, False])
def test_nothing_taken_before_the_feature_can_be(trigger, older):
    before = FEATURE - timedelta(seconds=1)
    assert decide(trigger=trigger, ticked=True, older=older, at=before) is Eligibility.BEFORE_FEATURE


@pytest.mark.parametrize(
    ("case", "eligible"),
    [
        ({"older": True, "ticked": True}, True),
        ({"older": True, "kind": Kind.INCREMENTAL, "enabled": True}, True),
        ({"older": True, "kind": Kind.INCREMENTAL}, False),
        ({"older": True}, False),
        ({"older": False}, True),
        ({"older": False, "kind": Kind.INCREMENTAL}, True),
        ({"trigger": Trigger.AUTO, "older": True}, False),
        ({"trigger": Trigger.AUTO, "older": False}, False),
        ({"trigger": Trigger.AUTO, "older": False, "kind": Kind.INCREMENTAL}, False),
        ({"trigger": Trigger.AUTO, "older": True, "kind": Kind.INCREMENTAL, "enabled": True}, True),
        ({"trigger": Trigger.AUTO, "older": False, "kind": Kind.INCREMENTAL, "enabled": True}, True),
        ({"trigger": Trigger.AUTO, "older": True, "kind": Kind.FULL, "enabled": True}, False),
    ],
)
def test_rows_after_the_feature_date(case, eligible):
    assert decide(**case).eligible is eligible


def test_only_a_full_backup_by_hand_that_can_be_restored_instantly_enables_others(make_backup):
    full = make_backup(FEATURE, trigger=Trigger.MANUAL, instant_restore=True)
    assert enables(full)
    assert not enables(make_backup(FEATURE, trigger=Trigger.MANUAL))
    assert not enables(make_backup(FEATURE, instant_restore=True))
    assert not enables(make_backup(FEATURE, trigger=Trigger.MANUAL, instant_restore=True, parent=full.id))
