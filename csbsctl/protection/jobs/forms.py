"""The results of provider steps as plain JSON values for the journal, and back. Knows nothing of jobs."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter

Form = TypeVar("Form")


def to_plain(value: Any) -> Any:
    """Return a dataclass or record of the provider contract as plain JSON values."""
    form: type[Any] = type(value)
    return _adapter(form).dump_python(value, mode="json")


def from_plain(form: type[Form], plain: Any) -> Form:
    """Return what ``to_plain`` was given."""
    value: Form = _adapter(form).validate_python(plain)
    return value


def _adapter(form: type[Any]) -> TypeAdapter[Any]:
    """Return the adapter of a form; making one takes milliseconds, so each is made once."""
    return _adapters.get(form) or _adapters.setdefault(form, TypeAdapter(form))


_adapters: dict[type[Any], TypeAdapter[Any]] = {}
