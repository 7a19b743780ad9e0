"""What every test may use: the real command line in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from csbsctl.cli.main import main

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A job in the background of a script ignores Ctrl-C, and so would all that it starts; tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

EXECUTABLE = (sys.executable, "-c", "import sys; from csbsctl.cli import main; sys.exit(main())")


@dataclass(frozen=True)
class Said:
    """How a command ended: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Return the documents of a command that prints JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class CommandLine:
    """csbsctl in a folder: ``here(...)`` in this process, ``apart(...)`` in one of its own."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.at: str | None = None
        self._capture = capture

    def __call__(self, *words: str, expect: int | None = 0) -> Said:
        """Run a command in this process, and check its exit code unless ``expect`` is None."""
        self._capture.readouterr()
        code = main([*self._shared(), *words])
        out, err = self._capture.readouterr()
        assert expect is None or code == expect, f"{' '.join(words)} ended with {code}\n{out}\n{err}"
        assert "Traceback" not in err
        return Said(code, out, err)

    def apart(self, *words: str, expect: int | None = 0, env: Mapping[str, str] | None = None) -> Said:
        """Run a command in a process of its own."""
        done = subprocess.run(
            [*EXECUTABLE, *self._shared(), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
            env={**os.environ, **(env or {})},
        )
        assert expect is None or done.returncode == expect, (
            f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def spawn(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command in a process of its own and return it running."""
        return subprocess.Popen(
            [*EXECUTABLE, *self._shared(), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )

    def write(self, text: str, name: str = "csbs.yaml") -> Path:
        """Write a file of the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def _shared(self) -> list[str]:
        return ["-C", str(self.folder), *(["--at", self.at] if self.at else [])]


@pytest.fixture
def csbsctl(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """Return the real command line in an empty folder, with an environment like any other's."""
    for name in ("CI", "CSBSCTL_FAULT", "CSBSCTL_DEBUG", "GIT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    return CommandLine(tmp_path, capsys)


Csbsctl = Callable[..., Said]


@pytest.fixture(scope="session")
def small_s3() -> Callable[..., Iterable[bytes]]:
    """Return an S3 server as a WSGI application (moto), which keeps everything in memory.

    It looks, then writes, so that on a busy machine two writers could win: one at a time is let in.
    """
    moto = pytest.importorskip("moto.server")
    application = moto.DomainDispatcherApplication(moto.create_backend_app)
    writing = threading.Lock()

    def serve(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with writing if environ["REQUEST_METHOD"] in ("PUT", "POST") else contextlib.nullcontext():
            answer: Iterable[bytes] = application(environ, start)
            return answer

    return serve


@pytest.fixture(scope="session")
def serve_s3() -> Callable[[Callable[..., Iterable[bytes]]], contextlib.AbstractContextManager[str]]:
    """Return what serves an S3 application on loopback, with a bucket ``vault``: a context that yields the endpoint."""

    @contextlib.contextmanager
    def served(application: Callable[..., Iterable[bytes]]) -> Iterator[str]:
        import boto3
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log(self, *arguments: Any) -> None: ...

        server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.port}"
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        client.create_bucket(Bucket="vault")
        client.close()
        yield endpoint
        server.shutdown()
        server.server_close()
        thread.join()

    return served
