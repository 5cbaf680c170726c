"""What every section of a recipe is, and kinds of values that sections of several rooms take."""

from functools import partial
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


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
