from __future__ import annotations

import subprocess
import sys

import pytest

from csbsctl.errors import Damaged, LeaseLost, NotFound, UsageError
from csbsctl.model.backup import Kind, StoredVolume

RACER = """
import sys
from pathlib import Path
from csbsctl.clock import SystemClock
from csbsctl.model.backup import Backup
from csbsctl.vault import open_vault
template = Backup.model_validate_json(sys.argv[3])
with open_vault("vault", base=Path(sys.argv[1]), clock=SystemClock()) as vault:
    for number in range(12):
        mine = template.model_copy(update={"id": f"{sys.argv[2]}-{number}"})
        vault.catalogue.update("default", "s1", lambda backups: [*backups, mine])
"""


def put(vault, *backups, server="s1", fence=0):
    return vault.catalogue.update("default", server, lambda before: [*before, *backups], fence=fence)


def test_a_server_without_backups_has_none(vault):
    assert vault.catalogue.backups("default", "s1") == ()
    assert vault.catalogue.servers() == []
    assert list(vault.catalogue.all()) == []


def test_backups_come_oldest_first_and_whole(vault, opened, backup):
    volume = StoredVolume(
        volume_id="v",
        name="root",
        size=10,
        bootable=True,
        position=0,
        ref="r",
        kind=Kind.FULL,
        stored=5,
        extra={"a": 1},
    )
    old, new = backup(1, volumes=(volume,), tags={"team": "shop"}), backup(2, policy="gold")
    put(vault, new, old)
    assert vault.catalogue.backups("default", "s1") == (old, new)
    assert opened().catalogue.backups("default", "s1") == (old, new)


def test_servers_with_odd_ids_are_kept_apart(vault, backup):
    for server in ("a/b", "a~b", "../x", ".hidden", "云", "a%2Fb"):
        put(vault, backup(1, server=server), server=server)
    assert [server for _, server in vault.catalogue.servers()] == sorted(
        ["a/b", "a~b", "../x", ".hidden", "云", "a%2Fb"]
    )
    assert vault.catalogue.backups("default", "a/b")[0].server.id == "a/b"


def test_all_reads_every_server(vault, backup):
    for number in range(25):
        put(vault, backup(number, server=f"s{number}"), server=f"s{number}")
    assert {found.id for found in vault.catalogue.all()} == {backup(number).id for number in range(25)}


def test_an_update_that_changes_nothing_writes_nothing(vault, backup, directory):
    put(vault, backup(1))
    before = list(vault.store.keys("catalogue/"))
    vault.catalogue.update("default", "s1", lambda backups: backups)
    assert list(vault.store.keys("catalogue/")) == before


def test_a_lower_lease_number_is_refused(vault, opened, backup):
    put(vault, backup(1), fence=5)
    for each in (vault, opened()):
        with pytest.raises(LeaseLost, match="lease 5 follows 4"):
            put(each, backup(2), fence=4)
    put(vault, backup(3), fence=0)
    put(vault, backup(4), fence=5)
    put(vault, backup(5), fence=6)
    with pytest.raises(LeaseLost):
        put(vault, backup(6), fence=5)


def test_an_update_starts_over_when_somebody_was_in_between(vault, opened, backup):
    other, calls = opened(), []

    def change(before):
        calls.append(len(before))
        if len(calls) == 1:
            put(other, backup(1))
        return [*before, backup(2)]

    vault.catalogue.update("default", "s1", change)
    assert calls == [0, 1]
    assert [found.id for found in vault.catalogue.backups("default", "s1")] == [backup(1).id, backup(2).id]


def test_a_backup_is_found_by_id_prefix_name_and_server(vault, backup):
    one, two = (
        backup(0xABCDEF01, name="nightly"),
        backup(0xABCDEF02, server="s2", server_name="web-02", name="nightly"),
    )
    put(vault, one)
    put(vault, two, server="s2")
    assert vault.catalogue.find(one.id) == one
    assert vault.catalogue.find("abcdef01") == one
    assert vault.catalogue.find("nightly@web-02") == two
    with pytest.raises(UsageError, match="fits 2 backups"):
        vault.catalogue.find("nightly")
    with pytest.raises(UsageError):
        vault.catalogue.find("abcdef0")
    for wanted in ("abcd", "none", "nightly@web-09"):
        with pytest.raises(NotFound):
            vault.catalogue.find(wanted)


def test_a_damaged_server_does_not_pass_as_empty(vault, opened, backup):
    put(vault, backup(1))
    key = next(iter(vault.store.keys("catalogue/")))
    vault.store.put(key, vault.store.get(key)[:-1])
    with pytest.raises(Damaged, match="catalogue/default~s1"):
        opened().catalogue.backups("default", "s1")


@pytest.mark.slow
def test_processes_race_for_one_server_and_no_backup_is_lost(opened, tmp_path, backup):
    vault = opened()
    command = [sys.executable, "-c", RACER, tmp_path]
    racers = [subprocess.Popen([*command, f"r{n}", backup(n).model_dump_json()]) for n in range(2)]
    assert [racer.wait(60) for racer in racers] == [0, 0]
    found = {each.id for each in vault.catalogue.backups("default", "s1")}
    assert found == {f"r{racer}-{number}" for racer in range(2) for number in range(12)}
