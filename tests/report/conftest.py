"""Plans and findings to render: one with everything in it, an empty one, a huge one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from csbsctl.model.plan import (
    Action,
    Change,
    ChangeClass,
    Consequence,
    Finding,
    FindingClass,
    PathChange,
    Plan,
    Protected,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def policy(count: int) -> dict[str, Any]:
    return {
        "description": "<b>every</b> night",
        "enabled": True,
        "schedule": {"at": ["02:00"], "timezone": "Asia/Shanghai", "start_within": "4h", "spread": "0s"},
        "retention": {"count": count, "permanent": False},
        "consistency": "crash",
        "instant_restore": False,
        "tags": {},
    }


@pytest.fixture
def plan() -> Plan:
    gold = Change(
        address="policy.gold",
        action=Action.UPDATE,
        change_class=ChangeClass.DESTROYS_DATA,
        before=policy(30),
        after=policy(7),
        paths=(PathChange(path="retention.count", before=30, after=7),),
        consequences=(
            Consequence(
                kind="backups-expire",
                message="46 backups of 2 servers (118 GiB) expire at the next run; "
                "oldest recovery point 2026-10-24 -> 2026-11-16",
                details={"backups": 46, "servers": 2, "bytes": 118 << 30},
            ),
        ),
    )
    legacy = Change(
        address="binding.legacy",
        action=Action.DELETE,
        change_class=ChangeClass.WEAKENS,
        before={"policy": "gold", "provider": "default", "servers": ["db-07"]},
        consequences=(
            Consequence(kind="loses-protection", message="db-07 will have no policy; its 14 backups stay"),
        ),
        reasons=("binding legacy goes",),
    )
    silver = Change(
        address="policy.silver",
        action=Action.CREATE,
        change_class=ChangeClass.STRENGTHENS,
        after=policy(5),
        consequences=(
            Consequence(kind="next-runs", message="next runs: 2026-11-23 02:00 CST (18:00 UTC), ..."),
        ),
    )
    drifted = Change(
        address="policy.gold",
        action=Action.UPDATE,
        before=policy(30),
        after=policy(30) | {"enabled": False},
        paths=(PathChange(path="enabled", before=True, after=False),),
        origin="console: ops, generation 41, 2026-11-22 10:12 UTC",
    )
    return Plan(
        stack="shop",
        vault_id="5b1f",
        base_generation=41,
        changes=(gold, legacy, silver),
        drift=(drifted,),
        protected=Protected(before=42, after=41, servers=44),
        quota="Quota: backups peak at 9 of 10 on 2026-12-01.",
        created_at=NOW,
    )


@pytest.fixture
def empty() -> Plan:
    return Plan(
        stack="shop",
        vault_id="5b1f",
        base_generation=41,
        protected=Protected(before=2, after=2, servers=3),
        created_at=NOW,
    )


@pytest.fixture
def findings() -> list[Finding]:
    return [
        Finding(
            finding_class=FindingClass.OBJECTIVE,
            severity="error",
            address="server.web-01",
            message="the newest good backup of web-01 is from 2026-11-20T02:00:00Z; objective prod allows 26h",
            since=NOW,
            hint="csbsctl backup create web-01",
        ),
        Finding(
            finding_class=FindingClass.CONFIG,
            severity="warning",
            address="policy.gold",
            message="changed | outside <of> csbsctl: 50% done\nreally",
        ),
        Finding(
            finding_class=FindingClass.BINDING,
            severity="note",
            address="binding.web",
            message="web-03 newly fits",
        ),
    ]
