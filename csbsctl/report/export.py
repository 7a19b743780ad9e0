"""Scheduler and CI files for one stack, from templates: ``csbsctl export``.

What a file needs to know is in a Deployment; nothing here looks at a configuration, a vault or a repository.
"""

from __future__ import annotations

import re
import shlex
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from csbsctl.errors import UsageError

if TYPE_CHECKING:
    from jinja2 import Environment

KINDS = ("systemd", "kubernetes", "github", "gitlab", "atlantis")
LABEL = "allow-weakening"
"""What a reviewer marks a pull request with that is meant to weaken protection."""

_ODD = re.compile(r"[^a-z0-9]+")
_LONGEST = 30
"""Kubernetes allows 52 characters for a CronJob; prefix and suffix take some."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file of the configuration: its path from the folder that holds them all, and its text."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is known of a stack and the place it runs in."""

    stack: str
    version: str
    directory: str = "."
    """Folder of ``csbs.yaml`` in the repository."""
    absolute: str = "/srv/csbsctl"
    """Folder of ``csbs.yaml`` on this machine."""
    folder: str = "."
    """Folder of ``csbs.yaml`` among ``files``."""
    files: tuple[ConfigFile, ...] = ()
    words: tuple[str, ...] = ()
    """Options that stand before every command: ``--var-file``, ``production.vars.yaml``."""
    executable: str = "/usr/local/bin/csbsctl"
    secrets: tuple[str, ...] = ()
    """Environment variables that must be given."""
    openstack: bool = False
    writable: tuple[str, ...] = ()
    """Folders of this machine that a run writes to."""
    branch: str = "main"
    image: str = "registry.example.org/csbsctl"
    every: int = 5
    """Minutes between runs."""
    fail_on: str = "weakens"
    with_run: bool = False
    """Whether CI backs up too."""
    tested: bool = False
    """Whether there are policy tests."""
    watched: tuple[str, ...] = ()
    """Files of the configuration outside of that folder, from the top of the repository."""


def export(kind: str, deployment: Deployment) -> dict[str, str]:
    """Return the files of one kind, by their paths in the repository or in the folder they are written to.

    Raises:
        UsageError: there is no such kind.
    """
    known = _known(deployment)
    slug = known["slug"]
    match kind:
        case "systemd":
            units = ("run.service", "run.timer", "drift.service", "drift.timer")
            return {f"csbsctl-{slug}-{unit}": _filled(f"systemd-{unit}.j2", known) for unit in units}
        case "kubernetes":
            names = {"file": f"csbsctl-{slug}.yaml", "dockerfile": "csbsctl.Dockerfile"}
            known |= names | {"jobs": list(_jobs(deployment))}
            return {
                names["file"]: _filled("kubernetes.yaml.j2", known),
                names["dockerfile"]: _filled("Dockerfile.j2", known),
            }
        case "github":
            file = f".github/workflows/csbsctl-{slug}.yml"
            return {file: _filled("github.yml.j2", known | {"paths": [*known["paths"], file]})}
        case "gitlab":
            file = f"csbsctl-{slug}.gitlab-ci.yml"
            return {file: _filled("gitlab.yml.j2", known | {"file": file})}
        case "atlantis":
            return {
                "atlantis.yaml": _filled("atlantis.yaml.j2", known),
                "repos.yaml": _filled("atlantis-repos.yaml.j2", known),
            }
    raise UsageError(f"{kind!r} is not something to export for", hint=f"choose {', '.join(KINDS)}")


def _known(deployment: Deployment) -> dict[str, Any]:
    slug = _ODD.sub("-", deployment.stack.lower())[:_LONGEST].strip("-") or "stack"
    words = "".join(f" {shlex.quote(word)}" for word in deployment.words)
    minute = _minute(deployment.stack)
    own = "**" if deployment.directory == "." else f"{deployment.directory}/**"
    return {
        **asdict(deployment),
        "secrets": list(deployment.secrets),
        "slug": slug,
        "words": words,
        "cli": f"csbsctl{words}",
        "label": LABEL,
        "environment": f"backups-{slug}",
        "image": deployment.image if ":" in deployment.image else f"{deployment.image}:{deployment.version}",
        "paths": [own, *deployment.watched],
        "modified": ["**/*.yaml", *(_up(deployment.directory) + each for each in deployment.watched)],
        "drift_cron": f"{minute} * * * *",
        "run_cron": f"*/{deployment.every} * * * *",
        "files": [
            {"key": _ODD.sub("-", each.path.lower()).strip("-"), "path": each.path, "text": each.text}
            for each in deployment.files
        ],
    }


def _minute(stack: str) -> int:
    """Return a minute of the hour that is always the same for a stack, and not the full hour, when everybody comes."""
    return 1 + zlib.crc32(stack.encode()) % 58


def _up(folder: str) -> str:
    return "" if folder == "." else "../" * (folder.count("/") + 1)


def _jobs(deployment: Deployment) -> Iterator[dict[str, Any]]:
    yield {
        "name": "run",
        "cron": f"*/{deployment.every} * * * *",
        "deadline": 300,
        "args": [*deployment.words, "run"],
        "exits": "Exit 3, some servers could not be backed up, fails the job: the others were backed up, somebody should look.",
    }
    yield {
        "name": "drift",
        "cron": f"{_minute(deployment.stack)} * * * *",
        "deadline": 1800,
        "args": [*deployment.words, "drift"],
        "exits": "Exit 2, there are findings, fails the job, as does exit 1; the log tells which, and what to do.",
    }


def _filled(template: str, known: dict[str, Any]) -> str:
    return _environment().get_template(f"export/{template}").render(known).rstrip() + "\n"


def block(text: str) -> str:
    """Return a text as a YAML block scalar for a key that is indented by two, down to its last newline."""
    keep = "" if text.endswith("\n") and not text.endswith("\n\n") else "+" if text.endswith("\n") else "-"
    lines = "\n".join(
        f"    {line}" if line else "" for line in text.split("\n")[: None if keep == "-" else -1]
    )
    return f"|2{keep}\n{lines}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - only exports need it

    made = Environment(  # noqa: S701 - shell, YAML and units, not HTML
        loader=PackageLoader("csbsctl.report"),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<{",  # `{{` is what GitHub's expressions begin with
        variable_end_string="}>",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["block"] = block
    made.filters["unit"] = lambda text: text.replace("%", "%%").replace("$", "$$")
    return made
