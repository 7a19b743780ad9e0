"""The whole job on a real cloud, as a newcomer does it: from an empty folder to a drift report, by commands alone."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(2400), pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def server_id(bench: Any) -> str:
    """A server with a boot volume and two data volumes, on a network, that the binding's rule fits."""
    net = bench.cloud.network.find_network("net")
    made: str = bench.server(3, name="t-web", metadata={"tier": "web"}, networks=[{"uuid": net.id}])
    return made


def test_from_an_empty_folder_to_a_drift_report(shop, bench, server_id):
    (shop.folder / "csbs.yaml").unlink()
    shop.run("init", "--provider", "openstack", "--from-live", environment={"OS_CLOUD": bench.project})
    starter = (shop.folder / "csbs.yaml").read_text()
    assert f"cloud: {bench.project}}}" in starter
    assert "match: {metadata: {tier: web}}" in starter

    shop.configure()
    listed = {each["id"]: each for each in shop.json("server", "list")}[server_id]
    assert (listed["protectable"], listed["state"], len(listed["volumes"])) == (True, "active", 3)
    assert "t-web comes under policy nightly" in shop.run("plan", "--detailed-exitcode", exits=2)
    slot = shop.apply()
    assert "No changes" in shop.run("plan", "--detailed-exitcode")

    first = shop.write(server_id, 1)
    shop.until(slot)
    assert "t-web: backed up as autobk_" in shop.run("run")
    assert "Nothing is due" in shop.run("run")
    automatic = shop.backups()[0]
    assert (automatic["trigger"], automatic["kind"], automatic["consistency"]) == ("auto", "full", "crash")
    assert (automatic["policy"], automatic["tags"], automatic["state"]) == (
        "nightly",
        {"a": "b"},
        "available",
    )

    second = shop.write(server_id, 20)
    assert "1 backed up" in shop.run("policy", "run", "nightly")
    increment = shop.backups()[1]
    assert (increment["trigger"], increment["kind"]) == ("manual", "incremental")
    shop.write(server_id, 40)

    _in_place(shop, server_id, second)
    _as_new(shop, bench, server_id, automatic, first)
    _one_volume(shop, server_id, automatic, [second[0], first[1], second[2]])
    shop.is_clean()
    assert shop.json("drift") == {"findings": [], "summary": {}}
    _detached(shop, bench, server_id)
    _lost_behind_our_back(shop, bench)


def _in_place(shop: Any, server_id: str, wanted: list[str]) -> None:
    refused = shop.run("restore", "--server", "t-web", "--in-place", exits=1)
    assert "--yes" in refused
    planned = shop.json("restore", "--server", "t-web", "--in-place", "--dry-run")
    assert (planned["allowed"], planned["safety_backup"], len(planned["volumes"])) == (True, True, 3)
    assert "an administrator" in planned["notes"][0]
    said = shop.run("restore", "--server", "t-web", "--in-place", "--yes")
    assert "Its former state is backup manualbk_" in said
    assert shop.digests(server_id) == wanted
    assert shop.bench.status(server_id) == "ACTIVE"


def _as_new(shop: Any, bench: Any, server_id: str, backup: Any, wanted: list[str]) -> None:
    settings = ("--set", "flavor=t2", "--set", "metadata=tier=test", "--no-power-on")
    refused = shop.run("restore", backup["id"], "--as", "t-copy", "--set", "flavor=huge", exits=1)
    assert "CSBS.6019" in refused
    assert "--set flavor=NAME" in refused
    done = shop.json("restore", backup["id"], "--as", "t-copy", *settings)
    copy = bench.provider.server(done["server"]["id"])
    bench.server_ids.append(copy.id)
    assert (copy.name, copy.state.value, copy.metadata) == ("t-copy", "stopped", {"tier": "test"})
    assert copy.spec["flavor"] == "t2"
    assert [volume.name for volume in copy.volumes] == ["t-web-0", "t-web-1", "t-web-2"]
    assert shop.digests(copy.id) == wanted
    networks = [
        {port.network_id for port in bench.cloud.network.ports(device_id=i)} for i in (server_id, copy.id)
    ]
    assert networks[0] == networks[1] != set()


def _one_volume(shop: Any, server_id: str, backup: Any, wanted: list[str]) -> None:
    words = ("--in-place", "--volume", "t-web-1", "--no-safety-backup", "--yes")
    shop.run("restore", backup["id"], *words)
    assert shop.digests(server_id) == wanted
    assert shop.bench.status(server_id) == "ACTIVE"


def _detached(shop: Any, bench: Any, server_id: str) -> None:
    """A volume is taken off the server and put back: what drift says of it comes and goes."""
    gone = bench.provider.server(server_id).volumes[2]
    bench.cloud.compute.delete_volume_attachment(server_id, gone.id)
    bench.until(lambda: bench.cloud.block_storage.get_volume(gone.id).status, "available")
    findings = shop.json("drift", exits=2)["findings"]
    assert [f"disk t-web-2 ({gone.id}" in each["message"] for each in findings] == [True]
    assert "no longer attached to" in findings[0]["message"]
    bench.cloud.compute.create_volume_attachment(server_id, volume_id=gone.id)
    bench.until(lambda: bench.cloud.block_storage.get_volume(gone.id).status, "in-use")
    assert shop.json("drift")["findings"] == []


def _lost_behind_our_back(shop: Any, bench: Any) -> None:
    """Somebody deletes a part of the newest backup, on which nothing is built."""
    newest = shop.backups()[-1]
    storage = bench.cloud.block_storage
    doomed = [b for b in storage.backups() if b.name.startswith(f"csbsctl-{newest['id'][:8]}")]
    assert len(doomed) == 3
    storage.delete_backup(doomed[0])
    bench.until(lambda: str(storage.find_backup(doomed[0].id) is None), "True", seconds=300)
    findings = shop.json("drift", exits=2)["findings"]
    assert [each["class"] for each in findings] == ["backup"]
    assert newest["name"] in findings[0]["address"] + findings[0]["message"]
    assert "CSBS.4000" in shop.run("restore", newest["id"], "--in-place", "--dry-run", exits=1)


def test_an_image_is_made_listed_booted_and_deleted(shop, bench):
    server_id = bench.server(2, name="t-web", metadata={"tier": "web"})
    shop.run("apply", "--yes")
    wanted = shop.write(server_id, 3)
    shop.run("backup", "create", "t-web", "--name", "first")

    made = shop.json("image", "create", "first", "--name", "t-golden")
    assert [each["id"] for each in shop.json("image", "list")] == [made["id"]]
    assert "CSBS.8007" in shop.run("backup", "delete", "first", "--yes", exits=1)
    assert "already made" in shop.run("image", "create", "first", "--name", "t-silver", exits=1)

    booted = bench.cloud.compute.create_server(
        name="t-booted",
        image_id=made["id"],
        flavor_id=bench.cloud.compute.find_flavor("t1").id,
        networks="none",
    )
    bench.server_ids.append(booted.id)
    bench.until(lambda: bench.status(booted.id), "ACTIVE", seconds=300)
    assert shop.digests(booted.id) == wanted
    volumes = [volume.id for volume in bench.provider.server(booted.id).volumes]
    bench.cloud.compute.delete_server(booted.id)
    bench.until(lambda: str(bench.cloud.compute.find_server(booted.id) is None), "True", seconds=300)
    for volume in volumes:
        bench.cloud.block_storage.delete_volume(volume)

    shop.run("image", "delete", "t-golden", "--yes")
    assert shop.json("image", "list") == []
    shop.is_clean()
    shop.run("backup", "delete", "first", "--yes")
