"""Where jobs run: the vault, the clouds by name, the stack, and who listens. Every job is handed one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from csbsctl.clock import Clock
from csbsctl.diagnostics import did_you_mean
from csbsctl.errors import NotFound, UsageError
from csbsctl.model.server import Server
from csbsctl.protection.events import Reporter, Silence
from csbsctl.protection.stop import StopSignal
from csbsctl.provider import Provider
from csbsctl.vault import Vault


@dataclass(frozen=True, slots=True)
class Site:
    """Everything a job needs from outside: it is given, never looked up.

    ``patience`` are the seconds waited before each further try of a step that the cloud could not serve.
    """

    vault: Vault
    providers: Mapping[str, Provider]
    clock: Clock
    stack: str = "default"
    actor: str = ""
    reporter: Reporter = field(default_factory=Silence)
    stop: StopSignal = field(default_factory=StopSignal)
    patience: tuple[float, ...] = (0.5, 2.0, 5.0)

    def provider(self, name: str) -> Provider:
        """Return a configured cloud. Raises UsageError when no cloud has that name."""
        try:
            return self.providers[name]
        except KeyError:
            raise UsageError(
                f"no provider named {name!r} is configured",
                hint=did_you_mean(name, self.providers)
                or "backups are reached under the name that their provider had; put it back under `providers`",
            ) from None

    def find_server(self, wanted: str, provider: str | None = None) -> Server:
        """Return the one server with this ID or name, of one cloud or of all.

        Raises:
            NotFound: no server has it (CSBS.6000).
            UsageError: the name fits several.
        """
        names = [provider] if provider else list(self.providers)
        found = [s for name in names for s in self.provider(name).servers() if wanted in (s.id, s.name)]
        exact = [server for server in found if server.id == wanted]
        if len(exact or found) > 1:
            ids = ", ".join(f"{server.id} ({server.provider})" for server in found)
            raise UsageError(f"the name {wanted!r} fits {len(found)} servers: {ids}", hint="give the ID")
        if not found:
            raise NotFound(
                f"server {wanted!r} does not exist",
                code="CSBS.6000",
                hint=did_you_mean(wanted, [s.name for name in names for s in self.provider(name).servers()])
                or "see `csbsctl server list`",
            )
        return (exact or found)[0]
