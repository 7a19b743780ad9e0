"""Instant restores on the real cloud: from snapshots that were kept, and let go of when a newer backup replaces them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from csbsctl.provider import MarkedKind

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]
MIB = 1 << 20


def kept_backup(bench: Any, server_id: str) -> Any:
    """Do what the core does for a backup whose policy asks for instant restores."""
    backup = bench.back_up(server_id, keep=True)
    return backup.model_copy(update={"instant_restore": True})


def snapshots(bench: Any) -> set[str]:
    return {snapshot.id for snapshot in bench.cloud.block_storage.snapshots()}


def digests(bench: Any, server_id: str) -> list[str]:
    return [bench.testbed.digest(volume.id) for volume in bench.provider.server(server_id).volumes]


def in_place(bench: Any, backup: Any) -> Any:
    server_id, step = backup.server.id, bench.step(backup.server.id, job=backup.job + "-r")
    plan = replace(bench.plan_in_place(backup), instant=True)
    notes = " ".join(bench.provider.check_restore(plan).notes)
    bench.provider.stop(step, server_id)
    restored = [bench.provider.restore(step, plan, mapping) for mapping in plan.mappings]
    bench.provider.swap(step, plan, restored)
    return notes


def test_a_new_server_is_made_from_the_kept_snapshots(bench):
    server_id = bench.server(2)
    for volume in bench.provider.server(server_id).volumes:
        bench.testbed.write(volume.id, 0, 4 * MIB, 7)
    before = digests(bench, server_id)
    backup = kept_backup(bench, server_id)
    assert snapshots(bench) == {volume.extra["snapshot"] for volume in backup.volumes}
    for volume in bench.provider.server(server_id).volumes:
        bench.testbed.write(volume.id, 0, 4 * MIB, 8)

    plan = bench.plan_new(backup, "t-instant", instant=True)
    assert "a new volume, from the snapshot that was kept" in " ".join(
        bench.provider.check_restore(plan).notes
    )
    step = bench.step(server_id, job="instant-new")
    restored = [bench.provider.restore(step, plan, mapping) for mapping in plan.mappings]
    built = bench.provider.build(step, plan, restored)
    bench.server_ids.append(built.id)
    assert digests(bench, built.id) == before
    sources = {bench.cloud.block_storage.get_volume(item.ref).snapshot_id for item in restored}
    assert sources == snapshots(bench)


def test_volumes_are_taken_back_in_place_and_the_backup_serves_where_that_cannot_be(bench, provider_of):
    bench.provider = provider_of(admin_cloud="admin")
    server_id = bench.server(2)
    for volume in bench.provider.server(server_id).volumes:
        bench.testbed.write(volume.id, 0, 4 * MIB, 7)
    before = digests(bench, server_id)
    backup = kept_backup(bench, server_id)
    ids = [volume.id for volume in bench.provider.server(server_id).volumes]
    for volume in ids:
        bench.testbed.write(volume, 0, 4 * MIB, 8)

    assert in_place(bench, backup).count("from the snapshot that was kept") == 2
    assert digests(bench, server_id) == before
    assert [volume.id for volume in bench.provider.server(server_id).volumes] == ids

    bench.testbed.write(ids[1], 0, 4 * MIB, 9)
    theirs = bench.cloud.block_storage.create_snapshot(volume_id=ids[1], is_forced=True, name="theirs")
    bench.until(lambda: bench.cloud.block_storage.get_snapshot(theirs.id).status, "available")
    again = backup.model_copy(update={"job": backup.job + "-2"})
    assert in_place(bench, again).count("other snapshots were made since") == 1
    assert digests(bench, server_id) == before


def test_kept_snapshots_go_with_their_backup_or_before_it(bench):
    server_id = bench.server(1)
    first, step = kept_backup(bench, server_id), bench.step(server_id)
    second = kept_backup(bench, server_id)
    let_go = bench.provider.let_go(step, first.volumes[0])
    assert let_go.extra == {k: v for k, v in first.volumes[0].extra.items() if k != "snapshot"}
    assert bench.provider.let_go(step, first.volumes[0]) == let_go
    assert snapshots(bench) == {second.volumes[0].extra["snapshot"]}
    found = [m.stored for m in bench.provider.marked("vault-of-the-tests") if m.kind is MarkedKind.BACKUP]
    assert sorted(v.ref for v in found) == sorted(b.volumes[0].ref for b in (first, second))
    assert {v.ref: v.extra.get("snapshot") for v in found}[second.volumes[0].ref] in snapshots(bench)
    for stored in (second.volumes[0], let_go):
        bench.provider.delete(step, stored)
    assert not list(bench.provider.marked())


def test_a_group_snapshot_is_kept_with_its_group_and_goes_whole(bench, provider_of):
    server_id = bench.server(2)
    bench.provider = provider_of(consistent_group_type="consistent")
    backup = kept_backup(bench, server_id)
    group = {marked.ref for marked in bench.provider.marked() if marked.ref.startswith("group/")}
    assert {volume.extra["kept_group"] for volume in backup.volumes} == group
    plain = provider_of()
    for stored in backup.volumes:
        plain.let_go(bench.step(server_id), stored)
    assert not snapshots(bench)
    assert not [m for m in bench.provider.marked() if m.kind is MarkedKind.SNAPSHOT]
    assert bench.provider.server(server_id).volumes


def test_a_snapshot_somebody_deleted_is_said_and_the_backup_serves(bench):
    server_id = bench.server(1)
    backup = kept_backup(bench, server_id)
    bench.cloud.block_storage.delete_snapshot(backup.volumes[0].extra["snapshot"])
    bench.until(lambda: str(len(snapshots(bench))), "0")
    plan = bench.plan_new(backup, "t-late", instant=True)
    preflight = bench.provider.check_restore(plan)
    assert preflight.refusals == ()
    assert "a new volume, from the backup, for its snapshot is gone" in " ".join(preflight.notes)


def test_a_kept_snapshot_serves_where_the_backup_itself_is_lost(bench):
    server_id = bench.server(1)
    bench.testbed.write(bench.provider.server(server_id).volumes[0].id, 0, 4 * MIB, 7)
    before = digests(bench, server_id)
    backup = kept_backup(bench, server_id)
    bench.cloud.block_storage.delete_backup(backup.volumes[0].ref)
    bench.until(lambda: str(len(list(bench.cloud.block_storage.backups()))), "0")
    assert bench.provider.check_restore(bench.plan_new(backup, "t-lost")).refusals

    plan = bench.plan_new(backup, "t-lost", instant=True)
    assert bench.provider.check_restore(plan).refusals == ()
    made = bench.provider.restore(bench.step(server_id, job="instant-lost"), plan, plan.mappings[0])
    assert [bench.testbed.digest(made.ref)] == before
