"""The JSON Schema (2020-12) of ``*.csbstest.yaml``, for editors; made from the models, never written by hand.

``python -m csbsctl.rehearsal.schema FILE`` writes it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from csbsctl.config.schema import described_plainly, render
from csbsctl.rehearsal.suite import Suite


def json_schema() -> dict[str, Any]:
    """Return the schema of a file of policy tests."""
    schema = Suite.model_json_schema(mode="validation")
    definitions = {
        name: described_plainly(definition, frozenset(schema["$defs"]))
        for name, definition in sorted(schema["$defs"].items())
    }
    top = described_plainly(
        {key: value for key, value in schema.items() if key != "$defs"}, frozenset(definitions)
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **top,
        "title": "csbsctl policy tests",
        "$defs": definitions,
    }


if __name__ == "__main__":
    target = sys.argv[1] if len(sys.argv) > 1 else "schemas/csbstest.schema.json"
    Path(target).write_text(render(json_schema()), encoding="utf-8")
