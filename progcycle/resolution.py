"""The size of the pictures of a stage: the only place that knows that they need not be squares.

A recipe's ``resolution`` is one number, or height and width. The base grid has the same shape, and every stage doubles
both sides, so that all stages of a run have one shape, and the shorter side is enough to name a stage: tables by
resolution have it as their key. Hence a :class:`Resolution` *is* that number, with a height and a width.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, SupportsIndex, Union

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

SMALLEST, LARGEST = 4, 1024  # pixels of the shorter side
LONGEST: Final = 4 * LARGEST  # pixels of the longer side

Sides = Union[int, Sequence[int], "Resolution"]


class Resolution(int):
    """Height and width in pixels; as a number, the shorter of the two.

    It compares, hashes and sorts as that number. Doubling, halving, multiplying and dividing by a whole number keep the
    shape; all else gives plain numbers. As text a square is its number, and a rectangle ``256x384``: height, width.

    Args:
        height: pixels.
        width: pixels; default: those of the height.

    Raises:
        ValueError: there are no pixels.
    """

    height: int
    width: int

    def __new__(cls, height: int, width: int | None = None) -> "Resolution":
        """See the class."""
        sides = int(height), int(height if width is None else width)
        if min(sides) < 0:
            raise ValueError(f"a picture has no {sides[0]} x {sides[1]} pixels")
        self = super().__new__(cls, min(sides))
        self.height, self.width = sides
        return self

    @classmethod
    def of(cls, value: Sides) -> "Resolution":
        """A resolution from itself, from the side of a square, or from a pair of height and width."""
        if isinstance(value, Resolution):
            return value
        return cls(value) if isinstance(value, int) else cls(*value)

    @classmethod
    def parse(cls, text: str) -> "Resolution":
        """A resolution from text: ``256``, or ``256x384`` of height and width.

        Raises:
            ValueError: it is neither.
        """
        sides = [int(side) for side in text.strip().strip("[]()").replace(",", "x").split("x")]
        if len(sides) > 2 or min(sides) < 1:
            raise ValueError(f"no resolution: {text}")
        return cls(*sides)

    def __reduce__(self) -> Any:
        return Resolution, self.shape

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def is_square(self) -> bool:
        """Whether both sides are equal."""
        return self.height == self.width

    @property
    def longer(self) -> int:
        """Pixels of the longer side."""
        return max(self.shape)

    @property
    def pixels(self) -> int:
        """How many pixels a picture has."""
        return self.height * self.width

    @property
    def plain(self) -> int | list[int]:
        """For JSON and YAML: the side of a square, else height and width."""
        return self.height if self.is_square else list(self.shape)

    @property
    def label(self) -> int | str:
        """For tables and figures: the side of a square, else text such as ``256x384``."""
        return self.height if self.is_square else str(self)

    @property
    def words(self) -> str:
        """For sentences in which other sizes stand, of which pictures have the width first."""
        return f"{self} px" if self.is_square else f"{self} px (height x width)"

    def scaled(self, shorter: int) -> "Resolution":
        """The size of this shape, as near as whole pixels come, that has such a shorter side."""
        return Resolution(*(round(side * shorter / int(self)) for side in self.shape))

    def doublings_from(self, base: int) -> int | None:
        """How often a size is doubled to become this one; None if it never does.

        Args:
            base: a resolution; or the shorter side of one of this shape.
        """
        low = Resolution.of(base)
        count = (int(self) // int(low)).bit_length() - 1 if low else -1
        if count < 0 or int(low) << count != self:
            return None
        low = low if isinstance(base, Resolution) else self >> count
        return count if (low << count).shape == self.shape else None

    def halved_to(self, shorter: int) -> "Resolution | None":
        """This size halved until its shorter side has so many pixels; None if there is no such one."""
        count = self.doublings_from(int(shorter))
        return None if count is None else self >> count

    def halves(self, least: int) -> "list[Resolution]":
        """This size, its half, and so on, as long as halves are whole and their shorter side has so many pixels."""
        found = [self]
        while found[-1] // 2 >= least and all(side % 2 == 0 for side in found[-1].shape):
            found.append(found[-1] // 2)
        return found

    def divides(self, other: "Resolution") -> bool:
        """Whether pictures of another size can be averaged to this one by whole blocks of pixels."""
        factor, rest = divmod(int(other), int(self)) if self else (0, 1)
        return not rest and (self * factor).shape == other.shape

    def __lshift__(self, count: int) -> "Resolution":
        return Resolution(self.height << count, self.width << count)

    def __rshift__(self, count: int) -> "Resolution":
        return Resolution(self.height >> count, self.width >> count)

    def __mul__(self, factor: int) -> Any:
        if _is_count(factor):
            return Resolution(self.height * factor, self.width * factor)
        return int(self) * (int(factor) if isinstance(factor, Resolution) else factor)

    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Any:
        if not _is_count(divisor) or not divisor:
            return int(self) // divisor
        return Resolution(self.height // divisor, self.width // divisor)

    def __str__(self) -> str:
        return str(self.height) if self.is_square else f"{self.height}x{self.width}"

    def __repr__(self) -> str:
        return f"Resolution({self.height}, {self.width})"

    def __format__(self, spec: str) -> str:
        if self.is_square:
            return format(self.height, spec)
        return format(str(self), spec if not spec[:1].isdigit() else f">{spec}")  # numbers stand on the right

    def __copy__(self) -> "Resolution":
        return self

    def __deepcopy__(self, memo: Any) -> "Resolution":
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        """One number, or a list of height and width; written as :attr:`plain`."""
        from pydantic_core import core_schema  # commands that read no recipe need not wait for it

        side = core_schema.int_schema(ge=SMALLEST, le=LARGEST)
        longer = core_schema.int_schema(ge=SMALLEST, le=LONGEST)
        listed = core_schema.list_schema(longer, min_length=2, max_length=2)

        def validated(value: Any, validate: Any) -> Resolution:
            if isinstance(value, Resolution):
                value = value.plain
            if not isinstance(value, list | tuple):
                return cls(validate(value))
            if len(value) != 2 or any(type(side) is not int for side in value):
                raise ValueError(f"a list has height and width, two whole numbers, got {str(list(value))[:60]}")
            if min(value) < SMALLEST or min(value) > LARGEST or max(value) > LONGEST:
                raise ValueError(
                    f"[height, width] has a shorter side of {SMALLEST} to {LARGEST} px and a longer one of {LONGEST} "
                    f"px at most, got {list(value)}"
                )
            return cls(*value)

        return core_schema.no_info_wrap_validator_function(
            validated,
            side,
            serialization=core_schema.plain_serializer_function_ser_schema(_plain),
            json_schema_input_schema=core_schema.union_schema([side, listed]),
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, SupportsIndex) and not isinstance(value, Resolution)


def _plain(value: int) -> int | list[int]:
    return Resolution.of(value).plain


def column_width(resolutions: Iterable[int], least: int, gap: int = 0) -> int:
    """Characters of a table's column of resolutions.

    Args:
        resolutions: in the column.
        least: characters, which squares fit in.
        gap: characters between the column before and the widest rectangle.
    """
    return max([least, *(gap + len(str(resolution)) for resolution in resolutions)])
