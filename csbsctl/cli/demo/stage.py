"""Where the demo plays: a folder, a virtual calendar, and csbsctl called just as a user would."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from csbsctl.cli.main import main
from csbsctl.cli.output import Output
from csbsctl.clock import format_instant
from csbsctl.errors import CsbsError, UsageError

MARK = ".csbsctl-demo"
START = datetime(2026, 11, 1, 20, 0, tzinfo=UTC)


class Stage:
    """A folder that the demo owns, the virtual time, and the claims checked so far."""

    def __init__(self, folder: Path, out: Output) -> None:
        self.folder = folder
        self.out = out
        self.now = START
        self.checks: list[str] = []

    @classmethod
    def prepare(cls, folder: Path, out: Output) -> Stage:
        """Make the folder anew. Raises UsageError when something else than a demo lives there."""
        if folder.exists() and any(folder.iterdir()):
            if not (folder / MARK).exists():
                raise UsageError(f"{folder} is not empty and no demo made it", hint="name another folder")
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).write_text("made by csbsctl demo, which may delete this folder\n")
        return cls(folder, out)

    def act(self, title: str) -> None:
        """Begin a new part of the story."""
        self.out.say(f"\n{self.out.paint(f'== {title}', 'bold')}")

    def tell(self, text: str) -> None:
        """Say something about what happens."""
        self.out.say(self.out.paint(text, "dim"))

    def wait(self, **span: float) -> None:
        """Let virtual time pass."""
        self.now += timedelta(**span)

    def run(self, *words: str, expect: int = 0, show: bool = True, last: int | None = None) -> str:
        """Run a csbsctl command at the virtual time; show it and what it says (its last lines), and return that.

        Raises:
            CsbsError: it ended with another exit code than expected.
        """
        said = io.StringIO()
        line = ["-C", str(self.folder), "--at", format_instant(self.now), "--no-color", *words]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(line)
        self.wait(seconds=3)
        text = said.getvalue()
        if code != expect:
            raise CsbsError(
                f"csbsctl {' '.join(words)} ended with {code}, not {expect}:\n{text}", code="demo.failed"
            )
        if show:
            self.out.say(f"  {self.out.paint('$ csbsctl ' + ' '.join(words), 'green')}")
            rows = text.rstrip().splitlines()
            if last and len(rows) > last:
                rows = ["...", *rows[-last:]]
            for row in rows:
                self.out.say(f"    {row}".rstrip())
        return text

    def ask(self, *words: str) -> Any:
        """Run a csbsctl command quietly and return its JSON document."""
        said = io.StringIO()
        line = ["-C", str(self.folder), "--at", format_instant(self.now), *words, "--json"]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
            code = main(line)
        if code:
            raise CsbsError(
                f"csbsctl {' '.join(words)} ended with {code}:\n{said.getvalue()}", code="demo.failed"
            )
        return json.loads(said.getvalue())

    def claim(self, sentence: str, *, holds: bool) -> None:
        """Check a claim; the demo fails at the first that is not true.

        Raises:
            CsbsError: it does not hold.
        """
        if not holds:
            raise CsbsError(f"the demo's claim does not hold: {sentence}", code="demo.failed")
        self.checks.append(sentence)
        self.out.say(f"  {self.out.paint('✓', 'green')} {sentence}")
