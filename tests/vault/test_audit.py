from __future__ import annotations

import subprocess
import sys

import pytest

from csbsctl.errors import Damaged
from csbsctl.vault import KeySource

WRITER = """
import sys
from pathlib import Path
from csbsctl.clock import SystemClock
from csbsctl.vault import open_vault
with open_vault("vault", base=Path(sys.argv[1]), clock=SystemClock(), actor="ops@here") as vault:
    for number in range(10):
        vault.audit.record("restoreCheckpointItem", resource_type="checkpointItem", resource_id=f"{sys.argv[2]}{number}")
        vault.audit.flush()
"""


def record(vault, *names):
    for name in names:
        vault.audit.record("createBackupPolicy", resource_type="backupPolicy", resource_id=name)
    vault.audit.flush()


def path_of(vault, number, writer="ops-at-here"):
    return vault.store.inner.root / f"audit/{writer}/{number:010d}.json"


def test_an_event_has_the_shape_of_cadf(vault):
    vault.audit.record(
        "deleteCheckpointItem",
        resource_type="checkpointItem",
        resource_id="b1",
        outcome="failure",
        reason="CSBS.6010",
        details={"policy": "gold"},
    )
    (event,) = vault.audit.events()
    assert event["typeURI"] == "http://schemas.dmtf.org/cloud/audit/1.0/event"
    assert (event["action"], event["outcome"]) == ("deleteCheckpointItem", "failure")
    assert event["initiator"]["id"] == "ops@here"
    assert (event["initiator"]["name"], event["initiator"]["host"]["address"]) == ("ops", "here")
    assert (event["target"]["typeURI"], event["target"]["id"]) == ("service/csbs/checkpointItem", "b1")
    assert event["observer"]["id"] == vault.id
    assert event["reason"]["reasonCode"] == "CSBS.6010"
    assert event["attachments"][0]["content"] == {"policy": "gold"}


def test_events_are_written_in_batches_and_when_the_vault_closes(opened):
    vault = opened()
    record(vault, "a", "b")
    vault.audit.record("restoreCheckpointItem", resource_type="checkpointItem", resource_id="c")
    vault.close()
    assert len(list(vault.store.keys("audit/"))) == 2
    assert [event["target"]["id"] for event in opened().audit.events()] == ["a", "b", "c"]


def test_a_whole_trail_verifies(vault, opened):
    record(vault, "a")
    record(vault, "b")
    other = opened(actor="ci@runner")
    record(other, "c")
    assert vault.audit.verify() == []
    assert set(vault.audit.heads()) == {"ops-at-here", "ci-at-runner"}
    assert vault.audit.verify(",".join(vault.audit.heads().values())) == []
    record(vault, "d")
    assert vault.audit.verify(other.audit.heads()["ci-at-runner"]) == []


def test_an_altered_batch_is_found(vault, opened):
    record(vault, "a")
    record(vault, "b")
    path = path_of(vault, 1)
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    assert any("0000000001.json" in problem for problem in opened().audit.verify())
    with pytest.raises(Damaged):
        list(opened().audit.events())


def test_a_batch_that_was_forged_well_breaks_the_chain(vault, opened, tmp_path):
    record(vault, "a")
    record(vault, "b")
    forged = opened("forged")
    record(forged, "something else")
    path_of(vault, 1).write_bytes(path_of(forged, 1).read_bytes())
    assert any("does not follow" in problem for problem in opened().audit.verify())


def test_a_missing_batch_is_found(vault, opened):
    for name in "abc":
        record(vault, name)
    path_of(vault, 2).unlink()
    assert any("batches 2 to 2 are missing" in problem for problem in opened().audit.verify())


def test_a_tail_that_was_cut_off_is_found_by_an_anchor_only(vault, opened):
    record(vault, "a")
    record(vault, "b")
    anchor = vault.audit.heads()["ops-at-here"]
    path_of(vault, 2).unlink()
    again = opened()
    assert again.audit.verify() == []
    assert any("cut off" in problem for problem in again.audit.verify(anchor))
    assert any("anchors" in problem for problem in again.audit.verify(anchors={"ops-at-here": {anchor}}))


def test_without_the_key_nobody_forges_a_batch(opened, tmp_path):
    (tmp_path / "key").write_text("0123456789abcdef0123")
    key = KeySource(key_file="key", base=tmp_path)
    vault = opened(key=key)
    record(vault, "a")
    assert vault.audit.verify() == []
    keyless = opened(actor="mallory@there")
    record(keyless, "forged")
    assert keyless.audit.verify() == []
    assert any("not signed" in problem for problem in opened(key=key).audit.verify())


@pytest.mark.slow
def test_processes_of_one_actor_share_a_chain(opened, tmp_path):
    vault = opened()
    command = [sys.executable, "-c", WRITER, tmp_path]
    writers = [subprocess.Popen([*command, name]) for name in "xy"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert vault.audit.verify() == []
    assert len({event["id"] for event in vault.audit.events()}) == 20
    assert len(vault.audit.heads()) == 1
