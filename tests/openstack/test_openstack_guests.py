"""With real guests that write in strict order: what a backup holds, and that a server boots from it.

Needs the test bed with ``NOVA_DRIVER=libvirt`` (``make test-guests``). BACKUPS says how many (ten). The guest's own
check of its disks, on the console, and the records read from outside must agree: what a backup holds is a prefix of
what was written.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from csbsctl.errors import CloudRefused
from csbsctl.ids import new_id
from csbsctl.model.policy import Consistency
from csbsctl.model.server import protectability
from csbsctl.provider import Depth, MarkedKind, Snapshot

BACKUPS = int(os.environ.get("BACKUPS", "10"))
WRITERS = ("raw", "fs")
"""The two writers of a guest: on the raw disks, and on files."""
PATIENCE = 600
"""Seconds for what takes a guest twenty on a quiet machine."""
FOUND = re.compile(r"WRITER (raw|fs) found (\d+) records, (\d+) missing: (prefix|TORN)")
pytestmark = [pytest.mark.openstack, pytest.mark.timeout(3000), pytest.mark.filterwarnings("ignore")]


def console(bench: Any, server_id: str) -> str:
    return str(bench.cloud.compute.get_server_console_output(server_id)["output"] or "")


def until_said(bench: Any, server_id: str, *words: str) -> str:
    """Wait until all words stand on a guest's console, and return what it says."""
    end = time.monotonic() + PATIENCE
    while not all(word in (text := console(bench, server_id)) for word in words):
        assert time.monotonic() < end, f"{words} are not on the console, which ends with:\n{text[-2000:]}"
        time.sleep(1)
    return text


def boot_guest(bench: Any, image: str = "guest", disks: int = 2, kind: str = "ceph") -> str:
    """Boot a guest from an image."""
    found = bench.cloud.image.find_image(image)
    if found is None:
        pytest.skip("no real guests: start the test bed with NOVA_DRIVER=libvirt")
    root = bench.cloud.block_storage.create_volume(
        size=1, name="t-guest-0", image_id=found.id, volume_type=kind
    )
    bench.until(lambda: bench.cloud.block_storage.get_volume(root.id).status, "available")
    others = [bench.volume(f"t-guest-{number}", kind=kind) for number in range(1, disks)]
    return bench.boot("t-guest", [root.id, *others], flavor="g1")


def boot_writing_guest(bench: Any, kind: str = "ceph") -> str:
    """Boot a guest and wait until both of its writers run; ``kind`` is the type of its volumes."""
    server_id = boot_guest(bench, kind=kind)
    until_said(bench, server_id, *(f"WRITER {name} runs" for name in WRITERS))
    return server_id


def missing(bench: Any, volumes: list[str], snapshots: list[str]) -> dict[str, int]:
    """Return how many records a set of snapshots lacks, for each writer, read from outside."""
    names = [f"volume-{v}@snapshot-{s}" for v, s in zip(volumes, snapshots, strict=True)]
    found = json.loads(bench.testbed.helper("records.py", *names))
    assert set(found) == set(WRITERS), found
    return {name: verdict["missing"] for name, verdict in found.items()}


def missing_in(bench: Any, snapshot: Snapshot) -> dict[str, int]:
    return missing(bench, [v.volume.id for v in snapshot.volumes], [v.ref for v in snapshot.volumes])


def said_at_boot(bench: Any, server_id: str) -> dict[str, tuple[int, str]]:
    """Return what a guest that booted from copied disks found there: for each writer, how many records and a verdict."""
    text = until_said(bench, server_id, *(f"WRITER {name} runs" for name in WRITERS))
    found = {name: (int(records), verdict) for name, records, _, verdict in FOUND.findall(text)}
    assert set(found) == set(WRITERS), text[-2000:]
    return found


def remove(bench: Any, server_id: str) -> None:
    """Make room for the next guest."""
    bench.cloud.compute.delete_server(server_id, ignore_missing=True)
    bench.until(lambda: str(bench.cloud.compute.find_server(server_id)), "None")


def restored_boots(bench: Any, backup: Any, number: int) -> dict[str, tuple[int, str]]:
    """Restore a backup as a new server, and return what the guest finds on its disks."""
    plan, step = bench.plan_new(backup, f"t-again-{number}"), bench.step(backup.server.id, backup=backup.id)
    restored = [bench.provider.restore(step, plan, mapping) for mapping in plan.mappings]
    again = bench.provider.build(step, plan, restored)
    bench.server_ids.append(again.id)
    found = said_at_boot(bench, again.id)
    remove(bench, again.id)
    return found


def test_every_backup_of_a_writing_guest_boots_as_a_new_server_that_finds_a_prefix(bench):
    guest = boot_writing_guest(bench)
    last, records = None, dict.fromkeys(WRITERS, 0)
    with ThreadPoolExecutor(1) as pool:
        booting = []
        for number in range(BACKUPS):
            last = bench.back_up(guest, last)
            assert last.consistency is Consistency.CRASH
            booting.append(pool.submit(restored_boots, bench, last, number))
            if number:
                booting[-2].result(
                    timeout=2 * PATIENCE
                )  # two guests and one that is being restored, never more
        for each in booting:
            found = each.result(timeout=2 * PATIENCE)
            assert {name: verdict for name, (_, verdict) in found.items()} == dict.fromkeys(WRITERS, "prefix")
            for name, (count, _) in found.items():
                assert count > records[name], f"{name} found {count} records after {records[name]} before"
                records[name] = count
    assert bench.status(guest) == "ACTIVE"


def test_an_encrypted_guest_boots_from_a_full_and_an_increment_and_finds_a_prefix(bench):
    guest = boot_writing_guest(bench, "ceph-luks")
    full = bench.back_up(guest)
    increment = bench.back_up(guest, full)
    assert {v.kind.value for v in increment.volumes} == {"incremental"}
    for number, backup in enumerate((full, increment)):
        found = restored_boots(bench, backup, number)
        assert {name: verdict for name, (_, verdict) in found.items()} == dict.fromkeys(WRITERS, "prefix")


def test_snapshots_under_the_pause_are_never_torn(bench):
    guest = boot_writing_guest(bench)
    for _ in range(BACKUPS):
        step = bench.step(guest, job=(job := new_id()), backup=job)
        snapshot = bench.provider.snapshot(step, guest, Consistency.CRASH)
        assert (snapshot.method, missing_in(bench, snapshot)) == ("pause", dict.fromkeys(WRITERS, 0))
        bench.provider.release(step, snapshot)


def test_without_the_pause_the_same_guest_is_torn_and_says_so(bench):
    guest = boot_writing_guest(bench)
    volumes = [volume.id for volume in bench.provider.server(guest).volumes]
    torn: list[list[str]] = []
    for _ in range(BACKUPS):
        made = []
        for volume in volumes:  # one after the other, as who does not pause would
            snapshot = bench.cloud.block_storage.create_snapshot(volume_id=volume, is_forced=True)
            bench.until(lambda s=snapshot: bench.cloud.block_storage.get_snapshot(s.id).status, "available")
            made.append(snapshot.id)
        if any(missing(bench, volumes, made).values()):
            torn.append(made)
    print(f"torn without the pause: {len(torn)} of {BACKUPS}")  # noqa: T201 - figures for the reader of `make test-guests`
    assert torn, f"{BACKUPS} sets of snapshots without a pause are all whole: this test bed proves nothing"

    copies = []
    for snapshot_id in torn[0]:
        copy = bench.cloud.block_storage.create_volume(size=1, name="t-torn", snapshot_id=snapshot_id)
        bench.until(lambda c=copy: bench.cloud.block_storage.get_volume(c.id).status, "available")
        copies.append(copy.id)
    verdicts = {
        verdict for _, verdict in said_at_boot(bench, bench.boot("t-torn", copies, flavor="g1")).values()
    }
    assert "TORN" in verdicts


def test_a_guest_whose_image_demands_it_is_frozen_around_its_snapshots(bench):
    guest = boot_guest(bench, "guest-quiesce")
    until_said(bench, guest, *(f"WRITER {name} runs" for name in WRITERS))
    step = bench.step(guest, backup=new_id())

    snapshot = bench.provider.snapshot(step, guest, Consistency.APPLICATION)

    assert (snapshot.method, snapshot.consistency) == ("quiesce", Consistency.APPLICATION)
    assert missing_in(bench, snapshot)["fs"] == 0
    until_said(bench, guest, "GUEST freeze hook: freeze", "GUEST freeze hook: thaw")
    bench.provider.release(step, snapshot)
    assert not list(bench.cloud.block_storage.snapshots())


def test_a_freeze_that_nobody_demands_or_answers_is_refused(bench):
    undemanding = boot_writing_guest(bench)
    with pytest.raises(CloudRefused, match="does not demand"):
        bench.provider.snapshot(bench.step(undemanding), undemanding, Consistency.APPLICATION)
    assert "freeze hook" not in console(bench, undemanding)
    remove(bench, undemanding)

    mute = boot_guest(bench, "guest-quiesce")
    until_said(bench, mute, *(f"WRITER {name} runs" for name in WRITERS))
    end_agent(bench, mute)
    with pytest.raises(CloudRefused, match="did not freeze"):
        bench.provider.snapshot(bench.step(mute), mute, Consistency.APPLICATION)
    assert not list(bench.cloud.block_storage.snapshots())
    assert bench.status(mute) == "ACTIVE"


def end_agent(bench: Any, server_id: str) -> None:
    """Have the guest's agent end itself."""
    domain = bench.testbed.connect("admin").compute.get_server(server_id).instance_name
    socket = bench.testbed.directory / "run/libvirt/libvirt-sock"
    command = {"execute": "guest-exec", "arguments": {"path": "/bin/killall", "arg": ["qemu-ga"]}}
    words = ["virsh", "-c", f"qemu+unix:///system?socket={socket}", "qemu-agent-command", domain]
    subprocess.run([*words, json.dumps(command)], check=True, capture_output=True, timeout=PATIENCE)


def boot_from_image(bench: Any, *, disks: int = 1) -> str:
    """Boot a guest whose root is with the hypervisor, and whose data disks are volumes."""
    image = bench.cloud.image.find_image("guest")
    if image is None:
        pytest.skip("no real guests: start the test bed with NOVA_DRIVER=libvirt")
    others = [bench.volume(f"t-data-{number}") for number in range(1, disks + 1)]
    return bench.boot("t-imaged", [f"image/{image.id}", *others], flavor="g2")


@pytest.fixture
def imaged(provider_of: Any, bench: Any) -> Any:
    """A bench whose provider may pause for as long as Nova uploads."""
    bench.provider = provider_of(max_pause="10m", parallel_pauses=1)
    return bench


def test_a_guest_that_boots_from_an_image_is_backed_up_and_restored_whole(imaged):
    bench = imaged
    guest = boot_from_image(bench)
    until_said(bench, guest, *(f"WRITER {name} runs" for name in WRITERS))
    seen = bench.provider.server(guest)
    assert protectability(seen).code == "CSBS.6003"
    assert [(v.position, v.bootable) for v in seen.volumes] == [(0, True), (1, False)]

    backup = bench.back_up(guest)

    assert (backup.method, backup.consistency) == ("pause", Consistency.CRASH)
    assert backup.evidence["paused_ms"] >= backup.evidence["image_ms"] > 0
    root = backup.volumes[0]
    assert (root.position, root.bootable, root.kind.value, root.parent) == (0, True, "full", None)
    assert root.ref.startswith("image/")
    assert bench.status(guest) == "ACTIVE"
    step = bench.step(guest, backup=backup.id, job=backup.job)
    for stored in backup.volumes:
        assert not bench.provider.verify(step, stored, Depth.QUICK)
    assert not bench.provider.verify(step, root, Depth.FULL)

    plan = bench.plan_new(backup, "t-again")
    checked = bench.provider.check_restore(plan)
    assert not checked.refusals, checked
    restored = [bench.provider.restore(step, plan, mapping) for mapping in plan.mappings]
    again = bench.provider.build(step, plan, restored)
    bench.server_ids.append(again.id)
    found = said_at_boot(bench, again.id)
    assert {name: verdict for name, (_, verdict) in found.items()} == dict.fromkeys(WRITERS, "prefix")
    assert all(records > 0 for records, _ in found.values())
    remove(bench, again.id)

    plan = bench.plan_in_place(backup)
    checked = bench.provider.check_restore(plan)
    assert not checked.refusals
    step = bench.step(guest, job=new_id(), backup=backup.id)
    bench.provider.stop(step, guest)
    restored = [bench.provider.restore(step, plan, mapping) for mapping in plan.mappings]
    after = bench.provider.swap(step, plan, restored)
    assert (after.id, after.image_backed_root, after.state.value) == (guest, True, "stopped")
    bench.provider.start(step, guest)
    found = said_at_boot(bench, guest)
    assert {name: verdict for name, (_, verdict) in found.items()} == dict.fromkeys(WRITERS, "prefix")

    marked = {m.ref: m for m in bench.provider.marked("vault-of-the-tests")}
    again = marked[root.ref]
    assert (again.kind, again.stored) == (MarkedKind.BACKUP, root)
    assert again.details["volumes"] == 2
    assert again.details["server"] == {"id": guest, "name": "t-imaged"}

    for stored in backup.volumes:
        bench.provider.delete(step, stored)
        bench.provider.delete(step, stored)
    assert not [m for m in bench.provider.marked("vault-of-the-tests") if m.kind is MarkedKind.BACKUP]


def test_a_root_that_takes_longer_than_the_server_may_be_paused_is_given_up_and_leaves_nothing(
    bench, provider_of
):
    guest = boot_from_image(bench)
    bench.provider = provider_of(max_pause="3s")

    with pytest.raises(CloudRefused, match="Nova still says image") as refused:
        bench.back_up(guest)

    assert "raise `max_pause`" in refused.value.hint
    assert bench.status(guest) == "ACTIVE"
    assert not bench.cloud.compute.get_server(guest).metadata
    assert not list(bench.provider.marked("vault-of-the-tests"))

    backup = bench.back_up(guest, need=Consistency.NONE)
    assert (backup.method, backup.consistency) == ("snapshots", Consistency.NONE)
    root, _ = backup.volumes
    remove(bench, guest)

    plan = bench.plan_new(backup, "t-parts", volumes_only=True)
    checked, step = bench.provider.check_restore(plan), bench.step(guest, job=new_id(), backup=backup.id)
    assert (checked.refusals, "a new volume" in checked.notes[0]) == ((), True)
    restored = [bench.provider.restore(step, plan, mapping) for mapping in plan.mappings]
    volumes = bench.provider.hand_over(step, plan, restored)
    assert [(v.name, v.bootable) for v in volumes] == [("t-parts-disk-0", True), ("t-parts-disk-1", False)]
    again = bench.boot("t-parts", [volume.id for volume in volumes], flavor="g1")
    until_said(bench, again, "WRITER raw runs")  # it boots from a volume now
    remove(bench, again)

    step = bench.step(guest, job=new_id(), backup=backup.id)
    image = bench.provider.create_image(step, backup, "t-whole")
    flavor = bench.cloud.compute.find_flavor("g1").id
    again = bench.cloud.compute.create_server(
        name="t-from-image", image_id=image.id, flavor_id=flavor, networks="none"
    ).id
    bench.server_ids.append(again)
    bench.until(lambda: bench.status(again), "ACTIVE")
    assert [volume.position for volume in bench.provider.server(again).volumes] == [0, 1]
    remove(bench, again)
    bench.provider.delete_image(step, image.id)
    assert root.ref in {marked.ref for marked in bench.provider.marked("vault-of-the-tests")}
