"""A damaged audit trail is told, and stops nobody from working."""

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
