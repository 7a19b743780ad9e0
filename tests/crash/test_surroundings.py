"""What goes wrong around us: a full disk, a folder nobody may write, a clock that jumps, objects that vanish, a quota.

Each is a clear error and leaves a consistent vault, and the next run succeeds when the cause is gone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.crash.conftest import Yard

pytestmark = pytest.mark.slow
root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


@pytest.fixture
def narrow(yard: Yard) -> Iterator[Path]:
    """Move the vault onto a file system of its own with hardly any room left."""
    vault, kept = yard.folder / "vault", yard.folder / "kept"
    vault.rename(kept)
    vault.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", vault], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        shutil.copytree(kept, vault, dirs_exist_ok=True)
        yield vault
    finally:
        subprocess.run(["umount", "-l", vault], check=True)


def and_then_all_is_well(yard: Yard) -> None:
    yard.next_night()
    assert "1 backed up" in yard("run")
    yard.hold_invariants()


@root
def test_a_full_disk(yard: Yard, narrow: Path):
    room = os.statvfs(narrow)
    filler = narrow.parent / "vault" / "filler"
    filler.write_bytes(bytes(room.f_bavail * room.f_frsize - (96 << 10)))
    said = yard("run", expect=None)
    assert "no space" in said.lower() or "full" in said.lower(), said
    assert "internal error" not in said
    filler.unlink()
    yard("run")
    and_then_all_is_well(yard)


@root
def test_a_vault_on_a_file_system_that_became_read_only(yard: Yard, narrow: Path):
    subprocess.run(["mount", "-o", "remount,ro", narrow], check=True)
    said = yard("run", expect=None)
    assert "read-only" in said.lower(), said
    assert "web-01" in yard("backup", "list"), "reading goes on"
    subprocess.run(["mount", "-o", "remount,rw", narrow], check=True)
    yard("run")
    and_then_all_is_well(yard)


def test_a_clock_that_jumped_ahead_prunes_what_was_due_and_back_again_nothing(yard: Yard):
    today = yard.at
    yard.at = "2026-12-24T02:00:00Z"
    yard("run")
    ahead = yard("backup", "list", "--json")
    yard.at = today
    said = yard("run")
    assert "deleted" not in said
    assert ahead.count('"id"') <= yard("backup", "list", "--json").count('"id"')
    yard.hold_invariants()


def test_objects_that_vanish_behind_our_back(yard: Yard):
    manifests = sorted((yard.folder / "vault" / "data" / "default" / "manifests").iterdir())
    manifests[0].unlink()
    said = yard("backup", "verify", "--all", expect=1)
    assert "missing" in said
    assert "1 backed up" in yard("run")
    yard.hold_what_is_good()


def test_a_quota_that_is_used_up(yard: Yard):
    configuration = yard.folder / "csbs.yaml"
    text = configuration.read_text()
    configuration.write_text(text.replace("path: ./cloud", "path: ./cloud, quota: {backups: 4}"))
    said = yard("run", expect=3)
    assert "quota of 4 backups is used up" in said
    configuration.write_text(text)
    and_then_all_is_well(yard)


def test_a_store_of_which_permission_is_lost(yard: Yard):
    if os.geteuid() == 0:
        pytest.skip("root may do everything")
    vault = yard.folder / "vault"
    vault.chmod(0o555)
    said = yard("run", expect=None)
    vault.chmod(0o755)
    assert "permission" in said.lower()
    and_then_all_is_well(yard)


def test_a_key_that_is_not_there_in_the_middle_of_the_night(yard: Yard):
    key = yard.folder / "vault.key"
    away = key.rename(yard.folder / "away")
    said = yard("run", expect=1)
    assert "key file" in said
    away.rename(key)
    yard("run")
    and_then_all_is_well(yard)
