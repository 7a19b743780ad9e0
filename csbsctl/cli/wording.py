"""How parameters are written in help: ``--every EVERY`` and ``SERVER...``, whatever typer would make of their types.

Runs over the finished command tree, so that the commands of plug-ins read like ours.
"""

from __future__ import annotations

from typing import Any


def word(command: Any) -> Any:
    """Give every parameter of a command, and of all below it, the name that people read; return the command."""
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            _argument(parameter)
        elif not parameter.is_flag and parameter.metavar is None:
            parameter.metavar = _choices(parameter) or _number(parameter) or _name(parameter)
    for below in getattr(command, "commands", {}).values():
        if below.short_help is None and below.help:
            below.short_help = _first_sentence(below.help)
        word(below)
    return command


def _argument(parameter: Any) -> None:
    """Write an argument as manual pages do: ``NAME``, ``[NAME]`` and ``NAME...``, without its type."""
    name = (parameter.metavar or parameter.name.upper()).strip("[]")
    if parameter.nargs != 1 and not name.endswith("..."):
        name = f"{name}..."
    usage = name if parameter.required else f"[{name}]"
    parameter.metavar = name
    parameter.display_type_rich = lambda ctx: None  # noqa: ARG005 - typer names it
    parameter.get_usage_pieces = lambda ctx: [usage]  # noqa: ARG005 - typer names it


def _name(parameter: Any) -> str:
    return str(max(parameter.opts, key=len)).lstrip("-").upper().replace("-", "_")


def _number(parameter: Any) -> str | None:
    bounds = (parameter, getattr(parameter, "type", None))
    return "N" if any(getattr(bound, "min", None) is not None for bound in bounds) else None


def _choices(parameter: Any) -> str | None:
    choices = getattr(getattr(parameter, "type_descriptor", None), "choices", None)
    choices = choices or getattr(getattr(parameter, "type", None), "choices", None)
    return "|".join(str(getattr(choice, "value", choice)) for choice in choices) if choices else None


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.strip().split("\n\n", 1)[0].split())
    sentence, _, _ = paragraph.partition(". ")
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."
