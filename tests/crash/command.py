"""A process that has all of csbsctl imported and forks one command after the other: cheap enough for hundreds.

Reads requests from its stdin and answers on its stdout, a line of JSON each: ``start`` gives a process id, ``poll``
how that process ended, null while it runs. A command is what the command line makes of its words, killed at a boundary
if so told; a ``hasty`` one is a runner that believes others dead after half a second of silence. SIGUSR1 lets a
command write where each of its threads is.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from hurting import hurt

from csbsctl.boundaries import arm, declared_anywhere
from csbsctl.cli.main import main
from csbsctl.cli.opening import configured_key, open_configured_provider
from csbsctl.cli.session import Options, Session
from csbsctl.errors import CsbsError
from csbsctl.protection.runner import Runner
from csbsctl.protection.site import Site
from csbsctl.vault import Timing, open_vault


def serve() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any
        if "poll" in request:
            gone, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if gone else None
        else:
            answer = os.fork()
            if not answer:
                answers.close()  # else who reads them waits for a command that outlives us
                _become(**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _become(
    words: list[str],
    output: str,
    fault: str | None = None,
    passage: int = 1,
    *,
    hasty: bool = False,
    hurting: list[Any] | None = None,
) -> None:
    """Run a command with both streams in a file, and end as the command line would."""
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    faulthandler.register(signal.SIGUSR1)
    if fault:
        arm(fault, passage)
    if hurting:
        hurt(*hurting)
    code = 99
    try:
        code = run_hastily(*words) if hasty else main(words)
    except BaseException:  # noqa: BLE001 - shown, and the exit code tells
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_hastily(folder: str, at: str) -> int:
    """Make one pass as ``run`` does, with a short heartbeat and little patience with silent runners."""
    session = Session(Options(chdir=Path(folder), at=at))
    configuration = session.configuration
    with open_vault(
        configuration.vault.url,
        base=configuration.root,
        clock=session.clock,
        actor="hasty@here",
        key=configured_key(configuration),
        timing=Timing(heartbeat=0.1, silence=0.5),
    ) as vault:
        provider = open_configured_provider(configuration, "default", session.clock, vault)
        try:
            summary = Runner(Site(vault, {"default": provider}, session.clock, session.stack)).once()
        except CsbsError as error:
            print(error.message)  # noqa: T201 - what a woken one says
            return 1
        finally:
            provider.close()
    return 3 if summary.failed else 0


if __name__ == "__main__":
    declared_anywhere()  # imports all there is
    serve()
