"""What people ask for by hand: backups now, a policy now, deletions, protection, verification, images.

Each function does one command's work on plain arguments and returns what became of every server or backup; showing it
and asking beforehand is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from csbsctl.errors import CsbsError, Interrupted, NotFound, Refused
from csbsctl.ids import new_id
from csbsctl.model.backup import Backup, BackupState, Trigger
from csbsctl.model.control import StackState
from csbsctl.model.job import JobKind
from csbsctl.model.server import Server, seen_alike
from csbsctl.protection.due import read_agenda
from csbsctl.protection.events import JobFailed
from csbsctl.protection.jobs.backup import BackupOrder, take_backup
from csbsctl.protection.jobs.deletion import Condemned, Deleted, delete_backups_of
from csbsctl.protection.jobs.image import image_refusal, make_image, remove_image
from csbsctl.protection.jobs.verification import Verified, verify_backup
from csbsctl.protection.naming import check_name, names_of_request
from csbsctl.protection.pool import Ended, by_provider, each
from csbsctl.protection.recover import hold
from csbsctl.protection.site import Site
from csbsctl.provider import Depth, Image, Marker, Step
from csbsctl.rules.chains import Chains
from csbsctl.rules.renames import under_present_names


@dataclass(slots=True)
class Outcome:
    """What a request over several servers gave: good backups, failed ones, and servers where none was begun."""

    succeeded: list[Backup] = field(default_factory=list)
    failed: list[Backup] = field(default_factory=list)
    refused: list[tuple[Server, CsbsError]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every server was backed up: else the command ends with exit code 3."""
        return not self.failed and not self.refused


def create_backups(
    site: Site,
    servers: Sequence[Server],
    *,
    name: str | None = None,
    full: bool = False,
    description: str = "",
) -> Outcome:
    """Back up servers now, whatever their policies say; the results stay until somebody deletes them."""
    if name is not None:
        check_name(name)
    names = names_of_request(name, [server.id for server in servers])
    return _back_up(
        site,
        _as_bound(site, servers),
        lambda server: BackupOrder(
            trigger=Trigger.MANUAL, name=names[server.id], full=full, description=description
        ),
    )


def _as_bound(site: Site, servers: Sequence[Server]) -> Sequence[Server]:
    """Return servers as their bindings see them; asked only where it matters, for it reads whole clouds."""
    if not any(server.image_backed_root for server in servers):
        return servers
    bound = read_agenda(site).assignment.bound
    return [bound[server.id].server if server.id in bound else server for server in servers]


def run_policy(site: Site, policy: str, only: Sequence[str] = ()) -> Outcome:
    """Back up the servers of a policy now (``only`` some, by ID or name), also when it is disabled.

    Raises:
        NotFound: the policy is not in force (CSBS.3000).
        Refused: it reaches no server (CSBS.6032).
    """
    agenda = read_agenda(site)
    rules = agenda.policy(policy)
    if rules is None:
        raise NotFound(f"policy {policy} does not exist", code="CSBS.3000", hint="see `csbsctl policy list`")
    servers = [bound.server for bound, _ in agenda.bound({policy})]
    if only:
        strangers = [name for name in only if not any(name in (s.id, s.name) for s in servers)]
        if strangers:
            raise Refused(
                f"policy {policy} does not reach {', '.join(strangers)}",
                code="CSBS.6032",
                hint="see `csbsctl server list`; `csbsctl backup create` backs up any server",
            )
        servers = [server for server in servers if server.id in only or server.name in only]
    if not servers:
        raise Refused(f"policy {policy} reaches no server to back up", code="CSBS.6032")
    order = BackupOrder(
        trigger=Trigger.MANUAL,
        need=rules.consistency,
        policy=policy,
        full_every=rules.full_every,
        instant_restore=rules.instant_restore,
        tags=dict(rules.tags),
    )
    return _back_up(site, servers, lambda _server: order)


def backups_before(
    site: Site, provider: str, server: str, instant: datetime, policy: str | None = None
) -> list[Backup]:
    """Return a server's backups that were begun until an instant; of one policy, by the name it is listed under."""
    backups = site.vault.catalogue.backups(provider, server)
    state = site.vault.control.head().stacks.get(site.stack) or StackState(live={}, applied={})
    owned = {b.id for b in under_present_names(backups, state, site.stack) if policy in (None, b.policy)}
    return [b for b in backups if b.started_at <= instant and b.id in owned]


def delete_backups(site: Site, backups: Sequence[Backup], reason: str = "deleted by hand") -> Deleted:
    """Delete backups and their data; those that others build on are hidden until nothing needs them.

    Raises:
        Refused: one of them has an image (CSBS.8007), is protected, or is in use (CSBS.2003); none is deleted.
        UsageError: one of them is in a provider that is not configured; none is deleted.
    """
    for backup in backups:
        if refusal := deletion_refusal(backup):
            raise refusal
        site.provider(backup.provider)
    deleted: list[Backup] = []
    hidden: list[Backup] = []
    groups: dict[tuple[str, str], list[Backup]] = {}
    for backup in backups:
        groups.setdefault((backup.provider, backup.server.id), []).append(backup)
    for (provider, server), wanted in groups.items():
        result = _delete_of_server(site, provider, server, {b.id for b in wanted}, reason)
        deleted.extend(result.deleted)
        hidden.extend(result.hidden)
    return Deleted(tuple(deleted), tuple(hidden))


def deletion_refusal(backup: Backup) -> Refused | None:
    """Return why a backup cannot be deleted by hand now, None when it can."""
    if backup.images:
        return Refused(
            f"an image was made from backup {backup.name}: {', '.join(backup.images)}",
            code="CSBS.8007",
            hint="delete the image first: `csbsctl image delete`",
        )
    if backup.protected:
        return Refused(
            f"backup {backup.name} is protected",
            code="backup.protected",
            hint=f"`csbsctl backup unprotect {backup.id}` first",
        )
    if backup.state not in (BackupState.AVAILABLE, BackupState.ERROR):
        return Refused(f"backup {backup.name} is busy: {backup.state.value}", code="CSBS.2003")
    return None


def leaves_none_good(site: Site, backups: Sequence[Backup]) -> list[str]:
    """Return the names of servers that would have no good backup left: deleting asks for such a name."""
    going = {backup.id for backup in backups}
    names = []
    for provider, server in dict.fromkeys((b.provider, b.server.id) for b in backups):
        good = [b for b in site.vault.catalogue.backups(provider, server) if b.good]
        if good and all(b.id in going for b in good):
            names.append(good[-1].server.name)
    return names


def set_protected(site: Site, backups: Sequence[Backup], *, protected: bool) -> list[Backup]:
    """Protect backups from retention and deletion, or stop doing so."""
    action = "protectCheckpointItem" if protected else "unprotectCheckpointItem"
    changed = []
    for backup in backups:
        if backup.state in (BackupState.WAITING_DELETE, BackupState.DELETING):
            raise Refused(f"backup {backup.name} is being deleted", code="CSBS.2003")
        changed.append(_change(site, backup, protected=protected))
        _note_protection(site, changed[-1])
        site.vault.audit.record(action, resource_type="checkpointItem", resource_id=backup.id)
    return changed


def verify_backups(
    site: Site, backups: Sequence[Backup], depth: Depth = Depth.FULL, sample: float = 0.1
) -> list[Ended[Backup, Verified]]:
    """Verify backups side by side; each ends with what was found or why it could not be read."""

    def verify(backup: Backup) -> Verified:
        with site.vault.leases.acquire(backup.provider, f"verify~{new_id()}") as lease:
            return verify_backup(site, lease, backup, depth, sample)

    ended = each(site, by_provider(backups, lambda backup: backup.provider), verify)
    site.vault.audit.flush()
    site.stop.check()
    return ended


def create_image(site: Site, backup: Backup, name: str | None = None) -> Image:
    """Make a bootable image of a whole server from a backup.

    Raises:
        Refused: the backup's state forbids it or it has one already (CSBS.8001), or no system disk (CSBS.8009).
    """
    with hold(site, backup.provider, f"image~{backup.id}") as lease:
        fresh = site.vault.catalogue.find(backup.id)
        if fresh.images and fresh.images != backup.images:  # an earlier try that was cut off is finished now
            return next(i for _, i in list_images(site, backup.provider) if i.id in fresh.images)
        if refusal := image_refusal(fresh):
            raise refusal
        return make_image(site, lease, fresh, name or f"{backup.server.name}-{backup.name}")


def delete_image(site: Site, image: str, provider: str | None = None) -> None:
    """Delete an image by ID or unique name and set its backup free. Raises NotFound."""
    name, found = _find_image(site, image, provider)
    backups = [b for b in site.vault.catalogue.all() if found in b.images]
    if not backups:
        raise NotFound(f"no backup of this vault has an image {image}", hint="see `csbsctl image list`")
    with site.vault.leases.acquire(name, f"image~{backups[0].id}") as lease:
        remove_image(site, lease, backups[0], found)


def list_images(site: Site, provider: str | None = None) -> list[tuple[str, Image]]:
    """Return the images made from backups, each with the name of its provider."""
    names = [provider] if provider else list(site.providers)
    return [(name, image) for name in names for image in site.provider(name).images()]


def _back_up(site: Site, servers: Sequence[Server], order: Callable[[Server], BackupOrder]) -> Outcome:
    def take(server: Server) -> Backup:
        wanted = order(server)
        before = {backup.id for backup in site.vault.catalogue.backups(server.provider, server.id)}
        with hold(site, server.provider, server.id) as lease:
            for backup in site.vault.catalogue.backups(server.provider, server.id):
                if backup.name == wanted.name and backup.id not in before and backup.good:
                    return backup  # the same request was cut off earlier and is finished now
            fresh = seen_alike(site.provider(server.provider).server(server.id), server)
            return take_backup(site, lease, fresh, wanted)

    outcome = Outcome()
    try:
        for ended in each(site, by_provider(servers, lambda server: server.provider), take):
            _sort(site, ended, outcome)
    finally:
        site.vault.audit.flush()
    site.stop.check()
    return outcome


def _sort(site: Site, ended: Ended[Server, Backup], outcome: Outcome) -> None:
    server = ended.item
    if ended.result is not None:
        good = ended.result.state is BackupState.AVAILABLE
        (outcome.succeeded if good else outcome.failed).append(ended.result)
    elif ended.error is not None and not isinstance(ended.error, Interrupted):
        outcome.refused.append((server, ended.error))
        site.reporter.report(
            JobFailed(
                at=site.clock.now(),
                provider=server.provider,
                server_id=server.id,
                server=server.name,
                kind="backup",
                error=ended.error.to_json(),
            )
        )


def _delete_of_server(site: Site, provider: str, server: str, wanted: set[str], reason: str) -> Deleted:
    with hold(site, provider, server) as lease:
        backups = site.vault.catalogue.backups(provider, server)
        present = [b for b in backups if b.id in wanted]
        chains = Chains(backups)
        going = wanted | {b.id for b in backups if b.expired}
        needed = chains.holders({b.id for b in backups if b.id not in going})
        delete = {
            b.id: reason if b.id in wanted else "expired, and nothing needs its data any more"
            for b in chains.leaf_first(b for b in backups if b.id in going and b.id not in needed)
        }
        hide = {b.id: f"needed by {needed[b.id]}" for b in present if b.id in needed and not b.expired}
        condemned = Condemned(delete, hide)
        if not condemned:
            return Deleted()
        result = delete_backups_of(site, lease, JobKind.DELETE, backups, condemned)
    site.vault.audit.flush()
    return result


def _change(site: Site, backup: Backup, **changes: object) -> Backup:
    def change(backups: tuple[Backup, ...]) -> list[Backup]:
        return [b.model_copy(update=changes) if b.id == backup.id else b for b in backups]

    after = site.vault.catalogue.update(backup.provider, backup.server.id, change)
    found = [b for b in after if b.id == backup.id]
    if not found:
        raise NotFound(f"backup {backup.name} does not exist any more", code="CSBS.3001")
    return found[0]


def _note_protection(site: Site, backup: Backup) -> None:
    """Write the protection beside the data too, for a rebuild.

    The vault's word is what counts: a cloud that is away keeps nobody from protecting a backup.
    """
    with suppress(CsbsError):
        marker = Marker(site.vault.id, backup.job, backup.server.id, backup.id)
        site.provider(backup.provider).protect(
            Step(marker, site.stop.check), backup.volumes, protected=backup.protected
        )


def _find_image(site: Site, wanted: str, provider: str | None) -> tuple[str, str]:
    images = list_images(site, provider)
    found = [(name, image.id) for name, image in images if wanted in (image.id, image.name)]
    exact = [pair for pair in found if pair[1] == wanted] or found
    if len(exact) == 1:
        return exact[0]
    if exact:
        raise NotFound(f"the name {wanted!r} fits {len(exact)} images", hint="give the ID")
    pinned = [(b.provider, wanted) for b in site.vault.catalogue.all() if wanted in b.images]
    if pinned:
        return pinned[0]
    raise NotFound(f"image {wanted!r} does not exist", hint="see `csbsctl image list`")
