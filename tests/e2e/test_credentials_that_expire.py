"""Credentials of a bucket that end in the middle of a run: told how to go on, and nothing is lost or made twice."""

from __future__ import annotations

import re
import threading

import pytest

EXPIRED = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
CONFIGURATION = """\
version: 1
stack: shop
vault: {{url: "s3://vault/{prefix}", endpoint_url: "{endpoint}", region: us-east-1}}
providers: {{default: {{type: local, path: ./cloud}}}}
policies: {{gold: {{schedule: {{at: ["02:00"]}}, retention: {{count: 3}}}}}}
bindings: {{web: {{policy: gold, match: {{metadata: {{tier: web}}}}}}}}
"""


class Expiring:
    """Wraps an S3 server that knows keys until they are used up."""

    def __init__(self, application):
        self._application = application
        self._lock = threading.Lock()  # guards left
        self.left = {}
        """How many requests a key may still make; a key that is not here may make any number."""
        self.refused = 0

    def __call__(self, environ, start):
        key = re.search(r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", "") or "")
        if not self._is_good(key[1] if key else ""):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("400 Bad Request", [("Content-Length", str(len(EXPIRED)))])
            return [EXPIRED]
        return self._application(environ, start)

    def _is_good(self, key):
        with self._lock:
            if key not in self.left:
                return True
            self.left[key] -= 1
            good = self.left[key] >= 0
            self.refused += not good
            return good


@pytest.fixture
def bucket(monkeypatch, tmp_path, small_s3, serve_s3):
    """Return the endpoint of an S3 server with a bucket ``vault``, and what makes keys of it expire."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    become(tmp_path, "first")
    application = Expiring(small_s3)
    with serve_s3(application) as endpoint:
        yield endpoint, application


def become(folder, key):
    (folder / "credentials").write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\n")


@pytest.mark.slow
@pytest.mark.parametrize("requests", [25, 60, 90])
def test_a_run_says_what_to_renew_and_the_next_one_goes_on(csbsctl, bucket, requests):
    endpoint, server = bucket
    csbsctl.write(CONFIGURATION.format(endpoint=endpoint, prefix=f"shop-{requests}"))
    csbsctl.at = "2026-11-20T00:00:00Z"
    for name in ("web-01", "web-02", "web-03"):
        csbsctl("sim", "server", "create", name, "--disk", "2M", "--disk", "1M", "--metadata", "tier=web")
        csbsctl("sim", "write", f"{name}:0", "--offset", "0", "--random", "1M", "--seed", "1")
    csbsctl("vault", "init")
    csbsctl("apply", "--yes")
    csbsctl.at = "2026-11-20T02:05:00Z"
    server.left["first"] = requests
    stopped = csbsctl.apart("run", expect=None)
    assert server.refused, "the run needs more requests than the credentials were good for"
    assert stopped.code in (1, 3), stopped
    assert "renew the credentials" in stopped.err, stopped.err

    become(csbsctl.folder, "second")
    csbsctl.at = "2026-11-20T02:40:00Z"
    csbsctl.apart("run")
    backups = csbsctl.apart("backup", "list", "--json").json
    assert sorted((backup["server"]["name"], backup["state"]) for backup in backups) == [
        (name, "available") for name in ("web-01", "web-02", "web-03")
    ]
    csbsctl.apart("backup", "verify", "--all")
    csbsctl.apart("vault", "check")
    assert csbsctl.apart("run").out.startswith("Nothing is due")
