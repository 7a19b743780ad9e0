"""What the soak needs: a moto server that misbehaves from a seed, and the process that commands are forked from."""

from __future__ import annotations

import os
import random
import re
import runpy
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import unescape

import pytest

CRASH = runpy.run_path(str(Path(__file__).parents[1] / "crash" / "conftest.py"))
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
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
        self._moto = application
        self._writing = threading.Lock()
        """Held while an object is written: moto looks, then writes, so on a busy machine two writers could win."""
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

    def _application(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("PUT", "POST"):
            return self._moto(environ, start)
        with self._writing:
            return self._moto(environ, start)

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


@pytest.fixture
def bucket() -> Iterator[tuple[str, Misbehaving]]:
    """Return the endpoint of an S3 server with a bucket ``vault``, and how to make it misbehave."""
    server = pytest.importorskip("moto.server")
    import boto3
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *arguments: Any) -> None: ...

    application = Misbehaving(server.DomainDispatcherApplication(server.create_backend_app), seed=7)
    served = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
    endpoint = f"http://127.0.0.1:{served.port}"
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="vault")
    client.close()
    yield endpoint, application
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.fixture
def starter() -> Iterator[Any]:
    """Return the process that commands are forked from; it has what opens the bucket."""
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
    started = CRASH["Starter"]()
    yield started
    started.close()
