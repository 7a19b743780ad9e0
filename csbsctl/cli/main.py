"""Entry point: build the command tree for this call, run it, and turn whatever goes wrong into words and an exit code.

One of the two places that may catch everything: a traceback on a user's screen is a bug.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import csbsctl

if TYPE_CHECKING:
    from csbsctl.errors import CsbsError

VERSION_WORDS = (["--version"], ["-V"], ["version"])
WITH_VALUE = ("-C", "--chdir", "--at", "--var", "--var-file")
"""Shared options that take a value, and may stand before the command."""

COLLECT_EVERY = 200_000
"""New containers between two looks for cycles. Python's 700 finds next to none among ten thousand bindings, and takes
a fifth of a plan's time to say so."""


def main(argv: list[str] | None = None) -> int:
    """Run csbsctl and return its exit code (design section 4)."""
    words = sys.argv[1:] if argv is None else argv
    _open_streams()
    try:
        if words in VERSION_WORDS:
            print(f"csbsctl {csbsctl.__version__}")  # noqa: T201 - the one answer that must not load the machinery
            code = 0
        else:
            code = _guarded(words)
        sys.stdout.flush()
    except OSError as error:
        return _unwritten(error)
    return code


def _unwritten(error: OSError) -> int:
    """Return the exit code when the last words could not be written: none is needed where nobody reads any more."""
    from csbsctl.cli.output import hush

    hush(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return 0
    print(f"Error: cannot write the output: {error.strerror}", file=sys.stderr)  # noqa: T201 - stdout is full
    return 1


def _open_streams() -> None:
    """Give a process that was started with stdout or stderr closed somewhere to write to."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open until the end


def _guarded(words: list[str]) -> int:
    import typer

    from csbsctl.errors import CsbsError, Interrupted

    as_json = "--json" in words
    gc.set_threshold(COLLECT_EVERY)
    try:
        with _signals():
            return _run(words)
    except typer.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _fail(Interrupted(), as_json=as_json)
    except CsbsError as error:
        return _fail(error, as_json=as_json)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last fence before the user
        return _fail(_usage(error) or _bug(error), as_json=as_json)


def _usage(error: Exception) -> CsbsError | None:
    """Return what the parser has against the words, as an error of ours; None for anything else."""
    from csbsctl.errors import UsageError

    if not hasattr(error, "format_message"):
        return None
    context = getattr(error, "ctx", None)
    return UsageError(
        error.format_message(), hint=f"see {context.command_path if context else 'csbsctl'} --help"
    )


def _run(words: list[str]) -> int:
    from typer.main import get_command

    result = get_command(build_app(words)).main(args=words, prog_name="csbsctl", standalone_mode=False)
    return result if isinstance(result, int) else 0


def build_app(words: list[str]) -> Any:
    """Return the typer application with the called command imported and the others as one-line stand-ins."""
    import typer

    from csbsctl.cli.command import root_callback
    from csbsctl.cli.help import SectionedGroup
    from csbsctl.cli.menu import COMMANDS, plugin_groups, plugin_help

    app = typer.Typer(
        cls=SectionedGroup,
        help="Whole-server backups as code: declare policies, plan, apply, back up and restore.",
        no_args_is_help=True,
        rich_markup_mode=None,
        add_completion=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(root_callback())
    called = _called(words)
    loaded = {entry.target for entry in COMMANDS if entry.name == called}
    for target, name in {entry.target: entry.name if entry.group else None for entry in COMMANDS}.items():
        if target in loaded:
            app.add_typer(_load(target), name=name)
    for entry in COMMANDS:
        if entry.target not in loaded:
            app.command(entry.name, help=entry.help)(_stand_in)
    # Looking for plug-ins means reading about every installed package: not for a command that is known to be ours.
    for name, target in plugin_groups().items() if not loaded else ():
        if name == called:
            app.add_typer(_load(target), name=name)
        else:
            app.command(name, help=plugin_help(target) if called is None else "")(_stand_in)
    return app


def _called(words: list[str]) -> str | None:
    """Return the command that is called: the first word that is neither an option nor the value of one."""
    typed = os.environ.get("COMP_WORDS") or os.environ.get(
        "_TYPER_COMPLETE_ARGS"
    )  # a shell asks for completion
    line = iter(typed.split()[1:] if typed and "_CSBSCTL_COMPLETE" in os.environ else words)
    for word in line:
        if word in WITH_VALUE:
            next(line, None)
        elif not word.startswith("-"):
            return word
    return None


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module if "." in module else f"csbsctl.cli.{module}"), attribute)


def _stand_in() -> None:
    """Stand in the help for a command whose module this call does not need."""


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Turn SIGTERM into the exception that SIGINT already is, so that both end a command the same way."""
    from csbsctl.errors import Interrupted

    def stop(_number: int, _frame: object) -> None:
        raise Interrupted("terminated", exit_code=143)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(error: CsbsError, *, as_json: bool) -> int:
    """Render an error for people (stderr) or machines (stdout) and return its exit code."""
    if as_json:
        print(json.dumps({"error": error.to_json()}, indent=2, default=str))  # noqa: T201 - the error document
        return error.exit_code
    from csbsctl.cli.help import render_error

    print(render_error(error), file=sys.stderr)  # noqa: T201 - the last words of a failed command
    return error.exit_code


def _bug(error: Exception) -> CsbsError:
    """Return what a user is told when csbsctl itself is wrong; the traceback only with CSBSCTL_DEBUG."""
    from csbsctl.errors import CsbsError

    if os.environ.get("CSBSCTL_DEBUG"):
        raise error
    return CsbsError(
        f"internal error: {type(error).__name__}: {error}",
        code="internal",
        hint="this is a bug in csbsctl; run again with CSBSCTL_DEBUG=1 for details and report it",
    )
