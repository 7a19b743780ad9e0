"""What the soak needs: a moto server that misbehaves from a seed, and the process that commands are forked from."""

from __future__ import annotations

import os
import random
import runpy
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

CRASH = runpy.run_path(str(Path(__file__).parents[1] / "crash" / "conftest.py"))
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Misbehaving:
    """Wraps an S3 server: some requests are refused, some take effect and their answer is lost, some are cut off."""

    def __init__(self, application: Application, seed: int) -> None:
        self.trouble = 0.0
        self.injected = 0
        self._application = application
        self._chance = random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            kind = (
                self._chance.choice(("busy", "lost", "cut")) if self._chance.random() < self.trouble else ""
            )
            self.injected += bool(kind)
        if kind == "busy":
            start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(BUSY)))])
            return [BUSY]
        if kind == "cut":
            environ["werkzeug.socket"].shutdown(2)
            return []
        if kind == "lost":
            list(self._application(environ, lambda *_arguments: None))
            start("500 Internal Server Error", [("Content-Length", "0")])
            return []
        return self._application(environ, start)


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
