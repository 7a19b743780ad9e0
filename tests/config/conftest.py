"""A folder with a configuration in it, and what loading it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from csbsctl.config import Configuration, load
from csbsctl.diagnostics import Diagnostic
from csbsctl.errors import ConfigError

POLICY = """\
policies:
  gold:
    schedule: {at: ["02:00"]}
    retention: {count: 3}
"""
MINIMAL = "version: 1\nvault: ./vault\nproviders: {default: {type: local}}\n" + POLICY


@dataclass(frozen=True)
class Folder:
    """Writes files and loads them as a user would who stands in the folder."""

    path: Path

    def write(self, text: str | bytes, name: str = "csbs.yaml") -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def load(
        self,
        text: str | bytes | None = None,
        *,
        variables: Sequence[str] = (),
        var_files: Sequence[Path] = (),
        environ: Mapping[str, str] | None = None,
    ) -> Configuration:
        if text is not None:
            self.write(text)
        return load(Path(), variables=variables, var_files=var_files, environ=environ or {})

    def problems(self, text: str | bytes | None = None, **given: object) -> list[Diagnostic]:
        with pytest.raises(ConfigError) as raised:
            self.load(text, **given)  # type: ignore[arg-type]
        return list(raised.value.diagnostics)

    def said(self, text: str | bytes | None = None, **given: object) -> list[str]:
        """Return ``file:line:column summary`` of every problem."""
        return [f"{p.place or ''} {p.summary}".strip() for p in self.problems(text, **given)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path)
