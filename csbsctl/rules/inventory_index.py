"""The servers of one provider, found by ID, name or rule without looking at each of them every time.

Ten thousand bindings meet ten thousand servers in a plan: names and IDs are dictionary look-ups, and a rule looks
only at the servers that carry its rarest condition. Knows nothing of bindings.
"""

from __future__ import annotations

import bisect
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cached_property

from csbsctl.model.declared import Match
from csbsctl.model.server import Server

_WILDCARD = re.compile(r"[*?\[]")


def matches(match: Match, server: Server) -> bool:
    """Return whether every condition of a rule holds for a server. Names are compared with regard to case."""
    if match.availability_zone is not None and server.availability_zone != match.availability_zone:
        return False
    if any(server.metadata.get(key) != value for key, value in match.metadata.items()):
        return False
    if any(tag not in server.tags for tag in match.tags):
        return False
    return match.name is None or _name_fits(match.name, server.name)


def _name_fits(pattern: str, name: str) -> bool:
    literal = _WILDCARD.split(pattern, maxsplit=1)[0]
    if literal == pattern:
        return name == pattern
    # A pattern that ends in its only star is the common one, and the general way is costly to prepare.
    return name.startswith(literal) and (pattern == f"{literal}*" or fnmatchcase(name, pattern))


class InventoryIndex:
    """The servers of one provider. What only rules need is built when the first rule asks."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = servers
        self.by_id = {server.id: server for server in servers}
        self.by_name: dict[str, list[Server]] = {}
        for server in servers:
            self.by_name.setdefault(server.name, []).append(server)

    def find(self, wanted: str) -> list[Server]:
        """Return the server of an ID, else those of a name: none, one, or several that share it."""
        server = self.by_id.get(wanted)
        return [server] if server is not None else self.by_name.get(wanted, [])

    def fitting(self, match: Match) -> list[Server]:
        """Return the servers that fit a rule, in the order of the inventory."""
        everything: Sequence[int] = range(len(self.servers))
        fewest = min(self._conditions(match), key=len, default=everything)
        return [server for position in fewest if matches(match, server := self.servers[position])]

    def _conditions(self, match: Match) -> Iterable[Sequence[int]]:
        """Yield, for each condition that has an index, the positions of the servers that meet it, ascending."""
        for pair in match.metadata.items():
            yield self._by_metadata.get(pair, ())
        for tag in match.tags:
            yield self._by_tag.get(tag, ())
        if match.availability_zone is not None:
            yield self._by_zone.get(match.availability_zone, ())
        if match.name is not None and (prefix := _WILDCARD.split(match.name, maxsplit=1)[0]):
            yield self._starting_with(prefix)

    def _starting_with(self, prefix: str) -> Sequence[int]:
        names, length = self._sorted_names, len(prefix)
        first = bisect.bisect_left(names, prefix, key=lambda item: item[0])
        last = bisect.bisect_right(names, prefix, key=lambda item: item[0][:length])
        if last - first > len(names) // 2:
            return range(len(self.servers))
        return sorted(position for _, position in names[first:last])

    @cached_property
    def _sorted_names(self) -> list[tuple[str, int]]:
        return sorted((server.name, position) for position, server in enumerate(self.servers))

    @cached_property
    def _by_metadata(self) -> dict[tuple[str, str], list[int]]:
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        for position, server in enumerate(self.servers):
            for pair in server.metadata.items():
                found[pair].append(position)
        return found

    @cached_property
    def _by_tag(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for position, server in enumerate(self.servers):
            for tag in server.tags:
                found[tag].append(position)
        return found

    @cached_property
    def _by_zone(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for position, server in enumerate(self.servers):
            if server.availability_zone is not None:
                found[server.availability_zone].append(position)
        return found
