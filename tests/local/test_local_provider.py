"""What only the local provider promises: fences, faults, quotas, what a kill leaves, honest answers without a vault."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from csbsctl.blobs import BlobNotFound
from csbsctl.clock import SystemClock
from csbsctl.errors import (
    CloudRefused,
    CloudUnavailable,
    LeaseLost,
    QuotaExceeded,
    ResourceConflict,
    ResourceNotFound,
)
from csbsctl.model.backup import Backup, BackupState, Kind, ServerRef, Trigger
from csbsctl.model.policy import Consistency
from csbsctl.provider import Depth, Host, Mapping, MarkedKind, Marker, RestorePlan, Step
from csbsctl_local.cloud.machines import Wanted
from csbsctl_local.cloud.transfer import sha256
from csbsctl_local.provider import LocalProvider
from csbsctl_local.settings import LocalSettings

MiB = 1024 * 1024


def step(job="job-1", server="", fence=0, backup=None):
    return Step(Marker(vault="v", job=job, server=server, backup=backup or job, fence=fence))


def guest(provider, name="guest", disks=2):
    return provider.cloud.inventory.server(provider.cloud.machines.create(Wanted(name, (2 * MiB,) * disks)))


def scribble(provider, server, word, at=0):
    with provider.cloud.disks(server) as disks:
        for disk in disks:
            disk.write(at, word * 20_000)


def digests(provider, server):
    with provider.cloud.disks(server) as disks:
        return [sha256(disk) for disk in disks]


def back_up(provider, server, job, parents=()):
    by_volume = {parent.volume_id: parent for parent in parents}
    this = step(job, server.id)
    snapshot = provider.snapshot(this, server.id, Consistency.CRASH)
    stored = [provider.store(this, each, by_volume.get(each.volume.id)) for each in snapshot.volumes]
    provider.release(this, snapshot)
    return Backup(
        id=job,
        name="manualbk_0001",
        server=ServerRef(id=server.id, name=server.name),
        provider="default",
        trigger=Trigger.MANUAL,
        state=BackupState.AVAILABLE,
        job=job,
        volumes=tuple(stored),
        started_at=datetime.now(UTC),
        spec=snapshot.server.spec,
    )


def plan(backup, server, **changes):
    by_id = {volume.id: volume for volume in server.volumes}
    mappings = tuple(Mapping(stored, by_id.get(stored.volume_id)) for stored in backup.volumes)
    return RestorePlan(backup, mappings, server, **changes)


def test_an_increment_reads_only_what_changed_where_that_is_proved(provider):
    server = guest(provider, disks=1)
    scribble(provider, server, b"full")
    first = back_up(provider, server, "first")
    scribble(provider, server, b"next", at=MiB)
    told = []
    this = Step(step("second", server.id).marker, progress=lambda done, total: told.append((done, total)))
    snapshot = provider.snapshot(this, server.id, Consistency.CRASH)

    stored = provider.store(this, snapshot.volumes[0], first.volumes[0])

    assert stored.kind is Kind.INCREMENTAL
    assert stored.parent is None, "every stored disk stands alone"
    assert told[-1][1] <= 3 * 64 * 1024


def test_backups_stay_right_when_those_in_between_fail_or_are_deleted(provider):
    server = guest(provider, disks=1)
    scribble(provider, server, b"one.")
    first = back_up(provider, server, "first")
    scribble(provider, server, b"two.", at=500_000)
    failed = provider.snapshot(step("failed", server.id), server.id, Consistency.CRASH)
    provider.release(step("failed", server.id), failed)
    scribble(provider, server, b"three", at=900_000)
    deleted = back_up(provider, server, "deleted", first.volumes)
    provider.delete(step("d", server.id), deleted.volumes[0])
    scribble(provider, server, b"four", at=1_200_000)
    expected = digests(provider, server)

    last = back_up(provider, server, "last", first.volumes)
    copy = provider.build(
        step("b"),
        RestorePlan(last, (Mapping(last.volumes[0]),), name="copy"),
        [provider.restore(step("b"), RestorePlan(last, (), name="copy"), Mapping(last.volumes[0]))],
    )

    assert last.volumes[0].kind is Kind.INCREMENTAL
    assert digests(provider, copy) == expected


def test_a_second_snapshot_of_a_job_never_shares_a_backup_with_the_first(provider):
    server = guest(provider)
    this = step("job", server.id)
    first = provider.snapshot(this, server.id, Consistency.CRASH)
    early = provider.store(this, first.volumes[0], None)
    provider.release(this, first)

    second = provider.snapshot(this, server.id, Consistency.CRASH)

    assert provider.store(this, second.volumes[0], None).ref != early.ref


def test_a_step_with_an_older_lease_is_refused_before_it_changes_anything(provider):
    server = guest(provider)
    provider.stop(step("new", server.id, fence=8), server.id)

    for act in (
        lambda old: provider.start(old, server.id),
        lambda old: provider.snapshot(old, server.id, Consistency.CRASH),
    ):
        with pytest.raises(LeaseLost):
            act(step("old", server.id, fence=7))

    assert provider.server(server.id).state == "stopped"
    assert not list(provider.marked())


def test_a_cloud_under_another_name_is_not_held_to_the_leases_of_the_old_one(provider, tmp_path):
    server = guest(provider)
    provider.stop(step("old", server.id, fence=8), server.id)
    renamed = LocalProvider(LocalSettings(), Host("renamed", tmp_path, SystemClock()))
    renamed.start(step("new", server.id, fence=1), server.id)
    assert provider.server(server.id).state == "active"
    renamed.close()


def test_a_fault_can_be_ordered_for_every_kind_of_step(provider):
    server = guest(provider)
    backup = back_up(provider, server, "good")
    this, back = step("faulty", server.id), plan(backup, server)
    acts = {
        "servers": lambda: list(provider.servers()),
        "snapshot": lambda: provider.snapshot(this, server.id, Consistency.CRASH),
        "delete": lambda: provider.delete(this, backup.volumes[0]),
        "verify": lambda: provider.verify(this, backup.volumes[0], Depth.FULL),
        "collect": lambda: provider.collect(this, frozenset()),
        "stop": lambda: provider.stop(this, server.id),
        "restore": lambda: provider.restore(this, back, back.mappings[0]),
        "swap": lambda: provider.swap(this, back, []),
        "build": lambda: provider.build(this, back, []),
        "image": lambda: provider.create_image(this, backup, "image"),
        "images": lambda: list(provider.images()),
        "marked": lambda: list(provider.marked()),
    }

    for name, act in acts.items():
        provider.cloud.faults.add(name, "unavailable", times=1)
        with pytest.raises(CloudUnavailable):
            act()
    assert provider.cloud.faults.list() == []


def test_quotas_are_counted_told_and_held(open_provider):
    provider = open_provider(quota={"backups": 1, "size": "1G"})
    server = guest(provider)
    back_up(provider, server, "first")

    quota = provider.quota()

    assert (quota.backups, quota.backups_used, quota.size_used) == (1, 1, 4 * MiB)
    with pytest.raises(QuotaExceeded):
        back_up(provider, server, "second")
    assert open_provider().quota() is None


def test_data_that_a_disk_is_being_filled_from_cannot_be_deleted(open_provider):
    provider = open_provider()
    server = guest(provider, disks=1)
    scribble(provider, server, b"data")
    backup = back_up(provider, server, "backup")
    now = step("restore", server.id)
    provider.restore(now, plan(backup, server, instant=True), plan(backup, server).mappings[0])

    with pytest.raises(ResourceConflict, match="being filled"):
        provider.delete(step("d", server.id), backup.volumes[0])
    provider.cloud.filler.run()
    provider.delete(step("d", server.id), backup.volumes[0])


def test_a_server_boots_from_an_image_after_its_backup_is_gone(provider):
    server = guest(provider)
    scribble(provider, server, b"golden")
    expected = digests(provider, server)
    backup = back_up(provider, server, "backup")
    image = provider.create_image(step("image"), backup, "golden")
    for stored in backup.volumes:
        provider.delete(step("d", server.id), stored)
    for number in range(3):
        provider.collect(step(f"c{number}"), frozenset())

    booted = provider.boot("golden", "clone", metadata={"tier": "web"}, tags=())

    assert digests(provider, booted) == expected
    assert booted.metadata == {"tier": "web"}
    provider.delete_image(step("image"), image.id)
    with pytest.raises(ResourceNotFound):
        provider.boot("golden", "clone", metadata={}, tags=())


def test_damage_is_found_and_said_with_what_it_costs(provider, tmp_path):
    server = guest(provider, disks=1)
    with provider.cloud.disk(server.volumes[0].id) as disk:
        disk.write(0, os.urandom(300_000))
    backup = back_up(provider, server, "backup")
    pack = max(
        (tmp_path / "vault" / "packs").rglob("*"), key=lambda path: path.is_file() and path.stat().st_size
    )
    body = bytearray(pack.read_bytes())
    body[len(body) // 3] ^= 0xFF
    pack.chmod(0o644)
    pack.write_bytes(body)

    found = provider.verify(step("v", server.id), backup.volumes[0], Depth.FULL)

    assert found
    assert any(length for damage in found for _, length in damage.ranges)


def test_missing_data_is_damage_and_refuses_a_restore(provider):
    server = guest(provider, disks=1)
    backup = back_up(provider, server, "backup")
    provider.delete(step("d", server.id), backup.volumes[0])

    assert "missing" in provider.verify(step("v", server.id), backup.volumes[0], Depth.QUICK)[0].message
    assert [refusal.code for refusal in provider.check_restore(plan(backup, server)).refusals] == [
        "CSBS.4000"
    ]


def test_a_restore_that_cannot_be_is_refused_with_the_services_codes(provider):
    server, other = guest(provider), guest(provider, "other")
    backup = back_up(provider, server, "backup")
    system, data = backup.volumes
    small = provider.cloud.inventory.server(provider.cloud.machines.create(Wanted("small", (MiB, MiB))))
    provider.cloud.machines.attach_existing(other, server.volumes[1].id)

    def codes(target, *pairs):
        mappings = tuple(Mapping(stored, volume) for stored, volume in pairs)
        return [each.code for each in provider.check_restore(RestorePlan(backup, mappings, target)).refusals]

    assert codes(server, (system, server.volumes[0])) == []
    assert codes(server, (data, server.volumes[0])) == ["CSBS.6023"]
    assert codes(small, (data, small.volumes[1])) == ["CSBS.6024"]
    assert codes(server, (system, other.volumes[0])) == ["CSBS.6014"]
    assert codes(server, (data, server.volumes[1])) == ["CSBS.6021"]


def test_without_a_vault_the_cloud_can_be_looked_at_and_nothing_be_stored(open_provider):
    provider = open_provider(vault=False)
    server = guest(provider)
    this = step("job", server.id)
    snapshot = provider.snapshot(this, server.id, Consistency.CRASH)

    assert [each.id for each in provider.servers()] == [server.id]
    with pytest.raises(CloudRefused, match="vault"):
        provider.store(this, snapshot.volumes[0], None)
    assert [each.kind for each in provider.marked()] == [MarkedKind.SNAPSHOT]


def test_what_a_backup_left_half_done_carries_its_marker(provider, tmp_path):
    server = guest(provider)
    this = step("job", server.id, backup="backup-1")
    snapshot = provider.snapshot(this, server.id, Consistency.CRASH)
    provider.store(this, snapshot.volumes[0], None)

    left = {each.kind: each for each in provider.marked("v")}

    assert left[MarkedKind.BACKUP].marker.backup == "backup-1"
    assert left[MarkedKind.BACKUP].details["server"] == {"id": server.id, "name": "guest"}
    assert left[MarkedKind.BACKUP].details["volumes"] == 2
    assert left[MarkedKind.SNAPSHOT].details["server"] == server.id


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(tmp_path, open_provider):
    (tmp_path / "file").write_text("in the way")
    provider = open_provider(path="file/cloud")

    with pytest.raises(CloudRefused, match="cannot create the cloud"):
        provider.cloud.machines.create(Wanted("guest", (MiB,)))


PROGRAM = """
import pickle, sys
from pathlib import Path
from csbsctl.blobs import PlainSealer
from csbsctl.clock import SystemClock
from csbsctl.provider import Host
from csbsctl.vault.stores.directory import DirectoryStore
from csbsctl_local.provider import LocalProvider
from csbsctl_local.settings import LocalSettings
base = Path(sys.argv[1])
marker, plan = pickle.loads(Path(sys.argv[2]).read_bytes())
from csbsctl.provider import Step
step = Step(marker)
host = Host("default", base, SystemClock(), DirectoryStore(base / "vault"), PlainSealer())
provider = LocalProvider(LocalSettings(), host)
provider.stop(step, plan.server.id)
restored = [provider.restore(step, plan, mapping) for mapping in plan.mappings]
provider.swap(step, plan, restored)
provider.close()
"""


def restore_in_a_process(tmp_path, this, back, **environment):
    import pickle

    (tmp_path / "plan").write_bytes(pickle.dumps((this.marker, back)))
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(tmp_path / "plan")],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("boundary", "instant"),
    [
        ("cloud.volume.created:2", False),
        ("cloud.restore.written", False),
        ("cloud.swap.done", False),
        ("cloud.volume.created", True),
        ("cloud.swap.done", True),
    ],
)
def test_a_restore_killed_anywhere_leaves_old_or_new_and_is_continued(provider, tmp_path, boundary, instant):
    server = guest(provider)
    scribble(provider, server, b"good")
    expected = digests(provider, server)
    backup = back_up(provider, server, "backup")
    scribble(provider, server, b"evil")
    before = digests(provider, server)
    this, back = step("restore", server.id), plan(backup, server, instant=instant)

    killed = restore_in_a_process(tmp_path, this, back, CSBSCTL_FAULT=f"kill:{boundary}")
    assert killed.returncode == -9
    assert digests(provider, server) == (expected if boundary == "cloud.swap.done" else before)
    finished = restore_in_a_process(tmp_path, this, back)

    assert finished.returncode == 0, finished.stderr
    assert digests(provider, server) == expected
    provider.cloud.filler.run()
    assert digests(provider, server) == expected
    assert not [each for each in provider.marked() if each.kind is MarkedKind.VOLUME]
    provider.cloud.sweep()
    assert len(list(provider.cloud.layout.backings.glob("*.raw"))) == 2


def test_the_provider_is_found_by_its_entry_point():
    from csbsctl.provider import load_provider

    assert load_provider("local") is LocalProvider


def test_nothing_of_the_store_is_touched_by_looking_at_an_empty_cloud(provider, tmp_path):
    assert list(provider.servers()) == []
    assert list(provider.marked()) == []
    assert list(provider.images()) == []
    assert not (tmp_path / "cloud").exists()
    assert not (tmp_path / "vault").exists()
    with pytest.raises(BlobNotFound):
        provider._shelf._blobs.get("records/none")
