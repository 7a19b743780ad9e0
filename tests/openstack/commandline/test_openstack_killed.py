"""Commands are killed at their step boundaries on a real cloud; the same command again, or a ``run``, puts it right.

By default at the most telling boundaries; ``make test-openstack-all`` takes all of them.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

import pytest

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(3000), pytest.mark.filterwarnings("ignore")]
EVERY = bool(os.environ.get("CSBSCTL_EVERY_STEP"))


def steps(telling: list[str], others: list[str]) -> list[str]:
    return telling + others if EVERY else telling


BACKUP = steps(
    ["openstack.pause.paused", "openstack.backup.asked:2"],
    [
        "openstack.snapshots.taken",
        "backup.journalled",
        "openstack.pause.noted",
        "openstack.pause.resumed",
        "openstack.snapshots.sealed",
        "backup.snapshotted",
        "openstack.backup.asked",
        "openstack.backup.stored",
        "backup.stored",
        "backup.released",
        "backup.recorded",
    ],
)
AS_NEW = steps(
    ["openstack.volume.made", "openstack.server.building"],
    ["restore.journalled", "restore.restored", "restore.restored:2", "restore.built", "restore.released"],
)
IN_PLACE = steps(
    ["openstack.root.reset", "openstack.volume.detached"],
    [
        "openstack.volume.onto:2",
        "openstack.swap.volume",
        "restore.journalled",
        "restore.stopped",
        "openstack.volume.onto",
        "restore.restored",
        "openstack.swap.volume:2",
        "restore.swapped",
        "restore.started",
        "restore.released",
    ],
)
IMAGE = steps(
    ["openstack.image.snapshots"],
    [
        "openstack.image.restored",
        "image.journalled",
        "image.pinned",
        "openstack.volume.made",
        "image.created",
        "image.recorded",
    ],
)
UNIMAGE = steps([], ["image.journalled", "image.removed"])
DELETE = steps(["delete.erased"], ["delete.journalled", "delete.marked", "delete.recorded"])


@pytest.fixture
def stage(shop: Any, bench: Any) -> tuple[Any, str]:
    """Return a shop and its server: two disks, protected."""
    server_id = bench.server(2, name="t-web", metadata={"tier": "web"})
    shop.run("apply", "--yes")
    return shop, server_id


def is_well(shop: Any, server_id: str) -> None:
    """Nothing is left over, no server is stopped or paused, nothing is half done."""
    shop.is_clean()
    assert shop.bench.status(server_id) == "ACTIVE"
    jobs = shop.json("job", "list")
    assert [job["state"] for job in jobs if job["state"] == "running"] == []
    states = {backup["state"] for backup in shop.json("backup", "list", "--all")}
    assert states <= {"available"}


def test_backups(stage, bench):
    shop, server_id = stage
    shop.write(server_id, 1)
    for number, (step, by_run) in enumerate(zip(BACKUP, itertools.cycle([False, True]), strict=False)):
        words = ("backup", "create", "t-web", "--name", f"b{number}")
        shop.killed(step, *words)
        bench.until(
            lambda: bench.status(server_id), "ACTIVE", seconds=300
        )  # a paused server does not wait for anybody
        shop.run("run") if by_run else shop.run(*words)
        made = [backup for backup in shop.backups() if backup["name"] == f"b{number}"]
        assert [(b["state"], len(b["volumes"])) for b in made] == [("available", 2)], step
        is_well(shop, server_id)

    for step in DELETE:
        count = len(shop.backups())
        words = ("backup", "delete", shop.backups()[-1]["id"], "--yes")
        shop.killed(step, *words)
        shop.run("run")
        assert len(shop.backups()) == count - 1, step
        is_well(shop, server_id)
    stored = list(bench.cloud.block_storage.backups())
    assert len(stored) == 2 * len(shop.json("backup", "list", "--all"))


def test_restores_as_a_new_server(stage, bench):
    shop, server_id = stage
    wanted = shop.write(server_id, 1)
    shop.run("backup", "create", "t-web", "--name", "first")
    for number, step in enumerate(AS_NEW):
        name = f"t-copy-{number}"
        words = ("restore", "first", "--as", name)
        shop.killed(step, *words)
        shop.run(*words)
        copies = list(bench.cloud.compute.servers(name=f"^{name}$"))
        bench.server_ids += [copy.id for copy in copies]
        assert len(copies) == 1, step
        assert shop.digests(copies[0].id) == wanted, step
        is_well(shop, server_id)


def test_restores_in_place(stage):
    shop, server_id = stage
    wanted = shop.write(server_id, 1)
    shop.run("backup", "create", "t-web", "--name", "first")
    words = ("restore", "first", "--in-place", "--no-safety-backup", "--yes")
    for number, (step, by_run) in enumerate(zip(IN_PLACE, itertools.cycle([False, True]), strict=False)):
        shop.write(server_id, 10 * number + 10)
        shop.killed(step, *words)
        shop.run("run") if by_run else shop.run(*words)
        if step == "restore.journalled" and by_run:
            shop.run(*words)  # nothing had begun: a run leaves it at that
        assert shop.digests(server_id) == wanted, step
        is_well(shop, server_id)


def test_images(stage, bench):
    shop, server_id = stage
    shop.write(server_id, 1)
    shop.run("backup", "create", "t-web", "--name", "first")
    for step in IMAGE:
        words = ("image", "create", "first", "--name", "t-golden")
        shop.killed(step, *words)
        shop.run(*words)
        assert [image["name"] for image in shop.json("image", "list")] == ["t-golden"], step
        is_well(shop, server_id)
        shop.run("image", "delete", "t-golden", "--yes")
        _no_image_is_left(shop, bench)
    for step in UNIMAGE:
        shop.run("image", "create", "first", "--name", "t-golden")
        shop.killed(step, "image", "delete", "t-golden", "--yes")
        shop.run("run")
        _no_image_is_left(shop, bench)
        is_well(shop, server_id)


def _no_image_is_left(shop: Any, bench: Any) -> None:
    assert shop.json("image", "list") == []
    names = [volume.name for volume in bench.cloud.block_storage.volumes()]
    assert [name for name in names if name.startswith("t-golden")] == []
    assert list(bench.cloud.block_storage.snapshots()) == []
