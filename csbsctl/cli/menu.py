"""The table of commands: what ``csbsctl --help`` shows, and which module to import for each.

Help and ``--version`` must not pay for what they do not run, so only the module of the command that is called is
imported; the others appear as one line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PLUGINS = "csbsctl.commands"
"""The group of entry points under which a package adds groups of commands."""

CONFIGURE, CHANGE, PROTECT, RECOVER, LOOK, CARE = (
    "Write configuration",
    "Plan and apply",
    "Back up",
    "Bring back",
    "Look",
    "Care for the vault",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One top-level command or group: ``module:attribute`` of its typer app, its one-line help, and the section it stands in."""

    name: str
    target: str
    help: str
    section: str
    group: bool = False


COMMANDS: tuple[Entry, ...] = (
    Entry("init", "configure:app", "Write a commented starter configuration.", CONFIGURE),
    Entry("validate", "configure:app", "Check the configuration without looking at any cloud.", CONFIGURE),
    Entry(
        "fmt", "configure:app", "Rewrite configuration files in canonical form, keeping comments.", CONFIGURE
    ),
    Entry("schema", "configure:app", "Print the JSON Schema of the configuration.", CONFIGURE),
    Entry("test", "test:app", "Run policy tests in virtual time.", CONFIGURE),
    Entry("plan", "plan:app", "Show what would change, what drifted and what it costs.", CHANGE),
    Entry("apply", "apply:app", "Make it so, in one atomic step.", CHANGE),
    Entry("destroy", "apply:app", "Remove this stack's policies and bindings; backups stay.", CHANGE),
    Entry("drift", "drift:app", "Compare what is live with what is declared.", CHANGE),
    Entry("show", "inspect:app", "Show what is in force, or a saved plan.", CHANGE),
    Entry("history", "inspect:app", "List who changed what, when.", CHANGE),
    Entry("rollback", "rollback:app", "Put back in force what was at an earlier generation.", CHANGE),
    Entry("import", "rollback:app", "Take over objects that another stack owns.", CHANGE),
    Entry(
        "run", "run:app", "Back up what is due, delete what expired, finish what was interrupted.", PROTECT
    ),
    Entry(
        "backup",
        "backup:app",
        "Make one-off backups; list, verify, protect and delete backups.",
        PROTECT,
        group=True,
    ),
    Entry("policy", "policy:app", "List, switch and run policies.", PROTECT, group=True),
    Entry("schedule", "policy:schedule_app", "Show when a policy runs next.", PROTECT),
    Entry("restore", "restore:app", "Bring a server or a disk back.", RECOVER),
    Entry("image", "image:app", "Make bootable images of whole servers.", RECOVER, group=True),
    Entry("status", "status:app", "Protection at a glance.", LOOK),
    Entry("server", "server:app", "List servers and say whether they can be protected.", LOOK, group=True),
    Entry("job", "job:app", "List and show operations.", LOOK, group=True),
    Entry("forecast", "forecast:app", "How much the policies will hold, and whether it fits.", LOOK),
    Entry("graph", "graph:app", "Draw policies, bindings, servers and objectives.", LOOK),
    Entry("audit", "audit:app", "Who did what, and proof that the trail is whole.", LOOK, group=True),
    Entry("demo", "demo:app", "All of it, end to end, on a simulated cloud.", LOOK),
    Entry("export", "export:app", "Write files for schedulers and CI.", CARE),
    Entry("vault", "vault:app", "Make and check the vault.", CARE, group=True),
)


def plugin_groups() -> dict[str, str]:
    """Return command groups that installed packages add: name -> ``module:attribute``.

    Reads the packages' ``entry_points.txt`` itself: importing ``importlib.metadata`` takes a sixth of what ``--help``
    may take. Where a package lies in an archive, that is asked all the same.
    """
    groups: dict[str, str] = {}
    try:
        for info in (info for place in sys.path for info in _package_infos(Path(place))):
            for name, target in _added_by(info / "entry_points.txt"):
                groups.setdefault(name, target)
    except NotADirectoryError:
        from importlib.metadata import entry_points

        return {entry.name: entry.value for entry in entry_points(group=PLUGINS)}
    return groups


def _package_infos(place: Path) -> list[Path]:
    try:
        return [entry for entry in place.iterdir() if entry.suffix in {".dist-info", ".egg-info"}]
    except (FileNotFoundError, PermissionError):
        return []


def _added_by(entry_points: Path) -> Iterator[tuple[str, str]]:
    """Yield the groups of commands in a package's list of entry points, which is an INI file."""
    try:
        text = entry_points.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    ours = False
    for line in text.splitlines() if PLUGINS in text else ():
        if line.startswith("["):
            ours = line.strip() == f"[{PLUGINS}]"
        elif ours and "=" in line and not line.startswith(("#", ";")):
            name, _, target = line.partition("=")
            yield name.strip(), target.strip()


def plugin_help(target: str) -> str:
    """Return the line that stands for a plug-in's group: the first of its module's docstring, read without importing it."""
    import ast
    from importlib.util import find_spec

    spec = find_spec(target.partition(":")[0])
    if spec is None or spec.origin is None or not spec.has_location:
        return "Commands of an installed package."
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_bytes())) or "Commands of an installed package."
    return text.partition("\n")[0]
