"""Write the services' configuration: every file of ``config/`` with ``${NAME}`` replaced, ``#include NAME`` inlined.

``render.py TEMPLATES TARGET [NAME=VALUE...]``. A file ``x.conf`` becomes ``TARGET/x/x.conf``; those that start with
``_`` are only included. ``#include _auth USER`` hands ``USER`` on as ``${ARGUMENT}``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from string import Template


def render(templates: Path, name: str, values: dict[str, str], argument: str = "") -> str:
    """Return a template's text with everything filled in."""
    lines = []
    for line in (templates / name).read_text().splitlines():
        filled = Template(line).substitute(values, ARGUMENT=argument)
        if filled.startswith("#include "):
            _, included, *rest = filled.split()
            filled = render(templates, included, values, *rest)
        lines.append(filled)
    return "\n".join(lines)


def main() -> None:
    """Render all."""
    templates, target, *pairs = sys.argv[1:]
    values = dict(pair.split("=", 1) for pair in pairs)
    for source in sorted(Path(templates).iterdir()):
        if not source.name.startswith("_"):
            folder = Path(target) / source.stem
            folder.mkdir(parents=True, exist_ok=True)
            (folder / source.name).write_text(render(Path(templates), source.name, values) + "\n")


main()
