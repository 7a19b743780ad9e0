"""What the attributes of a model mean, read from its source: the text below each, as in ``name: str`` and its docstring."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Any

from pydantic import BaseModel


def described(model: type[BaseModel], schema: dict[str, Any]) -> None:
    """Add to the properties of a model's JSON Schema the descriptions that its source gives them."""
    texts = descriptions(model)
    for name, field in model.model_fields.items():
        shown = schema.get("properties", {}).get(field.alias or name)
        if shown is not None and name in texts:
            shown.setdefault("description", texts[name])


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return the text below each attribute of a model and of those it is made from; the nearest one counts."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if issubclass(kind, BaseModel) and kind is not BaseModel:
            found |= _own(kind)
    return found


def _own(model: type[BaseModel]) -> dict[str, str]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    return {
        attribute.target.id: inspect.cleandoc(text)
        for attribute, below in pairwise(definition.body)
        if isinstance(attribute, ast.AnnAssign) and isinstance(attribute.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(text := below.value.value, str)
    }
