"""``init``, ``validate``, ``fmt``, ``schema``: what works without any cloud or vault."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Annotated

import typer

from csbsctl.cli.command import command
from csbsctl.cli.session import CONFIG_NAME, Session
from csbsctl.errors import CsbsError, Refused, UsageError

app = typer.Typer()


class StarterProvider(enum.StrEnum):
    """Which cloud a starter configuration is for."""

    LOCAL = "local"
    OPENSTACK = "openstack"


@command(app, examples=["csbsctl init", "csbsctl init --provider openstack", "csbsctl init --from-live"])
def init(
    session: Session,
    provider: Annotated[
        StarterProvider, typer.Option(help="Which cloud to start with.")
    ] = StarterProvider.LOCAL,
    from_live: Annotated[
        bool,
        typer.Option("--from-live", help="Write bindings for the servers that exist, grouped by metadata."),
    ] = False,
) -> None:
    """Write a commented starter configuration; never overwrites one."""
    from csbsctl.config.starter import starter, starter_from_live

    target = session.directory / CONFIG_NAME
    if target.exists():
        raise Refused(
            f"{target} exists already", hint="init never overwrites; remove it or use another folder"
        )
    cloud = os.environ.get(
        "OS_CLOUD"
    )  # what the openstack client, and a provider without settings, would use
    if from_live:
        servers = list(session.open_provider(provider.value).servers())
        text = starter_from_live(provider.value, servers, cloud)
    else:
        text = starter(provider.value, cloud)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CsbsError(f"cannot write {target}: {error.strerror}", code="config.unwritable") from None
    session.result({"file": str(target)})
    session.say(f"Wrote {target}. Look at it, change what does not fit, then: csbsctl plan")


@command(app, examples=["csbsctl validate", "csbsctl validate --json | jq .valid"])
def validate(session: Session) -> None:
    """Check the configuration without looking at any cloud; shows every problem at once."""
    configuration = session.configuration
    session.check_providers()
    declared = configuration.declared
    session.result(
        {
            "valid": True,
            "stack": configuration.stack,
            "files": [str(path) for path in configuration.files],
            "policies": len(declared.policies),
            "bindings": len(declared.bindings),
            "objectives": len(declared.objectives),
        }
    )
    counts = ", ".join(
        f"{len(things)} {one if len(things) == 1 else many}"
        for things, one, many in (
            (declared.policies, "policy", "policies"),
            (declared.bindings, "binding", "bindings"),
            (declared.objectives, "objective", "objectives"),
        )
    )
    session.say(f"The configuration is valid: stack {configuration.stack}, {counts}.")


@command(app, examples=["csbsctl fmt", "csbsctl fmt --check", "csbsctl fmt policies/*.yaml"])
def fmt(
    session: Session,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files to format; those of the configuration where none is named."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 if something would change.")
    ] = False,
) -> None:
    """Rewrite configuration files in canonical form, keeping comments."""
    from csbsctl.config.formatting import format_text

    changed = []
    for path in _files(session, files):
        text = _read(path)
        better = format_text(text, shown=str(path))
        if better != text:
            changed.append(str(path))
            if not check:
                _write(path, better)
    session.result({"changed": changed, "check": check})
    for name in changed:
        session.say(name)
    if check and changed:
        raise typer.Exit(1)


@command(app, examples=["csbsctl schema > csbs.schema.json"])
def schema(session: Session) -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from csbsctl.config.schema import json_schema, render

    session.out.raw(render(json_schema()))


def _files(session: Session, named: list[Path] | None) -> list[Path]:
    if named:
        return [session.directory / path for path in named]
    if not session.configured:
        raise UsageError(f"there is no {CONFIG_NAME} in {session.directory}", hint="csbsctl init writes one")
    return list(session.configuration.files)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CsbsError(f"cannot read {path}: {error}", code="config.unreadable") from None


def _write(path: Path, text: str) -> None:
    """Replace a file in one step, so that an interruption leaves the old text or the new one."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(path.stat().st_mode & 0o7777)
        fresh.replace(path)
    except OSError as error:
        raise CsbsError(f"cannot write {path}: {error.strerror}", code="config.unwritable") from None
