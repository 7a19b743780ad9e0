"""What a reader and a member may do, by the command line: each refusal names the right that is missing."""

from __future__ import annotations

import pytest

MIB = 1 << 20
pytestmark = [pytest.mark.openstack, pytest.mark.timeout(1800), pytest.mark.filterwarnings("ignore")]


def test_a_reader_looks_at_everything_and_is_told_what_else_would_need(shop, bench):
    server_id = bench.server(1, name="t-web", metadata={"tier": "web"})
    shop.run("apply", "--yes")
    shop.run("backup", "create", "t-web", "--name", "first")

    shop.settings = {}
    shop.configure(cloud=f"{bench.project}-reader")
    assert "No changes" in shop.run("plan", "--detailed-exitcode")
    assert shop.json("drift")["findings"] == []
    assert shop.json("status")["servers"] == {"total": 1, "protected": 1}
    assert [each["protectable"] for each in shop.json("server", "list")] == [True]
    assert shop.json("restore", "first", "--as", "t-copy", "--dry-run")["allowed"]
    shop.run("backup", "verify", "first", "--quick")

    said = shop.run("backup", "create", "t-web", exits=3)
    assert "right volume:create_snapshot is missing" in said or "HTTP 403" in said
    said = shop.run("restore", "first", "--as", "t-copy", exits=1)
    assert "the right volume:create is missing" in said
    shop.is_clean()
    assert bench.status(server_id) == "ACTIVE"


def test_a_member_does_all_but_the_reset_of_a_root_and_goes_on_another_way(shop, bench):
    server_id = bench.server(2, name="t-web", metadata={"tier": "web"})
    wanted = shop.write(server_id, 1)
    shop.run("apply", "--yes")
    shop.run("backup", "create", "t-web", "--name", "first")
    shop.write(server_id, 20)

    shop.settings = {}
    shop.configure(root_restore="reset")
    words = ("restore", "first", "--in-place", "--no-safety-backup")
    assert "has no role admin" in shop.run(*words, "--dry-run")
    said = shop.run(*words, "--yes", exits=1)
    assert "volume_extension:volume_admin_actions:reset_status is missing" in said
    assert "same command goes on" in said

    shop.configure(admin_cloud="nobody", root_restore="reset")
    assert "admin_cloud nobody cannot be used" in shop.run(
        "restore", "first", "--in-place", "--dry-run", exits=1
    )

    shop.configure(root_restore="rebuild")
    shop.run(*words, "--yes")
    assert shop.digests(server_id) == wanted
    assert bench.status(server_id) == "ACTIVE"
    shop.is_clean()


def test_a_new_server_takes_over_from_one_whose_encrypted_root_a_member_cannot_restore(shop, bench):
    old = bench.server(2, name="t-web", kind="ceph-luks", metadata={"tier": "web"})
    for volume in bench.provider.server(old).volumes:
        bench.testbed.write(volume.id, 16 * MIB, 2 * MIB, volume.position)  # behind the header of LUKS
    wanted = shop.digests(old)
    shop.settings = {}
    shop.configure()
    shop.run("apply", "--yes")
    shop.run("backup", "create", "t-web", "--name", "first")
    for volume in bench.provider.server(old).volumes:
        bench.testbed.write(volume.id, 16 * MIB, 2 * MIB, 20)

    words = ("restore", "first", "--in-place", "--no-safety-backup")
    assert "a new server takes over" in shop.run(*words, "--dry-run")
    assert f"the old one, {old}, stays, stopped" in shop.run(*words, "--yes")
    (new,) = [each["id"] for each in shop.json("server", "list") if each["name"] == "t-web"]
    bench.server_ids.append(new)
    assert (bench.status(new), bench.status(old)) == ("ACTIVE", "SHUTOFF")
    assert new != old
    assert shop.digests(new) == wanted
    # all its disks are known to be those of the backup, the root under its new ID too
    assert shop.json(*words, "--onto", new, "--dry-run")["allowed"]
    shop.is_clean()
