"""Markers on things in the cloud, and the words of the APIs; runs without a cloud."""

from __future__ import annotations

import pytest

from csbsctl.errors import Damaged
from csbsctl.model.backup import Kind
from csbsctl.model.server import ServerState, Volume
from csbsctl.provider import Marker, VolumeSnapshot
from csbsctl_openstack import marks
from csbsctl_openstack.backup import base_of, stored_of
from csbsctl_openstack.wire import GIB, server_state

MARKER = Marker("vault", "job", "server", "backup", "gold", "2026-11-23T02:00:00Z", fence=7)


def test_a_marker_comes_back_from_metadata_without_its_fence():
    found = marks.marker_of(marks.metadata(MARKER) | {"owner": "somebody"})
    assert found == Marker("vault", "job", "server", "backup", "gold", "2026-11-23T02:00:00Z")
    assert marks.same(MARKER, marks.metadata(MARKER))
    assert marks.marker_of({"owner": "somebody"}) is None


def test_a_large_document_is_cut_to_the_length_that_metadata_allows():
    document = {"spec": {"metadata": {f"key-{n}": f"{n * 7919:x}" * 9 for n in range(60)}}}
    packed = marks.metadata(MARKER, document)
    assert all(len(value) <= 255 for value in packed.values())
    assert len(packed) > 8
    assert marks.unpack(packed) == document


def test_metadata_that_somebody_edited_is_damage():
    packed = marks.pack({"name": "x"})
    packed["csbsctl:data.0"] = packed["csbsctl:data.0"][4:]
    with pytest.raises(Damaged):
        marks.unpack(packed)


def test_users_see_no_metadata_of_ours():
    assert marks.foreign({"tier": "web", marks.PAUSED: "v j t"}) == {"tier": "web"}


def test_a_description_marks_a_volume():
    text = marks.describe(Marker("v", "j", "s"), "disk-0")
    assert len(marks.describe(Marker(*["x" * 36] * 4), "image-10")) < 255
    assert marks.described(text) == (Marker("v", "j", "s"), "disk-0")
    of_no_server = Marker("v", "j", "", "b")
    assert marks.described(marks.describe(of_no_server, "disk-0")) == (of_no_server, "disk-0")
    assert marks.described("the database's disk") is None


@pytest.mark.parametrize(
    ("status", "task", "state"),
    [
        ("ACTIVE", None, ServerState.ACTIVE),
        ("ACTIVE", "powering-off", ServerState.BUSY),
        ("SHUTOFF", None, ServerState.STOPPED),
        ("MIGRATING", "migrating", ServerState.BUSY),
        ("VERIFY_RESIZE", None, ServerState.ERROR),
        ("SHELVED_OFFLOADED", None, ServerState.ERROR),
    ],
)
def test_the_states_of_nova_are_reduced_to_what_matters(status, task, state):
    assert server_state({"status": status, "OS-EXT-STS:task_state": task}) is state


def backup(name: str, when: str, status: str = "available", size: int = 1, **metadata: str) -> dict:
    return {
        "id": name,
        "volume_id": "v",
        "status": status,
        "size": size,
        "is_incremental": False,
        "data_timestamp": when,
        "metadata": metadata,
    }


def taken(when: str, size: int = GIB) -> VolumeSnapshot:
    return VolumeSnapshot(Volume("v", "v", size), "s", {"created_at": when})


PARENT = stored_of(backup("old", "2026-11-23T01:00:00.000000"))


def test_cinder_bases_an_increment_on_the_newest_backup_older_than_the_snapshot():
    siblings = [
        backup("old", "2026-11-23T01:00:00.000000"),
        backup("foreign", "2026-11-23T02:00:00.000000"),
        backup("failed", "2026-11-23T02:30:00.000000", status="error"),
        backup("same-second", "2026-11-23T03:00:00.000000"),
    ]
    base = base_of(siblings, taken("2026-11-23T03:00:00.700000"), PARENT)
    assert base is not None
    assert base["id"] == "foreign"


def test_a_full_is_asked_for_without_a_parent_or_when_the_volume_grew():
    siblings = [backup("old", "2026-11-23T01:00:00.000000")]
    assert base_of(siblings, taken("2026-11-23T03:00:00"), None) is None
    assert base_of(siblings, taken("2026-11-23T03:00:00", 2 * GIB), PARENT) is None
    assert base_of([], taken("2026-11-23T03:00:00"), PARENT) is None


def test_the_record_says_what_cinder_did_not_what_was_asked():
    facts = marks.metadata(MARKER, {"parent": "old", "asked": "incremental", "size": GIB})
    silent_full = stored_of(backup("b", "2026-11-23T03:00:00") | {"metadata": facts})
    assert (silent_full.kind, silent_full.parent) == (Kind.FULL, None)
    assert silent_full.extra["asked"] == "incremental"
