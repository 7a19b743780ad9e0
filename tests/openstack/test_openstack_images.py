"""Images of whole servers on the real cloud."""

from __future__ import annotations

import json

import pytest

from csbsctl.model.server import protectability
from csbsctl.provider import MarkedKind

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]
MIB = 1 << 20


def test_a_server_boots_from_the_image_with_all_its_disks(bench):
    server_id = bench.server(2)
    for number, volume in enumerate(bench.provider.server(server_id).volumes):
        bench.testbed.write(volume.id, 0, 5 * MIB, number)
    wanted = [bench.testbed.digest(v.id) for v in bench.provider.server(server_id).volumes]
    backup = bench.back_up(server_id)
    step = bench.step(server_id, backup=backup.id)

    image = bench.provider.create_image(step, backup, "t-golden")
    assert bench.provider.create_image(step, backup, "t-golden") == image
    assert [each.id for each in bench.provider.images()] == [image.id]
    assert (image.backup, image.size, image.state) == (backup.id, 2 << 30, "available")
    # what an image is made of is no leftover
    assert {m.kind for m in bench.provider.marked()} <= {MarkedKind.BACKUP, MarkedKind.IMAGE}

    made = bench.cloud.compute.create_server(
        name="t-from-image",
        image_id=image.id,
        flavor_id=bench.cloud.compute.find_flavor("t1").id,
        networks="none",
    )
    bench.server_ids.append(made.id)
    bench.until(lambda: bench.status(made.id), "ACTIVE")
    again = bench.provider.server(made.id)
    assert protectability(again) is None, "its root is a volume, whatever Nova names as its image"
    volumes = again.volumes
    assert [bench.testbed.digest(volume.id) for volume in volumes] == wanted

    bench.cloud.compute.delete_server(made.id)
    bench.until(lambda: str(bench.cloud.compute.find_server(made.id) is None), "True")
    for volume in volumes:
        bench.cloud.block_storage.delete_volume(volume.id, ignore_missing=True)
    for _ in range(2):
        bench.provider.delete_image(step, image.id)
    assert list(bench.provider.images()) == []
    assert {s.volume_id for s in bench.cloud.block_storage.snapshots()} == set()
    assert json.dumps(sorted(v.name for v in bench.cloud.block_storage.volumes())).count("t-golden") == 0
