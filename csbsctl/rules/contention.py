"""Which of several stacks has a server that the bindings of each reach; decided from the control document alone.

A plan refuses to take a server that another stack has. But a rule finds new servers without a plan, and rules of two
stacks may find the same one. Until somebody puts that right exactly one of them must back it up, and every runner and
every plan must come to the same answer without asking anybody: who bound it first, else whose binding is older.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from csbsctl.model.control import StackState

_UNKNOWN = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Claim:
    """A stack's word for having a server: by which binding, whether an apply recorded it, and since when."""

    stack: str
    binding: str
    recorded: bool
    """The last apply knew that the binding reaches the server; else its rule found it since."""
    since: datetime | None

    @property
    def rank(self) -> tuple[bool, datetime, str]:
        """Return what sorts claims, the one that counts first."""
        return not self.recorded, self.since or _UNKNOWN, self.stack


def claim(stack: str, state: StackState, binding: str, server_id: str) -> Claim:
    """Return the claim of a stack on a server that one of its live bindings reaches."""
    address = f"binding.{binding}"
    since = state.since.get(f"{address}/{server_id}") or state.since.get(address)
    return Claim(stack, binding, server_id in state.members.get(binding, {}), since)


def first(claims: Iterable[Claim]) -> Claim:
    """Return the claim that counts: recorded before found by a rule, then the older one, then by the stack's name."""
    return min(claims, key=lambda each: each.rank)
