"""Stories that may be cut off at any point, and what must not differ whether or not they were.

Run as a script (see ``apart`` in conftest) it plays one of them in a process of its own.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csbsctl.boundaries import arm
from csbsctl.clock import VirtualClock, parse_instant
from csbsctl.protection.byhand import (
    create_backups,
    create_image,
    delete_backups,
    delete_image,
    verify_backups,
)
from csbsctl.protection.disks import fetch_disks
from csbsctl.protection.preflight import RestoreRequest
from csbsctl.protection.restore import restore
from csbsctl.provider import Depth, Marker, Step

if TYPE_CHECKING:
    from tests.protection.conftest import World


def run(world: World) -> None:
    world.run()


def backup(world: World) -> None:
    if not any(b.name == "third" for b in world.vault.catalogue.all()):
        create_backups(world.site, list(world.cloud.servers()), name="third")


def restore_in_place(world: World) -> None:
    restore(world.site, RestoreRequest(world.vault.catalogue.find("first@web-01")))


def restore_as_new(world: World) -> None:
    if len(list(world.cloud.servers())) < 2:
        restore(world.site, RestoreRequest(world.vault.catalogue.find("first@web-01"), name="copy"))


def restore_volumes(world: World) -> None:
    if not kept(world):
        found = world.vault.catalogue.find("first@web-01")
        restore(world.site, RestoreRequest(found, name="copy", volumes_only=True))


def fetch(world: World) -> None:
    fetch_disks(world.site, world.vault.catalogue.find("first@web-01"), world.folder / "out")


def kept(world: World) -> list[str]:
    """Return the names of the volumes that neither a server nor a job has."""
    query = "SELECT name FROM volumes WHERE marker IS NULL AND id NOT IN (SELECT volume FROM attachments) ORDER BY 1"
    return [row["name"] for row in world.cloud.cloud.database.rows(query)]


def image(world: World) -> None:
    found = world.vault.catalogue.find("first@web-01")
    if not found.images or found.images[0].startswith("pending-"):
        create_image(world.site, found, "golden")


def unimage(world: World) -> None:
    found = world.vault.catalogue.find("second@web-01")
    if found.images:
        delete_image(world.site, found.images[0])


def delete(world: World) -> None:
    named = [b for b in world.vault.catalogue.all() if b.name == "first"]
    if named and named[0].state.value == "available":
        delete_backups(world.site, named)


def verify(world: World) -> None:
    verify_backups(world.site, [world.vault.catalogue.find("first@web-01")])


def state_of(world: World) -> dict[str, Any]:
    """Return what the next run must have made the same, and the traces that it must have removed."""
    look = Step(Marker(world.vault.id, "look", ""))
    backups = sorted(world.vault.catalogue.all(), key=lambda b: (b.started_at, b.trigger, b.name))
    servers = list(world.cloud.servers())
    return {
        "backups": [
            [
                b.name if "_" not in b.name else b.name.split("_")[0],
                b.state.value,
                b.slot.isoformat() if b.slot else None,
                b.verification.value,
                len(b.images),
                [world.cloud.verify(look, v, Depth.FULL) == [] for v in b.volumes],
            ]
            for b in backups
        ],
        "servers": sorted([s.name, s.state.value, *world.digest(s)] for s in servers),
        "images": len(list(world.cloud.images())),
        "open jobs": [job.kind.value for job in world.vault.jobs.open()],
        "held leases": [holder.server for holder in world.vault.leases.holders()],
        "leftovers": world.leftovers(),
        "volumes alone": kept(world),
        "files": [[p.name, p.read_bytes()[:4096].hex()] for p in sorted((world.folder / "out").glob("*"))],
    }


def play(folder: str, instant: str, story: str, fault: str = "") -> None:
    """Play a story in this process and die at the boundary that ``fault`` names."""
    open_world = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["open_world"]
    world = open_world(Path(folder), VirtualClock(parse_instant(instant)), create=False)
    if fault:
        arm(fault)
    STORIES[story](world)
    world.close()


STORIES = {
    story.__name__: story
    for story in (
        *(run, backup, restore_in_place, restore_as_new, restore_volumes, fetch),
        *(image, unimage, delete, verify),
    )
}


if __name__ == "__main__":
    play(*ARGUMENTS)  # type: ignore[name-defined] # noqa: F821 - handed over by ``apart``
