"""What looks at very many backups holds few of them at a time: peak memory, by tracemalloc, for each backup there is.

A backup in memory takes some 4 KiB. Everything here must get along with a quarter of that for each, caches and results
included; what held them all would need four times what is allowed.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import csbsctl.engine.weighing  # noqa: F401 - a plan imports it, and that is not what is measured
from csbsctl.cli.spool import Spool
from csbsctl.clock import VirtualClock
from csbsctl.engine import Desired, Executor, Planner, Situation
from csbsctl.engine.drift import Detector, Evidence
from csbsctl.engine.forecasting import look_ahead
from csbsctl.model.backup import Backup, BackupState, Kind, ServerRef, StoredVolume, Trigger
from csbsctl.model.declared import Declared
from csbsctl.model.server import Server, ServerState, Volume
from csbsctl.protection.site import Site
from csbsctl.protection.status import backup_views
from csbsctl.provider import Marked, MarkedKind, Marker, Quota
from csbsctl.vault import Vault, open_vault

pytestmark = pytest.mark.timeout(900)  # tracing memory is slow, and a busy machine slower
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SERVERS, NIGHTS = 100, 30
ALLOWED = 1024
"""Bytes for each backup."""


def wish(count: int) -> Desired:
    declared = {
        "policies": {"gold": {"schedule": {"at": ["02:00"]}, "retention": {"count": count}}},
        "bindings": {"all": {"policy": "gold", "match": {"name": "s-*"}}},
    }
    return Desired.form("default", Declared.model_validate(declared).canonical())


def night(server: str, number: int) -> Backup:
    at = NOON.replace(hour=2) - timedelta(days=NIGHTS - 1 - number)
    disk = StoredVolume(
        volume_id=f"disk-{server}",
        name="system",
        size=1 << 30,
        bootable=True,
        position=0,
        ref=f"ref-{server}-{number}",
        kind=Kind.FULL,
        stored=1 << 20,
    )
    return Backup(
        id=f"{server}-{number:032}",
        name=f"autobk_{number:04x}",
        server=ServerRef(id=server, name=server),
        provider="default",
        stack="default",
        policy="gold",
        slot=at,
        trigger=Trigger.AUTO,
        state=BackupState.AVAILABLE,
        job=f"job-{server}-{number}",
        evidence={"instant": at.isoformat()},
        volumes=(disk,),
        started_at=at,
        taken_at=at,
        finished_at=at + timedelta(minutes=2),
    )


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    clock = VirtualClock(NOON)
    folder: Path = tmp_path_factory.mktemp("many")
    with open_vault("vault", base=folder, clock=clock, create=True, actor="ann@laptop") as opened:
        for server in sorted(servers()["default"], key=lambda each: each.id):
            backups = [night(server.id, number) for number in range(NIGHTS)]
            opened.catalogue.update("default", server.id, lambda _, made=backups: made)  # type: ignore[misc]
        clock.move_to(NOON - timedelta(days=60))
        Executor(opened.control, clock, "ann@laptop").apply(
            Planner(situation(opened, clock.now())).plan(wish(30))
        )
        clock.move_to(NOON)
        yield opened


def servers() -> dict[str, list[Server]]:
    return {
        "default": [
            Server(
                f"s-{n:04}",
                f"s-{n:04}",
                "default",
                ServerState.ACTIVE,
                (Volume(f"disk-s-{n:04}", "system", 1 << 30),),
            )
            for n in range(SERVERS)
        ]
    }


def situation(vault: Vault, now: datetime = NOON) -> Situation:
    return Situation(
        document=vault.control.head(),
        inventory=servers(),
        now=now,
        catalogue=vault.catalogue,
        vault_id=vault.id,
        quotas={"default": Quota(backups=10_000)},
    )


def peak(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the most memory that work had at a time beyond what there was, for each backup, and what it returned."""
    gc.collect()
    tracemalloc.start()
    try:
        result = work()
        return tracemalloc.get_traced_memory()[1] / (SERVERS * NIGHTS), result
    finally:
        tracemalloc.stop()


def test_a_plan_that_condemns_most_of_them(vault: Vault):
    held, proposal = peak(lambda: Planner(situation(vault)).plan(wish(7)))
    (change,) = proposal.plan.changes
    expiry = next(c for c in change.consequences if c.kind == "backups-expire")
    assert (expiry.details["backups"], expiry.details["servers"]) == (SERVERS * 23, SERVERS)
    assert held < ALLOWED


def test_drift_that_holds_all_of_them_against_what_the_cloud_has(vault: Vault):
    def marked() -> Iterator[Marked]:
        for server in range(SERVERS):
            for number in range(NIGHTS):
                marker = Marker(vault.id, f"job-{server}", f"s-{server:04}")
                if (server, number) != (7, 3):
                    yield Marked(MarkedKind.BACKUP, f"ref-s-{server:04}-{number}", marker)

    evidence = Evidence(marked={"default": marked()})
    held, report = peak(lambda: Detector(situation(vault), evidence).detect(wish(30)))
    (finding,) = report.findings
    assert "of s-0007 cannot be restored: disk system is missing in the cloud" in finding.message
    assert held < ALLOWED


def test_a_forecast(vault: Vault):
    held, prospect = peak(lambda: look_ahead(situation(vault), "default", days=30))
    assert prospect.policies[0].backups == SERVERS * NIGHTS
    assert held < ALLOWED


def test_a_list_in_order_of_time(vault: Vault):
    site = Site(vault=vault, providers={}, clock=VirtualClock(NOON))

    def listed() -> tuple[int, bool, str | None]:
        spool = Spool((view["started_at"], view) for view in backup_views(site))
        count, before, ordered, last = 0, "", True, None
        for view in spool:
            ordered = ordered and before <= view["started_at"]
            count, before, last = count + 1, view["started_at"], view["expires_at"]
        spool.close()
        return count, ordered, last

    held, found = peak(listed)
    assert found == (SERVERS * NIGHTS, True, "2026-12-22T02:00:00Z")
    assert held < ALLOWED
