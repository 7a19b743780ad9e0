"""The two bases: Model for what people write (unknown keys are errors), Record for what csbsctl stores and reads back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

NAME_PATTERN = r"^[A-Za-z0-9_-]{1,255}$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""1 to 255 letters, digits, ``_`` and ``-`` (csbs.md 1.5)."""

Description = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^<>]*$")]
"""0 to 255 characters without ``<`` and ``>`` (csbs.md 1.5)."""

TagKey = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9_-]{1,36}$")]
TagValue = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9_-]{0,43}$")]
MAX_TAGS = 10


class Model(BaseModel):
    """Frozen, and strict about unknown keys: for configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe attributes in the JSON Schema by the texts below them.

        They are read from the source here and not by pydantic, which would do so at every start of every command.
        """
        from csbsctl.model.described import described  # noqa: PLC0415 - only where a schema is made

        schema = handler(core_schema)
        described(cls, handler.resolve_ref_schema(schema))
        return schema

    def canonical(self) -> dict[str, Any]:
        """Return plain JSON values with every default applied: the form that is stored, compared and shown."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Record(BaseModel):
    """Frozen, and tolerant of unknown keys: for stored documents, which a later minor version may have extended."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return self.model_dump(mode="json")
