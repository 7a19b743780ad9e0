"""After the catalogue is lost, ``backup rebuild`` brings it back from what the cloud has."""

from __future__ import annotations

import shutil

CONFIG = """\
version: 1
providers: {default: {type: local}}
policies: {gold: {schedule: {at: ["02:00"]}, retention: {count: 5}, tags: {team: shop}}}
bindings: {all: {policy: gold, servers: [web-01]}}
"""


def test_a_lost_catalogue_is_rebuilt_and_what_it_lists_restores(csbsctl):
    csbsctl.at = "2026-11-20T12:00:00Z"
    csbsctl.write(CONFIG)
    csbsctl("sim", "server", "create", "web-01", "--disk", "2M", "--disk", "1M")
    csbsctl("sim", "write", "web-01:1", "--offset", "0", "--random", "512K", "--seed", "3")
    csbsctl("apply", "--yes")
    csbsctl.at = "2026-11-21T02:05:00Z"
    csbsctl("run")
    csbsctl.at = "2026-11-21T03:00:00Z"  # the clock of each command starts anew
    csbsctl("backup", "create", "web-01", "--name", "by-hand")
    csbsctl("image", "create", "by-hand", "--name", "golden")
    before = csbsctl("backup", "list", "--json").json
    digest = csbsctl("sim", "disk", "sha256", "web-01:1", "--json").json["sha256"]

    shutil.rmtree(csbsctl.folder / "vault" / "catalogue")
    assert csbsctl("backup", "list", "--json").json == []
    said = csbsctl("backup", "rebuild", "--json").json
    assert len(said["added"]) == len(before) == 2
    again = csbsctl("backup", "rebuild")
    assert "0 added, 2 already known" in again.out

    after = csbsctl("backup", "list", "--json").json
    kept = (
        "id",
        "name",
        "server",
        "policy",
        "trigger",
        "kind",
        "consistency",
        "images",
        "tags",
        "expires_at",
    )
    assert [[b[key] for key in kept] for b in after] == [[b[key] for key in kept] for b in before]
    assert "Nothing is due" in csbsctl("run").out, "the slot was served before the catalogue was lost"
    csbsctl("sim", "attack", "web-01", "--seed", "1")
    csbsctl("restore", before[0]["id"], "--in-place", "--yes")
    assert csbsctl("sim", "disk", "sha256", "web-01:1", "--json").json["sha256"] == digest
