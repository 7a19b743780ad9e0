"""What a command works with: the configuration, the vault, the providers and the output, each opened at first use."""

from __future__ import annotations

import dataclasses
import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from csbsctl.cli.output import Output
from csbsctl.clock import SystemClock, parse_instant
from csbsctl.errors import NotFound, UsageError

if TYPE_CHECKING:
    from csbsctl.config import Configuration, ProviderSettings
    from csbsctl.model.server import Server
    from csbsctl.protection.site import Site
    from csbsctl.provider import Provider
    from csbsctl.vault import Vault

CONFIG_NAME = "csbs.yaml"
_YEARS = range(1970, 9000)
"""What ``--at`` may name: schedules are looked at for years in both directions, and calendars end."""


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """The options every command shares; they may stand before the command's name or after it."""

    chdir: Path | None = None
    as_json: bool = False
    at: str | None = None
    no_color: bool = False
    var: tuple[str, ...] = ()
    var_file: tuple[Path, ...] = ()

    def merged(
        self,
        *,
        chdir: Path | None,
        as_json: bool,
        at: str | None,
        no_color: bool,
        var: Sequence[str] | None,
        var_file: Sequence[Path] | None,
    ) -> Options:
        """Return these options with those given nearer to the command on top."""
        return Options(
            chdir=chdir or self.chdir,
            as_json=as_json or self.as_json,
            at=at or self.at,
            no_color=no_color or self.no_color,
            var=(*self.var, *(var or ())),
            var_file=(*self.var_file, *(var_file or ())),
        )


class Session:
    """One command's world. Also the CommandContext that a provider's own commands find as ``ctx.obj``."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.directory = (options.chdir or Path()).absolute()
        if not self.directory.is_dir():
            raise UsageError(
                f"{self.directory} is not a directory", hint="-C wants the folder that holds csbs.yaml"
            )
        self.out = Output(as_json=options.as_json, color=False if options.no_color else None)
        self.clock = SystemClock(instant_of("--at", options.at) if options.at else None)
        self._providers: dict[str, Provider] = {}
        self._vault: Vault | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything that was opened."""
        for provider in self._providers.values():
            provider.close()
        if self._vault:
            self._vault.close()

    # -- configuration ---------------------------------------------------------------------------------------------

    @cached_property
    def configuration(self) -> Configuration:
        """Return the evaluated configuration of the working directory. Raises ConfigError."""
        from csbsctl.config import load

        loaded = load(
            self.directory,
            variables=self.options.var,
            var_files=[self.directory / path for path in self.options.var_file],
            environ=os.environ,
        )
        gc.freeze()  # it stays for as long as the command runs: the collector need not walk it again and again
        return loaded

    @property
    def configured(self) -> bool:
        """Return whether there is a configuration at all."""
        return (self.directory / CONFIG_NAME).exists()

    @property
    def stack(self) -> str:
        """Return the name of the stack the configuration declares."""
        return self.configuration.stack

    @cached_property
    def commit(self) -> str | None:
        """Return the git commit of the working directory, where it is a repository; ``+`` marks local changes."""
        import subprocess

        git = ("git", "-C", str(self.directory))
        try:
            head = subprocess.run(
                [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
            )
            dirty = subprocess.run(
                [*git, "status", "--porcelain", "--", "."], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")

    @cached_property
    def actor(self) -> str:
        """Return who acts, for the audit trail and the history: ``user@host``."""
        import getpass
        import socket

        try:
            user = os.environ.get("CSBSCTL_ACTOR") or getpass.getuser()
        except (KeyError, OSError):
            user = str(os.getuid())
        return user if "@" in user else f"{user}@{socket.gethostname()}"

    # -- vault -----------------------------------------------------------------------------------------------------

    def vault(self, *, create: bool = False) -> Vault:
        """Return the vault of the configuration, opened once. Raises NotFound where there is none yet."""
        if self._vault is None:
            from csbsctl.cli.opening import open_configured_vault

            self._vault = open_configured_vault(
                self.configuration, self.clock, self.actor, create=create, tell=self.out.note
            )
        return self._vault

    def vault_if_any(self) -> Vault | None:
        """Return the vault, or None where nothing has been applied yet."""
        try:
            return self.vault()
        except NotFound as absent:
            if absent.code != "vault.absent":
                raise
            return None

    # -- providers -------------------------------------------------------------------------------------------------

    def provider(self, name: str) -> Provider:
        """Return a configured provider by name, opened once. Raises UsageError for an unknown name."""
        if name not in self._providers:
            from csbsctl.cli.opening import open_configured_provider

            self._providers[name] = open_configured_provider(
                self.configuration, name, self.clock, self.vault_if_any()
            )
        return self._providers[name]

    @property
    def providers(self) -> Mapping[str, Provider]:
        """Return every configured provider by name."""
        return {name: self.provider(name) for name in self.configuration.providers}

    @property
    def provider_versions(self) -> dict[str, str]:
        """Return the version of every configured provider by name, for what must be carried out by the same."""
        from csbsctl.provider import provider_version

        types = {name: settings.type for name, settings in self.configuration.providers.items()}
        return {name: version for name, kind in types.items() if (version := provider_version(kind))}

    def check_providers(self) -> None:
        """Check the settings of every provider without connecting to anything. Raises ConfigError."""
        from csbsctl.cli.opening import check_settings

        for name in self.configuration.providers:
            check_settings(self.configuration, name)

    def inventory(self) -> dict[str, list[Server]]:
        """Return the servers of every configured provider, by provider name."""
        return {name: list(provider.servers()) for name, provider in self.providers.items()}

    def find_server(self, wanted: str) -> Server:
        """Return the one server with this ID or name. Raises NotFound, or UsageError when a name fits several."""
        servers = [server for group in self.inventory().values() for server in group]
        found = [s for s in servers if s.id == wanted] or [s for s in servers if s.name == wanted]
        if not found:
            from csbsctl.diagnostics import did_you_mean

            hint = did_you_mean(wanted, [s.name for s in servers]) or "see csbsctl server list"
            raise NotFound(f"there is no server {wanted!r}", hint=hint, code="CSBS.6000")
        if len(found) > 1:
            ids = ", ".join(s.id for s in found)
            raise UsageError(
                f"the name {wanted!r} fits {len(found)} servers: {ids}", hint="name one by its ID"
            )
        return found[0]

    # -- jobs ------------------------------------------------------------------------------------------------------

    @contextmanager
    def site(self, *, lines: bool = False) -> Iterator[Site]:
        """Yield where jobs run: events are shown as they come, SIGINT and SIGTERM become polite wishes to stop.

        ``lines`` makes ``--json`` print events as JSON lines.
        """
        from csbsctl.cli.progress import ProgressReporter
        from csbsctl.protection.site import Site
        from csbsctl.protection.stop import StopSignal

        with ProgressReporter(self.out, lines=lines) as reporter, StopSignal().listening() as stop:
            site = Site(
                vault=self.vault(),
                providers=self.providers,
                clock=self.clock,
                stack=self.stack,
                actor=self.actor,
                reporter=reporter,
                stop=stop,
            )
            try:
                yield site
            finally:
                site.vault.audit.flush()

    def reading_site(self) -> Site:
        """Return where things are looked up; nothing is reported and nothing runs long."""
        from csbsctl.protection.site import Site

        return Site(self.vault(), self.providers, self.clock, self.stack, self.actor)

    # -- CommandContext, for the commands that providers bring -----------------------------------------------------

    @property
    def as_json(self) -> bool:
        """Return whether stdout is for one JSON document."""
        return self.out.as_json

    @as_json.setter
    def as_json(self, wanted: bool) -> None:
        self.out = Output(as_json=wanted, color=False if self.options.no_color else None)

    def open_provider(self, kind: str, name: str | None = None) -> Provider:
        """Return the configured provider of a type; without a configuration, one with its default settings."""
        if not self.configured:
            from csbsctl.cli.opening import open_default_provider

            return self._providers.setdefault(kind, open_default_provider(kind, self.directory, self.clock))
        fitting = self._of_type(kind)
        if name is None and len(fitting) == 1:
            return self.provider(fitting[0].name)
        if name in {settings.name for settings in fitting}:
            return self.provider(name)
        names = ", ".join(settings.name for settings in fitting) or "none"
        what = f"no provider {name!r} of type {kind}" if name else f"which provider of type {kind}?"
        raise UsageError(f"{what} (configured: {names})", hint="name one with --provider")

    def _of_type(self, kind: str) -> list[ProviderSettings]:
        return [settings for settings in self.configuration.providers.values() if settings.type == kind]

    def boundaries(self) -> dict[str, str]:
        """Return every named step boundary, those of jobs, vault and engine included."""
        import csbsctl.engine.commit
        import csbsctl.protection.byhand
        import csbsctl.protection.files
        import csbsctl.protection.restore
        import csbsctl.protection.runner  # noqa: F401 - importing declares
        from csbsctl.boundaries import declared

        return declared()

    def say(self, text: str) -> None:
        """Print a line for people."""
        self.out.say(text)

    def result(self, document: Any) -> None:
        """Print the command's JSON document when ``--json`` was given."""
        self.out.result(document)


def instant_of(option: str, text: str) -> datetime:
    """Return the instant that an option names. Raises UsageError for what is no time, or too far away to reckon with."""
    try:
        instant = parse_instant(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option}: {text!r} is not a time", hint="write it like 2026-11-22T18:00:00Z"
        ) from None
    if instant.year not in _YEARS:
        raise UsageError(
            f"{option}: {text!r} is too far away: years go from {_YEARS.start} to {_YEARS.stop - 1}"
        )
    return instant
