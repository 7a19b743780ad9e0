"""Open what the configuration names: the vault and the providers, with settings checked before anything connects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csbsctl.diagnostics import Diagnostic, did_you_mean
from csbsctl.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from csbsctl.clock import Clock
    from csbsctl.config import Configuration
    from csbsctl.provider import Provider
    from csbsctl.vault import Vault
    from csbsctl.vault.key_sources import KeySource


def open_configured_vault(
    configuration: Configuration, clock: Clock, actor: str, *, create: bool, tell: Callable[[str], None]
) -> Vault:
    """Open the vault that the configuration names, or make it; ``tell`` takes a word while its store is away."""
    from csbsctl.vault import StoreOptions, open_vault

    settings = configuration.vault
    return open_vault(
        settings.url,
        base=configuration.root,
        clock=clock,
        create=create,
        actor=actor,
        options=StoreOptions(
            endpoint_url=settings.endpoint_url,
            region=settings.region,
            profile=settings.profile,
            path_style=settings.path_style,
            ca_bundle=settings.ca_bundle,
            verify_tls=settings.verify_tls,
            coordination=settings.coordination,
            listing_lag=settings.listing_lag.total_seconds(),
        ),
        key=configured_key(configuration),
        tell=tell,
    )


def configured_key(configuration: Configuration) -> KeySource | None:
    """Return where the key of an encrypted vault comes from; None where the configuration names none."""
    from csbsctl.vault.key_sources import KeySource

    encryption = configuration.vault.encryption
    if encryption is None:
        return None
    return KeySource(**encryption.model_dump(), base=configuration.root, environ=dict(os.environ))


def open_configured_provider(
    configuration: Configuration, name: str, clock: Clock, vault: Vault | None
) -> Provider:
    """Construct a provider from its settings in the configuration; it connects at its first call.

    Raises:
        UsageError: no provider has that name.
        ConfigError: no installed package knows its type, or its settings are wrong; with their places.
    """
    from csbsctl.provider import Host

    kind, settings = check_settings(configuration, name)
    host = Host(
        name=name,
        base=configuration.root,
        clock=clock,
        blobs=vault.data(name) if vault else None,
        sealer=vault.sealer if vault else None,
    )
    return kind(settings, host)


def check_settings(configuration: Configuration, name: str) -> tuple[type[Provider], Any]:
    """Return a provider's class and its checked settings; looks at no cloud and no vault.

    Raises:
        UsageError: no provider has that name.
        ConfigError: no installed package knows its type, or its settings are wrong; with their places.
    """
    from csbsctl.provider import load_provider

    configured = configuration.providers
    if name not in configured:
        hint = did_you_mean(name, configured) or f"configured: {', '.join(configured) or 'none'}"
        raise UsageError(f"there is no provider {name!r}", hint=hint)
    try:
        kind = load_provider(configured[name].type)
    except UsageError as unknown:
        place = configuration.place(f"provider.{name}", "type")
        raise ConfigError([Diagnostic(unknown.message, place, unknown.hint)]) from None
    return kind, _validated(configuration, name, kind)


def open_default_provider(kind: str, base: Path, clock: Clock) -> Provider:
    """Construct a provider with default settings, where there is no configuration yet."""
    from csbsctl.provider import Host, load_provider

    loaded = load_provider(kind)
    return loaded(loaded.Settings(), Host(name="default", base=base, clock=clock))


def _validated(configuration: Configuration, name: str, kind: type[Provider]) -> Any:
    from pydantic import ValidationError

    try:
        return kind.Settings.model_validate(configuration.providers[name].settings)
    except ValidationError as error:
        problems = [_diagnostic(configuration, name, kind, problem) for problem in error.errors()]
        raise ConfigError(problems) from None


def _diagnostic(configuration: Configuration, name: str, kind: type[Provider], problem: Any) -> Diagnostic:
    path = tuple(problem["loc"])
    place = configuration.place(f"provider.{name}", *path)
    section = f"providers.{name}"
    if problem["type"] == "extra_forbidden":
        known = kind.Settings.model_fields
        hint = did_you_mean(str(path[-1]), known) or f"a provider of this type has {', '.join(sorted(known))}"
        return Diagnostic(f"unknown key {path[-1]!r} in {section}", place, hint)
    if problem["type"] == "missing":
        return Diagnostic(f"{section} needs `{path[-1]}`", place)
    return Diagnostic(f"{'.'.join((section, *map(str, path)))}: {problem['msg']}", place)
