"""Types of values in recipes: by resolution, along a curve, one or several."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from progcycle.errors import one_line
from progcycle.resolution import LARGEST, SMALLEST
from progcycle.section import flag_or

DEFAULT: Final = "default"
LARGEST_LOADED = 1 << 14  # pixels per side of pictures that crops are taken of
NATIVE: Final = "native"  # such pictures at their own size


class RecipeError(ValueError):
    """A recipe that cannot be used; the message is one line that names the file and the key."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(" ".join(message.splitlines())))


def power_of_two(value: int) -> int:
    """The value.

    Raises:
        ValueError: it is no power of two.
    """
    if value & (value - 1):
        raise ValueError(f"must be a power of two, got {value}")
    return value


def is_resolution_key(key: Any) -> bool:
    """Whether a key of a mapping is ``default`` or a whole number (as text too, as JSON writes it)."""
    number = isinstance(key, int) and not isinstance(key, bool)
    return number or (isinstance(key, str) and (key == DEFAULT or key.isdecimal()))


def _as_key(value: Any) -> Any:
    if value == DEFAULT:
        return value
    number = int(value) if is_resolution_key(value) else 0
    if not SMALLEST <= number <= LARGEST:
        raise ValueError(f"keys here are resolutions ({SMALLEST} to {LARGEST}, the shorter side) or default")
    return number


def _as_mapping(value: Any) -> Any:
    return value if isinstance(value, Mapping) else {DEFAULT: value}


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_load_length(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool) and SMALLEST <= value <= LARGEST_LOADED
    if not whole and value != NATIVE:
        raise ValueError(
            f"must be a whole number of pixels from {SMALLEST} to {LARGEST_LOADED}, or {NATIVE} for pictures at their "
            f"own size, got {str(value)[:60]!r}"
        )
    return value


def _as_texts(value: Any) -> Any:
    return (value,) if isinstance(value, str) else _as_tuple(value)


def _as_curve(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list | tuple) else ((0, value),)


def _in_order(curve: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    if any(x1 < x0 for (x0, _), (x1, _) in itertools.pairwise(curve)):
        raise ValueError("the points [kimg, value] of a curve must be in the order of their kimg")
    return curve


def _as_precision(value: Any) -> Any:
    return "no" if value is False else value  # as YAML reads it


def _as_compile(value: Any) -> Any:
    return "off" if value is False else value  # as YAML reads it


def with_keys_from(content: Any, section: str, other: Any, source: str) -> Any:
    """``content`` whose partly written ``section`` has the keys of a like section for those that it leaves out.

    Args:
        content: a section before validation; anything but a mapping comes back as it is.
        section: key of the inner section; one that is missing or empty stays so.
        other: where the like section stands.
        source: its key there.
    """
    written = content.get(section) if isinstance(content, Mapping) else None
    like = other.get(source) if isinstance(other, Mapping) else None
    if not isinstance(written, Mapping) or not isinstance(like, Mapping):
        return content
    return {**content, section: {**like, **written}}


BatchSize = Annotated[int, Field(ge=1, le=1 << 20)]
Paired = Annotated[bool | Literal["auto"], flag_or("auto")]
Weight = Annotated[float, Field(ge=0, le=1e9)]
Factor = Annotated[float, Field(gt=0, le=1e6)]
Kimg = Annotated[float, Field(ge=0, le=1e9)]  # a million million pictures
SideLength = Annotated[int, Field(ge=SMALLEST, le=LARGEST)]
LoadLength = Annotated[
    Annotated[int, Field(ge=SMALLEST, le=LARGEST_LOADED)] | Literal["native"], BeforeValidator(_as_load_length)
]

Precision = Annotated[
    Literal["no", "bf16", "fp16", "auto"],
    BeforeValidator(_as_precision, json_schema_input_type=Literal["no", "bf16", "fp16", "auto", False]),
]

Compile = Annotated[
    Literal["auto", "off", "generators", "all"],
    BeforeValidator(_as_compile, json_schema_input_type=Literal["auto", "off", "generators", "all", False]),
]

# One value for all resolutions, or a mapping such as {default: 16, 256: 14}.
Key = Annotated[Literal["default"] | int, BeforeValidator(_as_key)]
Point = tuple[Kimg, Weight]
BatchSizes = Annotated[
    dict[Key, BatchSize], BeforeValidator(_as_mapping, json_schema_input_type=BatchSize | dict[Key, BatchSize])
]
Lengths = Annotated[dict[Key, Kimg], BeforeValidator(_as_mapping, json_schema_input_type=Kimg | dict[Key, Kimg])]
Scales = Annotated[dict[Key, Factor], BeforeValidator(_as_mapping, json_schema_input_type=Factor | dict[Key, Factor])]

# A number, or points [kimg, value] joined by straight lines and held flat outside them.
Curve = Annotated[
    tuple[Point, ...],
    Field(min_length=1),
    AfterValidator(_in_order),
    BeforeValidator(_as_curve, json_schema_input_type=Weight | tuple[Point, ...]),
]

# One text or several.
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_texts, json_schema_input_type=str | tuple[str, ...])]
Paths = Annotated[Texts, Field(min_length=1)]
AsTuple = BeforeValidator(_as_tuple)
OneOrSeveral = BeforeValidator(lambda value: _as_tuple(value) if isinstance(value, list | tuple) else (value,))


def by_resolution(table: Mapping[Any, Any], resolution: int) -> Any:
    """The entry of a mapping by resolution: its own, or the default.

    Raises:
        RecipeError: neither is there.
    """
    if resolution in table:
        return table[resolution]
    if DEFAULT in table:
        return table[DEFAULT]
    raise RecipeError(f"there is no value for {resolution} px and no default in {dict(table)}.")


def on_curve(curve: Sequence[tuple[float, float]], kimg: float) -> float:
    """Value of a piecewise linear curve of (kimg, value) points, flat outside them."""
    if kimg <= curve[0][0]:
        return curve[0][1]
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if kimg < x1:
            return y0 + (y1 - y0) * (kimg - x0) / (x1 - x0)
    return curve[-1][1]
