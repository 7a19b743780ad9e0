"""Restores on the real cloud: digests of the volumes decide, not states."""

from __future__ import annotations

from typing import Any

import pytest

from csbsctl.provider import MarkedKind

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]
MIB = 1 << 20


def fill(bench: Any, server_id: str, seed: int) -> list[str]:
    """Write something else into every volume, and return the digests."""
    volumes = bench.provider.server(server_id).volumes
    for volume in volumes:
        bench.testbed.write(volume.id, 3 * MIB * volume.position, 6 * MIB, seed + volume.position)
    return digests(bench, server_id)


def digests(bench: Any, server_id: str) -> list[str]:
    return [bench.testbed.digest(volume.id) for volume in bench.provider.server(server_id).volumes]


def in_place(bench: Any, backup: Any, **which: Any) -> Any:
    """Do what the core does for a restore in place."""
    provider = bench.provider
    plan = bench.plan_in_place(backup, **which)
    step = bench.step(backup.server.id, backup=backup.id)
    preflight = provider.check_restore(plan)
    assert not preflight.refusals
    provider.stop(step, backup.server.id)
    restored = [provider.restore(step, plan, mapping) for mapping in plan.mappings]
    server = provider.swap(step, plan, restored)
    provider.start(step, server.id)
    return server, preflight


def test_a_chain_is_restored_as_a_new_server_like_the_old_one(bench):
    server_id = bench.server(3, metadata={"tier": "web"}, tags=["prod"])
    fill(bench, server_id, 1)
    first = bench.back_up(server_id)
    wanted = fill(bench, server_id, 20)
    second = bench.back_up(server_id, first)
    assert [v.parent for v in second.volumes] == [v.ref for v in first.volumes]
    fill(bench, server_id, 40)

    plan = bench.plan_new(second, "t-anew")
    step = bench.step(server_id, backup=second.id)
    restored = [bench.provider.restore(step, plan, mapping) for mapping in plan.mappings]
    built = bench.provider.build(step, plan, restored)
    bench.server_ids.append(built.id)

    assert digests(bench, built.id) == wanted
    assert (built.metadata, built.tags, built.spec["flavor"]) == ({"tier": "web"}, ("prod",), "t1")
    again = bench.provider.build(step, plan, restored)
    assert again.id == built.id
    left = [m for m in bench.provider.marked() if m.kind.value in {"server", "volume"}]
    assert [m.details.get("built", m.details.get("attached")) for m in left] == [True] * 4


def test_data_volumes_keep_their_ids_and_the_root_is_rebuilt_with_a_members_rights(bench):
    server_id = bench.server(3)
    wanted = fill(bench, server_id, 1)
    backup = bench.back_up(server_id)
    fill(bench, server_id, 20)
    before = [v.id for v in bench.provider.server(server_id).volumes]

    server, preflight = in_place(bench, backup)

    assert "rebuild" in preflight.notes[0]
    assert [v.id for v in server.volumes] == before
    assert digests(bench, server_id) == wanted
    assert bench.status(server_id) == "ACTIVE"


def test_an_administrator_resets_the_root_volume(bench, provider_of):
    server_id = bench.server(2)
    wanted = fill(bench, server_id, 1)
    backup = bench.back_up(server_id)
    fill(bench, server_id, 20)
    bench.provider = provider_of(admin_cloud="admin")

    server, preflight = in_place(bench, backup)

    assert "administrator" in preflight.notes[0]
    assert digests(bench, server.id) == wanted


def test_without_either_a_new_server_takes_over(bench, provider_of):
    server_id = bench.server(2)
    wanted = fill(bench, server_id, 1)
    backup = bench.back_up(server_id)
    fill(bench, server_id, 20)
    bench.provider = provider_of(root_restore="replace")
    name = bench.provider.server(server_id).name

    server, preflight = in_place(bench, backup)
    bench.server_ids.append(server.id)

    assert "takes over" in preflight.notes[0]
    assert server.id != server_id
    assert (server.name, digests(bench, server.id)) == (name, wanted)
    assert bench.provider.server(server_id).name == f"{name} (replaced)"


def test_one_volume_is_restored_alone(bench):
    server_id = bench.server(3)
    old = fill(bench, server_id, 1)
    backup = bench.back_up(server_id)
    new = fill(bench, server_id, 20)

    in_place(bench, backup, volumes=[backup.volumes[2]])

    assert digests(bench, server_id) == [new[0], new[1], old[2]]


def test_a_backup_that_is_gone_from_cinder_is_said_before_anything_is_touched(bench):
    server_id = bench.server(1)
    backup = bench.back_up(server_id)
    bench.provider.delete(bench.step(server_id), backup.volumes[0])
    preflight = bench.provider.check_restore(bench.plan_in_place(backup))
    assert [refusal.code for refusal in preflight.refusals] == ["CSBS.4000"]


def test_a_server_beside_the_old_one_gets_ports_like_its_ports(bench):
    net = bench.cloud.network.find_network("net")
    server_id = bench.server(1, networks=[{"uuid": net.id}])
    backup = bench.back_up(server_id)
    old = backup.spec["ports"][0]
    step = bench.step(server_id, backup=backup.id)

    plan = bench.plan_new(backup, "t-beside")
    restored = [bench.provider.restore(step, plan, mapping) for mapping in plan.mappings]
    beside = bench.provider.build(step, plan, restored)
    bench.server_ids.append(beside.id)

    made = list(bench.cloud.network.ports(device_id=beside.id))
    assert [(port.network_id, sorted(port.security_group_ids)) for port in made] == [
        (net.id, sorted(old["security_groups"]))
    ]
    assert made[0].fixed_ips[0]["ip_address"] != old["fixed_ips"][0]["ip_address"]
    notes = bench.provider.check_restore(plan).notes
    assert not any("Nova only creates" in text for text in notes)
    assert any("a server named t-beside already" in text for text in notes)

    bench.cloud.compute.delete_server(beside.id)
    bench.until(lambda: str(bench.cloud.compute.find_server(beside.id) is None), "True")
    (left,) = [each for each in bench.provider.marked() if each.kind is MarkedKind.PORT]
    assert left.ref == made[0].id
    for _ in range(2):
        bench.provider.remove(step, left)
    assert bench.cloud.network.find_port(left.ref) is None


def test_a_new_server_is_what_the_user_wants_otherwise(bench):
    server_id = bench.server(1)
    backup = bench.back_up(server_id)
    net = bench.cloud.network.find_network("net")
    wanted = {
        "flavor": ["t2"],
        "network": ["net"],
        "security_group": ["default"],
        "availability_zone": ["nova"],
        "key_name": ["none"],
        "volume_type": ["ceph-multi"],
    }
    plan = bench.plan_new(backup, "t-otherwise", overrides=wanted)
    assert not bench.provider.check_restore(plan).refusals
    step = bench.step(server_id, backup=backup.id)
    restored = [bench.provider.restore(step, plan, mapping) for mapping in plan.mappings]
    built = bench.provider.build(step, plan, restored)
    bench.server_ids.append(built.id)
    assert (built.spec["flavor"], built.volumes[0].type) == ("t2", "ceph-multi")
    assert [port.network_id for port in bench.cloud.network.ports(device_id=built.id)] == [net.id]

    wrong = {
        "flavor": ["huge"],
        "network": ["nowhere"],
        "security_group": ["nobody"],
        "availability_zone": ["mars"],
        "key_name": ["lost"],
        "volume_type": ["t-none=gold"],
    }
    refusals = bench.provider.check_restore(bench.plan_new(backup, "t-odd", overrides=wrong)).refusals
    assert sorted(refusal.code for refusal in refusals) == sorted(
        ["CSBS.6019", "CSBS.6025", "CSBS.9001", "CSBS.6017", "CSBS.9001", "CSBS.9001"]
    )
