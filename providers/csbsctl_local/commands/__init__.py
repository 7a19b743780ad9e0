"""Work on the simulated cloud: servers, disks, writes, attacks, faults.

``csbsctl sim``; knows the local provider and typer, nothing of the core's CLI.
"""

from __future__ import annotations

import typer

from csbsctl_local.commands import disk, guest, server, trouble

app = typer.Typer(
    name="sim",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="The simulated cloud of the local provider: make servers, write to their disks, attack them, let steps fail.\n\n"
    "SERVER is a name or an ID, SERVER:N the Nth disk of a server (0 is the system disk). "
    "Sizes take K, M, G and T (powers of 1024).\n\n"
    "Example: `csbsctl sim server create web-01 --disk 10G --disk 20G --metadata tier=web`",
)
app.add_typer(server.app)
app.add_typer(disk.app)
guest.register(app)
trouble.register(app)

__all__ = ["app"]
