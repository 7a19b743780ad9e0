"""After a disaster of csbsctl itself: an empty vault, and a catalogue brought back from Cinder's metadata alone."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(1800), pytest.mark.filterwarnings("ignore")]
KEPT = (
    "id", "name", "server", "provider", "policy", "trigger", "state", "kind", "consistency", "protected", "size", "stored",
    "volumes", "images", "tags",
)  # fmt: skip


def test_a_lost_vault_is_brought_back_and_told_from_another_one(shop, bench, tmp_path):
    server_id = bench.server(2, name="t-web", metadata={"tier": "web"})
    wanted = shop.write(server_id, 1)
    shop.run("apply", "--yes")
    shop.run("policy", "run", "nightly")
    shop.run("backup", "create", "t-web", "--name", "by-hand")
    shop.run("backup", "protect", "by-hand")
    shop.run("image", "create", "by-hand", "--name", "t-golden")
    before = shop.backups()
    details = shop.json("backup", "show", "by-hand")

    other = replace(shop, folder=tmp_path / "other")
    other.folder.mkdir()
    other.configure()
    other.run("apply", "--yes")
    other.run("backup", "create", "t-web", "--name", "theirs")

    mine = shop.json("backup", "rebuild")["vault"]
    shutil.rmtree(shop.folder / "vault")
    shop.run("apply", "--yes")
    refused = shop.run("backup", "rebuild", exits=1)
    assert mine in refused
    assert "--vault-id" in refused
    assert "no backup of vault nonsense" in shop.run("backup", "rebuild", "--vault-id", "nonsense", exits=1)

    rebuilt = shop.json("backup", "rebuild", "--vault-id", mine)
    assert (len(rebuilt["added"]), rebuilt["incomplete"]) == (2, [])
    assert list(rebuilt["others"].values()) == [2]
    after = shop.backups()
    assert [[b[key] for key in KEPT] for b in after] == [[b[key] for key in KEPT] for b in before]
    again = shop.json("backup", "show", "by-hand")
    assert {key: again[key] for key in ("method", "evidence", "taken_at")} == {
        key: details[key] for key in ("method", "evidence", "taken_at")
    }
    assert "CSBS.8007" in shop.run("backup", "delete", "by-hand", "--yes", exits=1)

    done = shop.json("restore", after[0]["id"], "--as", "t-again")
    bench.server_ids.append(done["server"]["id"])
    assert shop.digests(done["server"]["id"]) == wanted

    storage = bench.cloud.block_storage
    theirs = [b for b in storage.backups() if b.name.startswith(f"csbsctl-{other.backups()[0]['id'][:8]}")]
    storage.delete_backup(theirs[0])
    bench.until(lambda: str(storage.find_backup(theirs[0].id) is None), "True", seconds=300)
    lost = other.json("backup", "rebuild", "--vault-id", next(iter(rebuilt["others"])))
    assert lost["known"] == 1
    shutil.rmtree(other.folder / "vault/catalogue")
    lost = other.json("backup", "rebuild")
    assert (lost["added"], len(lost["incomplete"])) == ([], 1)


def test_what_was_half_made_is_removed_by_a_run(shop, bench):
    server_id = bench.server(1, name="t-web", metadata={"tier": "web"})
    shop.run("apply", "--yes")
    shop.run("backup", "create", "t-web", "--name", "first")
    shop.killed("openstack.snapshots.taken", "backup", "create", "t-web", "--name", "second")
    shop.killed("openstack.volume.made", "restore", "first", "--as", "t-half")
    shop.run("run")
    assert [backup["name"] for backup in shop.backups()] == ["first", "second"]
    assert shop.json("drift", "--only", "orphan")["findings"] == []
    shop.is_clean()
    assert bench.status(server_id) == "ACTIVE"
