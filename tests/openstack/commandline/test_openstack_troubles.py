"""Restores that meet trouble on a real cloud: no room, somebody else at work, things deleted in the middle."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.timeout(2400),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not os.environ.get("CSBSCTL_EVERY_STEP"), reason="minutes: `make test-openstack-all`"),
]


@contextmanager
def room_for(bench: Any, volumes: int) -> Iterator[None]:
    """Let the project have only so many volumes more than it has now."""
    admin = bench.testbed.connect("admin")
    project = bench.cloud.current_project_id
    limit = len(list(bench.cloud.block_storage.volumes())) + volumes
    admin.set_volume_quotas(project, volumes=limit)
    try:
        yield
    finally:
        admin.set_volume_quotas(project, volumes=-1)


def test_a_restore_waits_for_room_and_goes_on(shop, bench):
    server_id = bench.server(2, name="t-web", metadata={"tier": "web"})
    wanted = shop.write(server_id, 1)
    shop.run("apply", "--yes")
    shop.run("backup", "create", "t-web", "--name", "first")
    words = ("restore", "first", "--as", "t-copy")
    with room_for(bench, 1):
        said = shop.run(*words, exits=1)
        assert "quota of volumes is too small: 2 needed" in said
        assert "CSBS.9006" in said
    shop.killed("restore.restored", *words)
    with room_for(bench, 0):
        said = shop.run(*words, exits=1)
        assert "quota" in said.lower() or "exceeded" in said.lower()
        assert "the same command goes on" in said
    shop.run(*words)
    (copy,) = bench.cloud.compute.servers(name="^t-copy$")
    bench.server_ids.append(copy.id)
    assert shop.digests(copy.id) == wanted
    shop.is_clean()


def test_a_restore_that_sleeps_keeps_its_server(shop, bench):
    server_id = bench.server(2, name="t-web", metadata={"tier": "web"})
    old = shop.write(server_id, 1)
    shop.run("apply", "--yes")
    shop.run("backup", "create", "t-web", "--name", "first")
    shop.write(server_id, 20)
    shop.run("backup", "create", "t-web", "--name", "second")

    _busy(shop, server_id, old)


def test_another_backup_takes_the_place_of_one_that_vanished_and_no_volume_stays_off(shop, bench):
    server_id = bench.server(2, name="t-web", metadata={"tier": "web"})
    wanted = shop.write(server_id, 1)
    shop.run("apply", "--yes")
    shop.run("backup", "create", "t-web", "--name", "first")
    shop.write(server_id, 20)
    shop.run("backup", "create", "t-web", "--name", "second", "--full")
    in_place = ("--in-place", "--no-safety-backup", "--yes")
    shop.killed("restore.restored", "restore", "second", *in_place)
    second = next(backup for backup in shop.backups() if backup["name"] == "second")
    storage = bench.cloud.block_storage
    doomed = next(b for b in storage.backups() if b.name == f"csbsctl-{second['id'][:8]}-1")
    storage.delete_backup(doomed)
    bench.until(lambda: str(storage.find_backup(doomed.id) is None), "True", seconds=300)
    said = shop.run("restore", "second", *in_place, exits=1)
    assert "another restore takes its place" in said
    said = shop.run("restore", "first", *in_place)
    assert "it is restored and attached again" in said
    assert shop.digests(server_id) == wanted
    assert bench.status(server_id) == "ACTIVE"
    shop.is_clean()


def _busy(shop: Any, server_id: str, wanted: list[str]) -> None:
    """A restore is asleep in the middle; another one is refused, and the first ends well."""
    words = ["restore", "first", "--in-place", "--no-safety-backup", "--yes"]
    asleep = shop.start(*words)
    try:
        while not any(
            job["kind"] == "restore" and job["state"] == "running" for job in shop.json("job", "list")
        ):
            assert asleep.poll() is None, "the restore was over before it was seen"
            time.sleep(0.2)
        os.kill(asleep.pid, signal.SIGSTOP)
        said = shop.run("restore", "second", "--in-place", "--no-safety-backup", "--yes", exits=1)
        assert "is being worked on by" in said
        assert f"(process {asleep.pid} on" in said
    finally:
        os.kill(asleep.pid, signal.SIGCONT)
        code = asleep.wait(timeout=900)
    assert code == 0
    assert shop.digests(server_id) == wanted
    assert shop.bench.status(server_id) == "ACTIVE"
