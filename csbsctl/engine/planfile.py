"""Saved plans: what was shown, what it was made from, and nothing secret.

A file is JSON: ``{"csbsctl_plan": 1, "digest": …, "body": {…}}``; the digest (SHA-256) covers the body, so that a file
that was cut short or edited by hand is refused rather than believed. To apply one, the plan is made again from what
the file wants and what is there now, and must come out the same. Guardrails are judged anew in passing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import csbsctl
from csbsctl.clock import format_instant, parse_instant
from csbsctl.engine.commit import same_actions
from csbsctl.engine.desired import Desired
from csbsctl.engine.digests import digest_of, digest_of_state, fingerprint
from csbsctl.engine.planner import Planner, Proposal
from csbsctl.engine.redaction import covered
from csbsctl.engine.situation import Situation
from csbsctl.engine.zonedata import zone_data_version
from csbsctl.errors import Damaged, NotFound, Stale, StoreUnavailable, UnsupportedFormat
from csbsctl.model.plan import Plan

FORMAT_VERSION = 1
LIFETIME = timedelta(days=7)
"""How long a saved plan may be applied."""

_AGAIN = "plan again, look at it, and apply that"


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan file, read and found whole; ``body`` is documented in ``dump``."""

    plan: Plan
    body: Mapping[str, Any]


def dump(proposal: Proposal, *, providers: Mapping[str, str] | None = None) -> str:
    """Return the text of a plan file. ``providers`` are the versions of providers by name.

    The wanted form is left out when sensitive values stand in it; applying then needs the same configuration.
    """
    wish = proposal.wish
    hidden = covered(wish.canonical, wish.sensitive) != wish.canonical if wish.sensitive else False
    body = {
        "vault": proposal.plan.vault_id,
        "stack": wish.stack,
        "base_generation": proposal.plan.base_generation,
        "base_digest": digest_of_state(proposal.situation.document.stacks.get(wish.stack)),
        "configuration_digest": wish.digest,
        "wanted": None if hidden else wish.canonical,
        "moved": dict(wish.moved),
        "targets": list(proposal.targets),
        "adopt": list(proposal.adopt),
        "servers": proposal.fingerprints,
        "versions": {
            "csbsctl": csbsctl.__version__,
            "tzdata": zone_data_version(),
            "providers": dict(providers or {}),
        },
        "created_at": format_instant(proposal.plan.created_at),
        "expires_at": format_instant(proposal.plan.created_at + LIFETIME),
        "summary": proposal.summary,
        "commit": wish.commit,
        "plan": proposal.plan.to_json(),
    }
    # What the file says must be what it was digested from: through JSON and back, once.
    body = json.loads(json.dumps(body))
    whole = {"csbsctl_plan": FORMAT_VERSION, "digest": digest_of(body), "body": body}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")) + "\n"


def save(path: Path, proposal: Proposal, *, providers: Mapping[str, str] | None = None) -> None:
    """Write a plan file. Raises StoreUnavailable when it cannot be written."""
    try:
        path.write_text(dump(proposal, providers=providers), encoding="utf-8")
    except OSError as error:
        raise StoreUnavailable(
            f"cannot write the plan to {path}: {error.strerror}", code="plan.unwritable"
        ) from error


def load(path: Path) -> SavedPlan:
    """Read a plan file.

    Raises:
        NotFound: there is none.
        Damaged: it is no plan, cut short, or edited by hand.
        UnsupportedFormat: a newer csbsctl wrote it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"there is no plan file {path}", code="plan.absent") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Damaged(f"{path} cannot be read as a plan: {error}", code="plan.damaged") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> SavedPlan:
    """Return what the text of a plan file says; ``name`` is for messages. Raises like ``load``."""
    try:
        whole = json.loads(text)
    except ValueError as error:
        raise Damaged(
            f"{name} is not a whole plan file: it was cut short or is no JSON",
            hint=_AGAIN,
            code="plan.damaged",
        ) from error
    version = whole.get("csbsctl_plan") if isinstance(whole, dict) else None
    if not isinstance(version, int):
        raise Damaged(
            f"{name} is not a plan that csbsctl saved", hint="`plan -o FILE` saves one", code="plan.damaged"
        )
    if version > FORMAT_VERSION:
        raise UnsupportedFormat(
            f"{name} was saved by a newer csbsctl (format {version}, this one reads {FORMAT_VERSION})",
            hint="apply it with the version that made it",
            code="plan.newer-format",
        )
    body = whole.get("body")
    if digest_of(body) != whole.get("digest"):
        raise Damaged(f"{name} was changed after csbsctl saved it", hint=_AGAIN, code="plan.edited")
    try:
        return SavedPlan(plan=Plan.model_validate(body["plan"]), body=body)
    except (ValidationError, KeyError, TypeError) as error:
        raise Damaged(f"{name} lacks parts of a plan", hint=_AGAIN, code="plan.damaged") from error


def reopen(
    saved: SavedPlan,
    situation: Situation,
    *,
    configuration: Desired | None = None,
    providers: Mapping[str, str] | None = None,
) -> Proposal:
    """Return a proposal that does exactly what the saved plan shows, on what is there now.

    Raises:
        Stale: with the reason, when anything the plan was made from has moved.
    """
    body = saved.body
    _check_origin(body, situation, configuration, providers or {})
    wish = _wish(body, configuration)
    if digest_of_state(situation.document.stacks.get(wish.stack)) != body["base_digest"]:
        by = f" (generation {situation.document.generation} by {situation.document.by})"
        raise _stale(f"stack {wish.stack} changed since generation {body['base_generation']}{by}")
    _check_servers(body["servers"], situation)
    proposal = Planner(situation).plan(wish, targets=body["targets"], adopt=body["adopt"])
    if not same_actions(_covered(proposal.plan, wish), saved.plan):
        raise _stale("the plan comes out differently now")
    return replace(proposal, summary=body["summary"])


def _check_origin(
    body: Mapping[str, Any],
    situation: Situation,
    configuration: Desired | None,
    providers: Mapping[str, str],
) -> None:
    if body["vault"] is not None and situation.vault_id is None:
        raise _stale("the vault it was made for is not there any more")
    if body["vault"] is not None and body["vault"] != situation.vault_id:
        raise _stale(f"the plan was made for another vault ({body['vault']})")
    if situation.now > parse_instant(body["expires_at"]):
        raise _stale(f"the plan expired at {body['expires_at']}")
    if situation.now < parse_instant(body["created_at"]) - timedelta(minutes=5):
        raise _stale(
            f"the plan was made at {body['created_at']}, which is still to come: is the clock right?"
        )
    versions = body["versions"]
    here = {"csbsctl": csbsctl.__version__, "tzdata": zone_data_version()}
    for what, version in here.items():
        if versions[what] != version:
            raise _stale(f"the plan was made with {what} {versions[what]}, this is {version}")
    for name, version in providers.items():
        if versions["providers"].get(name, version) != version:
            raise _stale(
                f"the plan was made with provider {name} {versions['providers'][name]}, this is {version}"
            )
    if configuration is not None and configuration.digest != body["configuration_digest"]:
        raise _stale("the configuration changed since the plan was made")


def _wish(body: Mapping[str, Any], configuration: Desired | None) -> Desired:
    if body["wanted"] is None:
        if configuration is None:
            raise _stale("the plan leaves out sensitive values and needs its configuration beside it")
        return configuration
    wish = Desired.form(body["stack"], body["wanted"], moved=body["moved"])
    return replace(wish, digest=body["configuration_digest"], commit=body["commit"])


def _check_servers(fingerprints: Mapping[str, str], situation: Situation) -> None:
    if situation.inventory is None:
        return
    servers = situation.servers()
    for key, digest in fingerprints.items():
        provider, _, server_id = key.partition("/")
        server = servers.get((provider, server_id))
        if server is None:
            raise _stale(f"server {server_id} of provider {provider} is gone")
        if fingerprint(server) != digest:
            raise _stale(f"server {server.name} ({server_id}) changed since the plan was made")


def _covered(plan: Plan, wish: Desired) -> Plan:
    return plan if not wish.sensitive else Plan.model_validate(covered(plan.model_dump(), wish.sensitive))


def _stale(reason: str) -> Stale:
    return Stale(f"the saved plan is stale: {reason}", hint=_AGAIN)
