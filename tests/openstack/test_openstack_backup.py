"""Backups on the real cloud: consistency and its evidence, chains, retries, failures, kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from typing import Any

import pytest

from csbsctl.errors import CloudRefused, Interrupted, ResourceConflict
from csbsctl.ids import new_id
from csbsctl.model.backup import Kind
from csbsctl.model.policy import Consistency
from csbsctl.model.server import protectability
from csbsctl.provider import Depth, MarkedKind
from csbsctl_openstack import marks
from csbsctl_openstack.pausing import Pauser

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]
MIB = 1 << 20


def snapshots(bench: Any) -> list[Any]:
    return list(bench.cloud.block_storage.snapshots())


def note(bench: Any, server_id: str) -> str | None:
    return bench.cloud.compute.get_server(server_id).metadata.get(marks.PAUSED)


def test_a_running_server_is_paused_and_the_record_says_for_how_long(bench):
    server_id = bench.server(2)
    snapshot = bench.provider.snapshot(bench.step(server_id), server_id, Consistency.CRASH)
    assert (snapshot.consistency, snapshot.method) == (Consistency.CRASH, "pause")
    assert 0 < snapshot.evidence["paused_ms"] < 30_000
    assert snapshot.evidence["spread_ms"] < snapshot.evidence["paused_ms"]
    assert (bench.status(server_id), note(bench, server_id)) == ("ACTIVE", None)

    again = bench.provider.snapshot(bench.step(server_id), server_id, Consistency.CRASH)
    assert again == snapshot
    bench.provider.release(bench.step(server_id), snapshot)
    bench.provider.release(bench.step(server_id), snapshot)
    assert not snapshots(bench)


def test_only_so_many_servers_are_paused_at_once(bench, provider_of):
    first, second = bench.server(2), bench.server(2)
    cloud = provider_of(parallel_pauses=1).cloud
    pauser = Pauser(cloud)

    def stop() -> None:
        raise Interrupted

    with pauser.paused(bench.step(first), first):
        assert bench.status(first) == "PAUSED"
        with pytest.raises(Interrupted), pauser.paused(bench.step(second, check=stop), second):
            pytest.fail("two are paused at once")
        assert (bench.status(second), note(bench, second)) == ("ACTIVE", None)
    assert (bench.status(first), note(bench, first)) == ("ACTIVE", None)
    with pauser.paused(bench.step(second), second):
        assert bench.status(second) == "PAUSED"


def test_less_than_demanded_is_refused_and_leaves_nothing(bench, provider_of):
    server_id = bench.server(2)
    with pytest.raises(CloudRefused, match="does not demand"):
        bench.provider.snapshot(bench.step(server_id), server_id, Consistency.APPLICATION)
    with pytest.raises(CloudRefused, match="forbid"):
        provider_of(pause=False).snapshot(bench.step(server_id), server_id, Consistency.CRASH)
    assert not snapshots(bench)


def test_a_stopped_server_and_a_single_volume_need_no_pause(bench):
    stopped = bench.provider.snapshot(bench.step(s := bench.server(2, running=False)), s, Consistency.CRASH)
    assert (stopped.method, stopped.consistency) == ("stopped", Consistency.CRASH)
    single = bench.provider.snapshot(bench.step(s := bench.server(1)), s, Consistency.CRASH)
    assert (single.method, single.consistency) == ("single-volume", Consistency.CRASH)


def test_a_group_snapshot_is_believed_only_where_the_settings_vouch_for_it(bench, provider_of):
    server_id = bench.server(2)
    bench.provider = provider_of(consistent_group_type="consistent")
    step = bench.step(server_id)
    snapshot = bench.provider.snapshot(step, server_id, Consistency.CRASH)
    assert (snapshot.method, snapshot.consistency) == ("group-snapshot", Consistency.CRASH)
    assert snapshot.evidence["vouched_for"] == "consistent"
    assert bench.provider.snapshot(step, server_id, Consistency.CRASH) == snapshot
    bench.provider.release(step, snapshot)
    assert not snapshots(bench)
    assert not list(bench.provider.marked())


def test_half_a_set_of_snapshots_is_taken_anew(bench):
    server_id = bench.server(2)
    step = bench.step(server_id)
    first = bench.provider.snapshot(step, server_id, Consistency.CRASH)
    bench.cloud.block_storage.delete_snapshot(first.volumes[1].ref)
    bench.until(lambda: str(len(snapshots(bench))), "1")

    second = bench.provider.snapshot(step, server_id, Consistency.CRASH)

    assert not {v.ref for v in first.volumes} & {v.ref for v in second.volumes}
    assert len(snapshots(bench)) == 2


KILLED = """
    import sys
    from pathlib import Path
    from csbsctl.clock import SystemClock
    from csbsctl.model.policy import Consistency
    from csbsctl.provider import Host, Marker, Step
    from csbsctl_openstack.provider import OpenStackProvider
    from csbsctl_openstack.settings import OpenStackSettings
    cloud, server, job = sys.argv[1:]
    provider = OpenStackProvider(OpenStackSettings(cloud=cloud), Host("default", Path(), SystemClock()))
    provider.snapshot(Step(Marker("vault-of-the-tests", job, server)), server, Consistency.CRASH)
"""


def die_at(bench: Any, boundary: str, server_id: str, job: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(KILLED), bench.project, server_id, job]
    ended = subprocess.run(command, env={**os.environ, "CSBSCTL_FAULT": f"kill:{boundary}"}, check=False)
    assert ended.returncode == -signal.SIGKILL


def test_a_server_runs_again_at_once_when_csbsctl_is_killed_while_it_is_paused(bench):
    server_id, job = bench.server(2), new_id()
    die_at(bench, "openstack.pause.paused", server_id, job)
    bench.until(lambda: bench.status(server_id), "ACTIVE", seconds=30)

    left = [marked for marked in bench.provider.marked("vault-of-the-tests") if marked.marker.job == job]
    assert [marked.ref for marked in left] == [f"pause/{server_id}"]
    bench.provider.remove(bench.step(server_id), left[0])
    assert note(bench, server_id) is None


def test_a_server_that_was_left_paused_is_resumed_by_whoever_comes_next(bench):
    server_id = bench.server(2)
    stamp = f"vault-of-the-tests {bench.job} 2026-01-01T00:00:00Z"
    bench.cloud.compute.set_server_metadata(server_id, **{marks.PAUSED: stamp})
    bench.cloud.compute.pause_server(server_id)
    bench.until(lambda: bench.status(server_id), "PAUSED")

    marked = next(m for m in bench.provider.marked("vault-of-the-tests") if m.ref.startswith("pause/"))
    assert marked.kind is MarkedKind.SNAPSHOT
    bench.provider.remove(bench.step(server_id), marked)

    assert (bench.status(server_id), note(bench, server_id)) == ("ACTIVE", None)


def test_a_retry_after_a_kill_takes_the_snapshots_anew_and_once(bench):
    server_id, job = bench.server(2), new_id()
    die_at(bench, "openstack.snapshots.taken", server_id, job)
    assert len(snapshots(bench)) == 2
    again = bench.provider.snapshot(bench.step(server_id, job=job), server_id, Consistency.CRASH)
    assert {v.ref for v in again.volumes} == {snapshot.id for snapshot in snapshots(bench)}


def test_an_interrupted_backup_is_adopted_by_the_retry(bench):
    server_id = bench.server(1)
    step = bench.step(server_id, backup=new_id())
    snapshot = bench.provider.snapshot(step, server_id, Consistency.CRASH)
    calls = []

    def stop_at_the_second_look() -> None:
        calls.append(1)
        if len(calls) > 1:
            raise Interrupted

    with pytest.raises(Interrupted):
        bench.provider.store(replace(step, check=stop_at_the_second_look), snapshot.volumes[0], None)
    stored = bench.provider.store(step, snapshot.volumes[0], None)

    assert [backup.id for backup in bench.cloud.block_storage.backups()] == [stored.ref]


def test_a_foreign_backup_in_the_chain_is_recognised(bench):
    server_id = bench.server(1)
    first = bench.back_up(server_id)
    volume = first.volumes[0].volume_id
    foreign = bench.cloud.block_storage.create_backup(volume_id=volume, name="theirs", force=True)
    bench.until(lambda: bench.cloud.block_storage.get_backup(foreign.id).status, "available")

    second = bench.back_up(server_id, first)

    assert (second.volumes[0].kind, second.volumes[0].parent) == (Kind.INCREMENTAL, foreign.id)
    assert second.volumes[0].extra["foreign_parent"]
    with pytest.raises(ResourceConflict, match="depend"):
        bench.provider.delete(bench.step(server_id), first.volumes[0].model_copy(update={"ref": foreign.id}))


def test_deletion_goes_leaf_first_and_twice_is_fine(bench):
    server_id = bench.server(1)
    first = bench.back_up(server_id)
    second = bench.back_up(server_id, first)
    step = bench.step(server_id)
    with pytest.raises(ResourceConflict):
        bench.provider.delete(step, first.volumes[0])
    for stored in (second.volumes[0], first.volumes[0], first.volumes[0]):
        bench.provider.delete(step, stored)
    assert not list(bench.cloud.block_storage.backups())


def test_an_extended_volume_gets_a_full(bench):
    server_id = bench.server(1, running=False)
    first = bench.back_up(server_id)
    bench.extend(first.volumes[0].volume_id, 2)
    bench.until(lambda: str(bench.provider.server(server_id).volumes[0].size), str(2 << 30))
    second = bench.back_up(server_id, first)
    assert (second.volumes[0].kind, second.volumes[0].size) == (Kind.FULL, 2 << 30)


def test_a_retyped_volume_stays_in_its_chain_and_comes_back_with_the_type_it_had(
    bench, testbed, another_type
):
    server_id = bench.server(1, running=False)
    volume = bench.provider.server(server_id).volumes[0].id
    first = bench.back_up(server_id)
    body = {"os-retype": {"new_type": another_type, "migration_policy": "never"}}
    answer = bench.cloud.block_storage.post(f"/volumes/{volume}/action", json=body)
    assert answer.status_code == 202, answer.text
    bench.until(lambda: bench.cloud.block_storage.get_volume(volume).volume_type, another_type)
    bench.until(lambda: bench.cloud.block_storage.get_volume(volume).status, "in-use")
    testbed.write(volume, 5 * MIB, 2 * MIB, 4)

    second = bench.back_up(server_id, first)

    assert (second.volumes[0].kind, second.volumes[0].parent) == (Kind.INCREMENTAL, first.volumes[0].ref)
    for backup, kind in ((first, "ceph"), (second, another_type)):
        plan = bench.plan_new(backup, "t-anew")
        step = bench.step(server_id, job=new_id(), backup=backup.id)
        restored = bench.provider.restore(step, plan, plan.mappings[0])
        assert bench.cloud.block_storage.get_volume(restored.ref).volume_type == kind
    assert testbed.digest(restored.ref) == testbed.digest(volume)


def test_what_cannot_be_protected_says_why(bench):
    server_id = bench.server(1)
    shared = bench.volume("t-shared", kind="ceph-multi")
    bench.cloud.compute.create_volume_attachment(server_id, volume_id=shared)
    bench.until(lambda: bench.cloud.block_storage.get_volume(shared).status, "in-use")
    refusal = protectability(bench.provider.server(server_id))
    assert refusal is not None
    assert (refusal.code, "t-shared" in refusal.reason) == ("CSBS.6010", True)
    with pytest.raises(CloudRefused):
        bench.provider.snapshot(bench.step(server_id), server_id, Consistency.CRASH)


def test_everything_is_found_again_from_cinder_alone(bench):
    server_id = bench.server(2, metadata={"tier": "web"})
    backup = bench.back_up(server_id)
    found = [m for m in bench.provider.marked("vault-of-the-tests") if m.kind is MarkedKind.BACKUP]
    assert {m.marker.backup for m in found} == {backup.id}
    assert sorted((m.stored for m in found), key=lambda v: v.position) == list(backup.volumes)
    details = found[0].details
    assert (details["server"]["name"], details["volumes"]) == (bench.provider.server(server_id).name, 2)
    assert (details["consistency"], details["method"]) == ("crash", "pause")
    assert details["spec"] == backup.spec
    assert not list(bench.provider.marked("another-vault"))


def test_a_readers_rights_are_enough_to_look_and_the_error_names_what_is_missing(bench, provider_of):
    server_id = bench.server(1)
    reader = provider_of(cloud=f"{bench.project}-reader")
    assert [server.id for server in reader.servers()] == [server_id]
    assert reader.quota() is not None
    assert list(reader.marked()) == []
    with pytest.raises(CloudRefused) as caught:
        reader.snapshot(bench.step(server_id), server_id, Consistency.CRASH)
    assert "volume:create_snapshot" in (caught.value.hint or "")


def test_wrong_credentials_and_unknown_clouds_are_said_plainly(testbed, provider_of, tmp_path, monkeypatch):
    with pytest.raises(CloudRefused, match="nowhere"):
        list(provider_of(cloud="nowhere").servers())
    text = (testbed.directory / "clouds.yaml").read_text().replace("password: testbed", "password: wrong")
    (tmp_path / "clouds.yaml").write_text(text)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    with pytest.raises(CloudRefused) as caught:
        list(provider_of().servers())
    assert "credentials" in (caught.value.hint or "")


def test_a_trial_restore_reads_every_byte_and_leaves_nothing(bench):
    server_id = bench.server(1)
    stored = bench.back_up(server_id).volumes[0]
    step = bench.step(server_id)
    assert list(bench.provider.verify(step, stored, Depth.QUICK)) == []
    assert list(bench.provider.verify(step, stored, Depth.FULL)) == []
    assert len(list(bench.cloud.block_storage.volumes())) == 1


def test_the_clouds_time_is_now(bench):
    assert abs(bench.provider.now().timestamp() - time.time()) < 5
