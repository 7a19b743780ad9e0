"""How a command is declared: a function that takes a Session first, plus the options every command shares.

    app = typer.Typer()

    @command(app, examples=["csbsctl plan -o night.plan"])
    def plan(session: Session, out: Annotated[Path | None, typer.Option("-o", "--out")] = None) -> None: ...

The decorator adds the shared options (``-C``, ``--json``, ``--at``, ``--var`` ...) to the signature that typer sees,
and turns them into the Session that the function is handed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from csbsctl.cli.session import Options, Session

Function = Callable[..., None]

_SHARED: dict[str, tuple[Any, Any, list[str], dict[str, Any]]] = {
    "chdir": (Path | None, None, ["--chdir", "-C"], {"metavar": "DIR", "help": "Work in this directory."}),
    "as_json": (bool, False, ["--json"], {"help": "Print one JSON document on stdout, words on stderr."}),
    "at": (
        str | None,
        None,
        ["--at"],
        {"metavar": "TIME", "help": "Pretend it is this time, such as 2026-11-22T18:00:00Z."},
    ),
    "no_color": (bool, False, ["--no-color"], {"help": "Print without colour."}),
    "var": (list[str] | None, None, ["--var"], {"metavar": "NAME=VALUE", "help": "Set a variable."}),
    "var_file": (
        list[Path] | None,
        None,
        ["--var-file"],
        {"metavar": "FILE", "help": "Set variables from a YAML file."},
    ),
}
"""Type, default, names and the rest of each shared option."""

_SHOWN = {"as_json"}
"""Shared options that every command's help shows; the others only the root's."""


def command(
    app: typer.Typer, name: str | None = None, *, examples: Sequence[str] = ()
) -> Callable[[Function], Function]:
    """Register a function that takes a Session as a command of ``app``; ``examples`` end its help."""

    def register(function: Function) -> Function:
        hints = get_type_hints(function, include_extras=True)
        own = [p for p in inspect.signature(function).parameters.values() if p.name != "session"]
        context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

        @functools.wraps(function)
        def run(ctx: typer.Context, **values: Any) -> None:
            given = {key: values.pop(key) for key in _SHARED}
            outer: Session = ctx.find_root().obj
            with Session(outer.options.merged(**given)) as session:
                function(session, **values)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[p.name]) for p in own]
        signature = inspect.Signature([*parameters, *_shared_parameters(), context])
        run.__signature__ = signature  # type: ignore[attr-defined] # typer reads the signature, not the code
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        del run.__wrapped__  # or annotations would be read from the inner function
        app.command(name, epilog=_epilog(examples))(run)
        return function

    return register


def _epilog(examples: Sequence[str]) -> str:
    shown = "\b\nExamples:\n" + "".join(f"  {line}\n" for line in examples) + "\n" if examples else ""
    return shown + "Options for every command (-C, --at, --var, --var-file, --no-color): see csbsctl --help."


def group(help_text: str) -> typer.Typer:
    """Return a group of commands that shows its help when called without one."""
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


def root_callback() -> Function:
    """Return the callback of the root command, which takes the shared options before the command's name too."""
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

    def root(ctx: typer.Context, **given: Any) -> None:
        ctx.obj = Session(Options().merged(**given))
        ctx.call_on_close(ctx.obj.close)

    signature = inspect.Signature([*_shared_parameters(root=True), context])
    root.__signature__ = signature  # type: ignore[attr-defined]
    root.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return root


def _shared_parameters(*, root: bool = False) -> list[inspect.Parameter]:
    """Return the shared options as parameters; fresh ones, since a command hides what the root shows."""
    parameters = []
    for key, (kind, default, names, more) in _SHARED.items():
        hidden = not root and key not in _SHOWN
        option = typer.Option(*names, show_default=False, hidden=hidden, **more)
        annotation = Annotated[kind, option]  # type: ignore[valid-type] # typer reads it at run time
        parameters.append(
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    return parameters
