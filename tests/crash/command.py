"""A process that has all of csbsctl imported and forks one command after the other: cheap enough for hundreds.

Reads requests from its stdin and answers on its stdout, a line of JSON each: ``start`` gives a process id, ``wait``
how that process ended (``poll``: null while it runs). A command is what the command line makes of its words, killed at a boundary if so told.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from csbsctl.boundaries import arm, declared_anywhere
from csbsctl.cli.main import main


def serve() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif "poll" in request:
            gone, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if gone else None
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
    declared_anywhere()  # imports all there is
    serve()
