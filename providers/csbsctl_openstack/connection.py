"""The connection to one cloud: credentials, discovery, pinned microversions, calls in flight, pages.

Everything that goes over the wire goes through a Service here; nothing here knows what a backup is. openstacksdk reads
clouds.yaml, authenticates (again, when a token ends in a long run) and finds the endpoints; the requests are JSON in,
JSON out, because one pinned microversion per API is a contract and a mapping that follows the SDK's release is not.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from csbsctl.clock import Clock
from csbsctl.errors import CloudUnavailable
from csbsctl_openstack.errors import from_status, translated
from csbsctl_openstack.settings import OpenStackSettings

MICROVERSIONS = {"block-storage": "3.66", "compute": "2.93"}
"""3.43 metadata of backups, 3.47 volume from a backup, 3.66 snapshots of volumes in use; 2.93 rebuild of volumes."""
PAGE = 1000
_RETRIES = (0.5, 1.0, 2.0)

_TAG = re.compile(r"<(?:style|title|head)[^>]*>.*?</(?:style|title)>|<[^>]+>", re.DOTALL)

T = TypeVar("T")
Json = dict[str, Any]


class Service:
    """One API of a cloud: JSON requests at a pinned microversion, errors translated, reads tried again."""

    def __init__(self, cloud: Cloud, name: str, microversion: str | None = None) -> None:
        self._cloud = cloud
        self._name = name
        self._microversion = microversion
        self._adapter: Any = None

    def get(self, what: str, path: str, *, microversion: str | None = None, **query: Any) -> Json:
        """Return the answer to a GET; tried again when the cloud fails to answer."""
        url = f"{path}?{urlencode(query)}" if query else path
        for pause in _RETRIES:
            try:
                return self.request(what, "GET", url, microversion=microversion)
            except CloudUnavailable:
                self._cloud.clock.sleep(pause)
        return self.request(what, "GET", url, microversion=microversion)

    def pages(self, what: str, path: str, key: str, **query: Any) -> Iterator[Json]:
        """Yield the items of a list, a thousand a call where the cloud allows."""
        marker: dict[str, str] = {}
        while True:
            answer = self.get(what, path, limit=PAGE, **query, **marker)
            items = answer.get(key, [])
            yield from items
            if not items or not _goes_on(answer):
                return
            marker = {"marker": items[-1]["id"]}

    def post(self, what: str, path: str, body: Any, *, microversion: str | None = None) -> Json:
        """Return the answer to a POST, which is sent exactly once: an answer that is lost may have been a yes."""
        return self.request(what, "POST", path, body, microversion=microversion)

    def put(self, what: str, path: str, body: Any) -> Json:
        """Return the answer to a PUT."""
        return self.request(what, "PUT", path, body)

    def patch(self, what: str, path: str, changes: Any) -> Json:
        """Return the answer to a PATCH of Glance's kind."""
        kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        return self.request(what, "PATCH", path, data=json.dumps(changes).encode(), headers=kind)

    def delete(self, what: str, path: str) -> None:
        """Send a DELETE."""
        self.request(what, "DELETE", path)

    def request(
        self,
        what: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        microversion: str | None = None,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
    ) -> Json:
        """Return the JSON of an answer, {} where it has no body. Raises the ProviderError family."""
        extra: dict[str, Any] = {"json": body} if body is not None else {}
        if data is not None:
            extra["data"] = data
        version = microversion or self._microversion
        if version:
            extra["microversion"] = version
        with self._cloud.in_flight, translated(what):
            answer = self.adapter.request(path, method, raise_exc=False, headers=headers or {}, **extra)
            if answer.status_code == 401:  # noqa: PLR2004 - the session renews a token for one of several calls only
                answer = self.adapter.request(path, method, raise_exc=False, headers=headers or {}, **extra)
            self._cloud.count(self._name, method, path)
            if answer.status_code >= 400:  # noqa: PLR2004
                raise from_status(
                    answer.status_code,
                    _message(answer),
                    what,
                    request_id=answer.headers.get("x-openstack-request-id"),
                    retry_after=float(_number(answer.headers.get("Retry-After"))),
                )
            return (
                answer.json() if answer.content and "json" in answer.headers.get("Content-Type", "") else {}
            )

    @property
    def adapter(self) -> Any:
        """Return openstacksdk's adapter, which knows the endpoint."""
        if self._adapter is None:
            self._adapter = self._cloud.adapter(self._name)
        return self._adapter

    @property
    def endpoint(self) -> str:
        """Return the URL of the API."""
        with translated(f"find the endpoint of {self._name}"):
            return str(self.adapter.get_endpoint()).rstrip("/")


class Cloud:
    """One region and project, connected at the first call."""

    def __init__(self, settings: OpenStackSettings, clock: Clock, *, entry: str | None = None) -> None:
        self.settings = settings
        self.clock = clock
        self.in_flight = threading.BoundedSemaphore(settings.calls)
        self.calls: dict[str, int] = {}
        """How often each call was made: ``POST block-storage/snapshots``; for measuring."""
        self._entry = entry or settings.cloud
        self._connection: Any = None
        self._lock = threading.RLock()
        self._pool: ThreadPoolExecutor | None = None
        self.cinder = Service(self, "block-storage", MICROVERSIONS["block-storage"])
        self.nova = Service(self, "compute", MICROVERSIONS["compute"])
        self.neutron = Service(self, "network")
        self.glance = Service(self, "image")

    def adapter(self, name: str) -> Any:
        """Return openstacksdk's adapter for a service type."""
        with self._lock, translated(f"connect to cloud {self._entry or 'of the environment'}"):
            return getattr(self.connection, name.replace("-", "_"))

    @property
    def connection(self) -> Any:
        """Return the connection, made at the first use."""
        with self._lock:
            if self._connection is None:
                with translated(f"connect to cloud {self._entry or 'of the environment'}"):
                    self._connection = self._connect()
            return self._connection

    def _connect(self) -> Any:
        import openstack  # noqa: PLC0415 - a third of a second that only OpenStack users pay
        from keystoneauth1.session import TCPKeepAliveAdapter  # noqa: PLC0415

        chosen: dict[str, Any] = {"region_name": self.settings.region} if self.settings.region else {}
        if self.settings.project:
            chosen |= {"project_name": self.settings.project, "project_id": None}
        connection = openstack.connect(
            cloud=self._entry,
            app_name="csbsctl",
            api_timeout=self.settings.deadlines.request.total_seconds(),
            **chosen,
        )
        for scheme in ("http://", "https://"):
            connection.session.mount(scheme, TCPKeepAliveAdapter(pool_maxsize=self.settings.calls))
        return connection

    def roles(self) -> frozenset[str]:
        """Return the names of the roles that the credentials have."""
        with translated("authenticate"):
            session = self.connection.session
            return frozenset(session.auth.get_access(session).role_names)

    @property
    def project_id(self) -> str:
        """Return the ID of the project."""
        with translated("authenticate"):
            return str(self.connection.session.get_project_id())

    def token(self) -> str:
        """Return a token that is valid now."""
        with translated("authenticate"):
            return str(self.connection.session.get_token())

    @property
    def verify(self) -> bool | str:
        """Return how certificates are verified: False, True or the file with the authorities."""
        chosen: bool | str = self.connection.session.verify
        return chosen

    def now(self) -> datetime | None:
        """Return the cloud's time, as an API dates its answers."""
        with self.in_flight, translated("ask the cloud's time"):
            answer = self.cinder.adapter.get("/limits", raise_exc=False)
        date = answer.headers.get("Date")
        return parsedate_to_datetime(date) if date else None

    def side_by_side(self, *jobs: Callable[[], T]) -> list[T]:
        """Return the results of several calls made at once, in order; raises the first error."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.settings.calls, thread_name_prefix="openstack-call")
        futures = [self._pool.submit(job) for job in jobs]
        wait(futures)  # all of them: who cleans up after an error must not be overtaken by a call in flight
        return [future.result() for future in futures]

    def count(self, service: str, method: str, path: str) -> None:
        """Count a call."""
        kind = path.split("?", maxsplit=1)[0].strip("/").split("/")
        key = f"{method} {service}/{kind[0]}" + (f"/{kind[-1]}" if len(kind) > 2 else "")  # noqa: PLR2004
        with self._lock:
            self.calls[key] = self.calls.get(key, 0) + 1

    def close(self) -> None:
        """Let go of connections and threads."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = None
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _goes_on(answer: Json) -> bool:
    """Whether a list has another page; a cloud may give fewer items a page than it was asked for."""
    links = [link for name, value in answer.items() if name.endswith("_links") for link in value]
    return "next" in answer or any(link.get("rel") == "next" for link in links)


def _message(answer: Any) -> str:
    """Return what an error answer says: services wrap it in an object of one key, or send text."""
    if "json" not in answer.headers.get("Content-Type", ""):
        words = _TAG.sub(" ", answer.text).split()
        return " ".join(words)[:500] or str(answer.reason)
    try:
        document = answer.json()
    except ValueError:
        return str(answer.text[:200])
    values = [document, *document.values()] if isinstance(document, dict) else []
    texts = [str(v["message"]) for v in values if isinstance(v, dict) and v.get("message")]
    return texts[0] if texts else str(answer.text[:200])


def _number(text: str | None) -> str:
    return text if text and text.isdigit() else "0"
