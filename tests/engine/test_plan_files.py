from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from csbsctl.engine import planfile
from csbsctl.errors import Damaged, NotFound, Stale, UnsupportedFormat
from csbsctl.model.server import Volume

GOLD = {"schedule": {"at": ["02:00"]}, "retention": {"count": 30}}
WEB = {"policy": "gold", "servers": ["web-01", "web-02"]}
SHOP = {"policies": {"gold": GOLD}, "bindings": {"web": WEB}}


@pytest.fixture
def file(world, tmp_path):
    path = tmp_path / "shop.plan"
    planfile.save(path, world.plan(SHOP), providers={"default": "local 1"})
    return path


def test_a_saved_plan_is_applied_as_it_was_shown(world, file):
    saved = planfile.load(file)
    proposal = planfile.reopen(saved, world.situation(), providers={"default": "local 1"})
    assert proposal.plan.changes == saved.plan.changes
    world.apply(proposal)
    assert world.plan(SHOP).plan.empty


def test_a_file_that_is_not_there_or_no_plan_is_told_apart(tmp_path):
    with pytest.raises(NotFound):
        planfile.load(tmp_path / "none")
    (tmp_path / "other").write_text('{"a": 1}')
    with pytest.raises(Damaged, match="not a plan"):
        planfile.load(tmp_path / "other")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Damaged):
        planfile.load(tmp_path / "bytes")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_plan_that_was_cut_short_is_refused(file, share):
    text = file.read_text()
    file.write_text(text[: int(len(text) * share)])
    with pytest.raises(Damaged, match=r"cut short|not a whole"):
        planfile.load(file)


def test_a_plan_edited_by_hand_is_refused(file):
    file.write_text(file.read_text().replace('"count":30', '"count":31'))
    with pytest.raises(Damaged, match="changed after csbsctl saved it"):
        planfile.load(file)


def test_a_plan_of_a_newer_format_is_refused(file):
    whole = json.loads(file.read_text())
    whole["csbsctl_plan"] = 99
    file.write_text(json.dumps(whole))
    with pytest.raises(UnsupportedFormat, match="newer csbsctl"):
        planfile.load(file)


def reasons(file, world, **more):
    with pytest.raises(Stale) as caught:
        planfile.reopen(planfile.load(file), world.situation(**more.pop("situation", {})), **more)
    return caught.value.message


def test_a_plan_of_another_vault_is_refused(world, file):
    assert "another vault" in reasons(file, world, situation={"vault_id": "elsewhere"})
    assert "not there any more" in reasons(file, world, situation={"vault_id": None})


def test_a_plan_is_stale_when_its_stack_changed(world, file):
    world.apply({"policies": {"gold": GOLD}})
    assert "stack shop changed" in reasons(file, world)


def test_a_plan_is_not_stale_when_another_stack_changed(world, file):
    world.apply({"policies": {"x": GOLD}}, stack="lab")
    applied = world.apply(planfile.reopen(planfile.load(file), world.situation()))
    assert set(applied.document.stacks) == {"lab", "shop"}


def test_a_plan_is_stale_when_a_server_it_touches_changed_or_went(world, file):
    first, *rest = world.servers
    world.servers = [replace(first, volumes=(*first.volumes, Volume("new", "data", 1 << 30))), *rest]
    assert "server web-01" in reasons(file, world)
    world.servers = rest
    assert "gone" in reasons(file, world)


def test_what_happens_to_other_servers_and_what_merely_runs_does_not_matter(world, file):
    from csbsctl.model.server import ServerState

    web, other, db = world.servers
    world.servers = [replace(web, state=ServerState.STOPPED), other, replace(db, metadata={"a": "b"})]
    planfile.reopen(planfile.load(file), world.situation())


def test_a_plan_expires_and_does_not_come_from_the_future(world, file):
    world.clock.advance(timedelta(days=8))
    assert "expired" in reasons(file, world)
    world.clock.advance(timedelta(days=-20))
    assert "still to come" in reasons(file, world)


def test_a_plan_is_stale_under_another_provider_version_or_configuration(world, file):
    assert "local 1" in reasons(file, world, providers={"default": "local 2"})
    other = world.wish({"policies": {"gold": GOLD}})
    assert "configuration changed" in reasons(file, world, configuration=other)


def test_secrets_are_not_in_the_file_and_applying_it_needs_the_configuration(world, tmp_path):
    declared = {**SHOP, "policies": {"gold": {**GOLD, "description": "hunter2"}}}
    wish = replace(world.wish(declared), sensitive=frozenset({"hunter2"}))
    path = tmp_path / "secret.plan"
    planfile.save(path, world.plan(wish))
    assert "hunter2" not in path.read_text()
    assert "needs its configuration" in reasons(path, world)
    applied = world.apply(planfile.reopen(planfile.load(path), world.situation(), configuration=wish))
    assert applied.document.stacks["shop"].live["policies"]["gold"]["description"] == "hunter2"
