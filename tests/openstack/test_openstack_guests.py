"""With real guests that write in strict order: what a backup holds, and that a server boots from it.

Needs the test bed with ``NOVA_DRIVER=libvirt``. BACKUPS says how many (ten). The guest's own check of its disks, on the
console, and the records read from outside must agree that each backup holds a prefix of what was written.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from csbsctl.ids import new_id
from csbsctl.model.policy import Consistency

BACKUPS = int(os.environ.get("BACKUPS", "10"))
pytestmark = [pytest.mark.openstack, pytest.mark.timeout(1800), pytest.mark.filterwarnings("ignore")]


def console(bench: Any, server_id: str) -> str:
    return str(bench.cloud.compute.get_server_console_output(server_id)["output"] or "")


def until_said(bench: Any, server_id: str, *words: str, seconds: float = 180) -> str:
    end = time.monotonic() + seconds
    while not all(word in (text := console(bench, server_id)) for word in words):
        assert time.monotonic() < end, text[-2000:]
        time.sleep(1)
    return text


def records(bench: Any, volumes: list[Any], snapshots: list[str]) -> dict[str, dict[str, int]]:
    names = [f"volume-{v.id}@snapshot-{s}" for v, s in zip(volumes, snapshots, strict=True)]
    return json.loads(bench.testbed.helper("records.py", *names))


@pytest.fixture
def guest(bench: Any) -> Iterator[str]:
    """A guest whose two writers run."""
    image = bench.cloud.image.find_image("guest")
    if image is None:
        pytest.skip("no real guests: start the test bed with NOVA_DRIVER=libvirt")
    root = bench.cloud.block_storage.create_volume(size=1, name="t-guest-0", image_id=image.id)
    bench.until(lambda: bench.cloud.block_storage.get_volume(root.id).status, "available")
    volumes = [root.id, bench.volume("t-guest-1")]
    server_id = bench.boot("t-guest", volumes, flavor="g1")
    until_said(bench, server_id, "WRITER raw runs", "WRITER fs runs")
    return server_id


def test_every_backup_of_a_writing_guest_holds_a_prefix_and_boots(bench, guest):
    for _ in range(BACKUPS):
        step = bench.step(guest, job=(job := new_id()), backup=job)
        snapshot = bench.provider.snapshot(step, guest, Consistency.CRASH)
        found = records(bench, [v.volume for v in snapshot.volumes], [v.ref for v in snapshot.volumes])
        assert {name: verdict["missing"] for name, verdict in found.items()} == {"raw": 0, "fs": 0}
        bench.provider.release(step, snapshot)
    backup = bench.back_up(guest)

    plan, step = bench.plan_new(backup, "t-again"), bench.step(guest, backup=backup.id)
    restored = [bench.provider.restore(step, plan, mapping) for mapping in plan.mappings]
    again = bench.provider.build(step, plan, restored)
    bench.server_ids.append(again.id)

    text = until_said(bench, again.id, "WRITER raw runs", "WRITER fs runs")
    assert len(re.findall(r"WRITER (?:raw|fs) found \d+ records, 0 missing: prefix", text)) == 2, text[-2000:]
    assert bench.status(guest) == "ACTIVE"


def test_without_the_pause_the_same_guest_is_torn(bench, guest):
    torn = 0
    for _ in range(BACKUPS):
        volumes = list(bench.provider.server(guest).volumes)
        made = []
        for volume in volumes:  # one after the other, as who does not pause would
            snapshot = bench.cloud.block_storage.create_snapshot(volume_id=volume.id, is_forced=True)
            bench.until(lambda s=snapshot: bench.cloud.block_storage.get_snapshot(s.id).status, "available")
            made.append(snapshot.id)
        torn += any(verdict["missing"] for verdict in records(bench, volumes, made).values())
        for snapshot_id in made:
            bench.cloud.block_storage.delete_snapshot(snapshot_id)
    assert torn == BACKUPS
