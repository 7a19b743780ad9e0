"""What changed inside one object: dotted paths with both values.

Mappings are walked; a list is one value, for that is how people read ``at: ["02:00"] -> ["02:00", "14:00"]``. Only a
list of mappings (``access``) needs more care: DeepDiff pairs its entries whatever their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from csbsctl.engine.addresses import same
from csbsctl.model.plan import PathChange


def changed_paths(before: dict[str, Any] | None, after: dict[str, Any] | None) -> tuple[PathChange, ...]:
    """Return every attribute that differs, in the order of the values."""
    return tuple(_walk("", before or {}, after or {}))


def leaves(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every dotted path of a mapping that holds a value other than an empty one."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield from leaves(item, f"{prefix}{key}.")
        elif item not in ("", []):
            yield prefix + key, item


def _walk(prefix: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[PathChange]:
    for key in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(key), after.get(key)
        if same({key: old}, {key: new}):
            continue
        path = prefix + key
        if isinstance(old, dict) or isinstance(new, dict):
            yield from _walk(f"{path}.", old or {}, new or {})
        elif _entries(old) or _entries(new):
            yield from _paired(path, old or [], new or [])
        else:
            yield PathChange(path=path, before=old, after=new)


def _entries(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _paired(path: str, before: list[Any], after: list[Any]) -> Iterator[PathChange]:
    from deepdiff import DeepDiff  # noqa: PLC0415 - heavy, and rarely needed

    tree = DeepDiff(before, after, ignore_order=True, view="tree")
    found = {level for levels in tree.values() for level in levels}
    for level in sorted(found, key=lambda level: str(level.path())):
        inner = level.path().removeprefix("root")
        yield PathChange(path=path + inner, before=_value(level.t1), after=_value(level.t2))


def _value(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | list | dict) else None
