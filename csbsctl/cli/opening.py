"""Open what the configuration names: the vault and the providers, with settings checked before anything connects."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from csbsctl.diagnostics import Diagnostic, did_you_mean
from csbsctl.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from csbsctl.cli.session import Session
    from csbsctl.provider import Provider
    from csbsctl.vault import Vault
    from csbsctl.vault.key_sources import KeySource


def open_configured_vault(session: Session, *, create: bool) -> Vault:
    """Open the vault that the configuration names, or make it."""
    from csbsctl.vault import StoreOptions, open_vault

    settings = session.configuration.vault
    return open_vault(
        settings.url,
        base=session.configuration.root,
        clock=session.clock,
        create=create,
        actor=session.actor,
        options=StoreOptions(
            endpoint_url=settings.endpoint_url,
            region=settings.region,
            profile=settings.profile,
            path_style=settings.path_style,
            ca_bundle=settings.ca_bundle,
            verify_tls=settings.verify_tls,
            coordination=settings.coordination,
        ),
        key=configured_key(session),
    )


def configured_key(session: Session) -> KeySource | None:
    """Return where the key of an encrypted vault comes from; None where the configuration names none."""
    from csbsctl.vault.key_sources import KeySource

    encryption = session.configuration.vault.encryption
    if encryption is None:
        return None
    return KeySource(**encryption.model_dump(), base=session.configuration.root, environ=dict(os.environ))


def open_configured_provider(session: Session, name: str) -> Provider:
    """Construct a provider from its settings in the configuration; it connects at its first call."""
    from csbsctl.provider import load_provider

    configured = session.configuration.providers
    if name not in configured:
        hint = did_you_mean(name, configured) or f"configured: {', '.join(configured) or 'none'}"
        raise UsageError(f"there is no provider {name!r}", hint=hint)
    settings = configured[name]
    kind = load_provider(settings.type)
    return kind(_validated(session, name, kind, settings.settings), _host(session, name))


def open_default_provider(session: Session, kind: str) -> Provider:
    """Construct a provider with default settings, where there is no configuration yet."""
    from csbsctl.provider import Host, load_provider

    loaded = load_provider(kind)
    return loaded(loaded.Settings(), Host(name="default", base=session.directory, clock=session.clock))


def _host(session: Session, name: str) -> Any:
    from csbsctl.provider import Host

    vault = session.vault_if_any()
    return Host(
        name=name,
        base=session.configuration.root,
        clock=session.clock,
        blobs=vault.data(name) if vault else None,
        sealer=vault.sealer if vault else None,
    )


def _validated(session: Session, name: str, kind: type[Provider], settings: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    try:
        return kind.Settings.model_validate(settings)
    except ValidationError as error:
        raise ConfigError([_diagnostic(session, name, kind, problem) for problem in error.errors()]) from None


def _diagnostic(session: Session, name: str, kind: type[Provider], problem: Any) -> Diagnostic:
    path = tuple(problem["loc"])
    where = ".".join(("providers", name, *map(str, path)))
    hint = None
    if problem["type"] == "extra_forbidden":
        hint = did_you_mean(str(path[-1]), kind.Settings.model_fields)
    place = session.configuration.place(f"provider.{name}", *path)
    return Diagnostic(f"{where}: {problem['msg']}", place, hint)
