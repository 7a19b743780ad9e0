"""``csbsctl demo``: the whole job on a simulated cloud, told as a story, with every claim checked."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from csbsctl.cli.command import command
from csbsctl.cli.session import Session

app = typer.Typer()


@command(app, examples=["csbsctl demo", "csbsctl demo /tmp/playground"])
def demo(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="Where to play; made anew if a demo made it.")] = Path(
        "demo"
    ),
) -> None:
    """Declare, plan, apply, back up for a fortnight, lose data four ways, and get it back.

    Everything is real but the clock and the cloud: real file systems, real bytes, real restores, checked by digest and
    by e2fsck. Takes under a minute and leaves a folder to explore.
    """
    from csbsctl.cli.demo.stage import Stage
    from csbsctl.cli.demo.story import tell

    begun = time.monotonic()
    stage = Stage.prepare(session.directory / folder, session.out)
    checks = tell(stage)
    seconds = time.monotonic() - begun
    session.result({"folder": str(stage.folder), "checks": checks, "seconds": round(seconds, 1)})
    session.say(f"\n{len(checks)} claims checked in {seconds:.0f} seconds, all of them true.")
