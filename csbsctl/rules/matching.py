"""Which server is in which policy: bindings resolved against the inventory (csbs.md 1.8, design section 3).

Everything wrong is collected, nothing is raised. What merely happened to the cloud (a bound server is gone, renamed,
newly matched) is told apart from what is wrong with the configuration.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from csbsctl.model.declared import Binding
from csbsctl.model.server import Refusal, Server, accepting_image, protectability
from csbsctl.rules.inventory_index import InventoryIndex, matches

__all__ = ["Assignment", "Bound", "Departed", "Problem", "Renamed", "assign", "matches"]

_SUGGESTIONS = 10
"""For how many unknown names something alike is looked for: that is slow, and a person reads the first few."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A server that a binding reaches, as the binding sees it: an image of its root will do where it says so."""

    server: Server
    binding: str
    policy: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a binding: where (address and path of the YAML), what, and what to do."""

    address: str
    message: str
    hint: str | None = None
    path: tuple[str | int, ...] = ()
    also: str | None = None
    """The address of another object that is to blame as much."""


@dataclass(frozen=True, slots=True)
class Departed:
    """A server that the last apply had bound and the cloud no longer has."""

    binding: str
    server_id: str
    server_name: str
    named: bool
    """The binding still lists it under ``servers``; else only its rule used to find it."""
    successor: str | None = None
    """The ID of the server that the listed name means now, where another one bears it."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """A bound server that bears another name than at the last apply; it stays bound."""

    binding: str
    server_id: str
    before: str
    after: str


@dataclass(slots=True)
class Assignment:
    """Who is in which policy, and everything there is to say about it."""

    bound: dict[str, Bound] = field(default_factory=dict)
    """By server ID, in the order of the bindings."""
    problems: list[Problem] = field(default_factory=list)
    """Errors: a plan with any of them cannot be applied."""
    notes: list[Problem] = field(default_factory=list)
    """Worth a word, not an error: a rule that fits nobody."""
    gone: list[Departed] = field(default_factory=list)
    renamed: list[Renamed] = field(default_factory=list)
    refused: dict[str, Refusal] = field(default_factory=dict)
    """Bound servers that cannot be backed up as they are, by ID; a shared disk is named in the reason."""
    doubted: set[str] = field(default_factory=set)
    """Bindings whose rule reaches fewer or more servers than they expect: it is not believed (see ``_Assigner._doubt``)."""

    def members(self) -> dict[str, dict[str, str]]:
        """Return whom each binding reaches: binding -> server ID -> name, as the control document keeps it."""
        members: dict[str, dict[str, str]] = {}
        for server_id, bound in self.bound.items():
            members.setdefault(bound.binding, {})[server_id] = bound.server.name
        return members


def assign(
    bindings: Mapping[str, Binding],
    inventory: Mapping[str, Sequence[Server]],
    *,
    members: Mapping[str, Mapping[str, str]],
    provider_filter: Collection[str] | None = None,
) -> Assignment:
    """Resolve bindings to servers.

    Args:
        bindings: by name.
        inventory: the servers of each provider, by the provider's name.
        members: whom each binding reached at the last apply: binding -> server ID -> name.
        provider_filter: look only at bindings of these providers.
    """
    indexes = {provider: InventoryIndex(servers) for provider, servers in inventory.items()}
    assigner = _Assigner(bindings, indexes, members)
    for name, binding in bindings.items():
        if provider_filter is None or binding.provider in provider_filter:
            assigner.resolve(name, binding)
    return assigner.result


class _Assigner:
    def __init__(
        self,
        bindings: Mapping[str, Binding],
        indexes: Mapping[str, InventoryIndex],
        members: Mapping[str, Mapping[str, str]],
    ) -> None:
        self.result = Assignment()
        self._bindings = bindings
        self._indexes = indexes
        self._members = members
        self._former: dict[str, str] | None = None
        self._settled: dict[tuple[str, str, str, str], int] = {}
        """How many servers a rule reached that stands without names and exclusions, by what its binding says."""

    def resolve(self, name: str, binding: Binding) -> None:
        """Add one binding's servers to the result."""
        address = f"binding.{name}"
        index = self._indexes.get(binding.provider)
        if index is None:
            message = f"provider {binding.provider!r} has no inventory"
            self.result.problems.append(
                Problem(address, message, "declare it under `providers`", ("provider",))
            )
            return
        if not self._is_expected(address, binding, self._bind_all(name, binding, index)):
            self._doubt(name, binding, index)
        self._tell_changes(name, binding, index)

    def _doubt(self, name: str, binding: Binding, index: InventoryIndex) -> None:
        """Keep whom a binding reached at the last apply, and whom it names, instead of whom its rule reaches now.

        A rule that reaches unexpectedly many or few is more likely wrong, or its metadata is, than all those servers
        are: until somebody looks, nobody is newly protected by it, and nobody silently no longer.
        """
        self.result.doubted.add(name)
        bound = self.result.bound
        named = {server.id for wanted in binding.servers for server in index.find(wanted)}
        excluded = {server.id for wanted in binding.exclude for server in index.find(wanted)}
        known = (self._members.get(name, {}).keys() | named) - excluded
        for server_id in [i for i, b in bound.items() if b.binding == name and i not in known]:
            del bound[server_id]
            self.result.refused.pop(server_id, None)
        for server_id in known - bound.keys():
            server = index.by_id.get(server_id)
            if server is not None:
                self._bind(name, binding, server, ("match",))
        self._settled.clear()  # what this rule brought is gone again: another binding with it brings it anew

    def _bind_all(self, name: str, binding: Binding, index: InventoryIndex) -> int:
        """Bind whom a binding reaches and return how many they are; a rule that was met before brings nobody new."""
        bare = binding.match if not binding.servers and not binding.exclude else None
        roots = binding.image_backed_root
        rule = (binding.provider, binding.policy, roots, bare.model_dump_json()) if bare else None
        if rule in self._settled:
            return self._settled[rule]
        excluded = {server.id for wanted in binding.exclude for server in index.find(wanted)}
        reached = sum(
            server.id not in excluded and self._bind(name, binding, server, path)
            for server, path in self._reached(name, binding, index)
        )
        if rule and reached:
            self._settled[rule] = reached
        return reached

    def _reached(
        self, name: str, binding: Binding, index: InventoryIndex
    ) -> Iterable[tuple[Server, tuple[str | int, ...]]]:
        """Yield the binding's servers, each once, with where the YAML asks for it."""
        seen = set()
        for position, wanted in enumerate(binding.servers):
            server = self._named(name, wanted, position, index)
            if server is not None and server.id not in seen:
                seen.add(server.id)
                yield server, ("servers", position)
        if binding.match is None:
            return
        fitting = index.fitting(binding.match)
        if not fitting:
            message = "the rule of `match` fits no server now"
            self.result.notes.append(Problem(f"binding.{name}", message, None, ("match",)))
        for server in fitting:
            if server.id not in seen:
                yield server, ("match",)

    def _named(self, name: str, wanted: str, position: int, index: InventoryIndex) -> Server | None:
        found = index.find(wanted)
        if len(found) == 1:
            return found[0]
        path = ("servers", position)
        address = f"binding.{name}"
        if found:
            ids = ", ".join(sorted(server.id for server in found))
            message = f"the name {wanted!r} fits {len(found)} servers: {ids}"
            self.result.problems.append(Problem(address, message, "name the server by its ID", path))
            return None
        known = self._members.get(name, {})
        for server_id, server_name in known.items():
            if wanted in (server_id, server_name):
                # The same server under a new name is still meant; one that is gone is told by _tell_changes.
                return index.by_id.get(server_id)
        if former := self._known_elsewhere(wanted):
            if former not in index.by_id:
                self.result.gone.append(Departed(name, former, wanted, named=True))
            return index.by_id.get(former)
        message = f"there is no server {wanted!r} in provider {self._bindings[name].provider!r}"
        hint = _did_you_mean(wanted, index) if len(self.result.problems) < _SUGGESTIONS else None
        self.result.problems.append(Problem(address, message, hint, path))
        return None

    def _known_elsewhere(self, wanted: str) -> str | None:
        """Return the ID of a server that another binding had at the last apply: it existed, and is gone."""
        if self._former is None:
            self._former = {}
            for servers in self._members.values():
                for server_id, server_name in servers.items():
                    self._former[server_name] = self._former[server_id] = server_id
        return self._former.get(wanted)

    def _bind(self, name: str, binding: Binding, server: Server, path: tuple[str | int, ...]) -> bool:
        """Bind a server unless a binding of another policy has it; return whether this binding reaches it."""
        other = self.result.bound.get(server.id)
        seen = accepting_image(server) if binding.image_backed_root == "snapshot" else server
        if other is None:
            self._note(Bound(seen, name, binding.policy))
            return True
        if other.policy == binding.policy:
            if other.server.image_backed_root and not seen.image_backed_root:
                self._note(replace(other, server=seen))
            return True
        message = (
            f"server {server.name} ({server.id}) is also reached by binding.{other.binding}: "
            f"it cannot be in policy {binding.policy!r} and in policy {other.policy!r}"
        )
        hint = "a server is in at most one policy: name it under `exclude` of one of the two"
        self.result.problems.append(
            Problem(f"binding.{name}", message, hint, path, f"binding.{other.binding}")
        )
        return False

    def _note(self, bound: Bound) -> None:
        server = bound.server
        self.result.bound[server.id] = bound
        self.result.refused.pop(server.id, None)
        if refusal := protectability(server):
            self.result.refused[server.id] = refusal

    def _tell_changes(self, name: str, binding: Binding, index: InventoryIndex) -> None:
        for server_id, before in self._members.get(name, {}).items():
            server = index.by_id.get(server_id)
            if server is None:
                named = server_id in binding.servers or before in binding.servers
                if named or binding.match is not None:
                    heirs = index.find(before) if before in binding.servers else ()
                    successor = heirs[0].id if len(heirs) == 1 else None
                    self.result.gone.append(Departed(name, server_id, before, named, successor))
            elif server.name != before and server_id in self.result.bound:
                self.result.renamed.append(Renamed(name, server_id, before, server.name))

    def _is_expected(self, address: str, binding: Binding, reached: int) -> bool:
        expect = binding.expect
        if expect is None:
            return True
        if reached < expect.min:
            message = f"reaches {_servers(reached)}, fewer than the {expect.min} it expects"
            self.result.problems.append(Problem(address, message, None, ("expect", "min")))
        if expect.max is not None and reached > expect.max:
            message = f"reaches {_servers(reached)}, more than the {expect.max} it expects"
            self.result.problems.append(Problem(address, message, None, ("expect", "max")))
            return False
        return reached >= expect.min


def _servers(count: int) -> str:
    return "1 server" if count == 1 else f"{count} servers"


def _did_you_mean(wanted: str, index: InventoryIndex) -> str | None:
    # Similarity is slow: only names that begin alike and are about as long are compared.
    alike = [n for n in index.by_name if n[:1] == wanted[:1] and abs(len(n) - len(wanted)) <= 2]  # noqa: PLR2004
    close = difflib.get_close_matches(wanted, alike[:1000], n=1)
    return f"did you mean {close[0]!r}?" if close else "`csbsctl server list` shows what there is"
