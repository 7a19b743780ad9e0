"""Pausing a server for the moment of its snapshots, so that it is never left paused, whatever dies.

Three nets, each for what the one before cannot catch: the ``finally`` of the step; a tiny process that resumes the
server when ours is gone without a word; and a note in the server's own metadata, by which any later run, on any
machine, finds a server that somebody paused and never resumed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from csbsctl.boundaries import Boundary
from csbsctl.clock import format_instant
from csbsctl.errors import CloudUnavailable, ProviderError, ResourceConflict, ResourceNotFound
from csbsctl.provider import Marker, Step
from csbsctl_openstack.connection import MICROVERSIONS, Cloud
from csbsctl_openstack.marks import PAUSED
from csbsctl_openstack.waiting import poll

Json = dict[str, Any]

_NOTED = Boundary("openstack.pause.noted", "a server's metadata says that it is about to be paused")
_PAUSED = Boundary("openstack.pause.paused", "a server is paused for its snapshots")
_RESUMED = Boundary(
    "openstack.pause.resumed", "a server runs again, its metadata still says that it was paused"
)
_QUICK = 0.1
_TURN = 0.5

_WATCHMAN = """
import json, ssl, sys, time, urllib.request
order = json.loads(sys.stdin.readline())
if sys.stdin.readline():
    sys.exit()
context = ssl.create_default_context(cafile=order["ca"])
if not order["verify"]:
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
for attempt in range(400):
    try:
        request = urllib.request.Request(order["url"], b'{"unpause": null}', order["headers"])
        urllib.request.urlopen(request, timeout=30, context=context)
        break
    except urllib.error.HTTPError as error:
        if error.code not in (409, 429) and error.code < 500:
            break
    except OSError:
        pass
    time.sleep(1 if attempt < 60 else 10)
"""


@dataclass(slots=True)
class Pause:
    """A pause: Nova's document of the server while it lasts, and how long it was at most, once it is over."""

    body: Json
    milliseconds: int = 0


class Pauser:
    """Pauses and resumes servers."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._turns = threading.BoundedSemaphore(cloud.settings.parallel_pauses)

    @contextmanager
    def paused(self, step: Step, server_id: str) -> Iterator[Pause]:
        """Keep a server paused inside; waits, before it is, until few enough others are."""
        while not self._turns.acquire(timeout=_TURN):
            step.check()
        try:
            with self._paused(step, server_id) as pause:
                yield pause
        finally:
            self._turns.release()

    @contextmanager
    def _paused(self, step: Step, server_id: str) -> Iterator[Pause]:
        step.check()
        since = format_instant(self._cloud.clock.now())
        note = f"{step.marker.vault} {step.marker.job} {since}"
        self._cloud.nova.post(
            f"note the pause of server {server_id}",
            f"/servers/{server_id}/metadata",
            {"metadata": {PAUSED: note}},
        )
        _NOTED()
        with self._watched(server_id):
            pause = Pause({})
            begun = self._cloud.clock.monotonic()
            try:
                self._action(server_id, "pause")
                pause.body = self._until_paused(server_id, step)
                _PAUSED()
                yield pause
            finally:
                if pause.body:
                    self._unpause(server_id)
                self._resume(server_id)
                pause.milliseconds = round(1000 * (self._cloud.clock.monotonic() - begun))
                _RESUMED()
                self._forget(server_id)

    def rescue(self, body: Json) -> bool:
        """Resume a server that csbsctl paused and left; return whether there was anything to do."""
        if PAUSED not in (body.get("metadata") or {}):
            return False
        self._resume(body["id"])
        self._forget(body["id"])
        return True

    def _unpause(self, server_id: str) -> None:
        """Resume a server that is known to be paused without losing time on a look; ``_resume`` makes sure."""
        with suppress(ProviderError):
            self._action(server_id, "unpause")

    def _resume(self, server_id: str) -> None:
        """Make a paused server run, through outages too; a server that is gone or runs needs nothing."""
        clock = self._cloud.clock
        end = clock.monotonic() + self._cloud.settings.deadlines.server.total_seconds()
        while True:
            try:
                body = self._look(server_id)
                if body["status"] != "PAUSED" and body.get("OS-EXT-STS:task_state") != "pausing":
                    return
                if not body.get("OS-EXT-STS:task_state"):
                    self._action(server_id, "unpause")
            except ResourceNotFound:
                return
            except (CloudUnavailable, ResourceConflict):
                if clock.monotonic() > end:
                    raise
                clock.sleep(1)
            clock.sleep(_QUICK)

    def _until_paused(self, server_id: str, step: Step) -> Json:
        def done(body: Json) -> bool:
            if body["status"] not in {"PAUSED", "ACTIVE"}:
                raise ResourceConflict(f"server {server_id} is {body['status']}: somebody else works on it")
            return body["status"] == "PAUSED" and not body.get("OS-EXT-STS:task_state")

        return poll(
            lambda: self._look(server_id),
            done,
            clock=self._cloud.clock,
            deadline=self._cloud.settings.max_pause,
            what=f"pause server {server_id}",
            every=_QUICK,
            check=step.check,
        )

    def _look(self, server_id: str) -> Json:
        body: Json = self._cloud.nova.get(f"look at server {server_id}", f"/servers/{server_id}")["server"]
        return body

    def _action(self, server_id: str, action: str) -> None:
        self._cloud.nova.post(f"{action} server {server_id}", f"/servers/{server_id}/action", {action: None})

    def _forget(self, server_id: str) -> None:
        # A note that stays is harmless: whoever finds it next sees a server that runs, and removes it.
        with suppress(ProviderError):
            self._cloud.nova.delete(
                f"clear the note on server {server_id}", f"/servers/{server_id}/metadata/{PAUSED}"
            )

    @contextmanager
    def _watched(self, server_id: str) -> Iterator[None]:
        """Keep a process beside ours that resumes the server when our end of its pipe closes without a word."""
        nova = self._cloud.nova
        verify = self._cloud.verify
        order = {
            "url": f"{nova.endpoint}/servers/{server_id}/action",
            "headers": {
                "X-Auth-Token": self._cloud.token(),
                "Content-Type": "application/json",
                "OpenStack-API-Version": f"compute {MICROVERSIONS['compute']}",
            },
            "verify": bool(verify),
            "ca": verify if isinstance(verify, str) else None,
        }
        watchman = subprocess.Popen(  # its own session: a Ctrl-C in the terminal is not for it
            [sys.executable, "-I", "-S", "-c", _WATCHMAN],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert watchman.stdin
        try:
            watchman.stdin.write(json.dumps(order) + "\n")
            watchman.stdin.flush()
            yield
        finally:
            watchman.stdin.write("done\n")
            watchman.stdin.close()
            watchman.wait()


def paused_by(body: Json) -> tuple[Marker, str] | None:
    """Return for which job, and since when, csbsctl says that it paused a server."""
    words = str((body.get("metadata") or {}).get(PAUSED, "")).split()
    if len(words) != 3:  # noqa: PLR2004 - vault, job, since
        return None
    vault, job, since = words
    return Marker(vault, job, body["id"]), since
