"""Several commands at once on one vault: each slot once, each commit whole, nobody locked out."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def ended(*running):
    """Wait for processes and return their exit codes with what they said."""
    said = [process.communicate(timeout=100) for process in running]
    for _, err in said:
        assert "Traceback" not in err
    return [(process.returncode, out, err) for process, (out, err) in zip(running, said, strict=True)]


def test_two_runs_at_once_serve_each_slot_once(open_shop):
    open_shop.at("2026-11-20T02:10:00Z")
    results = ended(*(open_shop.csbsctl.spawn("run") for _ in range(3)))
    assert [code for code, _, _ in results] == [0, 0, 0], results
    assert sorted(b["server"]["name"] for b in open_shop.backups()) == ["web-01", "web-02"]
    open_shop.csbsctl("run")
    assert len(open_shop.backups()) == 2
    assert open_shop.csbsctl("audit", "verify").code == 0


def test_of_two_applies_at_once_each_lands_or_says_why_not(shop):
    results = ended(*(shop.csbsctl.spawn("apply", "--yes") for _ in range(2)))
    assert 0 in [code for code, _, _ in results], results
    for code, _, err in results:
        assert code in (0, 1)
        assert code == 0 or "Error: " in err
    assert "No changes." in shop.csbsctl("plan").out
    assert len(shop.csbsctl("history", "--json").json) == 1


def test_two_stacks_applied_at_once_both_land(shop, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    text = (shop.folder / "csbs.yaml").read_text(encoding="utf-8")
    text = (
        text.replace("./vault", "../vault")
        .replace("./cloud", "../cloud")
        .replace("stack: shop", "stack: lab")
    )
    (other / "csbs.yaml").write_text(text.partition("bindings:")[0], encoding="utf-8")
    shop.csbsctl("vault", "init")
    results = ended(
        shop.csbsctl.spawn("apply", "--yes"), shop.csbsctl.spawn("-C", str(other), "apply", "--yes")
    )
    assert [code for code, _, _ in results] == [0, 0], results
    assert len(shop.csbsctl("history", "--json").json) == 2


def test_a_run_beside_a_restore_leaves_both_whole(open_shop):
    csbsctl = open_shop.csbsctl
    csbsctl("backup", "create", "web-01", "--name", "good")
    before = open_shop.disks("web-01")
    csbsctl("sim", "attack", "web-01", "--seed", "1")
    open_shop.at("2026-11-20T02:10:00Z")
    results = ended(csbsctl.spawn("restore", "good", "--in-place", "--yes"), csbsctl.spawn("run"))
    codes = [code for code, _, _ in results]
    assert codes[1] == 0, results
    if codes[0] != 0:  # the run had the server: the restore says so, and works when repeated
        assert "Error: " in results[0][2]
        csbsctl("restore", "good", "--in-place", "--yes")
    assert open_shop.disks("web-01") == before
    csbsctl("run")
    assert csbsctl("backup", "verify", "--all").code == 0
    assert {b["state"] for b in open_shop.backups()} == {"available"}
