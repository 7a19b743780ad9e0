"""The configuration that ``csbsctl init`` writes: commented, valid as it is, and from what already exists if asked.

Makes text only; reading servers from a cloud and writing files is the caller's.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from csbsctl.model.server import Server

ProviderType = Literal["local", "openstack"]

_MAX_GROUPS = 12
"""More values than this, and a metadata key names servers rather than groups them."""
_PROVIDERS: dict[str, tuple[str, str]] = {
    "local": ("{type: local, path: ./cloud}", "a simulated cloud in a folder; try `csbsctl sim --help`"),
    "openstack": (
        "{type: openstack, cloud: CLOUD}",
        "an entry of clouds.yaml; add `region:` if it has several",
    ),
}
_HEAD = """\
# What is backed up, when, and how long backups stay. `csbsctl plan` shows what a change would do and cost;
# `csbsctl apply` makes it so; `csbsctl run` takes the backups that are due.
version: 1
stack: default                                    # who owns these resources in the vault
vault: ./vault                                    # or s3://bucket/prefix: backups and all state live here

providers:
"""
_POLICIES = """
variables:
  keep: {type: integer, default: 30, description: Backups kept of each server}

policies:
  daily:
    description: Every night
    schedule:
      at: ["02:00"]                               # quoted; 1 to 24 times a day, at least an hour apart
      # days: [mon, tue, wed, thu, fri]           # every day if left out
      timezone: UTC                               # any IANA name, such as Europe/Berlin
      start_within: 4h                            # a missed time is still served this late
    retention:
      count: "{{ var.keep }}"                     # the newest of each server; or days: 90; or permanent: true
      # monthly: 12                               # and the newest of each of twelve months
    consistency: crash                            # none | crash | application: the least that is accepted
"""
_EXAMPLE_BINDINGS = """
bindings:
  web:
    policy: daily
    match: {metadata: {tier: web}}                # a rule, looked up at every run; or servers: [web-01, web-02]
    # exclude: [web-99]
"""
_TAIL = """
guardrails:
  max_backups_deleted: 0                          # apply refuses a plan that condemns backups, unless --allow names this
  weakens: warn                                   # allow | warn | deny
"""
_TEST = """
# `csbsctl test` proves in virtual time what policies promise: across outages, clock changes, attacks. To begin with, put
# this into tests/web.csbstest.yaml:
#
# tests:
#   clock-change:
#     start: "2027-03-26"
#     span: 4d
#     timezone: Europe/Berlin
#     servers: {web: {count: 2, metadata: {tier: web}}}
#     expect:
#       - {always: true, rpo: 26h}
#       - {missed: {max: 0}}
"""


def starter(provider: ProviderType = "local", cloud: str | None = None) -> str:
    """Return a commented configuration to begin with; ``cloud`` is an entry of clouds.yaml, where one is known."""
    return _HEAD + _provider(provider, cloud) + _POLICIES + _EXAMPLE_BINDINGS + _TAIL + _TEST


def starter_from_live(provider: ProviderType, servers: Iterable[Server], cloud: str | None = None) -> str:
    """Return a configuration that protects the servers there are, bound by the metadata that groups them best.

    Servers outside of every group are named one by one, by ID where two share a name.
    """
    present = sorted(servers, key=lambda server: (server.name, server.id))
    if not present:
        return starter(provider, cloud)
    return _HEAD + _provider(provider, cloud) + _POLICIES + "\nbindings:\n" + _bindings(present) + _TAIL


def _provider(provider: ProviderType, cloud: str | None) -> str:
    settings, comment = _PROVIDERS[provider]
    if cloud:
        settings = settings.replace("CLOUD", _text(cloud))
    return f"  default: {settings:<36}   # {comment}\n"


def _bindings(servers: Sequence[Server]) -> str:
    key = _grouping_key(servers)
    grouped: dict[str, list[Server]] = {}
    alone: list[Server] = []
    for server in servers:
        if key is not None and server.metadata.get(key):
            grouped.setdefault(server.metadata[key], []).append(server)
        else:
            alone.append(server)
    parts: list[str] = []
    names: set[str] = set()
    for value, members in sorted(grouped.items()):
        name = _unique(value, names)
        parts.append(
            f"  {name}:  # {_count(members)}: {_some(members)}\n"
            f"    policy: daily\n"
            f"    match: {{metadata: {{{_text(str(key))}: {_text(value)}}}}}\n"
        )
    if alone:
        shared = Counter(server.name for server in servers)
        lines = [
            f"      - {_text(server.name if shared[server.name] == 1 else server.id)}"
            + (
                ""
                if shared[server.name] == 1
                else f"  # {_comment(server.name)}, a name that several servers have"
            )
            for server in alone
        ]
        parts.append(
            f"  {_unique('servers', names)}:\n    policy: daily\n    servers:\n" + "\n".join(lines) + "\n"
        )
    return "".join(parts)


def _grouping_key(servers: Sequence[Server]) -> str | None:
    """Return the metadata key that covers most servers with few values, each of several servers if possible."""
    candidates: list[tuple[int, int, str]] = []
    for key in sorted({key for server in servers for key in server.metadata if "{" not in key}):
        values = Counter(server.metadata[key] for server in servers if server.metadata.get(key))
        covered = sum(values.values())
        if values and len(values) <= _MAX_GROUPS and (len(values) < covered or covered == 1):
            candidates.append((-covered, len(values), key))
    return min(candidates)[2] if candidates else None


def _unique(wanted: str, taken: set[str]) -> str:
    base = re.sub(r"[^A-Za-z0-9_-]+", "-", wanted).strip("-")[:200] or "group"
    if base.startswith("x-"):
        base = f"group-{base}"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name)
    return name


def _text(text: str) -> str:
    """Return text as a YAML scalar: plain where that is safe beyond doubt, else quoted as JSON does it."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text if "{{" not in text and "{%" not in text else "{% raw %}" + text + "{% endraw %}")


_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def _comment(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", text)


def _count(servers: Sequence[Server]) -> str:
    return f"{len(servers)} server" + ("s" if len(servers) != 1 else "")


def _some(servers: Sequence[Server]) -> str:
    shown = ", ".join(_comment(server.name) for server in servers[:3])
    return shown + (", …" if len(servers) > 3 else "")  # noqa: PLR2004 - as many as fit a line
