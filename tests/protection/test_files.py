"""Files out of a backup: what a path names, put below a folder, exactly, and never anywhere else."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import csbsctl.protection.files
from csbsctl.errors import Conflict, Interrupted, NotFound, Refused, Unsupported, UsageError
from csbsctl.filesystem import Kind, Node
from csbsctl.model.job import JobKind, JobState
from csbsctl.protection.byhand import create_backups
from csbsctl.protection.files import fetch_files, list_files
from csbsctl.protection.placing import Placer, inside
from csbsctl.protection.survey import FilesRequest
from tests.filesystem.conftest import image, with_mbr

if TYPE_CHECKING:
    from csbsctl.model.backup import Backup
    from tests.protection.conftest import World

MIB = 1 << 20
NUMBERS = "".join(f"{n}\n" for n in range(1, 60001))


def backup_of(world: World, *images: bytes) -> Backup:
    server = world.server("db-01", *(len(each) + MIB for each in images))
    for number, each in enumerate(images):
        world.write(server, number, each)
    return create_backups(world.site, [server]).succeeded[0]


@pytest.fixture
def backup(world: World) -> Backup:
    """Return a backup of a partitioned system disk (XFS and ext4) and of a data disk (ext2)."""
    return backup_of(world, with_mbr(b"XFSB" + bytes(MIB), image("ext4")), image("ext2"))


def wanted(backup: Backup, *paths: str, volumes: tuple[str, ...] = ("db-01-disk-0",)) -> FilesRequest:
    return FilesRequest(backup, paths, volumes)


def paths(found: Any) -> list[str]:
    return [each["path"] for each in found.to_json()["files"]]


def test_files_and_folders_come_with_modes_times_links_and_holes(world: World, backup: Backup):
    folder = world.folder / "out"
    request = wanted(backup, "/etc", "/numbers", "/sparse", "/outside", "/bin/sh", "/device")

    done = fetch_files(world.site, request, folder)

    assert (folder / "etc/hosts").read_text() == "hosts in a journal"
    assert (folder / "numbers").read_text() == NUMBERS
    secret = (folder / "etc/ssh/sshd_config").stat()
    assert (stat.S_IMODE(secret.st_mode), secret.st_mtime) == (0o600, 1790000000)
    assert (folder / "etc").stat().st_mtime == 1790000000
    assert (folder / "sparse").stat().st_size == 3 * MIB + 3
    assert (folder / "sparse").stat().st_blocks * 512 < MIB
    assert (folder / "outside").readlink() == Path("../../../../../../etc/passwd")
    assert (folder / "usr/bin/sh").read_text() == "sh"
    assert [each.reason for each in done.skipped] == ["it is a device, a socket or a pipe"]
    assert not done.damaged
    job = world.vault.jobs.get(str(done.job))
    assert (job.kind, job.state, job.intent["paths"]) == (
        JobKind.FETCH,
        JobState.SUCCEEDED,
        list(request.paths),
    )
    assert [path for path in folder.rglob("*") if path.name.endswith(".part")] == []


def test_a_listing_says_what_would_come_and_changes_nothing(world: World, backup: Backup):
    found = list_files(world.site, wanted(backup, "/etc/*"))
    assert paths(found) == ["/etc/hosts", "/etc/ssh", "/etc/ssh/sshd_config"]
    assert (found.size, found.job) == (26, None)
    assert world.vault.jobs.list()[0].kind is JobKind.BACKUP


def test_a_path_on_several_file_systems_is_asked_about(world: World, backup: Backup):
    with pytest.raises(UsageError, match="is on several file systems") as caught:
        list_files(world.site, wanted(backup, "/etc/hosts", volumes=()))
    assert "--volume db-01-disk-0:2" in str(caught.value.hint)
    for volume in ("db-01-disk-0:2", backup.volumes[0].volume_id, f"{backup.volumes[0].volume_id}:2"):
        assert paths(list_files(world.site, wanted(backup, "/etc/hosts", volumes=(volume,)))) == [
            "/etc/hosts"
        ]


def test_what_is_nowhere_or_unreadable_is_told_with_where_it_was_looked_for(world: World, backup: Backup):
    with pytest.raises(NotFound, match="/nothing is not in backup") as caught:
        fetch_files(world.site, wanted(backup, "/nothing"), world.folder / "out")
    assert "db-01-disk-0:2 (ext4)" in str(caught.value.hint)
    assert "db-01-disk-0:1 (XFS cannot be read)" in str(caught.value.hint)
    assert not (world.folder / "out").exists()
    with pytest.raises(Unsupported, match="XFS cannot be read") as refused:
        list_files(world.site, wanted(backup, "/x", volumes=("db-01-disk-0:1",)))
    assert "--to DIR" in str(refused.value.hint)
    with pytest.raises(UsageError, match="no absolute path"):
        list_files(world.site, wanted(backup, "etc/hosts"))
    with pytest.raises(Refused, match="is not a disk of"):
        list_files(world.site, wanted(backup, "/x", volumes=("tape",)))
    assert world.vault.jobs.open() == []


def test_two_files_of_one_name_do_not_meet_in_a_folder(world: World):
    backup = backup_of(world, image("ext4"), with_mbr(image("ext2"), image("inline")))
    request = wanted(backup, "/bin/sh", "/usr/*", volumes=())
    with pytest.raises(UsageError, match="several"):
        list_files(world.site, request)


def test_a_second_time_the_same_is_kept_and_something_else_is_refused(world: World, backup: Backup):
    folder = world.folder / "out"
    fetch_files(world.site, wanted(backup, "/etc", "/sparse", "/bin"), folder)
    again = fetch_files(world.site, wanted(backup, "/etc", "/sparse", "/bin", "/numbers"), folder)
    assert [each.path[-1] for each in again.files if not each.kept] == [b"numbers"]

    (folder / "etc/hosts").write_text("hosts of somebody!")
    with pytest.raises(Refused, match="out/etc/hosts is there already"):
        fetch_files(world.site, wanted(backup, "/etc/hosts"), folder)
    assert (folder / "etc/hosts").read_text() == "hosts of somebody!"


def test_nothing_is_written_through_links_that_lie_in_the_folder(world: World, backup: Backup):
    folder, elsewhere = world.folder / "out", world.folder / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "etc").symlink_to(elsewhere)
    for path in ("/etc/hosts", "/etc"):
        with pytest.raises(Refused, match="is there already"):
            fetch_files(world.site, wanted(backup, path), folder)
    (folder / "etc").unlink()
    (folder / "numbers").symlink_to(elsewhere / "numbers")
    with pytest.raises(Refused, match="is there already"):
        fetch_files(world.site, wanted(backup, "/numbers"), folder)
    assert list(elsewhere.iterdir()) == []


def test_an_interrupted_fetch_leaves_no_half_file_and_goes_on(world: World, backup: Backup, monkeypatch):
    folder, whole = world.folder / "out", csbsctl.protection.files._checked

    def cut_short(content, check):
        for offset, data in whole(content, check):
            yield offset, data[:1000]
            if len(data) > 1000:
                raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(csbsctl.protection.files, "_checked", cut_short)
        with pytest.raises(Interrupted):
            fetch_files(world.site, wanted(backup, "/etc", "/numbers"), folder)
    assert sorted(path.name for path in folder.rglob("*")) == ["etc", "hosts", "ssh", "sshd_config"]

    done = fetch_files(world.site, wanted(backup, "/etc", "/numbers"), folder)
    assert [each.path[-1] for each in done.files if not each.kept] == [b"numbers"]
    assert (folder / "numbers").read_text() == NUMBERS


def test_what_is_damaged_is_left_out_and_the_rest_comes(world: World):
    disk = bytearray(image("ext2"))
    at = disk.index(b"\x0b\x01sshd_config") - 6
    disk[at : at + 4] = b"\xff\xff\xff\x0f"
    backup = backup_of(world, bytes(disk))
    done = fetch_files(world.site, FilesRequest(backup, ("/etc",)), world.folder / "out")
    assert paths(done) == ["/etc", "/etc/hosts", "/etc/ssh"]
    assert [(each["path"], each["reason"]) for each in done.to_json()["skipped"]] == [
        ("/etc/ssh/sshd_config", "its inode is damaged")
    ]
    assert done.damaged


def test_a_small_file_of_a_large_backup_reads_little(world: World):
    server = world.server("db-01", 64 * MIB)
    for at in range(0, 64, 8):
        world.write(server, 0, os.urandom(MIB), at * MIB)
    world.write(server, 0, image("ext4"))
    backup = create_backups(world.site, [server]).succeeded[0]
    packs = [path for path in (world.folder / "vault").rglob("*") if path.is_file()]
    read = []
    disk_of = world.cloud.open_disk

    def counted(step, stored):
        disk = disk_of(step, stored)
        original = disk.read
        disk.read = lambda offset, length: read.append(length) or original(offset, length)
        return disk

    world.cloud.open_disk = counted  # type: ignore[method-assign] # counts, and reads for real
    fetch_files(world.site, FilesRequest(backup, ("/etc/hosts",)), world.folder / "out")
    assert sum(read) < 2 * MIB
    assert sum(path.stat().st_size for path in packs) > 7 * MIB


def test_what_waits_for_its_name_gets_it_or_leaves_nothing(tmp_path):
    node = Node(1, Kind.FILE, 0o644, 0, 0, 2, 10**9, 10**9)
    with pytest.raises(Refused, match="b is there already"), Placer(tmp_path / "out") as placer:  # noqa: PT012
        for name in (b"a", b"b", b"c"):
            assert not placer.file((b"x", name), node, iter([(0, b"ok")]))
        (tmp_path / "out/x/b").write_text("somebody was faster")
    assert {path.name: path.read_text() for path in (tmp_path / "out/x").iterdir()} == {
        "a": "ok",
        "b": "somebody was faster",
    }


def test_whoever_comes_after_a_death_at_any_file_makes_it_whole(world: World, backup: Backup, monkeypatch):
    class Dead(BaseException):
        """Stands for SIGKILL: nobody tidies up."""

    request = wanted(backup, "/many", "/etc")
    for survivors in (0, 1, 100):
        folder = world.folder / f"out-{survivors}"
        passed = iter([*range(survivors), None])

        def die(passed=passed):
            if next(passed) is None:
                raise Dead

        with monkeypatch.context() as patch:
            patch.setattr("csbsctl.protection.placing.PLACED", die)
            patch.setattr("csbsctl.protection.placing.os.unlink", lambda *_a, **_k: None)
            with pytest.raises(Dead):
                fetch_files(world.site, request, folder)
        done = fetch_files(world.site, request, folder)
        assert len([path for path in folder.rglob("*") if path.is_file()]) == 202
        assert stat.S_IMODE((folder / "many").stat().st_mode) == 0o755
        assert sum(each.kept for each in done.files if each.node.kind is Kind.FILE) == survivors + 1


def test_a_huge_hole_is_compared_at_once(tmp_path):
    node = Node(1, Kind.FILE, 0o644, 0, 0, 1 << 42, 10**9, 10**9)
    for kept in (False, True):
        with Placer(tmp_path / "out") as placer:
            assert placer.file((b"huge",), node, iter([(1 << 41, b"middle")])) is kept


def test_only_one_command_at_a_time_writes_to_a_folder(world: World, backup: Backup):
    with Placer(world.folder / "out"), pytest.raises(Conflict, match="another command"):
        fetch_files(world.site, wanted(backup, "/etc"), world.folder / "out")


@pytest.mark.parametrize("part", [b"..", b".", b"", b"a/b", b"a\0b"])
def test_a_path_that_would_leave_the_folder_is_refused(part):
    with pytest.raises(Refused, match="no path below a folder"):
        inside([(b"etc", part)])


def test_rights_of_an_owner_are_given_only_with_the_owner(tmp_path):
    node = Node(1, Kind.FILE, 0o4755, 12345, 12345, 2, 10**9, 10**9)
    for is_root in {False, os.geteuid() == 0}:
        with Placer(tmp_path / str(is_root)) as placer:
            placer._owner = is_root
            placer.file((b"tool",), node, iter([(0, b"ok")]))
        made = (tmp_path / str(is_root) / "tool").stat()
        assert stat.S_IMODE(made.st_mode) == (0o4755 if is_root else 0o755)
        assert made.st_uid == (12345 if is_root else os.geteuid())


@pytest.mark.skipif(not shutil.which("mke2fs"), reason="e2fsprogs is not installed")
def test_names_that_are_no_text_come_out_as_they_are(world: World, tmp_path):
    import subprocess

    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / os.fsdecode(b"caf\xe9\n")).write_text("latin")
    subprocess.run(["mke2fs", "-q", "-F", "-d", tree, tmp_path / "i", "2M"], check=True, capture_output=True)
    backup = backup_of(world, (tmp_path / "i").read_bytes())
    done = fetch_files(world.site, FilesRequest(backup, ("/c*",)), world.folder / "out")
    assert [os.fsencode(path.name) for path in (world.folder / "out").iterdir()] == [b"caf\xe9\n"]
    assert paths(done) == ["/caf\\xe9\\n"]
