"""Every provider: restores in place and as new servers, instant restore, images, power."""

from __future__ import annotations

import hashlib

import pytest

from csbsctl.errors import ProviderError, ResourceNotFound, Unsupported
from csbsctl.model.server import ServerState


@pytest.fixture
def protected(flow):
    """Return a server, a backup of it, and the digests of its disks then; the disks have changed since."""
    server = flow.harness.server("protected", 2)
    flow.scribble(server, 1)
    backup, digests = flow.backup(server), flow.digests(server)
    flow.scribble(server, 2)
    return server, backup, digests


def test_a_restore_in_place_brings_the_bytes_back_and_keeps_the_volumes_ids(flow, protected):
    server, backup, digests = protected

    restored = flow.restore(backup, server)

    assert flow.digests(restored) == digests
    assert [volume.id for volume in restored.volumes] == [volume.id for volume in server.volumes]
    assert restored.state is ServerState.ACTIVE


def test_stopping_and_starting_twice_is_fine(flow, protected):
    server, _, _ = protected
    step = flow.step(server)

    for _ in range(2):
        flow.provider.stop(step, server.id)
    assert flow.provider.server(server.id).state is ServerState.STOPPED
    for _ in range(2):
        flow.provider.start(step, server.id)
    assert flow.provider.server(server.id).state is ServerState.ACTIVE


def test_a_restore_is_continued_by_whoever_comes_next_at_any_point(flow, protected):
    server, backup, digests = protected
    step, plan = flow.step(server), flow.plan(backup, server)
    flow.provider.stop(step, server.id)
    first = flow.provider.restore(step, plan, plan.mappings[0])
    flow.harness.reopen()

    restored = [flow.provider.restore(step, plan, mapping) for mapping in plan.mappings]
    assert restored[0].ref == first.ref
    flow.provider.swap(step, plan, restored)
    flow.harness.reopen()
    repeated = [flow.provider.restore(step, plan, mapping) for mapping in plan.mappings]
    server = flow.provider.swap(step, plan, repeated)

    assert server.state is ServerState.STOPPED
    assert flow.digests(server) == digests
    assert not [each for each in flow.provider.marked(flow.vault) if each.kind == "volume"]


def test_a_running_server_keeps_its_disks(flow, protected):
    server, backup, _ = protected
    step, plan = flow.step(server), flow.plan(backup, server)
    before = flow.digests(server)

    with pytest.raises(
        ProviderError
    ):  # early, where a cloud restores onto the disks themselves; else at the swap
        flow.put_back(step, plan)

    assert flow.digests(server) == before


def test_a_disk_that_was_enlarged_since_keeps_its_size_and_ends_in_zeros(flow, protected):
    server, backup, _ = protected
    small = flow.build(backup, "small", power_on=False)
    larger = 2 * flow.harness.disk_size
    for disk in range(2):
        flow.harness.grow(server, disk, larger)
        flow.harness.grow(small, disk, larger)
    server = flow.provider.server(server.id)

    restored = flow.restore(backup, server)

    assert [volume.size for volume in restored.volumes] == [larger] * 2
    assert flow.digests(restored) == flow.digests(flow.provider.server(small.id))


def test_a_new_server_has_the_disks_the_zone_and_the_name(flow, protected):
    server, backup, digests = protected

    built = flow.build(backup, "copy")

    assert built.name == "copy"
    assert built.id != server.id
    assert built.availability_zone == server.availability_zone
    assert built.state is ServerState.ACTIVE
    assert [volume.bootable for volume in built.volumes] == [True, False]
    assert flow.digests(built) == digests


def test_a_new_server_is_built_once_under_one_marker_and_left_stopped_when_asked(flow, protected):
    _, backup, _ = protected
    step = flow.step()
    first = flow.build(backup, "stopped", step, power_on=False)
    flow.harness.reopen()

    again = flow.build(backup, "stopped", step, power_on=False)

    assert first.id == again.id
    assert again.state is ServerState.STOPPED


def test_a_new_server_is_what_the_user_wants_otherwise(flow, protected):
    _, backup, _ = protected
    wanted = {"metadata": ["tier=test", "team=shop"], "tag": ["copy"]}

    built = flow.build(backup, "otherwise", overrides=wanted)

    assert (built.metadata, built.tags) == ({"tier": "test", "team": "shop"}, ("copy",))


def test_a_setting_that_servers_do_not_have_is_refused_before_anything_happens(flow, protected):
    _, backup, _ = protected
    plan = flow.plan_new(backup, "odd", overrides={"colour": ["red"]})

    refusals = flow.provider.check_restore(plan).refusals

    assert [(refusal.code, "colour" in refusal.reason) for refusal in refusals] == [("CSBS.9001", True)]


def test_disks_that_a_server_was_built_from_are_not_restored_again(flow, protected):
    _, backup, _ = protected
    step, plan = flow.step(), flow.plan_new(backup, "again")
    restored = [flow.provider.restore(step, plan, mapping) for mapping in plan.mappings]
    built = flow.provider.build(step, plan, restored)
    flow.harness.reopen()

    repeated = [flow.provider.restore(step, plan, mapping) for mapping in plan.mappings]

    assert [each.ref for each in repeated] == [each.ref for each in restored]
    assert flow.provider.build(step, plan, repeated).id == built.id


def test_a_backup_of_a_deleted_server_still_builds_a_new_one(flow, protected):
    server, backup, digests = protected
    marked = [each for each in flow.provider.marked(flow.vault) if each.kind == "backup"]

    assert {each.stored.volume_id for each in marked} == {volume.id for volume in server.volumes}
    assert flow.digests(flow.build(backup, "phoenix")) == digests


def test_an_instant_restore_is_readable_and_writable_at_once(flow, protected):
    if not flow.provider.capabilities.instant_restore:
        pytest.skip("no instant restore on this cloud")
    server, backup, digests = protected

    assert flow.digests(flow.restore(backup, server, instant=True)) == digests
    flow.scribble(server, 5)
    kept = flow.backup(server, keep=True)
    digests = flow.digests(server)
    flow.scribble(server, 7)
    assert flow.digests(flow.restore(kept, server, instant=True)) == digests
    after = flow.digests(server)
    second = flow.backup(server)
    flow.scribble(server, 6)
    assert flow.digests(flow.restore(second, server)) == after


def test_an_image_is_made_once_under_one_marker_and_can_be_deleted_twice(flow, protected):
    if not flow.provider.capabilities.images:
        pytest.skip("no images on this cloud")
    _, backup, _ = protected
    step = flow.step()
    image = flow.provider.create_image(step, backup, "golden")
    flow.harness.reopen()

    again = flow.provider.create_image(step, backup, "golden")

    assert (again.id, again.name, again.backup, again.size) == (image.id, "golden", backup.id, backup.size)
    assert [each.id for each in flow.provider.images() if each.backup == backup.id] == [image.id]
    for _ in range(2):
        flow.provider.delete_image(step, image.id)
    assert not [each for each in flow.provider.images() if each.backup == backup.id]


def test_restored_disks_stand_alone_named_and_unmarked(flow, protected):
    _, backup, _ = protected
    step, plan = flow.step(), flow.plan_new(backup, "alone", volumes_only=True)
    restored = [flow.provider.restore(step, plan, each) for each in plan.mappings]

    kept = flow.provider.hand_over(step, plan, restored)
    flow.harness.reopen()
    again = flow.provider.hand_over(step, plan, restored)

    assert [volume.name for volume in kept] == ["alone-disk-0", "alone-disk-1"]
    assert (
        [volume.id for volume in again] == [volume.id for volume in kept] == [each.ref for each in restored]
    )
    assert [volume.bootable for volume in kept] == [True, False]
    assert not [each for each in flow.provider.marked(flow.vault) if each.kind == "volume"]


def test_a_stored_disk_is_read_at_random_where_the_cloud_allows(flow, protected):
    server, backup, digests = protected
    if not flow.provider.capabilities.disk_access:
        with pytest.raises(Unsupported) as caught:
            flow.provider.open_disk(flow.step(server), backup.volumes[0])
        assert caught.value.hint
        return
    for stored, digest in zip(backup.volumes, digests, strict=True):
        disk = flow.provider.open_disk(flow.step(server), stored)
        whole = disk.read(0, disk.size)
        assert (disk.size, hashlib.sha256(whole).hexdigest()) == (stored.size, digest)
        assert disk.read(disk.size - 3, 10) == whole[-3:]
        assert disk.read(70_001, 5) == whole[70_001:70_006]
        rest = bytearray(whole)
        for offset, length in disk.extents():
            rest[offset : offset + length] = bytes(length)
        assert not any(rest)
        disk.close()


def test_a_stored_disk_that_is_gone_cannot_be_opened(flow, protected):
    server, backup, _ = protected
    if flow.provider.capabilities.disk_access:
        gone = backup.volumes[0].model_copy(update={"ref": "gone"})
        with pytest.raises(ResourceNotFound):
            flow.provider.open_disk(flow.step(server), gone)
