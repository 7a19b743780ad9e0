"""A process that has all of csbsctl imported and forks one command after the other: cheap enough for hundreds.

Reads requests from its stdin and answers on its stdout, a line of JSON each: ``start`` gives a process id, ``wait``
how that process ended. A command is what the command line makes of its words, killed at a boundary if so told.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
from typing import Any

import csbsctl
import csbsctl_local
from csbsctl.boundaries import arm
from csbsctl.cli.main import main

_NOT_OURS = ("csbsctl.cli.__main__", "csbsctl.service")


def import_everything() -> None:
    """Import every module of the core and the local provider, so that every boundary is declared."""
    for package in (csbsctl, csbsctl_local):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.startswith(_NOT_OURS):
                importlib.import_module(module.name)


def serve() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if not answer:
                _become(**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _become(words: list[str], output: str, fault: str | None, passage: int) -> None:
    """Run a command with both streams in a file, and end as the command line would."""
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if fault:
        arm(fault, passage)
    code = 99
    try:
        code = main(words)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    import_everything()
    serve()
