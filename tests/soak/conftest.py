"""What the soak needs: S3 servers that misbehave from a seed, and the process that commands are forked from."""

from __future__ import annotations

import random
import re
import runpy
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import unescape

import pytest

TESTS = Path(__file__).parents[1]
CRASH = runpy.run_path(str(TESTS / "crash" / "conftest.py"))
RADOSGW = TESTS / "s3" / "radosgw.sh"
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Serve = Callable[[Application], AbstractContextManager[str]]
LAG = 1.0
"""Seconds for which a listing may miss what was created."""
BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Misbehaving:
    """Wraps an S3 server that fails from a seed.

    Some requests are refused, some take effect and their answer is lost, some are cut off, some get no answer for a
    while; and some listings miss what is younger than LAG, each object by a throw of its own.
    """

    def __init__(self, application: Application, seed: int) -> None:
        self.trouble = 0.0
        self.injected = 0
        self.lagging = 0
        self._created: dict[str, float] = {}
        self._application = application
        self._chance = random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            kind = (
                self._chance.choice(("busy", "lost", "cut", "silent"))
                if self._chance.random() < self.trouble
                else ""
            )
            self.injected += bool(kind)
        if kind == "busy":
            start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(BUSY)))])
            return [BUSY]
        if kind == "silent":
            time.sleep(self._chance.uniform(0.2, 1))
        if kind in ("cut", "silent"):
            environ["werkzeug.socket"].shutdown(2)
            return []
        if kind == "lost":
            list(self._application(environ, lambda *_arguments: None))
            start("500 Internal Server Error", [("Content-Length", "0")])
            return []
        if environ["REQUEST_METHOD"] in ("PUT", "POST"):
            with self._lock:
                self._created.setdefault(environ["PATH_INFO"].partition("/vault/")[2], time.monotonic())
        if self.trouble and "list-type=2" in environ.get("QUERY_STRING", ""):
            return self._lag(environ, start)
        return self._application(environ, start)

    def _lag(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a listing without some of what is young."""
        began: list[Any] = []

        def note(status: str, headers: list[tuple[str, str]], *_error: Any) -> None:
            began[:] = [status, headers]

        body = b"".join(self._application(environ, note))
        young = time.monotonic() - LAG

        def is_shown(entry: re.Match[bytes]) -> bytes:
            key = unescape(entry.group(1).decode())
            with self._lock:
                shown = self._created.get(unquote(key), 0.0) < young or self._chance.random() < 0.5
                self.lagging += not shown
            return entry.group(0) if shown else b""

        shown = re.sub(rb"<Contents>.*?<Key>(.*?)</Key>.*?</Contents>", is_shown, body, flags=re.DOTALL)
        headers = [(name, value) for name, value in began[1] if name.lower() != "content-length"]
        start(began[0], [*headers, ("Content-Length", str(len(shown)))])
        return [shown]


class Forwarding:
    """Hands requests on to a real server as they are, signatures included."""

    def __init__(self, endpoint: str) -> None:
        self._place = urlsplit(endpoint).netloc

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        headers = {
            name[5:].replace("_", "-").title(): value
            for name, value in environ.items()
            if name.startswith("HTTP_") and name not in ("HTTP_EXPECT", "HTTP_CONNECTION")
        }
        length = environ.get("CONTENT_LENGTH")
        body = environ["wsgi.input"].read(int(length)) if length else b""
        if length:
            headers["Content-Length"] = length
        if environ.get("CONTENT_TYPE"):
            headers["Content-Type"] = environ["CONTENT_TYPE"]
        connection = HTTPConnection(self._place, timeout=60)
        try:
            connection.request(environ["REQUEST_METHOD"], environ["REQUEST_URI"], body or None, headers)
            with connection.getresponse() as answer:
                read = answer.read()
                said = [
                    (name, value)
                    for name, value in answer.getheaders()
                    if name.lower() not in ("connection", "transfer-encoding", "content-length", "date")
                ]
                counted = answer.headers.get("Content-Length") or str(len(read))
                start(f"{answer.status} {answer.reason}", [*said, ("Content-Length", counted)])
        finally:
            connection.close()
        return [read]


@pytest.fixture
def bucket(
    monkeypatch: pytest.MonkeyPatch, small_s3: Application, serve_s3: Serve
) -> Iterator[tuple[str, Misbehaving]]:
    """Return the endpoint of an S3 server in this process with a bucket ``vault``, and how to make it misbehave."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    application = Misbehaving(small_s3, seed=7)
    with serve_s3(application) as endpoint:
        yield endpoint, application


@pytest.fixture
def real_bucket(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, serve_s3: Serve
) -> Iterator[tuple[str, Misbehaving]]:
    """Return the same in front of a radosgw, which is started for it."""
    state = tmp_path_factory.mktemp("radosgw")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "csbsctl")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "csbsctl-secret")
    monkeypatch.setenv("CEPH_MON_PORT", "13320")  # not where make test-s3 has its own
    monkeypatch.setenv("RGW_PORT", "17481")
    started = subprocess.run([RADOSGW, "start", state], capture_output=True, text=True, check=False)
    if started.returncode == 77:
        pytest.skip(started.stderr.strip().splitlines()[-1])
    assert started.returncode == 0, started.stderr
    try:
        application = Misbehaving(Forwarding(started.stdout.strip().splitlines()[-1]), seed=7)
        with serve_s3(application) as endpoint:
            yield endpoint, application
    finally:
        subprocess.run([RADOSGW, "stop", state], check=False)


@pytest.fixture
def starter(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Return the process that commands are forked from; it inherits what opens the bucket, if there is one."""
    for name in {"bucket", "real_bucket"} & set(request.fixturenames):
        request.getfixturevalue(name)
    started = CRASH["Starter"]()
    yield started
    started.close()
