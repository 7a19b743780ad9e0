"""Quotas of the real cloud: asked before a server is frozen, and what is left when they end in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from csbsctl.errors import QuotaExceeded
from csbsctl.ids import new_id
from csbsctl.model.policy import Consistency
from csbsctl_openstack import marks

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def limit(bench: Any, testbed: Any) -> Iterator[Callable[..., None]]:
    """Set quotas of the tests' project; they are lifted at the end."""
    admin = testbed.connect("admin").block_storage
    path = f"/os-quota-sets/{bench.cloud.current_project_id}"
    touched: set[str] = set()

    def change(**quotas: int) -> None:
        touched.update(quotas)
        answer = admin.put(path, json={"quota_set": quotas})
        assert answer.status_code == 200, answer.text

    yield change
    change(**dict.fromkeys(touched, -1))


def nothing_happened(bench: Any, server_id: str) -> bool:
    metadata = bench.cloud.compute.get_server(server_id).metadata
    paused = bench.provider.cloud.calls.get("POST compute/servers/metadata", 0)
    return not list(bench.cloud.block_storage.snapshots()) and not paused and marks.PAUSED not in metadata


SHORT = [
    ("snapshots", 2, "3 more needed, 0 of 2 used"),
    ("backups", 2, "3 more needed, 0 of 2 used"),
    ("backup_gigabytes", 1, "3 more needed, 0 of 1 used"),
    ("gigabytes", 5, "3 more needed, 3 of 5 used"),
    ("snapshots_ceph", 2, "3 more needed, 0 of 2 used"),
]


def test_what_is_short_is_said_before_the_server_is_frozen(bench, limit):
    server_id = bench.server(3)
    for quota, allowed, needed in SHORT:
        limit(**{quota: allowed})
        with pytest.raises(QuotaExceeded) as caught:
            bench.provider.snapshot(bench.step(server_id), server_id, Consistency.CRASH)
        assert f"quota {quota}: {needed}" in caught.value.message
        assert "openstack quota set" in str(caught.value.hint)
        assert nothing_happened(bench, server_id), quota
        limit(**{quota: -1})

    limit(snapshots=1, backups=1, backup_gigabytes=3)
    with pytest.raises(QuotaExceeded) as caught:
        bench.provider.snapshot(bench.step(server_id), server_id, Consistency.CRASH)
    assert "quota backups" in caught.value.message
    assert "quota snapshots" in caught.value.message
    assert "gigabytes" not in caught.value.message


def test_where_snapshots_do_not_count_towards_gigabytes_the_settings_say_so(bench, limit, provider_of):
    server_id = bench.server(2)
    bench.provider = provider_of(snapshots_count_gigabytes=False)
    limit(gigabytes=2)
    with pytest.raises(QuotaExceeded, match="HTTP 413"):  # this cloud does count them, and says so itself
        bench.provider.snapshot(bench.step(server_id), server_id, Consistency.CRASH)
    assert bench.status(server_id) == "ACTIVE"
    assert not list(bench.cloud.block_storage.snapshots())


def test_a_quota_that_ends_at_the_third_volume_is_told_from_everything_else(bench, limit):
    server_id = bench.server(3)
    step = bench.step(server_id, backup=new_id())
    snapshot = bench.provider.snapshot(step, server_id, Consistency.CRASH)
    limit(backups=2)
    stored = [bench.provider.store(step, disk, None) for disk in snapshot.volumes[:2]]
    with pytest.raises(QuotaExceeded, match="HTTP 413"):
        bench.provider.store(step, snapshot.volumes[2], None)
    bench.provider.release(step, snapshot)
    for one in stored:
        bench.provider.delete(step, one)
    assert not list(bench.provider.marked())


def test_the_core_learns_numbers_and_bytes(bench, limit):
    limit(backups=7, backup_gigabytes=9)
    quota = bench.provider.quota()
    assert (quota.backups, quota.backups_used, quota.size, quota.size_used) == (7, 0, 9 << 30, 0)
