"""What happens to a backup on a bad day: tokens end, volumes break, servers and backups go while they are needed."""

from __future__ import annotations

from typing import Any

import pytest

from csbsctl.errors import CloudRefused, ResourceNotFound
from csbsctl.ids import new_id
from csbsctl.model.backup import Kind
from csbsctl.model.policy import Consistency

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]


def set_state(bench: Any, testbed: Any, volume: str, status: str) -> None:
    body = {"os-reset_status": {"status": status}}
    answer = testbed.connect("admin").block_storage.post(f"/volumes/{volume}/action", json=body)
    assert answer.status_code == 202, answer.text
    bench.until(lambda: f"now {bench.cloud.block_storage.get_volume(volume).status}", f"now {status}")


def test_a_token_that_ends_in_the_middle_of_a_run_is_renewed(bench):
    server_id = bench.server(1)
    step = bench.step(server_id, backup=new_id())
    snapshot = bench.provider.snapshot(step, server_id, Consistency.CRASH)
    session = bench.provider.cloud.connection.session
    ended = "gAAAAABended"  # the services remember for minutes that a revoked one was good
    session.auth.get_access(session)._auth_token = ended
    assert bench.provider.cloud.token() == ended

    assert [server.id for server in bench.provider.servers()] == [server_id]  # two calls side by side
    session.auth.get_access(session)._auth_token = ended
    stored = bench.provider.store(step, snapshot.volumes[0], None)

    assert stored.kind is Kind.FULL
    assert bench.provider.cloud.token() != ended
    bench.provider.release(step, snapshot)


def test_a_volume_in_error_is_named_before_anything_is_frozen(bench, testbed):
    server_id = bench.server(2)
    broken = bench.provider.server(server_id).volumes[1]
    set_state(bench, testbed, broken.id, "error")
    try:
        with pytest.raises(CloudRefused, match=f"volume {broken.name} of server .* is in state error"):
            bench.provider.snapshot(bench.step(server_id), server_id, Consistency.CRASH)
    finally:
        set_state(bench, testbed, broken.id, "in-use")
    assert not list(bench.cloud.block_storage.snapshots())
    assert bench.status(server_id) == "ACTIVE"


def test_a_server_deleted_in_the_middle_of_its_backup_is_still_backed_up(bench):
    server_id = bench.server(2)
    step = bench.step(server_id, backup=new_id())
    snapshot = bench.provider.snapshot(step, server_id, Consistency.CRASH)
    bench.cloud.compute.delete_server(server_id)
    bench.until(lambda: str(bench.cloud.compute.find_server(server_id)), "None")

    stored = [bench.provider.store(step, disk, None) for disk in snapshot.volumes]

    bench.provider.release(step, snapshot)
    assert [one.position for one in stored] == [0, 1]
    assert not list(bench.cloud.block_storage.snapshots())
    with pytest.raises(ResourceNotFound, match=server_id):
        bench.provider.snapshot(bench.step(server_id, job=new_id()), server_id, Consistency.CRASH)


def test_volumes_come_and_go_and_a_parent_may_be_gone(bench):
    server_id = bench.server(2)
    first = bench.back_up(server_id)
    went = first.volumes[1].volume_id
    bench.cloud.compute.delete_volume_attachment(server_id, went)
    came = bench.volume("t-came")
    bench.cloud.compute.create_volume_attachment(server_id, volume_id=came)
    bench.until(lambda: bench.cloud.block_storage.get_volume(came).status, "in-use")
    bench.until(lambda: bench.cloud.block_storage.get_volume(went).status, "available")
    bench.cloud.block_storage.delete_backup(first.volumes[0].ref)
    bench.until(lambda: str(len(list(bench.cloud.block_storage.backups()))), "1")

    second = bench.back_up(server_id, first)

    assert [volume.volume_id for volume in second.volumes] == [first.volumes[0].volume_id, came]
    assert [volume.kind for volume in second.volumes] == [Kind.FULL, Kind.FULL]
    assert [volume.parent for volume in second.volumes] == [None, None]
