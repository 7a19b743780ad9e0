"""The generated reference is current, and the pages' links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def test_the_generated_pages_are_what_make_docs_writes():
    script = "import generate, json; print(json.dumps(generate.pages()))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT / "docs",
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    import json

    for name, text in json.loads(done.stdout).items():
        assert (ROOT / "docs/reference" / name).read_text() == text, f"run `make docs`: {name} is not current"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not missing
