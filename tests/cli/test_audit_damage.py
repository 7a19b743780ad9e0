"""Damaged records of what was done are told, mended where they can be, and stop nobody from working."""

from __future__ import annotations

CONFIG = """\
version: 1
providers: {default: {type: local}}
policies: {gold: {schedule: {at: ["02:00"]}, retention: {count: 5}}}
bindings: {all: {policy: gold, match: {name: "*"}}}
"""


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(data)


def test_work_goes_on_beside_a_trail_whose_end_is_damaged_and_verify_names_it(csbsctl):
    csbsctl.write(CONFIG)
    csbsctl("apply", "--yes")
    csbsctl("policy", "disable", "gold")
    newest = max((csbsctl.folder / "vault" / "audit").rglob("*.json"))
    damage(newest)

    csbsctl("policy", "enable", "gold")
    csbsctl("apply", "--yes")
    said = csbsctl("audit", "verify", expect=1)
    assert newest.name in said.out
    listed = csbsctl("audit", "list")
    assert "updateBackupPolicy" in listed.out
    assert "Warning: " in listed.err


def test_a_job_nobody_can_read_any_more_is_put_aside_by_a_repair(csbsctl):
    csbsctl.write(CONFIG)
    csbsctl("sim", "server", "create", "web-01", "--disk", "1M")
    csbsctl("apply", "--yes")
    csbsctl("backup", "create", "web-01", "--name", "first")
    for generation in (csbsctl.folder / "vault" / "jobs").rglob("*.json"):
        damage(generation)
    csbsctl("backup", "create", "web-01", "--name", "second")
    assert "vault check" in csbsctl("job", "list", expect=1).err
    assert "(mended)" in csbsctl("vault", "check", "--repair").out
    kinds = [job["kind"] for job in csbsctl("job", "list", "--json").json]
    assert kinds.count("backup") == 1
    assert "The vault is sound" in csbsctl("vault", "check").out
    assert len(csbsctl("backup", "list", "--json").json) == 2
