from __future__ import annotations

import json

import pytest

from csbsctl.errors import (
    Damaged,
    NotFound,
    Refused,
    StoreUnavailable,
    UnsupportedFormat,
    UsageError,
    VaultError,
)
from csbsctl.model.control import ControlDocument
from csbsctl.vault import StoreOptions, open_vault, vault_exists
from csbsctl.vault.description import ProbeResult, VaultDescription
from csbsctl.vault.probe import insist


def test_a_vault_that_is_not_there_is_not_made_unasked(tmp_path, clock):
    assert not vault_exists("vault", base=tmp_path)
    with pytest.raises(NotFound) as caught:
        open_vault("vault", base=tmp_path, clock=clock)
    assert caught.value.code == "vault.absent"
    assert not list(tmp_path.iterdir())


def test_a_new_vault_says_what_it_is(opened, tmp_path):
    vault = opened()
    assert vault_exists("vault", base=tmp_path)
    described = json.loads((tmp_path / "vault" / "vault.json").read_text())
    assert (described["format"], described["id"], described["created_by"]) == (1, vault.id, "ops@here")
    assert described["probe"]["races"] == 20
    assert described["probe"]["writers"] == 8
    assert described["probe"]["several_winners"] == 0
    assert described["encryption"] is None
    assert sorted(path.name for path in (tmp_path / "vault").iterdir()) == [".tmp", "vault.json"]


def test_opening_again_finds_the_same_vault(opened, tmp_path):
    assert opened().id == opened().id == opened(str(tmp_path / "vault")).id == opened("file://vault").id


def test_a_newer_format_is_refused_with_what_to_do(opened, tmp_path):
    opened()
    path = tmp_path / "vault" / "vault.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(UnsupportedFormat, match="format 2") as caught:
        opened()
    assert "newer csbsctl" in (caught.value.hint or "")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"format": 1}'])
def test_a_broken_vault_json_is_damage(opened, tmp_path, content):
    opened()
    (tmp_path / "vault" / "vault.json").write_bytes(content)
    with pytest.raises(Damaged):
        opened()


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "swift://x"])
def test_an_unknown_url_is_a_usage_error(tmp_path, clock, url):
    with pytest.raises(UsageError):
        open_vault(url, base=tmp_path, clock=clock)


def test_a_file_in_the_vaults_place_is_named(tmp_path, clock):
    (tmp_path / "vault").write_text("a file")
    with pytest.raises(StoreUnavailable, match="a file stands where"):
        open_vault("vault", base=tmp_path, clock=clock, create=True)


def test_a_vault_opened_for_reading_changes_nothing(opened, tmp_path):
    opened().control.commit(ControlDocument(1))
    reader = opened(read_only=True, create=False)
    assert reader.control.head().generation == 1
    with pytest.raises(Refused, match="reading only"):
        reader.control.commit(ControlDocument(2))
    with pytest.raises(Refused):
        reader.leases.acquire("p", "s")


def test_each_provider_has_its_own_data(vault):
    vault.data("one").create("pack/1", b"x")
    assert [blob.key for blob in vault.data("one").list("")] == ["pack/1"]
    assert list(vault.data("two").list("")) == []
    assert vault.blobs.get("data/one/pack/1") == b"x"


def test_a_store_with_several_winners_is_refused_unless_coordinated(clock):
    found = ProbeResult(20, 8, 15, clock.now())
    with pytest.raises(VaultError, match="in 15 of 20 races") as caught:
        insist(found, "s3://b/p", None)
    assert "single-writer" in (caught.value.hint or "")
    insist(found, "s3://b/p", "single-writer")
    insist(ProbeResult(20, 8, 0, clock.now()), "s3://b/p", None)


def test_coordination_is_remembered_by_the_vault(opened):
    opened(options=StoreOptions(coordination="single-writer"))
    again = opened(create=False)
    assert again.coordination == "single-writer"
    again.control.commit(ControlDocument(1))
    assert again.control.head().generation == 1


def test_a_description_reads_back(vault):
    assert VaultDescription.decode(vault.description.encode()) == vault.description
