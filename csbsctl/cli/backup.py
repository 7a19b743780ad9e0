"""``backup``: one-off backups, and the care of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from csbsctl.cli import completion
from csbsctl.cli.command import command, group
from csbsctl.cli.damage import end_with_damage
from csbsctl.cli.output import minute, plain
from csbsctl.cli.run import SOME_FAILED
from csbsctl.cli.session import Session
from csbsctl.errors import CsbsError, Damaged, UsageError
from csbsctl.units import format_size, parse_duration

if TYPE_CHECKING:
    from csbsctl.model.backup import Backup
    from csbsctl.protection.byhand import Outcome
    from csbsctl.protection.site import Site

app = group("Make one-off backups; list, verify, protect and delete backups.")

Ids = Annotated[
    list[str],
    typer.Argument(
        metavar="BACKUP",
        help="IDs or names; NAME@SERVER where a name fits several.",
        autocompletion=completion.backups,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Go ahead without asking.")]


@command(
    app,
    examples=[
        "csbsctl backup create web-01",
        "csbsctl backup create web-01 db-01 --name before-upgrade --full",
    ],
)
def create(
    session: Session,
    servers: Annotated[
        list[str],
        typer.Argument(metavar="SERVER...", help="Names or IDs.", autocompletion=completion.servers),
    ],
    full: Annotated[bool, typer.Option("--full", help="Take everything, not only what changed.")] = False,
    name: Annotated[
        str | None,
        typer.Option(
            help="Instead of manualbk_xxxx; several servers get -0001, -0002 ...", show_default=False
        ),
    ] = None,
    description: Annotated[
        str, typer.Option(metavar="TEXT", help="A note on the backup.", show_default=False)
    ] = "",
) -> None:
    """Back up servers now, whatever their policies say. Such backups stay until somebody deletes them."""
    from csbsctl.protection.byhand import create_backups

    session.vault(create=True)
    with session.site() as site:
        chosen = [site.find_server(server) for server in servers]
        outcome = create_backups(site, chosen, name=name, full=full, description=description)
    report_outcome(session, outcome)


@command(
    app,
    "list",
    examples=["csbsctl backup list", "csbsctl backup list --server web-01 --json | jq '.[-1].id'"],
)
def list_(
    session: Session,
    server: Annotated[
        str | None,
        typer.Option(help="Only of this server.", show_default=False, autocompletion=completion.servers),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="Only of this policy.", show_default=False, autocompletion=completion.policies),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also those that expired and only hold data for others.")
    ] = False,
) -> None:
    """List backups, oldest first."""
    from csbsctl.cli.spool import Spool
    from csbsctl.protection.status import backup_views

    damaged: dict[tuple[str, str], Damaged] = {}
    views: Iterable[dict[str, Any]] = ()
    if session.vault_if_any():
        views = backup_views(
            session.reading_site(), server=server, policy=policy, hidden=all_, damage=damaged.__setitem__
        )
    as_json = session.out.as_json
    # Without its Z the time of a whole second sorts before those within the second.
    keyed = ((f"{view['started_at'].removesuffix('Z')} {view['id']}", view) for view in views)
    spool = Spool((key, view if as_json else _row(view)) for key, view in keyed)
    if as_json:
        session.out.results(spool)
    else:
        session.out.table(
            ("ID", "NAME", "SERVER", "POLICY", "STATE", "KIND", "STARTED", "SIZE", "STORED", "EXPIRES"),
            spool,
            empty=_nothing(session, some=bool(server or policy)),
        )
    spool.close()
    end_with_damage(session, damaged)


def _nothing(session: Session, *, some: bool) -> str:
    """Return what an empty list says; where the vault is not there, which one that is: its name may be mistyped."""
    if not session.vault_if_any():
        return f"There are no backups yet: there is no vault at {session.configuration.vault.url}."
    return "No backup fits." if some else "There are no backups yet."


def _row(view: dict[str, Any]) -> tuple[Any, ...]:
    return (
        view["id"][:8],
        view["name"],
        view["server"]["name"],
        view["policy"],
        _state(view),
        view["kind"],
        minute(view["started_at"]),
        format_size(view["size"]),
        format_size(view["stored"]),
        (view["expires_at"] or "-")[:10],
    )


@command(app, examples=["csbsctl backup show autobk_3f9a@web-01"])
def show(
    session: Session,
    backup: Annotated[
        str,
        typer.Argument(
            help="ID or name; NAME@SERVER where a name fits several.", autocompletion=completion.backups
        ),
    ],
) -> None:
    """Show a backup: what it holds, how consistent it is and with what evidence."""
    from csbsctl.protection.status import backup_view

    site = session.reading_site()
    found = site.vault.catalogue.find(backup)
    view = backup_view(site, found)
    session.result(view)
    shown = {**view, "size": format_size(view["size"]), "stored": format_size(view["stored"])}
    shown["server"] = f"{found.server.name} ({found.server.id})"
    for key, value in shown.items():
        if key != "volumes" and value not in (None, "", [], {}):
            session.say(f"{key.replace('_', ' '):<17} {plain(value)}")
    for number, disk in enumerate(view["volumes"]):
        boot = ", system disk" if disk["bootable"] else ""
        session.say(
            f"{f'disk {number}':<17} {disk['name']} ({disk['id']}): {format_size(disk['size'])}{boot}"
        )


@command(
    app,
    examples=[
        "csbsctl backup delete autobk_3f9a@web-01",
        "csbsctl backup delete --server db-07 --policy legacy --older-than 90d",
    ],
)
def delete(
    session: Session,
    backups: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BACKUP",
            help="IDs or names; NAME@SERVER where a name fits several.",
            show_default=False,
            autocompletion=completion.backups,
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            help="All backups of this server that fit.", show_default=False, autocompletion=completion.servers
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="With --server: only of this policy.", show_default=False, autocompletion=completion.policies
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="With --server: only older ones: 90d, 12h.", show_default=False),
    ] = None,
    yes: Yes = False,
) -> None:
    """Delete backups and their data. One that others build on is hidden until nothing needs it."""
    from csbsctl.protection.byhand import delete_backups, deletion_refusal, leaves_none_good

    with session.site() as site:
        chosen = _chosen(site, backups or [], server, policy, older_than)
        if not chosen:
            session.result({"deleted": [], "hidden": []})
            session.say("No backup fits; nothing to delete.")
            return
        for backup in chosen:
            if refusal := deletion_refusal(backup):
                raise refusal
        _ask(session, chosen, leaves_none_good(site, chosen), yes=yes)
        result = delete_backups(site, chosen)
    session.result({"deleted": [b.id for b in result.deleted], "hidden": [b.id for b in result.hidden]})
    session.say(
        f"{len(result.deleted)} deleted" + (f", {len(result.hidden)} hidden" if result.hidden else "") + "."
    )


@command(
    app,
    examples=[
        "csbsctl backup verify autobk_3f9a@web-01",
        "csbsctl backup verify --all",
        "csbsctl backup verify --all --quick",
    ],
)
def verify(
    session: Session,
    backups: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BACKUP",
            help="IDs or names; NAME@SERVER where a name fits several.",
            show_default=False,
            autocompletion=completion.backups,
        ),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Every backup, those that failed before included.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Indexes and presence only.")] = False,
    sample: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="A random share of the data: 0.1 is a tenth.",
            min=0,
            max=1,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Read backups back and check every byte; exits 1 on damage, and damaged ones are never offered as good."""
    from csbsctl.model.backup import BackupState
    from csbsctl.protection.byhand import verify_backups
    from csbsctl.provider import Depth

    if bool(backups) == all_:
        raise UsageError("name backups, or say --all")
    depth = Depth.QUICK if quick else Depth.SAMPLE if sample is not None else Depth.FULL
    with session.site() as site:
        catalogue = site.vault.catalogue
        hurt: dict[tuple[str, str], Damaged] = {}
        every = catalogue.all(hurt.__setitem__) if all_ else map(catalogue.find, backups or ())
        chosen = list(every)
        whole = [backup for backup in chosen if backup.state is BackupState.AVAILABLE]
        ended = verify_backups(site, whole, depth, sample or 0.1)
    bad: list[str] = []
    unread: list[str] = []
    rows = []
    for end in ended:
        if end.result and end.result.gone:
            session.say(f"{end.item.name} of {end.item.server.name} was deleted meanwhile.")
            continue
        problems = _problems(end)
        if problems:
            (unread if end.error else bad).append(end.item.name)
        rows.append({"id": end.item.id, "name": end.item.name, "sound": not problems, "problems": problems})
        for problem in problems:
            session.say(f"{end.item.name} of {end.item.server.name}: {problem}")
    session.result({"verified": len(rows), "damaged": len(bad), "backups": rows})
    for error in hurt.values():
        session.out.note(f"Warning: {error.message}\n  {error.hint}")
    if (bad or unread or hurt) and session.as_json:
        raise typer.Exit(1)
    session.say(_verdict(len(rows), bad, unread, len(hurt)))


def _verdict(count: int, bad: Sequence[str], unread: Sequence[str], hurt: int) -> str:
    """Return what there is to say when all is sound; raise what is wrong.

    ``bad`` and ``unread`` are names of backups, ``hurt`` is how many servers have damaged records.
    """
    if bad:
        raise Damaged(f"{len(bad)} of {count} backups are damaged: {', '.join(bad[:5])}")
    if unread:
        raise CsbsError(f"{len(unread)} of {count} backups could not be read: {', '.join(unread[:5])}")
    if hurt:
        records = "record of 1 server is" if hurt == 1 else f"records of {hurt} servers are"
        raise Damaged(f"the {records} damaged; the other {count} backups are sound")
    return (
        f"{count} backup{'s are' if count != 1 else ' is'} sound." if count else "There is nothing to verify."
    )


@command(app, examples=["csbsctl backup protect autobk_3f9a@web-01"])
def protect(session: Session, backups: Ids) -> None:
    """Keep backups from retention and deletion until they are unprotected."""
    _set_protected(session, backups, protected=True)


@command(app, examples=["csbsctl backup unprotect autobk_3f9a@web-01"])
def unprotect(session: Session, backups: Ids) -> None:
    """Let retention and deletion have backups again."""
    _set_protected(session, backups, protected=False)


@command(
    app,
    examples=[
        "csbsctl backup rebuild",
        "csbsctl backup rebuild --vault-id 0b9f2c1e-...",
        "csbsctl backup rebuild --provider beijing",
    ],
)
def rebuild(
    session: Session,
    vault_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Adopt the backups of this other vault.", show_default=False),
    ] = None,
    provider: Annotated[str | None, typer.Option(help="Only of this cloud.", show_default=False)] = None,
) -> None:
    """Rebuild the catalogue from what the clouds have, after the vault's records were lost; adds, never removes."""
    from csbsctl.protection.rebuild import rebuild as add_what_is_missing

    session.vault(create=True)
    with session.site() as site:
        rebuilt = add_what_is_missing(site, vault_id, provider)
    session.result(
        {
            "vault": rebuilt.vault,
            "added": [{"id": b.id, "name": b.name, "server": b.server.name} for b in rebuilt.added],
            "known": rebuilt.known,
            "incomplete": rebuilt.incomplete,
            "others": rebuilt.others,
        }
    )
    for backup in rebuilt.added:
        session.say(
            f"Added {backup.name} of {backup.server.name}, taken {backup.instant:%Y-%m-%d %H:%M} UTC."
        )
    if rebuilt.incomplete:
        session.say(f"{len(rebuilt.incomplete)} backups in the cloud are not whole and were left out.")
    for vault, disks in rebuilt.others.items():
        session.say(
            f"Vault {vault} has {disks} stored disks there too: `csbsctl backup rebuild --vault-id {vault}` adopts them."
        )
    session.say(f"{len(rebuilt.added)} added, {rebuilt.known} already known.")


def report_outcome(session: Session, outcome: Outcome) -> None:
    """Print what became of each server of a request, and exit 3 when some failed."""
    session.result(
        {
            "succeeded": [{"id": b.id, "name": b.name, "server": b.server.name} for b in outcome.succeeded],
            "failed": [
                {"id": b.id, "name": b.name, "server": b.server.name, "error": b.error}
                for b in outcome.failed
            ],
            "refused": [
                {"server": server.name, "error": error.to_json()} for server, error in outcome.refused
            ],
        }
    )
    bad = len(outcome.failed) + len(outcome.refused)
    session.say(f"{len(outcome.succeeded)} backed up" + (f", {bad} failed." if bad else "."))
    if not outcome.complete:
        raise typer.Exit(SOME_FAILED)


def _set_protected(session: Session, names: Sequence[str], *, protected: bool) -> None:
    from csbsctl.protection.byhand import set_protected

    with session.site() as site:
        changed = set_protected(
            site, [site.vault.catalogue.find(name) for name in names], protected=protected
        )
    session.result([{"id": b.id, "name": b.name, "protected": b.protected} for b in changed])
    for backup in changed:
        session.say(
            f"{backup.name} of {backup.server.name} is {'protected' if protected else 'no longer protected'}."
        )


def _chosen(
    site: Site, names: list[str], server: str | None, policy: str | None, older_than: str | None
) -> list[Backup]:
    from csbsctl.protection.byhand import backups_before
    from csbsctl.protection.status import find_backed_up_server

    if bool(names) == (server is not None):
        raise UsageError("name backups, or a server with --server")
    if server is None:
        if policy or older_than:
            raise UsageError("--policy and --older-than go with --server")
        return [site.vault.catalogue.find(name) for name in names]
    before = site.clock.now() - _age(older_than)
    return backups_before(site, *find_backed_up_server(site, server), before, policy)


def _age(text: str | None) -> timedelta:
    try:
        return parse_duration(text) if text else timedelta(0)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}") from None


def _ask(session: Session, chosen: Sequence[Backup], last_good: list[str], *, yes: bool) -> None:
    for backup in chosen:
        session.say(f"  {backup.name} of {backup.server.name}, {backup.started_at:%Y-%m-%d %H:%M} UTC")
    count = "1 backup" if len(chosen) == 1 else f"{len(chosen)} backups"
    if last_good:
        names = ", ".join(last_good)
        question = f"Deleting {count} leaves {names} without any good backup; it cannot be undone."
        session.out.confirm(question, yes=yes, expect=last_good[0])
    else:
        session.out.confirm(f"Deleting {count} cannot be undone.", yes=yes)


def _problems(end: object) -> list[str]:
    from csbsctl.protection.pool import Ended

    assert isinstance(end, Ended)
    if end.error:
        return [end.error.message]
    damage = end.result.damage if end.result else {}
    return [f"{disk}: {found.message}" for disk, all_found in damage.items() for found in all_found]


def _state(view: dict[str, object]) -> str:
    extra = [word for word in ("expired", "protected") if view.get(word)]
    extra += ["damaged"] if view.get("verification") == "failed" else []
    return ", ".join([str(view["state"]), *extra])
