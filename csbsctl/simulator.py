"""What a simulated cloud offers beside the provider's contract, so that policy tests can play the world around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from csbsctl.model.server import Server


class Simulator(Protocol):
    """What operators, guests and bad luck do to a simulated cloud."""

    def create(
        self,
        name: str,
        disks: Sequence[int],
        *,
        server_id: str,
        zone: str | None = None,
        metadata: dict[str, str] | None = None,
        tags: Sequence[str] = (),
    ) -> Server:
        """Make a running server under an ID of the caller's; ``disks`` are bytes, the system disk first."""
        ...

    def delete(self, server_id: str) -> None:
        """Delete a server and its disks."""
        ...

    def power(self, server_id: str, *, on: bool) -> None:
        """Start or stop a server."""
        ...

    def attach(self, server_id: str, size: int) -> None:
        """Attach a new, empty disk."""
        ...

    def detach(self, server_id: str, position: int) -> None:
        """Detach a data disk. Raises ProviderError for the system disk and one that is not there."""
        ...

    def resize(self, server_id: str, position: int, size: int) -> None:
        """Enlarge a disk. Raises ProviderError when it is not there or would shrink."""
        ...

    def write(self, server_id: str, position: int, offset: int, data: bytes) -> None:
        """Write to a disk as its guest does."""
        ...

    def attack(self, server_id: str, seed: int) -> None:
        """Encrypt in place all that lies on a server's disks."""
        ...

    def fingerprints(self, server_id: str) -> tuple[str, ...]:
        """Return a digest of each disk's bytes; reads only where a disk holds data, however large it is."""
        ...

    def fail(self, step: str, error: str, server: str | None = None) -> None:
        """Make a step fail, of one server (its name) or of all, until ``mend``. Raises UsageError for unknown words."""
        ...

    def mend(self) -> None:
        """Let every step work again."""
        ...
