"""What ``restore --as NAME --set KEY=VALUE`` may say; runs without a cloud."""

from __future__ import annotations

import pytest

from csbsctl.errors import CloudRefused
from csbsctl.model.backup import Kind, StoredVolume
from csbsctl_openstack.wishes import Wishes, read_wishes


def disk(name: str) -> StoredVolume:
    return StoredVolume(
        volume_id=f"id-of-{name}",
        name=name,
        size=1 << 30,
        bootable=name == "root",
        position=0,
        ref="backup",
        kind=Kind.FULL,
        stored=1 << 30,
        extra={"type": "own"},
    )


def test_nothing_wished_keeps_everything():
    assert read_wishes({}) == Wishes()
    assert read_wishes({}).type_of(disk("root")) == "own"


def test_every_setting_is_understood():
    wishes = read_wishes(
        {
            "flavor": ["m1"],
            "availability_zone": ["az2"],
            "key_name": ["none"],
            "network": ["front", "back"],
            "security_group": ["none"],
            "tag": ["a", "b"],
            "metadata": ["tier=web", "note=a=b"],
        }
    )
    assert (wishes.flavor, wishes.zone, wishes.key) == ("m1", "az2", "none")
    assert (wishes.networks, wishes.ports, wishes.groups) == (("front", "back"), None, ())
    assert (wishes.tags, wishes.metadata) == (("a", "b"), {"tier": "web", "note": "a=b"})


def test_a_volume_type_is_for_one_disk_or_for_all_others():
    wishes = read_wishes({"volume_type": ["slow", "data=fast", "id-of-logs=cold"]})
    assert [wishes.type_of(disk(name)) for name in ("root", "data", "logs")] == ["slow", "fast", "cold"]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ({"flavour": ["m1"]}, "no setting 'flavour'", "did you mean 'flavor'"),
        ({"colour": ["red"]}, "no setting 'colour'", "it has flavor"),
        ({"flavor": ["a", "b"]}, "2 values: a, b", "has one"),
        ({"network": [""]}, "no value", "none"),
        ({"network": ["a"], "port": ["b"]}, "exclude", "a port has its network"),
        ({"metadata": ["tier"]}, "'tier' is not KEY=VALUE", "tier=web"),
        ({"volume_type": ["data="]}, "neither TYPE nor DISK=TYPE", "data=ssd"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do(words, message, hint):
    with pytest.raises(CloudRefused, match=message) as caught:
        read_wishes(words)
    assert caught.value.code == "CSBS.9001"
    assert hint in str(caught.value.hint)
