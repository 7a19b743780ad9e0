"""Write the generated part of the reference: every command's help, every key of the configuration, every exit code.

Run by ``make docs``; a test proves the pages current.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parent / "reference"
WIDTH = 100


def pages() -> dict[str, str]:
    """Return the generated pages: file name -> text."""
    return {
        "commands.md": _commands(),
        "configuration.md": _configuration(),
        "policy-tests.md": _policy_tests(),
    }


def _commands() -> str:
    from csbsctl.cli.menu import COMMANDS, plugin_groups

    parts = [
        "# Commands\n",
        "Generated from the command line itself.\n",
        _block(_root_help()),
        _EXIT_CODES,
    ]
    for name in [*(entry.name for entry in COMMANDS), *plugin_groups()]:
        for path, text in _helps(name):
            parts.append(f"## csbsctl {' '.join(path)}\n\n{_block(text)}")
    return "\n".join(parts)


_EXIT_CODES = """\
| exit code | means |
| --- | --- |
| 0 | done, or nothing to do |
| 1 | an error, usage errors included |
| 2 | there are changes (`plan --detailed-exitcode`) or findings (`drift`); nothing else |
| 3 | finished, but some servers failed (`run`, `backup create`, `policy run`) |
| 4 | refused by a guardrail (`apply`, `plan --fail-on`) |
| 130, 143 | interrupted, terminated; the same command continues |
"""


def _helps(name: str) -> Iterator[tuple[list[str], str]]:
    """Yield the help of a command and of all commands below it."""
    from typer.main import get_command

    from csbsctl.cli.main import build_app

    root = get_command(build_app([name]))
    yield from _walk(root.commands[name], [name])  # type: ignore[attr-defined]


def _walk(command: Any, path: list[str]) -> Iterator[tuple[list[str], str]]:
    context = command.make_context(
        " ".join(["csbsctl", *path]), [], resilient_parsing=True, terminal_width=WIDTH
    )
    yield path, command.get_help(context)
    for name, below in getattr(command, "commands", {}).items():
        yield from _walk(below, [*path, name])


def _root_help() -> str:
    from typer.main import get_command

    from csbsctl.cli.main import build_app

    root = get_command(build_app([]))
    return root.get_help(root.make_context("csbsctl", [], resilient_parsing=True, terminal_width=WIDTH))


def _configuration() -> str:
    from csbsctl.config.schema import json_schema

    return _keys(
        json_schema(),
        "# Configuration\n",
        "Generated from the models. `csbs.yaml` has these keys at its top; the how-to pages show them in use.\n",
        'Wherever a plain value may stand, so may an expression: `"{{ var.keep }}"`. Keys marked * must be given.\n',
    )


def _policy_tests() -> str:
    from csbsctl.rehearsal.schema import json_schema

    return _keys(
        json_schema(),
        "# Policy tests\n",
        "Generated from the models. A `*.csbstest.yaml` has these keys at its top; "
        "[Prove what your policies do](../howto/policy-tests.md) shows them in use.\n",
        "Keys marked * must be given.\n",
    )


def _keys(schema: dict[str, Any], *head: str) -> str:
    parts = [*head, _table(schema, schema)]
    for name, definition in sorted(schema["$defs"].items()):
        if definition.get("properties"):
            parts.append(f"## {name}\n\n{definition.get('description', '')}\n\n{_table(definition, schema)}")
    return "\n".join(parts)


def _table(definition: dict[str, Any], schema: dict[str, Any]) -> str:
    required = set(definition.get("required", ()))
    rows = [
        f"| `{key}`{' *' if key in required else ''} | {_type(value)} | {_default(value)} | {_words(value, schema)} |"
        for key, value in definition["properties"].items()
    ]
    return "\n".join(["| key | type | default | meaning |", "| --- | --- | --- | --- |", *rows, ""])


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        return f"[{value['$ref'].rsplit('/', 1)[-1]}](#{value['$ref'].rsplit('/', 1)[-1].lower()})"
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    if "anyOf" in value:
        options = [
            option for option in value["anyOf"] if option.get("type") != "null" and not _is_expression(option)
        ]
        return " or ".join(dict.fromkeys(_type(option) for option in options))
    if "patternProperties" in value:
        return f"names to {_type(next(iter(value['patternProperties'].values())))}"
    if value.get("type") == "array":
        return f"list of {_type(value.get('items', {}))}"
    if value.get("type") == "object" and isinstance(value.get("additionalProperties"), dict):
        return f"mapping to {_type(value['additionalProperties'])}"
    return str(value.get("type", "any"))


def _is_expression(option: dict[str, Any]) -> bool:
    return str(option.get("$ref", "")).endswith("/Expression")


def _default(value: dict[str, Any]) -> str:
    return f"`{value['default']}`" if value.get("default") not in (None, "", [], {}) else ""


def _words(value: dict[str, Any], schema: dict[str, Any]) -> str:
    words = value.get("description", "")
    if not words and "$ref" in value:
        words = schema["$defs"][value["$ref"].rsplit("/", 1)[-1]].get("description", "")
    return " ".join(words.split()).replace("|", "\\|")


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```\n"


def main() -> None:
    """Write the pages."""
    os.environ["COLUMNS"] = str(WIDTH)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
