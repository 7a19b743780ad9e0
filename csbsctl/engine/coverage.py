"""Which servers gain, lose or change protection, and what that does to objectives and to the backups they have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from csbsctl.engine.addresses import Canonical
from csbsctl.engine.bonds import Bond, Bonds
from csbsctl.engine.histories import Histories
from csbsctl.engine.situation import ServerKey, Situation
from csbsctl.engine.upcoming import longest_gap
from csbsctl.model.declared import Objective
from csbsctl.model.plan import ChangeClass, Consequence
from csbsctl.model.policy import Policy
from csbsctl.rules.matching import matches
from csbsctl.units import format_duration

Effect = tuple[Consequence | None, tuple[ChangeClass, str] | None]

_NAMED = 3
_LISTED = 500


class Coverage:
    """Compares bonds before and after, binding by binding."""

    def __init__(self, before: Bonds, after: Bonds, histories: Histories, taken: Bonds | None = None) -> None:
        self._before = before
        self._taken = taken or {}
        self._after = after
        self._histories = histories
        self._old = _by_binding(before)
        self._new = _by_binding(after)

    def effects(self, binding: str) -> Iterator[Effect]:
        """Yield what a changed binding does to servers: losses first."""
        lost = {key: bond for key, bond in self._old.get(binding, {}).items() if key not in self._after}
        if lost:
            yield self._loss(lost), (ChangeClass.WEAKENS, f"{_servers(lost.values())} will have no policy")
        arrivals = self._new.get(binding, {})
        gained = [b for key, b in arrivals.items() if key not in self._before and key not in self._taken]
        if gained:
            policy = gained[0].policy
            message = f"{_servers(gained)} come{_s(gained)} under policy {policy}"
            yield _consequence("gains-protection", message, gained), (ChangeClass.STRENGTHENS, message)
        for (old, new), moved in self._moves(arrivals).items():
            yield self._move(old, new, moved), None
        for (stack, old, new), keys in self._takeovers(arrivals).items():
            takeover = self._takeover(stack, old, new, keys)
            yield takeover, (ChangeClass.NEUTRAL, takeover.message)

    def loses(self, binding: str) -> bool:
        """Tell whether a changed binding leaves a server without a policy."""
        return any(key not in self._after for key in self._old.get(binding, ()))

    def frozen(self, policy: str, *, removed: bool) -> Iterator[Effect]:
        """Yield what removing or disabling a policy does to the backups made by it."""
        keys = [key for key, bond in self._before.items() if bond.policy == policy]
        count = self._histories.count(keys, policy)
        servers = [self._before[key] for key in keys]
        if removed:
            message = f"its {_backups(count)} stay until deleted by hand" if count else ""
        else:
            what = f"{_backups(count)} stay as they are" if count else "nothing expires"
            message = f"{_servers(servers)} no longer backed up on schedule; {what}" if servers else ""
        if message:
            yield _consequence("backups-frozen", message, servers, backups=count), None

    def objective(self, value: Canonical, situation: Situation) -> Iterator[Effect]:
        """Yield which servers an objective covers, and which of them fall short of it at once."""
        objective = Objective.model_validate(value)
        covered = [key for key, server in situation.servers().items() if matches(objective.match, server)]
        bare = [situation.servers()[key].name for key in covered if key not in self._after]
        message = f"covers {len(covered):,} server{'' if len(covered) == 1 else 's'}"
        yield Consequence(kind="covers", message=message, details={"servers": len(covered)}), None
        if bare and objective.protected == "required":
            message = f"{_names(bare)} must be protected and {'is' if len(bare) == 1 else 'are'} in no policy"
            yield Consequence(kind="objective", message=message, details={"servers": bare[:_LISTED]}), None

    def objectives_of(
        self, name: str, policy: Policy, anchor: datetime, wanted: Canonical, situation: Situation
    ) -> Iterator[Effect]:
        """Yield the objectives that a policy's servers are under and that its schedule cannot hold."""
        ruled = {key: value for key, value in wanted.get("objectives", {}).items() if "rpo" in value}
        gap = longest_gap(policy, anchor, situation.now) if ruled else None
        if gap is None:
            return
        servers = situation.servers()
        mine = [servers[key] for key, bond in self._after.items() if bond.policy == name and key in servers]
        for key, value in ruled.items():
            objective = Objective.model_validate(value)
            if (
                objective.rpo
                and gap > objective.rpo
                and any(matches(objective.match, server) for server in mine)
            ):
                apart = f"recovery points are up to {format_duration(gap)} apart, not {format_duration(objective.rpo)}"
                message = f"objective {key} cannot be held: {apart}"
                yield Consequence(kind="objective", message=message, details={"objective": key}), None

    def _loss(self, lost: Mapping[ServerKey, Bond]) -> Consequence:
        count = self._histories.count(lost)
        message = f"{_servers(lost.values())} will have no policy"
        if count:
            message += (
                f"; {'its' if len(lost) == 1 else 'their'} {_backups(count)} stay{'s' if count == 1 else ''}"
            )
        return _consequence("loses-protection", message, list(lost.values()), backups=count)

    def _moves(self, arrivals: Mapping[ServerKey, Bond]) -> dict[tuple[str, str], list[ServerKey]]:
        moves: dict[tuple[str, str], list[ServerKey]] = {}
        for key, bond in arrivals.items():
            old = self._before.get(key)
            if old and old.policy != bond.policy:
                moves.setdefault((old.policy, bond.policy), []).append(key)
        return moves

    def _takeovers(self, arrivals: Mapping[ServerKey, Bond]) -> dict[tuple[str, str, str], list[ServerKey]]:
        taken: dict[tuple[str, str, str], list[ServerKey]] = {}
        for key, bond in arrivals.items():
            rival = self._taken.get(key)
            if rival and key not in self._before:
                taken.setdefault((rival.stack, rival.policy, bond.policy), []).append(key)
        return taken

    def _takeover(self, stack: str, old: str, new: str, keys: Sequence[ServerKey]) -> Consequence:
        """Return what it means for servers to come here from another stack, protected there and here."""
        count = self._histories.count(keys, f"{stack}/{old}")
        servers = [self._after[key] for key in keys]
        message = f"{_servers(servers)} move{_s(servers)} from policy {old} of stack {stack} to {new}"
        if count:
            message += f"; {_backups(count)} of {old} stay{'s' if count == 1 else ''} until deleted by hand"
        return _consequence("changes-stack", message, servers, backups=count)

    def _move(self, old: str, new: str, keys: Sequence[ServerKey]) -> Consequence:
        count = self._histories.count(keys, old)
        servers = [self._after[key] for key in keys]
        message = f"{_servers(servers)} move{_s(servers)} from policy {old} to {new}"
        if count:
            message += f"; {_backups(count)} of {old} stay{'s' if count == 1 else ''} until deleted by hand"
        return _consequence("changes-policy", message, servers, backups=count)


def _by_binding(bonds: Bonds) -> dict[str, dict[ServerKey, Bond]]:
    grouped: dict[str, dict[ServerKey, Bond]] = {}
    for key, bond in bonds.items():
        grouped.setdefault(bond.binding, {})[key] = bond
    return grouped


def _consequence(
    kind: str, message: str, servers: Sequence[Bond], *, backups: int | None = None
) -> Consequence:
    details: dict[str, object] = {"servers": [bond.name for bond in servers[:_LISTED]], "count": len(servers)}
    if backups is not None:
        details["kept"] = backups
    return Consequence(kind=kind, message=message, details=details)


def _servers(bonds: Iterable[Bond]) -> str:
    return _names([bond.name for bond in bonds])


def _names(names: Sequence[str]) -> str:
    names = sorted(names)
    if len(names) > _NAMED + 1:
        return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED:,} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _s(items: Sequence[object]) -> str:
    return "s" if len(items) == 1 else ""


def _backups(count: int) -> str:
    return f"{count:,} backup{'' if count == 1 else 's'}"
