from __future__ import annotations

import pytest

from csbsctl.errors import Conflict, Damaged, NotFound, Refused, UsageError, VaultError, WrongKey
from csbsctl.model.control import ControlDocument, StackState
from csbsctl.vault import KeySource, open_vault

WORK = 4
"""scrypt's cost in tests: next to nothing."""


@pytest.fixture
def passphrase(tmp_path):
    def source(text, **changes):
        return KeySource(passphrase_env="PASS", environ={"PASS": text}, base=tmp_path, work=WORK, **changes)

    return source


@pytest.fixture
def key_file(tmp_path):
    (tmp_path / "second.key").write_bytes(b"k" * 32 + b"\n")
    return KeySource(key_file="second.key", base=tmp_path, work=WORK)


def reopened(opened, key, **options):
    return opened(create=False, key=key, **options)


def test_what_is_sealed_opens_with_the_key_and_with_no_other(opened, passphrase):
    sealed = opened(key=passphrase("right")).sealer.seal(b"secret", b"pack/1")
    assert b"secret" not in sealed
    assert reopened(opened, passphrase("right")).sealer.open(sealed, b"pack/1") == b"secret"
    with pytest.raises(WrongKey, match=r"passphrase of \$PASS does not open"):
        reopened(opened, passphrase("wrong")).sealer.open(sealed, b"pack/1")
    with pytest.raises(WrongKey, match="no key was given"):
        reopened(opened, None).sealer.open(sealed, b"pack/1")


def test_sealed_bytes_belong_in_their_place_and_are_never_the_same_twice(opened, passphrase):
    sealer = opened(key=passphrase("p")).sealer
    one, two = sealer.seal(b"x", b"here"), sealer.seal(b"x", b"here")
    assert one != two
    assert len(one) == 1 + sealer.overhead
    for sealed, context in ((one, b"there"), (one[:-1], b"here"), (one[:10], b"here"), (b"", b"here")):
        with pytest.raises(Damaged):
            sealer.open(sealed, context)
    for position in range(len(one)):
        flipped = bytearray(one)
        flipped[position] ^= 1
        with pytest.raises(Damaged):
            sealer.open(flipped, b"here")


def test_names_reveal_nothing_and_outlive_a_rotation(opened, passphrase):
    from blake3 import blake3

    vault = opened(key=passphrase("p"))
    name = vault.sealer.name(b"content")
    assert name != blake3(b"content").digest()
    vault.keys.rotate(passphrase("p"))
    assert reopened(opened, passphrase("p")).sealer.name(b"content") == name


def test_each_of_several_keys_opens_everything(opened, passphrase, key_file):
    vault = opened(key=passphrase("p"))
    old = vault.sealer.seal(b"old", b"c")
    vault.keys.add(passphrase("p"), key_file, "second")
    assert [slot.label for slot in vault.keys.list()] == ["first", "second"]
    assert [slot.kind for slot in vault.keys.list()] == ["passphrase", "key"]
    vault.keys.rotate(key_file)
    new = reopened(opened, key_file).sealer.seal(b"new", b"c")
    for key in (passphrase("p"), key_file):
        sealer = reopened(opened, key).sealer
        assert (sealer.open(old, b"c"), sealer.open(new, b"c")) == (b"old", b"new")


def test_a_lost_key_loses_nothing_that_another_opens(opened, passphrase, key_file, tmp_path):
    vault = opened(key=passphrase("p"))
    sealed = vault.sealer.seal(b"data", b"c")
    vault.keys.add(passphrase("p"), key_file, "second")
    (tmp_path / "second.key").unlink()
    with pytest.raises(VaultError, match="cannot read the key file"):
        reopened(opened, key_file).sealer.open(sealed, b"c")
    assert reopened(opened, passphrase("p")).sealer.open(sealed, b"c") == b"data"


def test_a_removed_key_opens_nothing_any_more(opened, passphrase, key_file):
    vault = opened(key=passphrase("p"))
    vault.keys.add(passphrase("p"), key_file, "second")
    vault.keys.remove(key_file, "first")
    with pytest.raises(WrongKey):
        reopened(opened, passphrase("p")).sealer.seal(b"", b"")
    assert len(list(vault.store.keys("keys/"))) == 1
    assert reopened(opened, key_file).sealer.keys().current == 2


def test_a_process_that_was_open_during_a_rotation_reads_what_is_new(opened, passphrase):
    running = opened(key=passphrase("p"))
    running.sealer.seal(b"", b"")
    other = reopened(opened, passphrase("p"))
    other.keys.rotate(passphrase("p"))
    assert running.sealer.open(other.sealer.seal(b"new", b"c"), b"c") == b"new"


def test_the_last_key_is_never_removed(opened, passphrase):
    vault = opened(key=passphrase("p"))
    with pytest.raises(Refused, match="only key"):
        vault.keys.remove(passphrase("p"), "first")
    with pytest.raises(NotFound):
        vault.keys.remove(passphrase("p"), "none")
    with pytest.raises(UsageError, match="already"):
        vault.keys.add(passphrase("p"), passphrase("q"), "first")
    with pytest.raises(WrongKey):
        vault.keys.add(passphrase("wrong"), passphrase("q"), "second")


def test_a_slot_that_no_key_holder_made_is_refused(opened, passphrase, key_file):
    vault, other = opened(key=passphrase("p")), opened("other", key=key_file)
    head, foreign = vault.keys._series.head(), other.keys._series.head()
    body = {**head.body, "generation": 2, "slots": [*head.body["slots"], *foreign.body["slots"]]}
    vault.keys._series.commit(head, body)
    with pytest.raises(Damaged, match="no key holder made"):
        vault.keys.rotate(passphrase("p"))


def test_the_second_copy_saves_the_keys(opened, passphrase):
    vault = opened(key=passphrase("p"))
    sealed = vault.sealer.seal(b"data", b"c")
    path = vault.store.inner.root / "keys/0000000001.json"
    path.write_bytes(b"rot")
    assert reopened(opened, passphrase("p")).sealer.open(sealed, b"c") == b"data"
    assert vault.keys.tend(repair=False) == ["the keys do not read back; their second copy does"]
    vault.keys.tend()
    assert vault.keys.tend() == []
    (vault.store.inner.root / "keys.copy").unlink()
    assert reopened(opened, passphrase("p")).sealer.open(sealed, b"c") == b"data"
    path.unlink()


def test_two_changes_of_keys_at_once_are_a_conflict(opened, passphrase, key_file):
    vault = opened(key=passphrase("p"))
    stale = vault.keys._head()
    vault.keys.rotate(passphrase("p"))
    with pytest.raises(Conflict):
        vault.keys._series.commit(stale, dict(stale.body))


def test_with_control_no_name_of_anything_is_in_the_clear(opened, passphrase, job, backup):
    vault = opened(key=passphrase("p", control=True))
    vault.control.commit(ControlDocument(1, {"topsecret": StackState({}, {})}, summary="topsecret"))
    vault.catalogue.update("default", "s1", lambda _: [backup(1, description="topsecret")])
    vault.jobs.begin(job(by="topsecret"))
    vault.audit.record("createBackupPolicy", resource_type="backupPolicy", resource_id="topsecret")
    vault.audit.flush()
    again = reopened(opened, passphrase("p"))
    assert again.control.head().summary == "topsecret"
    assert again.catalogue.find(backup(1).id).description == "topsecret"
    assert again.audit.verify() == []
    import zstandard

    for blob in vault.store.list(""):
        stored = vault.store.get(blob.key)
        assert b"topsecret" not in stored
        if stored.startswith(zstandard.FRAME_HEADER):
            assert b"topsecret" not in zstandard.ZstdDecompressor().decompress(stored[:-16])
    with pytest.raises(WrongKey):
        reopened(opened, None).control.head()


def test_a_vault_that_must_be_encrypted_is(opened, passphrase):
    opened()
    with pytest.raises(VaultError, match="is not encrypted"):
        reopened(opened, passphrase("p"))
    reopened(opened, passphrase("p", required=False)).sealer.seal(b"", b"")


def test_an_init_that_was_cut_off_before_vault_json_is_continued(opened, passphrase, tmp_path):
    vault = opened(key=passphrase("p"))
    (vault.store.inner.root / "vault.json").unlink()
    with pytest.raises(WrongKey):
        opened(key=passphrase("other"))
    assert opened(key=passphrase("p")).id == vault.id


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ({}, "exactly one"),
        ({"passphrase_env": "A", "key_file": "k"}, "exactly one"),
        ({"passphrase_env": "UNSET"}, "is empty"),
        ({"key_file": "missing"}, "cannot read the key file missing"),
        ({"key_command": "printf short"}, "at least 16"),
        ({"key_command": "echo no >&2; exit 3"}, "exit code 3: no"),
    ],
)
def test_a_key_that_cannot_be_had_says_why(tmp_path, source, error):
    with pytest.raises((UsageError, VaultError), match=error):
        KeySource(base=tmp_path, **source).read()


def test_a_command_and_a_file_with_the_same_key_are_the_same_key(opened, key_file, tmp_path):
    vault = opened(key=key_file)
    sealed = vault.sealer.seal(b"x", b"")
    command = KeySource(key_command="cat second.key", base=tmp_path)
    assert reopened(opened, command).sealer.open(sealed, b"") == b"x"


def test_secrets_do_not_show_in_representations(opened, passphrase):
    source = passphrase("hunter2")
    assert "hunter2" not in repr(source) + str(source) + repr(source.read())
    vault = opened(key=source)
    assert vault.sealer.keys().naming.hex() not in repr(vault.sealer.keys())


def test_planning_on_an_encrypted_vault_needs_no_key(opened, passphrase, tmp_path, clock):
    opened(key=passphrase("p")).control.commit(ControlDocument(1))
    vault = open_vault("vault", base=tmp_path, clock=clock, key=passphrase("never asked"), read_only=True)
    assert vault.control.head().generation == 1
