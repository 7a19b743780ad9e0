"""How help and errors look: commands grouped in sections, errors with their place and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.core import TyperGroup

from csbsctl.cli.menu import COMMANDS
from csbsctl.cli.wording import word

if TYPE_CHECKING:
    from csbsctl.errors import CsbsError


class SectionedGroup(TyperGroup):
    """The root command, whose help lists commands by what they are for."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        word(self)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the command names in the order of the menu, those of plug-ins last."""
        order = [entry.name for entry in COMMANDS]
        return sorted(self.commands, key=lambda name: order.index(name) if name in order else len(order))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section of commands after the other."""
        helps = {entry.name: entry.help for entry in COMMANDS}
        sections: dict[str, list[tuple[str, str]]] = {entry.section: [] for entry in COMMANDS}
        places = {entry.name: entry.section for entry in COMMANDS}
        for name in self.list_commands(ctx):
            words = helps.get(name) or self.commands[name].get_short_help_str(60)
            sections.setdefault(places.get(name, "Provider commands"), []).append((name, words))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def render_error(error: CsbsError) -> str:
    """Return an error for people: what failed, where, and what to do about it."""
    from csbsctl.errors import ConfigError

    if isinstance(error, ConfigError):
        count = len(error.diagnostics)
        body = "\n\n".join(d.render() for d in error.diagnostics)
        return f"Error: the configuration has {count} problem{'s' if count > 1 else ''}\n\n{body}"
    lines = [f"Error: {error.message}"]
    if error.where:
        lines.append(f"  at {error.where}")
    if error.hint:
        lines.append(f"  hint: {error.hint}")
    if "." in error.code and error.code.startswith("CSBS"):
        lines[0] += f" ({error.code})"
    return "\n".join(lines)
