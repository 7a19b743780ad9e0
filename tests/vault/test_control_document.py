from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest

from csbsctl.errors import Conflict, NotFound
from csbsctl.model.control import ControlDocument, StackState

RACER = """
import sys
from pathlib import Path
from csbsctl.clock import SystemClock
from csbsctl.errors import Conflict
from csbsctl.model.control import ControlDocument, StackState
from csbsctl.vault import open_vault
done = 0
with open_vault("vault", base=Path(sys.argv[1]), clock=SystemClock(), actor=sys.argv[2]) as vault:
    while done < 15:
        head = vault.control.head()
        count = head.stacks["s"].live["count"] if head.stacks else 0
        state = StackState({"count": count + 1}, {})
        try:
            vault.control.commit(ControlDocument(head.generation + 1, {"s": state}))
        except Conflict:
            continue
        done += 1
"""


def test_an_empty_vault_has_generation_zero(vault):
    assert vault.control.head() == ControlDocument(0)
    assert vault.control.at(0) == ControlDocument(0)
    assert list(vault.control.history()) == []


def test_a_commit_reads_back_whole(vault, clock):
    now = clock.now()
    live = {"policies": {"gold": {"enabled": False}}}
    state = StackState(
        live=live,
        applied={"policies": {"gold": {"enabled": True}}},
        since={"policy.gold": now, "binding.web": now, "binding.web/s1": now + timedelta(hours=1)},
        anchors={"gold": now},
        members={"web": {"s1": "web-01"}},
        edits={"policy.gold": {"enabled": {"by": "ops", "at": "x", "generation": 1, "via": "console"}}},
        former={"gold": ["silver"]},
    )
    written = ControlDocument(1, {"shop": state}, "shop", now, "me@ci", "abc123", "1 to add", {"w": "d"})
    assert vault.control.commit(written) == written
    assert vault.control.head() == written


def test_a_commit_fills_in_who_when_and_the_audits_heads(vault):
    vault.audit.record("createBackupPolicy", resource_type="backupPolicy", resource_id="gold")
    vault.audit.flush()
    done = vault.control.commit(ControlDocument(1))
    assert done.by == "ops@here"
    assert done.at is not None
    assert done.audit_heads == vault.audit.heads() != {}


def test_a_commit_on_an_old_generation_is_refused(vault):
    vault.control.commit(ControlDocument(1))
    with pytest.raises(Conflict):
        vault.control.commit(ControlDocument(1))
    with pytest.raises(Conflict):
        vault.control.commit(ControlDocument(3))
    assert vault.control.head().generation == 1


def test_another_vault_objects_commit_is_seen_and_refused(opened):
    one, other = opened(), opened()
    one.control.head()
    other.control.commit(ControlDocument(1, summary="other"))
    with pytest.raises(Conflict):
        one.control.commit(ControlDocument(1, summary="one"))
    assert one.control.head().summary == "other"


def test_a_generation_that_is_not_kept_says_which_are(vault):
    vault.control.commit(ControlDocument(1))
    vault.control.commit(ControlDocument(2))
    with pytest.raises(NotFound) as caught:
        vault.control.at(7)
    assert "1 to 2" in (caught.value.hint or "")


def test_ten_thousand_bindings_are_written_and_read(vault, clock):
    bindings = {f"b{n}": {"policy": "gold", "servers": [f"web-{n}"]} for n in range(10_000)}
    since = {f"binding.b{n}": clock.now() for n in range(10_000)}
    state = StackState({"bindings": bindings}, {"bindings": bindings}, since=since)
    vault.control.commit(ControlDocument(1, {"s": state}))
    assert vault.control.head().stacks["s"] == state


@pytest.mark.slow
def test_processes_race_and_no_commit_is_lost(opened, tmp_path):
    vault = opened()
    racers = [subprocess.Popen([sys.executable, "-c", RACER, tmp_path, f"racer{n}"]) for n in range(2)]
    assert [racer.wait(60) for racer in racers] == [0, 0]
    head = vault.control.head()
    assert head.generation == 30
    assert head.stacks["s"].live == {"count": 30}
    assert [document.generation for document in vault.control.history()] == list(range(30, 0, -1))
