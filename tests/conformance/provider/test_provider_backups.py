"""Every provider: inventory, snapshots, stored disks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from csbsctl.errors import CloudRefused, Interrupted, ResourceNotFound
from csbsctl.model.backup import Kind
from csbsctl.model.policy import Consistency
from csbsctl.provider import Depth, MarkedKind


def kinds(flow, kind, **which):
    return [marked for marked in flow.provider.marked(**which) if marked.kind is kind]


def test_the_inventory_lists_servers_with_their_disks_in_order(flow):
    made = flow.harness.server("inventory", 3)

    listed = [server for server in flow.provider.servers() if server.id == made.id]

    assert listed == [flow.provider.server(made.id)]
    assert [volume.position for volume in listed[0].volumes] == [0, 1, 2]
    assert [volume.bootable for volume in listed[0].volumes] == [True, False, False]
    assert all(volume.size == flow.harness.disk_size for volume in listed[0].volumes)


def test_the_order_of_the_inventory_is_stable(flow):
    for number in range(3):
        flow.harness.server(f"order-{number}", 1)

    assert [server.id for server in flow.provider.servers()] == [
        server.id for server in flow.provider.servers()
    ]


def test_a_server_that_does_not_exist_is_not_found(flow):
    with pytest.raises(ResourceNotFound):
        flow.provider.server("00000000-0000-4000-8000-000000000000")


def test_a_snapshot_has_all_disks_and_says_what_was_reached_and_how(flow):
    server = flow.harness.server("evident", 2)

    step, snapshot = flow.freeze(server)

    assert [each.volume.id for each in snapshot.volumes] == [volume.id for volume in server.volumes]
    assert snapshot.server.id == server.id
    assert snapshot.consistency in flow.provider.capabilities.consistency
    assert snapshot.method
    assert snapshot.evidence
    assert snapshot.taken_at.tzinfo
    flow.provider.release(step, snapshot)


def test_more_consistency_than_the_cloud_reaches_is_refused_and_leaves_nothing(flow):
    server = flow.harness.server("demanding", 1)
    if Consistency.APPLICATION in flow.provider.capabilities.consistency:
        pytest.skip("this cloud reaches everything")

    with pytest.raises(CloudRefused):
        flow.provider.snapshot(flow.step(server), server.id, Consistency.APPLICATION)

    assert not kinds(flow, MarkedKind.SNAPSHOT, vault_id=flow.vault)


def test_a_snapshot_is_taken_once_under_one_marker(flow):
    server = flow.harness.server("once", 2)
    step, first = flow.freeze(server)
    flow.harness.reopen()

    _, again = flow.freeze(server, step)
    other_step, other = flow.freeze(server)

    assert [each.ref for each in again.volumes] == [each.ref for each in first.volumes]
    assert again.taken_at == first.taken_at
    assert not {each.ref for each in other.volumes} & {each.ref for each in first.volumes}
    flow.provider.release(step, first)
    flow.provider.release(other_step, other)


def test_a_snapshot_carries_its_marker_until_it_is_released(flow):
    server = flow.harness.server("marked", 1)
    step, snapshot = flow.freeze(server)

    found = kinds(flow, MarkedKind.SNAPSHOT, vault_id=flow.vault)
    elsewhere = kinds(flow, MarkedKind.SNAPSHOT, vault_id="another-vault")
    flow.provider.release(step, snapshot)
    flow.provider.release(step, snapshot)

    # a cloud may drop the fence, and may mark each disk's snapshot on its own
    assert {replace(each.marker, fence=0) for each in found} == {step.marker}
    assert not elsewhere
    assert not kinds(flow, MarkedKind.SNAPSHOT, vault_id=flow.vault)


def test_what_is_written_after_a_snapshot_is_not_in_it(flow):
    server = flow.harness.server("instant", 2)
    flow.scribble(server, 1)
    before = flow.digests(server)
    step, snapshot = flow.freeze(server)
    flow.scribble(server, 2)

    stored = [flow.provider.store(step, each, None) for each in snapshot.volumes]
    flow.provider.release(step, snapshot)
    backup = flow.record(step, snapshot, stored)

    assert flow.digests(flow.restore(backup, server)) == before


def test_a_disk_is_stored_once_under_one_marker(flow):
    server = flow.harness.server("stored-once", 1)
    flow.scribble(server, 1)
    step, snapshot = flow.freeze(server)
    first = flow.provider.store(step, snapshot.volumes[0], None)
    flow.harness.reopen()

    again = flow.provider.store(step, snapshot.volumes[0], None)
    flow.provider.release(step, snapshot)
    after_release = flow.provider.store(step, snapshot.volumes[0], None)

    assert first.ref == again.ref == after_release.ref
    assert (first.kind, first.size) == (again.kind, again.size) == (Kind.FULL, flow.harness.disk_size)
    marked = kinds(flow, MarkedKind.BACKUP, vault_id=flow.vault)
    assert [each.stored.ref for each in marked] == [first.ref]


def test_an_increment_adds_less_than_a_full_and_each_restores_its_own_instant(flow):
    if not flow.provider.capabilities.incremental:
        pytest.skip("no increments on this cloud")
    server = flow.harness.server("incremental", 2)
    flow.scribble(server, 1, size=1_000_000)
    full, at_full = flow.backup(server), flow.digests(server)
    flow.scribble(server, 30, size=100)
    increment, at_increment = flow.backup(server, full), flow.digests(server)
    flow.scribble(server, 3)

    assert [volume.kind for volume in full.volumes] == [Kind.FULL] * 2
    assert [volume.kind for volume in increment.volumes] == [Kind.INCREMENTAL] * 2
    assert increment.stored <= full.stored
    assert flow.digests(flow.restore(increment, server)) == at_increment
    assert flow.digests(flow.restore(full, server)) == at_full


def test_a_full_is_taken_where_the_parent_is_gone(flow):
    server = flow.harness.server("orphan", 1)
    flow.scribble(server, 1)
    first = flow.backup(server)
    flow.provider.delete(flow.step(server), first.volumes[0])
    flow.scribble(server, 2)
    expected = flow.digests(server)

    second = flow.backup(server, first)

    assert second.volumes[0].kind is Kind.FULL
    assert flow.digests(flow.restore(second, server)) == expected


def test_deleting_twice_is_fine_and_hurts_no_other_backup(flow):
    server = flow.harness.server("deleted", 1)
    flow.scribble(server, 1)
    first = flow.backup(server)
    flow.scribble(server, 2)
    expected = flow.digests(server)
    second = flow.backup(server)

    for _ in range(2):
        flow.provider.delete(flow.step(server), first.volumes[0])
    flow.provider.collect(flow.step(), frozenset())
    flow.provider.collect(flow.step(), frozenset())

    assert flow.provider.check_restore(flow.plan(first, server)).refusals
    assert not flow.provider.check_restore(flow.plan(second, server)).refusals
    assert flow.digests(flow.restore(second, server)) == expected


def test_what_is_kept_for_an_instant_restore_goes_when_asked_or_with_the_backup(flow):
    server = flow.harness.server("kept", 2)
    first, second = flow.backup(server, keep=True), flow.backup(server, keep=True)
    for volume in first.volumes:
        let_go = flow.provider.let_go(flow.step(server), volume)
        assert flow.provider.let_go(flow.step(server), let_go) == let_go
        assert let_go.ref == volume.ref
    for backup in (second, first):
        for volume in backup.volumes:
            flow.provider.delete(flow.step(server), volume)
    assert not [each for each in flow.provider.marked(flow.vault) if each.kind == "snapshot"]


def test_verification_of_good_data_finds_nothing_at_any_depth(flow):
    server = flow.harness.server("sound", 1)
    flow.scribble(server, 1)
    backup = flow.backup(server)

    for depth in Depth:
        assert list(flow.provider.verify(flow.step(server), backup.volumes[0], depth)) == []


def test_an_interrupted_store_leaves_nothing_to_restore_and_is_continued(flow):
    server = flow.harness.server("interrupted", 1)
    flow.scribble(server, 1)
    step, snapshot = flow.freeze(server)

    def stop() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        flow.provider.store(replace(step, check=stop), snapshot.volumes[0], None)
    assert not [each for each in kinds(flow, MarkedKind.BACKUP) if each.stored]

    stored = flow.provider.store(step, snapshot.volumes[0], None)
    flow.provider.release(step, snapshot)
    expected = flow.digests(server)
    flow.scribble(server, 2)
    assert flow.digests(flow.restore(flow.record(step, snapshot, [stored]), server)) == expected


def test_progress_is_told_in_bytes_and_reaches_the_total(flow):
    server = flow.harness.server("progress", 1)
    flow.scribble(server, 1)
    step, snapshot = flow.freeze(server)
    told: list[tuple[int, int]] = []

    flow.provider.store(
        replace(step, progress=lambda done, total: told.append((done, total))), snapshot.volumes[0], None
    )
    flow.provider.release(step, snapshot)

    assert told
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_whatever_carries_a_marker_can_be_removed_twice(flow):
    server = flow.harness.server("leftovers", 2)
    flow.scribble(server, 1)
    backup = flow.backup(server)
    flow.freeze(server)
    step = flow.step()
    flow.provider.restore(step, flow.plan_new(backup, "never"), flow.plan_new(backup, "never").mappings[0])
    flow.build(backup, "leftover-server")
    if flow.provider.capabilities.images:
        flow.provider.create_image(flow.step(), backup, "leftover-image")

    left = list(flow.provider.marked(flow.vault))
    order = [
        MarkedKind.SERVER, MarkedKind.PORT, MarkedKind.IMAGE, MarkedKind.VOLUME, MarkedKind.SNAPSHOT, MarkedKind.BACKUP,
    ]  # fmt: skip
    assert {each.kind for each in left} >= {
        MarkedKind.SERVER,
        MarkedKind.VOLUME,
        MarkedKind.SNAPSHOT,
        MarkedKind.BACKUP,
    }
    for each in sorted(left, key=lambda each: order.index(each.kind)):
        flow.provider.remove(flow.step(), each)
        flow.provider.remove(flow.step(), each)

    assert list(flow.provider.marked(flow.vault)) == []
    assert flow.provider.server(server.id).id == server.id


def test_what_a_rebuild_of_the_catalogue_needs_is_beside_the_data(flow):
    server = flow.harness.server("rebuilt", 2)
    flow.scribble(server, 1)
    step = replace(flow.step(server), about={"name": "by-hand", "tags": {"team": "shop"}})
    _, snapshot = flow.freeze(server, step)
    stored = [flow.provider.store(step, each, None) for each in snapshot.volumes]
    flow.provider.release(step, snapshot)
    flow.harness.reopen()

    flow.provider.protect(step, stored, protected=True)

    found = [each for each in flow.provider.marked(flow.vault) if each.kind == "backup"]
    assert sorted(each.stored.position for each in found) == [0, 1]
    for each in found:
        details = each.details
        assert (details["server"], details["volumes"]) == ({"id": server.id, "name": "rebuilt"}, 2)
        assert details["complete"]
        assert details["consistency"] == snapshot.consistency
        assert details["about"].items() >= step.about.items()
