"""``vault init``, ``check`` and ``key``: make the vault, look it over, manage what opens it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from csbsctl.cli.command import command, group
from csbsctl.cli.session import Session
from csbsctl.errors import Damaged, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from csbsctl.model.backup import Backup
    from csbsctl.vault.key_sources import KeySource
    from csbsctl.vault.keys import Keys

app = group("Make and check the vault; manage the keys of an encrypted one.")
key_app = group("The keys that open an encrypted vault: any one of them does.")
app.add_typer(key_app, name="key")

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Go ahead without asking.")]


@command(app, examples=["csbsctl vault init"])
def init(session: Session) -> None:
    """Make the vault, after racing writers against the store; says so where there is one already."""
    existed = session.vault_if_any() is not None
    vault = session.vault(create=True)
    probe = vault.description.probe
    session.result(
        {"id": vault.id, "url": vault.url, "created": not existed, "encrypted": vault.keys is not None}
    )
    if existed:
        session.say(f"There is a vault at {vault.url} already: {vault.id}")
        return
    session.say(f"Made the vault {vault.id} at {vault.url}")
    session.say(
        f"  {probe.races} races of {probe.writers} writers: {probe.several_winners} had several winners"
    )
    session.say(f"  data is {'encrypted' if vault.keys else 'not encrypted'}")


@command(
    app, examples=["csbsctl vault check", "csbsctl vault check --read-data", "csbsctl vault check --repair"]
)
def check(
    session: Session,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended; reads all data.")
    ] = False,
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Read every byte of the data, not only what finds it.")
    ] = False,
    no_race: Annotated[
        bool, typer.Option("--no-race", help="Do not race writers against the store.")
    ] = False,
) -> None:
    """Read every document of the vault and check its chains, and that the data of all backups is there.

    Names the backups that damage hurts, and notes them as damaged; exits 1 on damage that is not mended.
    """
    from csbsctl.vault.check import check as look_over

    report = look_over(session.vault(), repair=repair, race=not no_race)
    findings: list[dict[str, Any]] = [
        {
            "severity": f.severity.value,
            "key": f.key,
            "message": f.message,
            "repaired": f.repaired,
            "backups": [],
        }
        for f in report.findings
    ]
    findings += _check_data(session, repair=repair, read_data=read_data)
    sound = report.sound and not any(f["severity"] == "damage" and not f["repaired"] for f in findings)
    session.result({"sound": sound, "documents": report.documents, "findings": findings})
    for finding in findings:
        mended = " (mended)" if finding["repaired"] else ""
        session.say(f"{finding['severity']}: {finding['key']}: {finding['message']}{mended}")
        if finding["backups"]:
            hurt = ", ".join(f"{b['name']}@{b['server']}" for b in finding["backups"])
            session.say(f"  {'hurt' if finding['repaired'] else 'hurts'} {hurt}")
    if repair:
        _say_what_brings_back(session, findings)
    if sound:
        session.say(f"The vault is sound: {report.documents} documents read.")
    elif session.as_json:
        raise typer.Exit(1)
    else:
        raise Damaged(
            "the vault is damaged",
            hint="what no disk holds any more stays lost: restore from another backup, see csbsctl backup list"
            if repair
            else "csbsctl vault check --repair mends what it can",
        )


def _say_what_brings_back(session: Session, findings: Sequence[dict[str, Any]]) -> None:
    """Name the commands for each backup that is still hurt: a new backup stores again what the disks still hold."""
    hurt = {b["id"]: b for f in findings if not f["repaired"] for b in f["backups"]}
    for each in hurt.values():
        session.say(
            f"To bring back {each['name']}@{each['server']}, while the disks still hold what it lost:\n"
            f"  csbsctl backup create {each['server']} && csbsctl backup verify {each['id'][:8]}"
        )


def _check_data(session: Session, *, repair: bool, read_data: bool) -> list[dict[str, Any]]:
    """Check the data of every provider; one that cannot be reached is a note."""
    from csbsctl.errors import CsbsError, Interrupted
    from csbsctl.protection.checkup import check_data

    findings: list[dict[str, Any]] = []
    with session.site() as site:
        for name in site.providers:
            try:
                problems = check_data(site, name, repair=repair, read_data=read_data)
            except Interrupted:
                raise
            except CsbsError as error:
                message = f"was not checked: {error.message}"
                findings.append(_finding(name, "note", message))
                continue
            findings += [
                _finding(
                    name,
                    "leftover" if problem.leftover else "damage",
                    problem.message,
                    problem.repaired,
                    problem.backups,
                )
                for problem in problems
            ]
    return findings


def _finding(
    provider: str, severity: str, message: str, repaired: bool = False, backups: Sequence[Backup] = ()
) -> dict[str, Any]:
    return {
        "severity": severity,
        "key": f"data/{provider}",
        "message": message,
        "repaired": repaired,
        "backups": [{"id": b.id, "name": b.name, "server": b.server.name} for b in backups],
    }


@command(key_app, "list", examples=["csbsctl vault key list"])
def list_keys(session: Session) -> None:
    """List the keys that open the vault; needs none of them."""
    slots = _keys(session).list()
    session.result([{"id": s.id, "name": s.label, "kind": s.kind, "created_at": s.created_at} for s in slots])
    session.out.table(
        ("ID", "NAME", "KIND", "CREATED"),
        [(s.id[:8], s.label, s.kind, s.created_at) for s in slots],
        empty="No keys.",
    )


@command(
    key_app,
    "add",
    examples=[
        "csbsctl vault key add ops --passphrase-env OPS_PASSPHRASE",
        "csbsctl vault key add safe --key-file safe.key",
    ],
)
def add_key(
    session: Session,
    name: Annotated[str, typer.Argument(help="What to call the key.")],
    passphrase_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="Environment variable with the passphrase.")
    ] = None,
    passphrase_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="File with the passphrase.")
    ] = None,
    key_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="File with a key of at least 16 bytes.")
    ] = None,
    key_command: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Command that prints the key.")
    ] = None,
) -> None:
    """Add a key; the one in the configuration opens the vault for it."""
    from csbsctl.vault.key_sources import KeySource

    new = KeySource(
        passphrase_env=passphrase_env,
        passphrase_file=passphrase_file,
        key_file=key_file,
        key_command=key_command,
        base=Path.cwd(),
        environ=dict(os.environ),
    )
    slot = _keys(session).add(_own(session), new, name)
    _note(session, "addVaultKey", slot.id, slot.label)
    session.result({"id": slot.id, "name": slot.label, "kind": slot.kind})
    session.say(f"Added key {slot.label} ({slot.id[:8]}).")


@command(key_app, "remove", examples=["csbsctl vault key remove ops"])
def remove_key(
    session: Session, key: Annotated[str, typer.Argument(help="Name or ID of the key.")], yes: Yes = False
) -> None:
    """Remove a key; what is written from now on it cannot open."""
    session.out.confirm(f"Key {key} will no longer open the vault.", yes=yes, expect=key)
    slot = _keys(session).remove(_own(session), key)
    _note(session, "removeVaultKey", slot.id, slot.label)
    session.result({"id": slot.id, "name": slot.label})
    session.say(
        f"Removed key {slot.label}. Data that was written before can still be read with old copies of the vault."
    )


@command(key_app, "rotate", examples=["csbsctl vault key rotate"])
def rotate_key(session: Session) -> None:
    """Encrypt what is written from now on with a new data key; all keys go on opening everything."""
    number = _keys(session).rotate(_own(session))
    _note(session, "rotateVaultKey", str(number), "")
    session.result({"data_key": number})
    session.say(f"Data key {number} is in use from now on.")


def _note(session: Session, action: str, key: str, name: str) -> None:
    """Leave a trace of who changed what opens the vault; it is written when the vault is closed."""
    session.vault().audit.record(
        action, resource_type="vaultKey", resource_id=key, details={"name": name} if name else None
    )


def _keys(session: Session) -> Keys:
    keys = session.vault().keys
    if keys is None:
        raise UsageError("this vault is not encrypted", hint="set vault.encryption before the vault is made")
    return keys


def _own(session: Session) -> KeySource:
    from csbsctl.cli.opening import configured_key

    key = configured_key(session.configuration)
    if key is None:
        raise UsageError(
            "the configuration names no key", hint="set vault.encryption.passphrase_env, key_file ..."
        )
    return key
