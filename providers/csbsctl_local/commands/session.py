"""What every command of the simulated cloud needs: the provider it works on, and the options they share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from csbsctl.errors import UsageError
from csbsctl.provider import CommandContext
from csbsctl.units import parse_size

if TYPE_CHECKING:
    from csbsctl.model.server import Server
    from csbsctl_local.provider import LocalProvider

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
ProviderName = Annotated[
    str | None,
    typer.Option(
        "--provider", metavar="NAME", help="Which one, where several local providers are configured."
    ),
]
ServerArgument = Annotated[str, typer.Argument(metavar="SERVER", help="Name or ID of a server.")]
DiskArgument = Annotated[
    str, typer.Argument(metavar="SERVER:N", help="The Nth disk of a server; 0 is the system disk.")
]


@contextmanager
def local(
    context: typer.Context, provider: str | None, *, as_json: bool
) -> Iterator[tuple[CommandContext, LocalProvider]]:
    """Open the local provider for one command; what goes wrong comes out as a ProviderError."""
    from csbsctl_local.edge import provider_errors
    from csbsctl_local.provider import LocalProvider

    session: CommandContext = context.obj
    if as_json:
        session.as_json = True
    opened = session.open_provider("local", provider)
    if not isinstance(opened, LocalProvider):
        raise UsageError(f"provider {provider!r} is not of type local")
    try:
        with provider_errors():
            yield session, opened
    finally:
        opened.close()


def size(text: str) -> int:
    """Return bytes for what somebody typed. Raises UsageError."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def pairs(texts: list[str]) -> dict[str, str]:
    """Return a mapping for ``K=V`` texts. Raises UsageError."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"{text!r} is not of the form KEY=VALUE")
        found[key] = value
    return found


def server_json(server: Server) -> dict[str, Any]:
    """Return a server as ``--json`` shows it."""
    return {
        "id": server.id,
        "name": server.name,
        "provider": server.provider,
        "state": server.state.value,
        "availability_zone": server.availability_zone,
        "metadata": server.metadata,
        "tags": list(server.tags),
        "volumes": [
            {"id": v.id, "name": v.name, "size": v.size, "bootable": v.bootable, "shared": v.shared}
            for v in server.volumes
        ],
    }
