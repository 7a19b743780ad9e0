"""Damage to what is stored, done to real bytes and met through the command line: found, named, mended where possible."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.crash.conftest import Yard

pytestmark = pytest.mark.slow
RANDOM = ("sim", "write", "web-01:0", "--offset", "64K", "--random", "200K", "--seed")


def data(yard: Yard) -> Path:
    return yard.folder / "vault" / "data" / "default"


def packs(yard: Yard) -> list[Path]:
    """Return the packs of chunks and leaves, the biggest first."""
    found = [path for path in (data(yard) / "packs").rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: (-path.stat().st_size, path.name))


def rewrite(path: Path, stored: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(stored)


def flip(path: Path, at: float = 0.5) -> None:
    stored = bytearray(path.read_bytes())
    stored[int(len(stored) * at)] ^= 1
    rewrite(path, bytes(stored))


def looked_over(yard: Yard, *words: str, expect: int) -> tuple[list[Any], set[str]]:
    """Return the findings of ``vault check`` that are damage, and the names of the backups they hurt."""
    said, _ = json.JSONDecoder().raw_decode(
        yard("vault", "check", "--no-race", "--json", *words, expect=expect)
    )
    damage = [f for f in said["findings"] if f["severity"] == "damage"]
    return damage, {b["name"] for f in damage for b in f["backups"]}


def hurt(yard: Yard) -> set[str]:
    """Return the names of the backups that are known to be damaged."""
    with yard.session() as session:
        return {b.name for b in session.vault().catalogue.all() if b.verification == "failed"}


def test_a_flipped_bit_is_found_and_named_and_nothing_hurt_is_offered(yard: Yard):
    flip(packs(yard)[0])
    damage, names = looked_over(yard, "--read-data", expect=1)
    assert len(damage) == 1
    assert "pack" in damage[0]["message"]
    assert names
    assert hurt(yard) == names
    assert looked_over(yard, expect=0)[0] == [], "without reading the data it cannot be seen"
    name = min(names)
    with yard.session() as session:
        wanted = next(b for b in session.vault().catalogue.all() if b.name == name)
    assert "verif" in yard("restore", wanted.id, "--in-place", "--yes", expect=1)
    yard.hold_what_is_good()


def test_a_missing_pack_is_found_without_reading_the_data(yard: Yard):
    packs(yard)[0].unlink()
    damage, names = looked_over(yard, expect=1)
    assert any("missing" in finding["message"] for finding in damage)
    assert names
    assert hurt(yard) == names


def test_a_later_backup_of_the_same_blocks_mends_what_was_lost(yard: Yard):
    yard(*RANDOM, "77")
    yard("backup", "create", "web-01", "--name", "newest")
    yard.note()
    newest = max(packs(yard), key=lambda path: path.stat().st_mtime_ns)
    for path in packs(yard):
        if path.parent == newest.parent:
            path.unlink()
    _, names = looked_over(yard, "--repair", expect=1)
    assert "newest" in names
    with yard.session() as session:
        newest_id = session.vault().catalogue.find("newest").id[:8]
    said = yard("vault", "check", "--repair", "--no-race", expect=1)
    assert f"csbsctl backup create web-01 && csbsctl backup verify {newest_id}" in said
    yard("backup", "create", "web-01", "--name", "again")
    yard.note()
    assert "sound" in yard("backup", "verify", newest_id)
    assert "newest" not in hurt(yard)
    yard.hold_what_is_good()


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_an_index_is_rebuilt_from_the_packs(yard: Yard, how: str):
    for path in (data(yard) / "index").iterdir():
        if how == "cut":
            rewrite(path, path.read_bytes()[: path.stat().st_size // 2])
        else:
            path.unlink()
    shutil.rmtree(yard.folder / "cloud" / "cache", ignore_errors=True)
    damage, _ = looked_over(yard, "--repair", expect=0)
    assert damage
    assert all(finding["repaired"] for finding in damage)
    assert looked_over(yard, "--read-data", expect=0)[0] == []
    assert "sound" in yard("backup", "verify", "--all")


def test_swapped_chunks_are_found(yard: Yard):
    """Two segments of one pack change places: each proves itself only where it belongs."""
    pack = packs(yard)[0]
    stored = pack.read_bytes()
    half = (len(stored) - 8) // 4
    rewrite(
        pack, stored[:8] + stored[8 + half : 8 + 2 * half] + stored[8 : 8 + half] + stored[8 + 2 * half :]
    )
    damage, names = looked_over(yard, "--read-data", expect=1)
    assert damage
    assert names == hurt(yard) != set()
    yard.hold_what_is_good()


def test_a_manifest_that_is_gone_or_swapped_is_named(yard: Yard):
    one, other, *_ = sorted((data(yard) / "manifests").iterdir())
    swapped = other.read_bytes()
    rewrite(one, swapped)
    other.unlink()
    _, names = looked_over(yard, expect=1)
    assert len(names) in (1, 2)
    assert hurt(yard) == names


def test_a_document_that_is_rolled_back_is_found(yard: Yard):
    catalogue = next((yard.folder / "vault" / "catalogue").iterdir())
    *_, before, last = sorted(catalogue.iterdir())
    rewrite(last, before.read_bytes())
    damage, _ = looked_over(yard, expect=1)
    assert any(last.name in finding["key"] for finding in damage)


def test_a_catalogue_that_lost_its_newest_generation_shows_what_nobody_knows(yard: Yard):
    yard("backup", "create", "web-01", "--name", "newest")
    catalogue = next((yard.folder / "vault" / "catalogue").iterdir())
    max(catalogue.iterdir()).unlink()
    said = yard("vault", "check", "--no-race")
    assert "in no record" in said
    assert "backup rebuild" in said
    assert "1 added" in yard("backup", "rebuild")
    assert "in no record" not in yard("vault", "check", "--no-race")


def test_a_scrub_gets_to_every_backup_and_finds_the_damage(yard: Yard):
    yard("run", "--scrub", "1K")
    with yard.session() as session:
        assert len([b for b in session.vault().catalogue.all() if b.verified_at]) == 1
    yard("run", "--scrub", "1G")
    with yard.session() as session:
        assert all(b.verified_at for b in session.vault().catalogue.all())
    flip(packs(yard)[0])
    said = yard("run", "--scrub", "1G", expect=3)
    assert "damaged" in said
    assert hurt(yard)


def test_a_damaged_catalogue_document_stops_its_server_only(yard: Yard):
    configuration = yard.folder / "csbs.yaml"
    configuration.write_text(configuration.read_text().replace("[web-01]", "[web-01, web-02]"))
    yard("sim", "server", "create", "web-02", "--disk", "512K")
    yard.states.add(yard.digests("web-02"))
    yard("apply", "--yes")
    with yard.session() as session:
        server = session.find_server("web-01").id
    flip(max((yard.folder / "vault" / "catalogue" / f"default~{server}").iterdir()))
    yard.next_night()
    said = yard("run", "--scrub", "1M", expect=3)
    assert "1 backed up, 1 failed" in said
    assert "default~" in said
    assert "csbsctl vault check --repair" in said
    yard("vault", "check", "--repair", "--no-race", expect=None)
    yard("backup", "rebuild")
    assert "1 backed up" in yard("run")
    yard.hold_what_is_good()
