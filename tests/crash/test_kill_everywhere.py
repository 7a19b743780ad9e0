"""Killed at every boundary through the command line: what comes next finishes or undoes it, and nothing is left."""

from __future__ import annotations

import lzma
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from csbsctl.boundaries import declared_anywhere

if TYPE_CHECKING:
    from tests.crash.conftest import Yard

pytestmark = pytest.mark.slow
FILE_SYSTEM = Path(__file__).parents[1] / "fixtures" / "filesystem" / "ext4.img.xz"


def nothing(_yard: Yard) -> None: ...


def keep_one(yard: Yard) -> None:
    """Ask for less, so that there is something to apply."""
    text = (yard.folder / "csbs.yaml").read_text()
    (yard.folder / "csbs.yaml").write_text(text.replace("count: 2", "count: 1"))


def forget_the_vault(yard: Yard) -> None:
    shutil.rmtree(yard.folder / "vault")


def let_stores_fail(yard: Yard) -> None:
    yard("sim", "fail", "store", "--error", "refused", "--times", "1")


def leave_a_dead_holder(yard: Yard) -> None:
    assert yard.dies("backup", "create", "web-01", "--name", "third", fault="lease.taken")


def age(yard: Yard) -> None:
    """Make everything in the vault old and plenty, so that old generations go."""
    catalogue = next((yard.folder / "vault" / "catalogue").iterdir())
    for number in range(22 - len(list(catalogue.iterdir()))):  # every eighth generation looks for old ones
        yard("backup", "unprotect" if number % 2 else "protect", "first@web-01")
    for path in (yard.folder / "vault").rglob("*"):
        os.utime(path, (0, 0))


def mostly_dead_packs(yard: Yard) -> None:
    """Let a backup share a little with one that goes: most of a pack dies, and the rest is moved."""
    for name, size, seed in (("short-lived", "1M", "5"), ("heir", "900K", "6")):
        yard("sim", "write", "web-01:0", "--offset", "0", "--random", size, "--seed", seed)
        yard("backup", "create", "web-01", "--name", name)
        yard.note()
    yard("backup", "delete", "short-lived@web-01", "--yes")


def damage_a_pack(yard: Yard) -> None:
    """Flip a byte of one pack, and let the index forget everything."""
    data = yard.folder / "vault" / "data" / "default"
    pack = max((data / "packs").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    stored = bytearray(pack.read_bytes())
    stored[len(stored) // 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(stored)
    shutil.rmtree(data / "index")
    shutil.rmtree(yard.folder / "cloud" / "cache", ignore_errors=True)


def a_larger_disk(yard: Yard) -> None:
    """Back up a disk that is long enough for a note on the way."""
    yard("sim", "disk", "attach", "web-01", "130M")
    yard("backup", "create", "web-01", "--name", "large")
    yard.note()


def a_file_system(yard: Yard) -> None:
    """Back up a disk with files on it."""
    image = yard.folder / "ext4.img"
    image.write_bytes(lzma.decompress(FILE_SYSTEM.read_bytes()))
    yard("sim", "disk", "attach", "web-01", f"{image.stat().st_size}")
    yard("sim", "disk", "import", "web-01:2", str(image))
    yard("backup", "create", "web-01", "--name", "files")
    yard.note()


@dataclass(frozen=True)
class Story:
    """A command, what there must be before it, and the boundaries at which it is killed (``NAME:N`` at the Nth)."""

    words: tuple[str, ...]
    kills: tuple[str, ...]
    before: Callable[[Yard], None] = nothing
    repeatable: bool = True
    """Whether the same command may come again, whatever became of the first."""
    whole: bool = True
    """Whether nothing may be wrong in the end."""


STORIES = {
    "run": Story(
        ("run",),
        (
            *("backup.journalled", "backup.snapshotted", "backup.stored", "backup.stored:2"),
            *("backup.released", "backup.recorded", "backup.finished"),
            *("cloud.snapshot.files", "cloud.snapshot.taken", "cloud.snapshot.released"),
            *("prune.journalled", "prune.marked", "prune.erased", "prune.recorded"),
            *("collect.journalled", "collect.doomed", "collect.collected"),
            *("collect.unindexed", "collect.deleted", "collect.collected:2"),
            *("job.announced", "job.announced:2", "job.begun", "job.begun:3", "job.ended", "job.ended:2"),
            *("job.ended:3", "lease.taken", "lease.taken:2", "lease.released", "lease.released:2"),
            *("repository.session.stored", "repository.pack.stored", "repository.index.stored"),
            *("repository.manifest.stored", "repository.manifest.stored:2", "audit.flushed"),
            *("store.staged", "store.staged:?", "store.named", "store.named:?", "store.named:?"),
            *("vault.generation.created:?", "vault.generation.created:?"),
        ),
    ),
    "create": Story(
        ("backup", "create", "web-01", "--name", "third"),
        ("backup.snapshotted", "backup.stored:2", "backup.recorded", "backup.finished", "store.named:?"),
        repeatable=False,
    ),
    "fail": Story(("backup", "create", "web-01"), ("backup.undone",), let_stores_fail, repeatable=False),
    "take over": Story(("run",), ("lease.fenced",), leave_a_dead_holder),
    "restore": Story(
        ("restore", "first@web-01", "--in-place", "--yes"),
        (
            *("restore.journalled", "restore.secured", "restore.stopped", "restore.restored"),
            *("restore.restored:2", "restore.swapped", "restore.started", "restore.released"),
            *("cloud.volume.created", "cloud.restore.written", "cloud.swap.done"),
            *("backup.recorded", "store.named:?"),
        ),
    ),
    "instant restore": Story(
        ("restore", "first@web-01", "--in-place", "--instant", "--yes"),
        ("cloud.fill.arrived", "cloud.swap.done"),
    ),
    "copy": Story(
        ("restore", "first@web-01", "--as", "copy"),
        (
            "restore.journalled",
            "restore.restored",
            "restore.built",
            "cloud.build.done",
            "cloud.volume.created:2",
        ),
        repeatable=False,
    ),
    "volumes alone": Story(
        ("restore", "first@web-01", "--no-server", "--as", "alone"),
        ("restore.restored:2", "cloud.volumes.kept", "restore.kept"),
        repeatable=False,
    ),
    "fetch disks": Story(
        ("restore", "large@web-01", "--to", "fetched"),
        ("fetch.journalled", "fetch.disk.noted", "fetch.disk.whole", "fetch.disk.named:3", "fetch.written"),
        a_larger_disk,
    ),
    "fetch files": Story(
        ("restore", "files@web-01", "--path", "/*", "--to", "fetched"),
        ("fetch.file.placed", "fetch.file.placed:3"),
        a_file_system,
    ),
    "image": Story(
        ("image", "create", "first@web-01", "--name", "silver"),
        (
            "image.journalled",
            "image.pinned",
            "image.created",
            "image.recorded",
            "repository.manifest.stored:2",
        ),
        repeatable=False,
    ),
    "unimage": Story(
        ("image", "delete", "golden", "--yes"),
        ("image.journalled", "image.removed", "job.ended"),
        repeatable=False,
    ),
    "delete": Story(
        ("backup", "delete", "first@web-01", "--yes"),
        (
            "delete.journalled",
            "delete.marked",
            "delete.erased",
            "delete.recorded",
            "job.ended",
            "store.named:?",
        ),
        repeatable=False,
    ),
    "verify": Story(
        ("backup", "verify", "--all"),
        ("verify.journalled", "verify.read:2", "verify.recorded", "job.ended:3"),
    ),
    "apply": Story(
        ("apply", "--yes"),
        (
            "apply.before-commit",
            "apply.committed",
            "vault.generation.created",
            "store.staged",
            "store.named:2",
        ),
        keep_one,
    ),
    "add a key": Story(
        ("vault", "key", "add", "other", "--key-file", __file__),
        ("keys.changed", "keys.purged", "store.named"),
        repeatable=False,
    ),
    "remove a key": Story(
        ("vault", "key", "remove", "spare", "--yes"),
        ("keys.changed", "keys.purged", "store.named:2"),
        repeatable=False,
    ),
    "rotate keys": Story(("vault", "key", "rotate"), ("keys.changed", "keys.purged", "store.staged:2")),
    "init": Story(
        ("vault", "init"),
        ("keys.changed", "keys.purged", "vault.probed", "vault.made", "store.named:?", "store.staged:?"),
        forget_the_vault,
    ),
    "compact": Story(("run",), ("vault.compacted", "vault.compacted:3"), age),
    "move": Story(("run",), ("collect.copied",), mostly_dead_packs),
    "repair": Story(
        ("vault", "check", "--repair", "--no-race"),
        ("repository.repair.indexed", "repository.repair.salvaged"),
        damage_a_pack,
        whole=False,
    ),
}
MOST = {"run": 20, "create": 20, "restore": 30, "delete": 8, "init": 20}
"""How often a story comes by the boundaries of the store at least, for kills at any of them."""

ELSEWHERE = {"openstack.": "the OpenStack provider's, killed in tests/openstack against a real cloud"}
"""Boundaries that no story comes by, and why."""


def cases() -> Iterator[object]:
    chance = random.Random(20261123)
    for name, story in STORIES.items():
        for kill in story.kills:
            boundary, _, passage = kill.partition(":")
            number = chance.randint(1, MOST[name]) if passage == "?" else int(passage or 1)
            yield pytest.param(name, boundary, number, id=f"{name}-{boundary}-{number}")


@pytest.mark.parametrize(("name", "boundary", "passage"), list(cases()))
def test_killed_anywhere_what_comes_next_leaves_everything_whole(
    yard: Yard, name: str, boundary: str, passage: int
):
    story = STORIES[name]
    story.before(yard)
    assert yard.dies(*story.words, fault=boundary, passage=passage), (
        f"{boundary} was not passed {passage} times"
    )
    if story.repeatable and passage % 2:
        yard(*story.words, expect=None if not story.whole else 0)
    if name == "init":
        yard("vault", "init")
        yard("apply", "--yes")
        yard("backup", "create", "web-01")
    yard("run")
    if story.whole:
        yard.hold_invariants()
        yard.next_night()
        assert "1 backed up" in yard("run")
    else:
        yard.hold_what_is_good()


def test_every_boundary_kills_some_story():
    declared = declared_anywhere()
    killed = {kill.partition(":")[0] for story in STORIES.values() for kill in story.kills}
    unknown = killed - declared.keys()
    forgotten = {name for name in declared if name not in killed and not name.startswith(tuple(ELSEWHERE))}
    assert not unknown, f"these are not declared: {sorted(unknown)}"
    assert not forgotten, f"nothing kills at these: {sorted(forgotten)}"
