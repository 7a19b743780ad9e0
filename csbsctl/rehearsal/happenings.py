"""Makes a test's events happen: some at once, some for a while (troubles)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from csbsctl.diagnostics import did_you_mean
from csbsctl.errors import CsbsError, GuardrailRefusal, UsageError
from csbsctl.protection.byhand import create_backups
from csbsctl.rehearsal.moments import Calendar, short
from csbsctl.rehearsal.suite import Case, DiskChange, Happening
from csbsctl.rehearsal.world import Member, World, scaled


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong from one instant up to another."""

    event: Happening
    start: datetime
    end: datetime

    def active(self, now: datetime) -> bool:
        """Say whether it is wrong now."""
        return self.start <= now < self.end


def troubles_of(case: Case, calendar: Calendar) -> list[Trouble]:
    """Return what goes wrong for a while."""
    found = []
    for event in case.events:
        lasts = _lasts(event)
        if lasts is not None:
            start = calendar.instant(event.at)
            found.append(Trouble(event, start, start + lasts))
    return found


def _lasts(event: Happening) -> timedelta | None:
    if event.fail:
        return event.fail.lasts
    if event.clock:
        return event.clock.lasts
    return event.runner_down or event.cloud_down or event.store_down


def settle(world: World, troubles: Iterable[Trouble]) -> None:
    """Make the world as wrong as it is to be now."""
    active = [trouble.event for trouble in troubles if trouble.active(world.now)]
    world.store.away = any(event.store_down for event in active)
    world.runner_clock.skew = sum((e.clock.by for e in active if e.clock), start=timedelta(0))
    for simulator in world.simulators.values():
        simulator.mend()
        if any(event.cloud_down for event in active):
            simulator.fail("servers", "unavailable")
            simulator.fail("server", "unavailable")
        for event in active:
            if event.fail:
                simulator.fail(event.fail.step, event.fail.error, event.fail.server)


def happen(world: World, event: Happening) -> None:
    """Carry an event out; troubles are only told of, ``settle`` makes them.

    Raises:
        CsbsError: it cannot happen, as when it is about a server that is not there.
    """
    _happen_to_servers(world, event)
    if event.create:
        for name, fleet in event.create.items():
            world.create(name, fleet)
            world.story.note(f"created: {name}")
    for change in (event.attach, event.detach, event.resize):
        if change:
            _change_disk(world, event.kind, change)
    if event.apply:
        _apply(world, event)
    lasts = _lasts(event)
    if lasts is not None:
        world.story.note(f"{event.kind.replace('_', ' ')} for {short(lasts)}")


def _happen_to_servers(world: World, event: Happening) -> None:
    for member in chosen(world.existing(), event.attack):
        world.simulators[member.provider].attack(member.id, seed=len(member.attacks))
        member.attacks.append(world.now)
        world.story.note(f"{member.name}: attacked", member.id)
    if event.write:
        for member in chosen(world.existing(), event.write.servers):
            member.bursts.append((world.now, event.write.size))
    for member in chosen(world.existing(), event.delete):
        world.simulators[member.provider].delete(member.id)
        member.deleted = world.now
        world.story.note(f"{member.name}: deleted", member.id)
        world.changed()
    for names, on in ((event.stop, False), (event.start, True)):
        for member in chosen(world.existing(), names):
            world.simulators[member.provider].power(member.id, on=on)
            member.running = on
            world.story.note(f"{member.name}: {'started' if on else 'stopped'}", member.id)
    if event.backup:
        _back_up(world, chosen(world.existing(), event.backup))


def _back_up(world: World, members: Iterable[Member]) -> None:
    world.write()
    servers = [world.site.provider(member.provider).server(member.id) for member in members]
    create_backups(world.site, servers)
    world.take_proofs()


def _change_disk(world: World, kind: str, change: DiskChange) -> None:
    for member in chosen(world.existing(), (change.server,)):
        simulator = world.simulators[member.provider]
        if kind == "attach" and change.size is not None:
            simulator.attach(member.id, scaled(change.size))
            world.sizes[_volume(world, member, -1)] = change.size
        elif kind == "detach" and change.disk is not None:
            simulator.detach(member.id, change.disk)
        elif kind == "resize" and change.disk is not None and change.size is not None:
            _resize(world, member, change.disk, change.size)
        else:
            needed = {"attach": "`size`", "detach": "`disk`", "resize": "`disk` and `size`"}[kind]
            raise UsageError(f"{kind} needs {needed}")
        world.story.note(f"{member.name}: {kind}", member.id)
    world.changed()


def _resize(world: World, member: Member, position: int, size: int) -> None:
    volume = _volume(world, member, position)
    if size < world.sizes[volume]:
        raise UsageError("a disk cannot shrink")
    world.simulators[member.provider].resize(member.id, position, scaled(size))
    world.sizes[volume] = size


def _volume(world: World, member: Member, position: int) -> str:
    """Return the ID of a server's disk. Raises UsageError when it has no such disk."""
    volumes = world.site.provider(member.provider).server(member.id).volumes
    if position >= len(volumes):
        raise UsageError(f"{member.name} has {len(volumes)} disks, the system disk is number 0")
    return volumes[position].id


def _apply(world: World, event: Happening) -> None:
    assert event.apply is not None
    edited = world.configured(event.apply.change)
    if set(edited.providers) - set(world.providers):
        raise UsageError("an edit within a test cannot add a provider")
    try:
        world.apply(edited, event.apply.allow)
    except GuardrailRefusal as refusal:
        world.story.note(f"apply was refused: {refusal.message}")
    else:
        world.overlays.append(event.apply.change)
        world.story.note("an edit of the configuration was applied")


def chosen(members: Iterable[Member], patterns: Iterable[str] | None) -> Iterator[Member]:
    """Yield the servers that names or patterns mean; none for None.

    Raises:
        UsageError: a pattern means no server.
    """
    there = list(members)
    found: dict[str, Member] = {}
    for pattern in patterns or ():
        fitting = [member for member in there if fnmatchcase(member.name, pattern)]
        if not fitting:
            names = [member.name for member in there]
            hint = did_you_mean(pattern, names) or f"servers now: {', '.join(names[:10]) or 'none'}"
            raise UsageError(f"there is no server {pattern!r}", hint=hint)
        found |= {member.id: member for member in fitting}
    yield from found.values()


def as_problem(error: CsbsError) -> str:
    """Return an error in one line, with its hint."""
    return f"{error.message} ({error.hint})" if error.hint else error.message
