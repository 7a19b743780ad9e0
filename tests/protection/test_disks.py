"""Whole disks out of a backup: the exact bytes, going on after an interruption, and what is never overwritten."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING

import pytest

import csbsctl.protection.disks
from csbsctl.errors import Conflict, Damaged, Interrupted, Refused
from csbsctl.model.job import JobKind, JobState
from csbsctl.protection.byhand import create_backups
from csbsctl.protection.disks import fetch_disks, plan_disks
from csbsctl.protection.folder import LIST, DiskFolder

if TYPE_CHECKING:
    from csbsctl.model.backup import Backup
    from tests.protection.conftest import World

MIB = 1 << 20


@pytest.fixture
def backup(world: World) -> Backup:
    """Return a backup of two disks with holes; what they hold now is something else."""
    server = world.server("db-01", 9 * MIB, 2 * MIB + 512)
    chance = random.Random(5)
    world.write(server, 0, chance.randbytes(MIB + 7), 3 * MIB - 5)
    world.write(server, 1, chance.randbytes(512), 2 * MIB)
    made = create_backups(world.site, [server]).succeeded[0]
    world.before = world.digest(server)  # type: ignore[attr-defined]
    world.write(server, 0, b"ruined", 4096)
    return made


def digests(world: World) -> list[str]:
    found = sorted((world.folder / "out").glob("*.raw"))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in found]


def test_disks_are_written_sparse_and_exactly_with_their_digests(world: World, backup: Backup):
    done = fetch_disks(world.site, backup, world.folder / "out")

    assert digests(world) == world.before == [each.disk.sha256 for each in done.disks]
    files = [world.folder / "out" / each.disk.file for each in done.disks]
    assert [path.stat().st_size for path in files] == [9 * MIB, 2 * MIB + 512]
    assert files[0].stat().st_blocks * 512 < 3 * MIB
    listed = json.loads((world.folder / "out" / LIST).read_text())
    assert listed["backup"]["id"] == backup.id
    assert [disk["sha256"] for disk in listed["disks"]] == world.before
    job = world.vault.jobs.get(str(done.job))
    assert (job.kind, job.state) == (JobKind.FETCH, JobState.SUCCEEDED)
    assert [path.name for path in (world.folder / "out").iterdir() if path.suffix == ".part"] == []


def test_the_cloud_need_not_be_there(world: World, backup: Backup):
    before = world.before
    world.close()
    (world.folder / "cloud").rename(world.folder / "lost")
    other = world.another()

    fetch_disks(other.site, backup, world.folder / "out")

    assert digests(world) == before
    assert not (world.folder / "cloud").exists()
    other.close()


def test_a_second_time_what_is_whole_is_kept_and_what_was_changed_is_told(world: World, backup: Backup):
    folder = world.folder / "out"
    first = fetch_disks(world.site, backup, folder, [backup.volumes[1].name])
    stamp = (folder / first.disks[0].disk.file).stat().st_mtime_ns

    again = fetch_disks(world.site, backup, folder)

    assert [each.kept for each in again.disks] == [False, True]
    assert (folder / first.disks[0].disk.file).stat().st_mtime_ns == stamp
    assert [each.kept for each in plan_disks(backup, folder).disks] == [True, True]
    with (folder / first.disks[0].disk.file).open("ab") as file:
        file.write(b"!")
    with pytest.raises(Damaged, match="somebody changed it"):
        fetch_disks(world.site, backup, folder)


def test_what_somebody_else_put_there_is_never_overwritten(world: World, backup: Backup):
    folder = world.folder / "out"
    folder.mkdir()
    name = f"0-{backup.volumes[0].name}.raw"
    (folder / name).symlink_to(world.folder / "nowhere")
    for fetch in (plan_disks, lambda *a: fetch_disks(world.site, *a)):
        with pytest.raises(Refused, match="is there already"):
            fetch(backup, folder)
    assert not (world.folder / "nowhere").exists()
    (folder / name).unlink()
    (folder / LIST).write_text("[]")
    with pytest.raises(Refused, match="not one of csbsctl's"):
        fetch_disks(world.site, backup, folder)
    (folder / LIST).write_text('{"format_version": 1, "backup": {"id": "x", "name": "other"}}')
    with pytest.raises(Refused, match="is of backup other"):
        fetch_disks(world.site, backup, folder)


def test_an_interrupted_fetch_goes_on_from_what_is_durable(world: World, backup: Backup, monkeypatch):
    folder, pieces = world.folder / "out", []
    monkeypatch.setattr(csbsctl.protection.disks, "_PIECE", 64 * 1024)
    monkeypatch.setattr(csbsctl.protection.disks, "_ZEROS", bytes(64 * 1024))
    monkeypatch.setattr(csbsctl.protection.disks, "_NOTE_EVERY", MIB)
    whole = csbsctl.protection.disks._pieces

    def cut_short(source, start, size):
        pieces.append(start)
        for offset, data in whole(source, start, size):
            if offset >= 4 * MIB and len(pieces) == 1:
                raise Interrupted
            yield offset, data

    monkeypatch.setattr(csbsctl.protection.disks, "_pieces", cut_short)
    with pytest.raises(Interrupted):
        fetch_disks(world.site, backup, folder)
    assert list(folder.glob("*.raw")) == []
    part = next(folder.glob("*.part"))
    with part.open("r+b") as file:  # what came after the last note may be anything
        file.seek(5 * MIB)
        file.write(b"rubbish")

    fetch_disks(world.site, backup, folder)

    assert pieces == [0, 4 * MIB, 0]
    assert digests(world) == world.before
    states = [job.state for job in world.vault.jobs.list() if job.kind is JobKind.FETCH]
    assert sorted(states) == [JobState.FAILED, JobState.SUCCEEDED]  # begun at one virtual instant


def test_only_one_command_at_a_time_writes_to_a_folder(world: World, backup: Backup):
    with DiskFolder(world.folder / "out", backup), pytest.raises(Conflict, match="another command"):
        fetch_disks(world.site, backup, world.folder / "out")


def test_what_does_not_fit_is_refused_before_anything_is_written(world: World, backup: Backup, monkeypatch):
    monkeypatch.setattr(
        "csbsctl.protection.folder.os.statvfs",
        lambda _path: type("Room", (), {"f_bavail": 1, "f_frsize": 4096})(),
    )
    with pytest.raises(Refused, match=r"has 4 KiB of room, 1\.\d MiB are needed"):
        fetch_disks(world.site, backup, world.folder / "out")
    assert list((world.folder / "out").iterdir()) == []


def test_a_disk_that_the_backup_has_not_is_refused(world: World, backup: Backup):
    with pytest.raises(Refused, match="is not a disk of") as caught:
        plan_disks(backup, world.folder / "out", ["tape"])
    assert caught.value.code == "CSBS.6017"
