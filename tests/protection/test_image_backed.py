"""Servers whose root is no volume: who may back them up, by what their bindings say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from csbsctl.model.backup import BackupState
from csbsctl.model.server import Server
from csbsctl.protection.byhand import create_backups
from csbsctl.protection.preflight import RestoreRequest
from csbsctl.protection.restore import restore
from csbsctl.protection.status import server_views
from csbsctl_local.provider import LocalProvider

GOLD = {"schedule": {"at": ["02:00"]}, "retention": {"count": 3}}


class Imaged(LocalProvider):
    """A cloud whose servers all boot from images, and whose backups hold such roots too."""

    def servers(self) -> Iterator[Server]:
        return (replace(server, image_backed_root=True) for server in super().servers())

    def server(self, server_id: str) -> Server:
        return replace(super().server(server_id), image_backed_root=True)


@pytest.fixture
def imaged(world: Any) -> Any:
    world.cloud.__class__ = Imaged
    return world


def declare(world: Any, choice: str) -> None:
    binding = {"policy": "gold", "servers": ["web-01"], "image_backed_root": choice}
    world.declare({"policies": {"gold": GOLD}, "bindings": {"web": binding}})


@pytest.mark.parametrize(
    ("choice", "state", "code"),
    [("snapshot", BackupState.AVAILABLE, None), ("refuse", BackupState.ERROR, "CSBS.6003")],
)
def test_a_run_backs_them_up_where_the_binding_says_so(imaged, choice, state, code):
    server = imaged.server("web-01")
    declare(imaged, choice)
    imaged.run(imaged.night(0))
    (backup,) = imaged.backups(server)
    assert (backup.state, (backup.error or {}).get("code")) == (state, code)


def test_a_hand_backs_up_those_that_are_bound_so_and_no_others(imaged):
    bound, loose = imaged.server("web-01"), imaged.server("db-01")
    declare(imaged, "snapshot")
    outcome = create_backups(imaged.site, [imaged.cloud.server(server.id) for server in (bound, loose)])
    assert [backup.server.name for backup in outcome.succeeded] == ["web-01"]
    assert [(server.name, error.code) for server, error in outcome.refused] == [("db-01", "CSBS.6003")]


def test_the_list_of_servers_says_what_to_write(imaged):
    imaged.server("web-01")
    imaged.server("db-01")
    declare(imaged, "snapshot")
    reasons = {view["name"]: view["reason"] for view in server_views(imaged.site)}
    assert reasons["web-01"] is None
    assert "`image_backed_root: snapshot`" in reasons["db-01"]
    assert "CSBS.6003" in reasons["db-01"]


def test_the_safety_backup_before_a_restore_does_not_ask_the_binding(imaged):
    server = imaged.server("web-01")
    declare(imaged, "snapshot")
    imaged.run(imaged.night(0))
    declare(imaged, "refuse")
    (backup,) = imaged.backups(server)
    done = restore(imaged.site, RestoreRequest(backup))
    states = {made.id: made.state for made in imaged.backups(server)}
    assert states == {backup.id: BackupState.AVAILABLE, done.safety: BackupState.AVAILABLE}
