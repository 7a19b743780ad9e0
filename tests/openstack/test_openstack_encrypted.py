"""Volumes that the cloud encrypts: their bytes and keys come back together, or it is said before anything is touched.

What is written and compared is what stands below Cinder, behind the header that LUKS keeps at a volume's beginning.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from csbsctl.errors import CloudRefused
from csbsctl.ids import new_id
from csbsctl.provider import Mapping

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(1200), pytest.mark.filterwarnings("ignore")]
MIB = 1 << 20
HEADER = 16 * MIB
"""More than LUKS keeps to itself."""
ENCRYPTED = "ceph-luks"


def fill(bench, server_id, seed):
    for number, volume in enumerate(bench.provider.server(server_id).volumes):
        bench.testbed.write(volume.id, HEADER + seed * MIB, 2 * MIB, seed + number)
    return digests(bench, server_id)


def digests(bench, server_id):
    return [bench.testbed.digest(volume.id) for volume in bench.provider.server(server_id).volumes]


def codes(preflight):
    return [refusal.code for refusal in preflight.refusals]


def restore(bench, step, plan):
    preflight = bench.provider.check_restore(plan)
    assert not preflight.refusals
    return [bench.provider.restore(step, plan, mapping) for mapping in plan.mappings]


def test_an_encrypted_server_comes_back_from_its_chain_in_place_and_anew(bench, provider_of):
    server_id = bench.server(2, kind=ENCRYPTED)
    bench.provider = provider_of(admin_cloud="admin")
    volumes = bench.provider.server(server_id).volumes
    assert [(volume.encrypted, volume.type) for volume in volumes] == [(True, ENCRYPTED)] * 2
    first = bench.back_up(server_id)
    wanted = fill(bench, server_id, 1)
    second = bench.back_up(server_id, first)
    assert [(v.kind.value, v.extra["encrypted"]) for v in second.volumes] == [("incremental", True)] * 2
    fill(bench, server_id, 20)

    step = bench.step(server_id, backup=second.id)
    bench.provider.stop(step, server_id)
    in_place = bench.plan_in_place(second)
    bench.provider.swap(step, in_place, restore(bench, step, in_place))
    assert digests(bench, server_id) == wanted

    anew = bench.plan_new(second, "t-anew")
    step = bench.step(server_id, job=new_id(), backup=second.id)
    built = bench.provider.build(step, anew, restore(bench, step, anew))
    bench.server_ids.append(built.id)
    assert digests(bench, built.id) == wanted
    assert all(volume.encrypted for volume in built.volumes)


def test_an_image_of_an_encrypted_server_is_booted_with_its_keys(bench):
    server_id = bench.server(1, kind=ENCRYPTED)
    wanted = fill(bench, server_id, 1)
    backup = bench.back_up(server_id)
    step = bench.step(server_id, backup=backup.id)
    image = bench.provider.create_image(step, backup, "t-golden")
    built = bench.boot("t-from-image", [], imageRef=image.id)
    volumes = bench.provider.server(built).volumes
    assert digests(bench, built) == wanted
    assert all(volume.encrypted for volume in volumes)

    bench.cloud.compute.delete_server(built)
    bench.until(lambda: str(bench.cloud.compute.find_server(built) is None), "True")
    for volume in volumes:
        bench.cloud.block_storage.delete_volume(volume.id, ignore_missing=True)
    bench.provider.delete_image(step, image.id)
    assert list(bench.provider.images()) == []


def test_what_would_part_bytes_from_their_key_is_refused_before_anything_is_touched(bench, provider_of):
    server_id = bench.server(1, kind=ENCRYPTED)
    backup = bench.back_up(server_id)
    plan = bench.plan_new(backup, "t-plain", overrides={"volume_type": ["ceph"]})
    assert codes(bench.provider.check_restore(plan)) == ["CSBS.6013"]

    server = bench.provider.server(server_id)
    (mapping,) = bench.plan_in_place(backup).mappings
    retyped = replace(server.volumes[0], type="ceph", encrypted=False)
    plan = replace(bench.plan_in_place(backup), mappings=(Mapping(mapping.stored, retyped),))
    assert "CSBS.6013" in codes(bench.provider.check_restore(plan))
    bench.provider = provider_of(root_restore="rebuild")
    assert codes(bench.provider.check_restore(bench.plan_in_place(backup))) == ["CSBS.6013"]


def test_a_plain_backup_onto_encrypted_volumes_ends_with_the_reason_and_leaves_nothing(bench):
    server_id = bench.server(1)
    backup = bench.back_up(server_id)
    plan = bench.plan_new(backup, "t-luks", overrides={"volume_type": [ENCRYPTED]})
    before = {volume.id for volume in bench.cloud.block_storage.volumes()}
    with pytest.raises(CloudRefused, match="encrypted") as caught:
        bench.provider.restore(bench.step(server_id, backup=backup.id), plan, plan.mappings[0])
    assert caught.value.code == "CSBS.6013"
    assert {volume.id for volume in bench.cloud.block_storage.volumes()} == before
