"""The image jobs: make a bootable image of a whole server from a backup, once, and delete it again.

While an image is being made the backup carries a pin in its ``images``, so nothing deletes it meanwhile. The lease is
the job's own: making an image reads stored data and does not touch the server.
"""

from __future__ import annotations

from collections.abc import Callable

from csbsctl.boundaries import Boundary
from csbsctl.errors import CsbsError, LeaseLost, Refused
from csbsctl.model.backup import Backup, BackupState, Verification
from csbsctl.model.job import JobKind
from csbsctl.protection.jobs.collection import note_litter
from csbsctl.protection.jobs.work import Work
from csbsctl.protection.site import Site
from csbsctl.provider import Image
from csbsctl.vault.leases import Lease

JOURNALLED = Boundary(
    "image.journalled", "an image, or its deletion, is intended and written down, nothing is done yet"
)
PINNED = Boundary("image.pinned", "the backup is held for an image that does not exist yet")
CREATED = Boundary("image.created", "the image exists and the journal knows, the catalogue does not")
RECORDED = Boundary("image.recorded", "the catalogue names the image, the job is still open")
REMOVED = Boundary("image.removed", "the image is gone, the catalogue still names it")

_PIN = "pending-"


def image_refusal(backup: Backup) -> Refused | None:
    """Return why no image can be made from a backup (csbs.md 1.14), None when one can."""
    if backup.state is not BackupState.AVAILABLE or backup.verification is Verification.FAILED:
        state = "failed verification" if backup.state is BackupState.AVAILABLE else f"is {backup.state.value}"
        return Refused(f"backup {backup.name} {state}: no image can be made from it", code="CSBS.8001")
    if not any(volume.bootable for volume in backup.volumes):
        return Refused(f"backup {backup.name} has no system disk, an image needs one", code="CSBS.8009")
    if backup.images:
        return Refused(
            f"an image was already made from backup {backup.name}: {', '.join(backup.images)}",
            code="CSBS.8001",
            hint="one image a backup; any number of servers can be built from it",
        )
    return None


def make_image(site: Site, lease: Lease, backup: Backup, name: str) -> Image:
    """Make the image. Raises Refused when the backup does not allow it, or somebody else began one just now."""
    work = _begin(site, lease, backup, {"operation": "create", "image": name})
    JOURNALLED()
    return _create(work)


def remove_image(site: Site, lease: Lease, backup: Backup, image_id: str) -> None:
    """Delete an image and set its backup free."""
    work = _begin(site, lease, backup, {"operation": "delete", "image": image_id})
    JOURNALLED()
    _delete(work)


def resume_image(work: Work) -> str:
    """Go on with an image job that was cut off; return what became of it."""
    if work.job.intent["operation"] == "delete":
        _delete(work)
    else:
        _create(work)
    return "finished"


def _begin(site: Site, lease: Lease, backup: Backup, intent: dict[str, str]) -> Work:
    return Work.begin(
        site,
        lease,
        JobKind.IMAGE,
        {**intent, "name": backup.name, "lease": lease.server},
        provider=backup.provider,
        server=backup.server.id,
        server_name=backup.server.name,
        backup=backup.id,
    )


def _create(work: Work) -> Image:
    pin = _PIN + work.job.id
    try:
        backup = _pinned(work, pin)
        PINNED()
        step = work.step(work.job.intent["image"])
        image = work.patiently(lambda: work.provider.create_image(step, backup, work.job.intent["image"]))
    except LeaseLost:
        note_litter(work.site, work.job.provider, work.job.id)  # stored after whoever took over had tidied up
        raise
    except CsbsError as error:
        work.undoing = True
        _change(work, lambda images: tuple(i for i in images if i != pin))
        work.fail(error)
        raise
    work.record("created", image.id)
    CREATED()
    _change(work, lambda images: (*(i for i in images if i not in (pin, image.id)), image.id))
    RECORDED()
    _audit(work, "createImage", image.id)
    work.finish(size=image.size)
    return image


def _delete(work: Work) -> None:
    image_id = work.job.intent["image"]
    step = work.step(image_id)
    note_litter(work.site, work.job.provider, work.job.id)
    try:
        work.check()
        work.patiently(lambda: work.provider.delete_image(step, image_id))
    except LeaseLost:
        raise
    except CsbsError as error:
        work.fail(error)
        raise
    REMOVED()
    _change(work, lambda images: tuple(i for i in images if i != image_id))
    _audit(work, "deleteImage", image_id)
    work.finish()


def _pinned(work: Work, pin: str) -> Backup:
    """Hold the backup for the image, unless it is held for another one."""

    def change(images: tuple[str, ...]) -> tuple[str, ...]:
        return images or (pin,)

    work.check()
    backup = _change(work, change)
    if backup is None:
        raise Refused(f"backup {work.job.backup} is gone", code="CSBS.3001")
    refusal = image_refusal(backup.model_copy(update={"images": tuple(i for i in backup.images if i != pin)}))
    created = work.result("created")
    if refusal and created not in backup.images:
        raise refusal
    return backup


def _change(work: Work, change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Backup | None:
    """Change which images a backup carries and return it as it is now; None where it is gone, and nothing to change."""

    def update(backups: tuple[Backup, ...]) -> list[Backup]:
        return [
            b.model_copy(update={"images": change(b.images)}) if b.id == work.job.backup else b
            for b in backups
        ]

    after = work.site.vault.catalogue.update(work.job.provider, str(work.job.server), update)
    return next((b for b in after if b.id == work.job.backup), None)


def _audit(work: Work, action: str, image_id: str) -> None:
    work.site.vault.audit.record(
        action,
        resource_type="checkpointItem",
        resource_id=str(work.job.backup),
        details={"image": image_id, "server": work.job.server},
    )
