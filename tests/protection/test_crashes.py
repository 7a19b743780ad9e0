"""Killed at any boundary, anywhere: the same command or the next run ends in the state of an undisturbed one."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import csbsctl.protection.byhand
import csbsctl.protection.files
import csbsctl.protection.restore
import csbsctl.protection.runner  # noqa: F401 - declares its boundaries
import csbsctl_local.provider
import csbsctl_local.repository  # noqa: F401 - declares its boundaries
from csbsctl.boundaries import declared
from csbsctl.clock import VirtualClock, format_instant, parse_instant
from csbsctl.errors import CsbsError

if TYPE_CHECKING:
    from tests.protection.conftest import World

POLICY = {
    "policies": {"gold": {"schedule": {"at": ["02:00"]}, "retention": {"count": 1}}},
    "bindings": {"web": {"policy": "gold", "servers": ["web-01"]}},
}
STORIES = {
    "run": (
        "backup.",
        "prune.",
        "collect.journalled",
        "collect.collected",
        "lease.",
        "job.",
        "vault.generation",
    ),
    "backup": ("backup.",),
    "restore_in_place": ("restore.", "backup."),
    "restore_as_new": ("restore.",),
    "restore_volumes": ("restore.",),
    "fetch": ("fetch.",),
    "image": ("image.",),
    "unimage": ("image.",),
    "delete": ("delete.",),
    "verify": ("verify.",),
}
ON_SERVERS = ("restore.secured", "restore.stopped", "restore.swapped", "restore.started")
NOT_PASSED = {
    "run": {"backup.undone", "lease.fenced"},
    "backup": {"backup.undone"},
    "restore_in_place": {"backup.undone", "restore.built", "restore.kept"},
    "restore_as_new": {*ON_SERVERS, "restore.kept"},
    "restore_volumes": {*ON_SERVERS, "restore.built"},
    "fetch": {"fetch.disk.noted", "fetch.file.placed"},
    "image": {"image.removed"},
    "unimage": {"image.pinned", "image.created", "image.recorded"},
}
"""Boundaries that a story does not come by; everything else declared must kill it."""


def cases() -> Iterator[tuple[str, str]]:
    for story, prefixes in STORIES.items():
        for name in declared():
            if name.startswith(prefixes) and name not in NOT_PASSED.get(story, ()):
                yield story, name


class Stage:
    """A prepared world on disk, copied for every case, and what each story makes of it when nothing disturbs it."""

    def __init__(self, folder: Path, at: str, open_world: Any, scenario: Any) -> None:
        self.folder, self.at = folder, at
        self._open_world, self._scenario = open_world, scenario
        self._expected: dict[tuple[str, ...], dict[str, Any]] = {}

    def copy(self, to: Path) -> Path:
        return Path(shutil.copytree(self.folder, to))

    def undisturbed(self, to: Path, *story: str) -> dict[str, Any]:
        if story not in self._expected:
            self._expected[story] = self.outcome(self.copy(to), *story)
        return self._expected[story]

    def outcome(self, folder: Path, *stories: str) -> dict[str, Any]:
        """Play stories to their end, one new runner each, and return what there is then."""
        for story in stories:
            world = self.open(folder)
            self._scenario.STORIES[story](world)
            world.close()
        world = self.open(folder)
        try:
            found: dict[str, Any] = self._scenario.state_of(world)
        finally:
            world.close()
        return found

    def delete(self, world: World) -> None:
        """Delete the backup that the stories are about."""
        self._scenario.STORIES["delete"](world)

    def open(self, folder: Path) -> World:
        world: World = self._open_world(folder, VirtualClock(parse_instant(self.at)), create=False)
        return world


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, open_world: Any, scenario: Any) -> Stage:
    """Return a server with two backups by hand, one of them with an image, and one of last night; it is night again."""
    from csbsctl.protection.byhand import create_backups, create_image

    world: World = open_world(tmp_path_factory.mktemp("stage"))
    server = world.server("web-01", 1 << 20, 1 << 20)
    world.declare(POLICY)
    create_backups(world.site, [server], name="first")
    second = create_backups(world.site, [server], name="second").succeeded[0]
    create_image(world.site, second, "silver")
    world.run(world.night(0))
    world.write(server, 0, b"since then", 8192)
    world.close()
    return Stage(world.folder, format_instant(world.night(1)), open_world, scenario)


def killed(process: Any) -> bool:
    """Wait for a process that is to die at a boundary; return whether it came by."""
    process.join(100)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(("story", "boundary"), list(cases()))
def test_killed_at_a_boundary_the_next_run_ends_as_if_undisturbed(
    stage: Stage, apart: Any, tmp_path: Path, story: str, boundary: str
):
    expected = stage.undisturbed(tmp_path / "quiet", story, "run")
    assert expected["leftovers"] == expected["open jobs"] == expected["held leases"] == []
    folder = stage.copy(tmp_path / "killed")
    assert killed(apart(str(folder), stage.at, story, boundary)), f"{boundary} was not passed"
    assert stage.outcome(folder, story, "run") == expected


BELOW = {
    "run": ("cloud.snapshot", "repository.", "store.", "audit.", "collect."),
    "restore_in_place": ("cloud.",),
    "restore_as_new": ("cloud.",),
    "image": ("cloud.", "repository."),
}
"""Boundaries of the floors below, which a story may or may not come by."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("story", "boundary"),
    [(story, name) for story, prefixes in BELOW.items() for name in declared() if name.startswith(prefixes)],
)
def test_killed_on_a_floor_below_the_next_run_ends_as_if_undisturbed(
    stage: Stage, apart: Any, tmp_path: Path, story: str, boundary: str
):
    expected = stage.undisturbed(tmp_path / "quiet", story, "run")
    folder = stage.copy(tmp_path / "killed")
    if killed(apart(str(folder), stage.at, story, boundary)):
        assert stage.outcome(folder, story, "run") == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "boundary", [name for name in declared() if name.startswith(("backup.", "restore."))]
)
def test_killed_in_a_restore_a_run_alone_leaves_a_whole_server_and_nothing_behind(
    stage: Stage, apart: Any, tmp_path: Path, boundary: str
):
    if boundary in NOT_PASSED["restore_in_place"]:
        return
    before = stage.undisturbed(tmp_path / "before")["servers"]
    restored = stage.undisturbed(tmp_path / "restored", "restore_in_place")["servers"]
    folder = stage.copy(tmp_path / "killed")
    assert killed(apart(str(folder), stage.at, "restore_in_place", boundary))
    after = stage.outcome(folder, "run")
    assert after["servers"] in (before, restored)
    assert after["leftovers"] == after["open jobs"] == after["held leases"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("story", "boundary"),
    [
        (story, name)
        for story, name in cases()
        if story in ("restore_as_new", "restore_volumes", "fetch", "image", "verify")
    ],
)
def test_killed_at_work_on_a_backup_that_is_deleted_next_the_run_leaves_nothing_open(
    stage: Stage, apart: Any, tmp_path: Path, story: str, boundary: str
):
    folder = stage.copy(tmp_path / "killed")
    assert killed(apart(str(folder), stage.at, story, boundary))
    world = stage.open(folder)
    with suppress(CsbsError):  # refused where the backup is held for what was begun
        stage.delete(world)
    world.close()
    found = stage.outcome(folder, "run")
    assert (found["open jobs"], found["held leases"], found["leftovers"]) == ([], [], [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("story", "boundary"),
    [(story, name) for story, name in cases() if story in ("run", "backup", "restore_in_place")],
)
def test_killed_at_work_on_a_server_that_is_deleted_next_the_run_leaves_nothing_open(
    stage: Stage, apart: Any, tmp_path: Path, story: str, boundary: str
):
    folder = stage.copy(tmp_path / "killed")
    assert killed(apart(str(folder), stage.at, story, boundary))
    world = stage.open(folder)
    for server in list(world.cloud.servers()):
        world.cloud.cloud.machines.delete(server.id)
    world.close()
    found = stage.outcome(folder, "run")
    assert (found["open jobs"], found["held leases"], found["leftovers"]) == ([], [], [])
