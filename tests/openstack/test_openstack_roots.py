"""Images of roots that are no volumes, as Glance's documents tell of them; runs without a cloud.

What the cloud makes of them, ``test_openstack_root_refusals.py`` and ``test_openstack_guests.py`` try.
"""

from __future__ import annotations

from typing import Any

import pytest

from csbsctl.clock import SystemClock
from csbsctl.errors import QuotaExceeded
from csbsctl.model.backup import Kind
from csbsctl.model.server import Server, ServerState
from csbsctl.provider import Marker, Step, VolumeSnapshot
from csbsctl_openstack import marks
from csbsctl_openstack.connection import Cloud
from csbsctl_openstack.quotas import Limit, Quotas
from csbsctl_openstack.roots import Roots, is_stored, marker_of, root_of, stored_of
from csbsctl_openstack.settings import OpenStackSettings
from csbsctl_openstack.wire import GIB

MARKER = Marker("vault", "job", "server", "backup", "gold", "2026-11-23T02:00:00Z")
SERVER = {"id": "s1", "name": "web-01", "flavor": {"disk": 20}}


class Shelf:
    """Glance with one image: what is asked for and what is written."""

    def __init__(self) -> None:
        self.image: dict[str, Any] = {
            "id": "i1",
            "name": marks.describe(MARKER, "root"),
            "status": "active",
            "size": 5 * GIB,
            "os_hash_value": "abc",
            "tags": ["users-own"],
        }

    def get(self, _what: str, _path: str) -> dict[str, Any]:
        return dict(self.image)

    def patch(self, _what: str, _path: str, changes: list[dict[str, Any]]) -> None:
        (change,) = changes
        assert (change["op"], change["path"]) == ("replace", "/tags")
        assert all(len(tag) <= 255 for tag in change["value"])
        self.image["tags"] = change["value"]


@pytest.fixture
def roots() -> Roots:
    made = Roots(Cloud(OpenStackSettings(cloud="nowhere"), SystemClock()))
    made._glance = Shelf()  # type: ignore[assignment]
    return made


def test_an_image_is_a_snapshot_from_birth_and_a_backup_once_it_is_stored(roots):
    image = roots.get("i1")
    assert (marker_of(image), is_stored(image)) == (Marker("vault", "job", "server", "backup"), False)
    roots.seal(image, {"count": 2, "spec": {f"key-{n}": f"{n * 7919:x}" * 9 for n in range(60)}})
    assert roots.sealed([roots.get("i1")], [{}])["count"] == 2
    assert roots.sealed([roots.get("i1")], []) is None, "a snapshot of its set is gone"

    disk = VolumeSnapshot(root_of(SERVER), "image/i1", {"document": {"server": "web-01", "count": 2}})
    stored = roots.store(Step(MARKER, about={"tags": {"team": "shop"}}), disk)

    image = roots.get("i1")
    assert (marker_of(image), is_stored(image)) == (MARKER, True)
    assert "users-own" in image["tags"]
    assert stored == stored_of(image)
    assert (stored.volume_id, stored.size, stored.stored) == ("root-s1", 20 * GIB, 5 * GIB)
    assert (stored.kind, stored.parent, stored.bootable, stored.position) == (Kind.FULL, None, True, 0)
    assert roots.check(stored) == []


def test_what_is_not_the_image_that_was_stored_is_damage(roots):
    disk = VolumeSnapshot(root_of(SERVER), "image/i1", {"document": {}})
    stored = roots.store(Step(MARKER), disk)
    roots._glance.image |= {"size": 4 * GIB}
    assert "its image_size was" in roots.check(stored)[0].message
    roots._glance.image |= {"status": "deactivated"}
    assert "is deactivated" in roots.check(stored)[0].message


def test_an_image_that_users_made_of_a_restored_server_is_theirs():
    inherited = {"csbsctl:vault": "vault", "csbsctl:job": "job", "base_image_ref": "i1"}
    assert marker_of({"id": "i2", "name": "web-01 before the upgrade", "tags": [], **inherited}) is None


def test_protection_is_noted_and_taken_off_again(roots):
    stored = roots.store(Step(MARKER), VolumeSnapshot(root_of(SERVER), "image/i1", {"document": {}}))
    roots.protect(Step(MARKER), stored, protected=True)
    assert f"{marks.PROTECTED}=yes" in roots.get("i1")["tags"]
    roots.protect(Step(MARKER), stored, protected=False)
    assert not any(tag.startswith(marks.PROTECTED) for tag in roots.get("i1")["tags"])


def test_room_for_an_image_is_asked_for_where_glance_has_quotas():
    cloud = Cloud(OpenStackSettings(cloud="nowhere"), SystemClock())
    usage = {
        "usage": {
            "image_count_total": {"limit": 5, "usage": 5},
            "image_size_total": {"limit": -1, "usage": 9},
        }
    }
    quotas = Quotas(cloud)
    cloud.glance.get = lambda *_words, **_query: usage  # type: ignore[method-assign]
    quotas._all = lambda: {"backups": Limit(10, 2)}  # type: ignore[method-assign]
    root = root_of(SERVER)
    with pytest.raises(QuotaExceeded, match="quota image_count_total: 1 more needed, 5 of 5 used") as short:
        quotas.insist_on_room(
            Server("s1", "web-01", "default", ServerState.ACTIVE, (root,), image_backed_root=True)
        )
    assert "higher limit of image_count_total in Glance" in str(short.value.hint)
    quotas.insist_on_room(Server("s1", "web-01", "default", ServerState.ACTIVE, (root,)))
