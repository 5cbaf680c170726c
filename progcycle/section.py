"""What every section of a recipe is, and kinds of values that sections of several rooms take."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class Section(BaseModel):
    """Base of every section: unknown keys, other types and infinities are errors, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def as_flag_or(word: str, value: Any) -> Any:
    """The value, if it is true, false or the word.

    Raises:
        ValueError: it is something else; the sentence names all three.
    """
    if not isinstance(value, bool) and value != word:
        raise ValueError(f"must be true, false or {word}, got {str(value)[:60]!r}")
    return value


def flag_or(word: str) -> BeforeValidator:
    """A check that a value is true, false or one word, with a sentence for all three."""
    return BeforeValidator(partial(as_flag_or, word))


@dataclass(frozen=True)
class FlagOrSection:
    """Lets a value be true, false, one word, or a section; errors name the section's keys only.

    Attributes:
        word: beside true and false.
        section: what a mapping is.
    """

    word: str
    section: type[Section]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def wrapped(value: Any, validate: Any) -> Any:
            return validate(value) if isinstance(value, Mapping | self.section) else as_flag_or(self.word, value)

        return core_schema.no_info_wrap_validator_function(
            wrapped,
            handler.generate_schema(self.section),
            serialization=core_schema.simple_ser_schema("any"),
            json_schema_input_schema=handler(source),
        )
