"""Servers that boot from an image, as far as the fake driver goes: it makes no image, and builds servers from any.

Backups of real ones are in ``test_openstack_guests.py``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from csbsctl.errors import CloudRefused, CloudUnavailable
from csbsctl.ids import new_id
from csbsctl.model.backup import Backup, BackupState, ServerRef, Trigger
from csbsctl.model.policy import Consistency
from csbsctl.model.server import protectability
from csbsctl.provider import Depth, Mapping, MarkedKind, RestorePlan, VolumeSnapshot
from csbsctl_openstack import marks
from csbsctl_openstack.roots import Roots

VAULT = "vault-of-the-tests"
pytestmark = [pytest.mark.openstack, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]


def make_image(bench: Any, name: str) -> str:
    made = bench.cloud.image.create_image(
        name=name, data=b"a root" * 1000, disk_format="raw", container_format="bare", wait=True
    )
    return str(made.id)


@pytest.fixture
def server(bench: Any) -> str:
    """A server whose root is with the hypervisor, and that has one data volume."""
    disks = [f"image/{make_image(bench, 't-base')}", bench.volume("t-data")]
    return str(bench.boot("t-imaged", disks, flavor="i1"))


def backup_of(bench: Any, server_id: str) -> Backup:
    """Return a backup whose root is an image that Nova might have made."""
    step = bench.step(server_id, job=new_id(), backup=new_id())
    image = make_image(bench, marks.describe(step.marker, "root"))
    seen = bench.provider.server(server_id)
    about = {"server": seen.name, "count": 1, "spec": seen.spec}
    root = VolumeSnapshot(seen.volumes[0], f"image/{image}", {"document": about})
    return Backup(
        id=step.marker.backup,
        name="autobk_root",
        server=ServerRef(id=server_id, name=seen.name),
        provider="default",
        trigger=Trigger.AUTO,
        state=BackupState.AVAILABLE,
        job=step.marker.job,
        volumes=(bench.provider.store(step, root, None),),
        started_at=datetime.now(UTC),
        spec=seen.spec,
    )


def left_of(bench: Any) -> list[str]:
    found = [marked for marked in bench.provider.marked(VAULT) if marked.kind is not MarkedKind.SERVER]
    return [f"{marked.kind} {marked.ref}" for marked in found]


def test_a_root_of_which_nova_makes_no_image_leaves_nothing_and_the_server_runs(bench, server):
    seen = bench.provider.server(server)
    refusal = protectability(seen)
    assert (refusal.code, "image_backed_root: snapshot" in refusal.reason) == ("CSBS.6003", True)
    assert [(v.position, v.bootable, v.size >> 30) for v in seen.volumes] == [(0, True, 1), (1, False, 1)]
    torn = bench.step(server, backup=new_id())
    make_image(
        bench, marks.describe(torn.marker, "root")
    )  # what a runner that died left: nobody knows of when

    with pytest.raises(CloudUnavailable, match="Nova gave it up"):
        bench.provider.snapshot(torn, server, Consistency.CRASH)

    assert (bench.status(server), left_of(bench)) == ("ACTIVE", [])
    assert not bench.cloud.compute.get_server(server).metadata
    with pytest.raises(CloudRefused, match="cannot be frozen with proof"):
        bench.provider.snapshot(bench.step(server), server, Consistency.APPLICATION)


def test_a_set_that_an_earlier_try_sealed_on_the_image_is_taken_over(bench):
    server_id = bench.boot("t-alone", [f"image/{make_image(bench, 't-base')}"], flavor="i1")
    step = bench.step(server_id, backup=new_id())
    image = make_image(bench, marks.describe(step.marker, "root"))
    roots, spec = Roots(bench.provider.cloud), bench.provider.server(server_id).spec
    sealed = {
        "count": 1,
        "server": "t-alone",
        "zone": "nova",
        "spec": spec,
        "taken_at": "2026-11-23T02:00:00Z",
        "consistency": "crash",
        "method": "single-volume",
        "evidence": {},
    }
    roots.seal(roots.get(image), sealed)

    snapshot = bench.provider.snapshot(step, server_id, Consistency.CRASH)

    assert [disk.ref for disk in snapshot.volumes] == [f"image/{image}"]
    assert (snapshot.method, snapshot.server.name) == ("single-volume", "t-alone")
    bench.provider.release(step, snapshot)
    assert left_of(bench) == []


def test_a_stored_root_is_built_from_and_rebuilt_from_and_goes_with_its_backup(bench, server):
    backup = backup_of(bench, server)
    root = backup.volumes[0]
    (marked,) = bench.provider.marked(VAULT)
    assert (marked.kind, marked.stored, marked.details["complete"]) == (MarkedKind.BACKUP, root, True)
    step = bench.step(server, job=new_id(), backup=backup.id)
    assert not bench.provider.verify(step, root, Depth.QUICK)

    anew = bench.plan_new(backup, "t-again")
    small = replace(anew, overrides={"flavor": ["t1"]})
    assert [r.code for r in bench.provider.check_restore(small).refusals] == ["CSBS.6024"]
    assert not bench.provider.check_restore(anew).refusals
    restored = [bench.provider.restore(step, anew, mapping) for mapping in anew.mappings]
    again = bench.provider.build(step, anew, restored)
    bench.server_ids.append(again.id)
    assert bench.provider.build(step, anew, restored).id == again.id
    assert again.image_backed_root
    assert bench.cloud.compute.get_server(again.id).image.id == marks.image_id(root.ref)

    inplace = bench.plan_in_place(backup)
    checked = bench.provider.check_restore(inplace)
    assert not checked.refusals
    assert "rebuild of the server from its image" in checked.notes[0]
    bench.provider.stop(step, server)
    restored = [bench.provider.restore(step, inplace, mapping) for mapping in inplace.mappings]
    for _ in range(2):
        after = bench.provider.swap(step, inplace, restored)
    assert (after.id, after.state.value, len(after.volumes)) == (server, "stopped", 2)
    assert bench.cloud.compute.get_server(server).image.id == marks.image_id(root.ref)

    bench.testbed.connect("admin").image.deactivate_image(marks.image_id(root.ref))
    assert "is deactivated" in bench.provider.verify(step, root, Depth.QUICK)[0].message
    assert [m.details["complete"] for m in bench.provider.marked(VAULT) if m.ref == root.ref] == [False]
    bench.cloud.image.delete_image(marks.image_id(root.ref))
    assert "is gone from Glance" in bench.provider.verify(step, root, Depth.QUICK)[0].message
    assert [r.code for r in bench.provider.check_restore(anew).refusals] == ["CSBS.4000"]
    bench.provider.delete(step, root)
    assert left_of(bench) == []


def test_a_root_of_one_kind_goes_onto_no_root_of_the_other(bench, server):
    backup = backup_of(bench, server)
    volumes = bench.provider.server(bench.server(1))
    onto = Mapping(backup.volumes[0], volumes.volumes[0])
    (refusal,) = bench.provider.check_restore(RestorePlan(backup, (onto,), server=volumes)).refusals
    assert (refusal.code, "--as NAME" in refusal.reason) == ("CSBS.6019", True)
    for _ in range(2):
        bench.provider.delete(bench.step(server), backup.volumes[0])
    assert left_of(bench) == []


def test_a_root_that_turns_out_to_be_a_volume_is_refused_rather_than_left_out(bench):
    origin = bench.server(1)
    image = bench.cloud.compute.create_server_image(origin, name="t-mapped", wait=True)
    flavor = bench.cloud.compute.find_flavor("t1").id
    made = bench.cloud.compute.create_server(
        name="t-from-mapped", image_id=image.id, flavor_id=flavor, networks="none"
    ).id
    bench.server_ids.append(made)
    bench.until(lambda: bench.status(made), "ACTIVE")
    assert [volume.position for volume in bench.provider.server(made).volumes] == [0]
    assert protectability(bench.provider.server(made)) is None

    bench.cloud.image.delete_image(image.id)

    assert protectability(bench.provider.server(made)).code == "CSBS.6003"
    with pytest.raises(CloudRefused, match="cannot be told apart"):
        bench.provider.snapshot(bench.step(made, backup=new_id()), made, Consistency.CRASH)
    root = bench.provider.server(made).volumes[1].id
    assert not list(bench.cloud.block_storage.snapshots(volume_id=root))
    assert (bench.status(made), left_of(bench)) == ("ACTIVE", [])
