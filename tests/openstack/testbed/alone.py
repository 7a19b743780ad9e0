#!/usr/bin/env python3
"""Run a command with a loopback and process numbers of its own: ``alone.py COMMAND...``.

Whatever else listens on the machine's ports does not matter to it then, two may run side by side, and nothing that it
started outlives it, however it ends. Where the machine does not allow that (a container without CAP_SYS_ADMIN), or
TESTBED_ALONE=no, the command is run as it is.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys

WITH_ME = ("setpriv", "--pdeathsig", "KILL")
UNSHARE = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
INSIDE = "--inside"
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1


def bring_loopback_up() -> None:
    """Switch on ``lo``, which a new network namespace has switched off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def prefix() -> list[str]:
    """Return what to write before a command so that it runs alone; nothing where that is impossible."""
    if os.environ.get("TESTBED_ALONE") == "no":
        return []
    words = [*UNSHARE, sys.executable, __file__, INSIDE]
    try:
        tried = subprocess.run([*words, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError:
        return []
    return words if tried.returncode == 0 else []


def main() -> int:
    """Run the command, and return its exit code."""
    command = sys.argv[1:]
    if command[0] == INSIDE:
        bring_loopback_up()
        os.execvp(command[1], command[1:])
    before = prefix()
    child = subprocess.Popen([*WITH_ME, *before, *command])
    # An interrupt from the keyboard reaches the command as well. Other signals have to be handed on; ``unshare`` does
    # not hear them, but when it is killed so is all that it started.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: child.send_signal(signal.SIGKILL if before else got))
    code = child.wait()
    return code if code >= 0 else 128 - code


sys.exit(main())
