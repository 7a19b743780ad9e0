"""The direction of imports, held against the map in docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = [
    {"errors", "diagnostics", "clock", "units", "ids", "boundaries", "blobs"},
    {"model"},
    {"simulator"},
    {"rules", "vault", "config", "provider", "filesystem"},
    {"engine", "protection"},
    {"rehearsal"},
    {"report"},
    {"cli", "service"},
]
GROUND = LAYERS[0]
FOR_PROVIDERS = GROUND | {"model", "simulator", "provider"}
HEAVY = {
    "openstack",
    "boto3",
    "botocore",
    "deepdiff",
    "jinja2",
    "ruamel",
    "dateutil",
    "fastapi",
    "tooz",
    "keystoneauth1",
}
EDGES = {f"csbsctl/vault/stores/{name}.py" for name in ("s3", "s3_access", "s3_errors")}
"""Modules that are imported only where their library is wanted; they may import it at their top."""
BROAD_EXCEPTS = {"csbsctl/cli/main.py", "csbsctl/protection/pool.py"}


def sources(top: str) -> list[Path]:
    return sorted((ROOT / top).rglob("*.py"))


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("csbsctl.")} - {"__version__"}


def level(room: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if room in layer)


def catches_everything(handler: ast.ExceptHandler) -> bool:
    kind = handler.type
    return kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})


def passes_it_on(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


@pytest.mark.parametrize("path", sources("csbsctl"), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_from_the_floors_below_it(path: Path) -> None:
    parts = path.relative_to(ROOT / "csbsctl").with_suffix("").parts
    own = parts[0]
    if own == "__init__":
        return
    for other in rooms(imports(path)) - {own}:
        assert level(other) < level(own) or (own in GROUND and other in GROUND), (
            f"{own} must not import {other}"
        )


@pytest.mark.parametrize("path", sources("providers"), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_provider_imports_only_the_contract_the_model_and_the_ground_floor(path: Path) -> None:
    assert rooms(imports(path)) <= FOR_PROVIDERS
    own = path.relative_to(ROOT / "providers").parts[0]
    others = {name.split(".")[0] for name in imports(path) if name.startswith("csbsctl_")}
    assert others <= {own}


@pytest.mark.parametrize("path", sources("csbsctl"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_never_imports_a_provider(path: Path) -> None:
    assert not {name for name in imports(path) if name.startswith("csbsctl_")}


@pytest.mark.parametrize("path", sources("csbsctl"), ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_libraries_are_imported_only_where_they_are_used(path: Path) -> None:
    at_top = imports(path, top_level_only=True)
    if str(path.relative_to(ROOT)) in EDGES:
        return
    edges = {edge.removesuffix(".py").replace("/", ".") for edge in EDGES}
    assert not {name.split(".")[0] for name in at_top} & HEAVY
    assert not at_top & edges


@pytest.mark.parametrize(
    "path", [*sources("csbsctl"), *sources("providers")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_only_two_places_catch_everything_and_keep_it(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    broad = [
        handler.lineno for handler in handlers if catches_everything(handler) and not passes_it_on(handler)
    ]
    assert not broad or str(path.relative_to(ROOT)) in BROAD_EXCEPTS, f"lines {broad}"
