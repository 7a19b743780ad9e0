"""``export``: ready files for schedulers and CI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from csbsctl.cli.command import command
from csbsctl.cli.deployment import deployment_of, is_folder
from csbsctl.cli.session import Session
from csbsctl.errors import Conflict, UsageError
from csbsctl.units import parse_duration

app = typer.Typer()

_CLASSES = ("neutral", "weakens", "destroys-data")
_HOUR = 60


@command(
    app,
    examples=[
        "csbsctl export github --out .",
        "csbsctl export systemd --out /etc/systemd/system",
        "csbsctl export kubernetes --image registry.example.org/csbsctl | less",
    ],
)
def export(
    session: Session,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="systemd|kubernetes|github|gitlab|atlantis",
            help="What the files are for.",
            autocompletion=lambda: ["systemd", "kubernetes", "github", "gitlab", "atlantis"],
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the files below this folder rather than printing them.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        str, typer.Option(metavar="TIME", help="How often `run` looks what is due; divides an hour.")
    ] = "5m",
    branch: Annotated[str, typer.Option(metavar="NAME", help="The branch that is applied.")] = "main",
    image: Annotated[
        str, typer.Option(metavar="NAME", help="Container image for Kubernetes.")
    ] = "registry.example.org/csbsctl",
    fail_on: Annotated[
        str, typer.Option(metavar="CLASS", help="Class of change that a review must allow with a label.")
    ] = "weakens",
    with_run: Annotated[
        bool, typer.Option("--with-run", help="Let GitHub back up too; a timer of your own is better.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
) -> None:
    """Write scheduler or CI files for run, plan, apply and drift of this stack, ready to use."""
    from csbsctl.report.export import export as files_of

    deployment = deployment_of(
        session,
        kind,
        branch=branch,
        image=image,
        every=_minutes(every),
        fail_on=_class(fail_on),
        with_run=with_run,
    )
    files = files_of(kind, deployment)
    written = (
        [_write(session.directory / out, name, text, force=force) for name, text in files.items()]
        if out
        else []
    )
    session.result({"kind": kind, "files": files, "written": written})
    if out:
        for path in written:
            session.say(f"Wrote {path}")
    elif not session.as_json:
        session.out.raw("\n".join(f"# ---- {name}\n{text}" for name, text in files.items()))
    _warn(session, kind)


def _minutes(text: str) -> int:
    try:
        minutes = parse_duration(text).total_seconds() / 60
    except ValueError as error:
        raise UsageError(f"--every: {error}") from None
    if minutes < 1 or _HOUR % minutes:
        raise UsageError(
            f"--every: {text} does not divide an hour", hint="take 1m, 2m, 5m, 10m, 15m, 20m or 30m"
        )
    return int(minutes)


def _class(text: str) -> str:
    if text not in _CLASSES:
        raise UsageError(f"--fail-on: {text!r} is not a class of change", hint=f"take {', '.join(_CLASSES)}")
    return text


def _write(folder: Path, name: str, text: str, *, force: bool) -> str:
    path = folder / name
    if not force and path.exists() and path.read_text(encoding="utf-8") != text:
        raise Conflict(f"{path} is there and says something else", hint="--force writes over it")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def _warn(session: Session, kind: str) -> None:
    if kind in {"github", "gitlab", "atlantis"} and is_folder(session.configuration):
        url = session.configuration.vault.url
        session.out.note(
            f"Warning: the vault {url} is a folder: every machine that runs this would see one of its own. "
            "Keep it in an object store (s3://bucket/prefix)."
        )
