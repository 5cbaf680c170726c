"""Resolutions of a recipe that belong together: the base grid, doubled again and again, gives all the others."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from progcycle.recipe.values import DEFAULT
from progcycle.resolution import LARGEST, LONGEST, SMALLEST, Resolution

if TYPE_CHECKING:
    from progcycle.recipe.growth_plan import Schedule

PLANNED: Final = ("start_resolution", "hold_resolution")
TABLES: Final = ("stable_kimg", "fade_kimg", "batch_size", "lr_scale")


def written_resolution(value: Any) -> Resolution | None:
    """What the key ``resolution`` says before validation; None if it is no resolution, which validation reports."""
    sides = value if isinstance(value, list | tuple) else [value]
    if len(sides) not in (1, 2) or any(not isinstance(side, int) or isinstance(side, bool) for side in sides):
        return None
    fits = SMALLEST <= min(sides) <= LARGEST and max(sides) <= LONGEST
    return Resolution.of(value) if fits else None


def with_shape(content: Mapping[Any, Any], base: int) -> dict[Any, Any]:
    """A recipe, before validation, whose other resolutions have the shape of its rectangle where they are one number.

    Args:
        content: as written.
        base: the base resolution where it is not written.
    """
    resolution = written_resolution(content.get("resolution"))
    if resolution is None or resolution.is_square:
        return dict(content)
    network = content.get("network", {})
    shaped = dict(content)
    if isinstance(network, Mapping):
        shaped["network"] = _shaped({"base_resolution": base, **network}, ("base_resolution",), resolution)
    shaped |= {key: _shaped(content[key], PLANNED, resolution) for key in ("schedule",) if key in content}
    before = content.get("pretraining")
    if isinstance(before, Mapping) and "schedule" in before:
        shaped["pretraining"] = {**before, "schedule": _shaped(before["schedule"], PLANNED, resolution)}
    return shaped


def _shaped(section: Any, keys: tuple[str, ...], resolution: Resolution) -> Any:
    if not isinstance(section, Mapping):
        return section
    numbers = {key: section[key] for key in keys if isinstance(section.get(key), int)}
    found = {key: resolution.halved_to(int(number)) for key, number in numbers.items()}
    return {**section, **{key: size.plain for key, size in found.items() if size is not None}}


def check_grid(base: int, resolution: Resolution) -> None:
    """Refuse a base grid that never becomes the resolution; one that is larger is left to the plan.

    Raises:
        ValueError: the sentence names what fits.
    """
    base = Resolution.of(base)
    if base > resolution or resolution.doublings_from(base) is not None:
        return
    remedies = [f"set network.base_resolution={_written(fit)}" for fit in _bases(base, resolution)]
    remedies += [
        f"choose the resolution {' or '.join(map(_written, near))}" for near in [nearest(resolution, base)] if near
    ]
    raise ValueError(
        f"network.base_resolution: {base} px doubled again and again never become the resolution {resolution}; "
        + ", or ".join(remedies)
    )


def check_plan(schedule: "Schedule", resolution: Resolution, base: int, key: str = "schedule") -> None:
    """Refuse resolutions of a plan that are none of the networks'.

    Args:
        schedule: the plan.
        resolution: the final one.
        base: of the base grid, which fits it.
        key: where the plan stands.

    Raises:
        ValueError: the sentence names those that there are.
    """
    base = Resolution.of(base)
    stages = [base << i for i in range((resolution // int(base)).bit_length())]
    for name in PLANNED:
        size = getattr(schedule, name)
        if size is not None and size <= resolution and resolution.doublings_from(size) is None:
            raise ValueError(
                f"{key}.{name}: {size} is none of the resolutions that double from {base}: "
                f"{', '.join(map(str, stages))}"
            )
    for name in TABLES:
        check_table(getattr(schedule, name), f"{key}.{name}", base)


def check_table(table: Mapping[Any, Any] | None, key: str, base: int) -> None:
    """Refuse keys of a table by resolution that are none of any length of growth.

    Raises:
        ValueError: the sentence names the next ones.
    """
    for size in table or ():
        if size != DEFAULT and not _in_chain(size, int(base)):
            near = [low for low in _chain(int(base)) if low < size][-1:] + [
                up for up in _chain(int(base)) if up > size
            ][:1]
            raise ValueError(
                f"{key}: the resolutions double from {int(base)} px, so that there is no {size}; did you mean "
                f"{' or '.join(map(str, near))}?"
            )


def _chain(base: int) -> list[int]:
    while base % 2 == 0 and base // 2 >= SMALLEST:
        base //= 2
    return [base << i for i in range(LARGEST.bit_length()) if base << i <= LARGEST]


def _in_chain(size: int, base: int) -> bool:
    low, high = sorted((size, base))
    return high % low == 0 and not (high // low) & (high // low - 1)


def nearest(resolution: Resolution, base: int) -> list[Resolution]:
    """The next smaller and the next larger resolution of about this shape that a base of that shorter side becomes."""
    base = int(base)
    below = max((int(resolution) // base).bit_length() - 1, 0)
    found = []
    for count in (below, below + 1):
        shorter = base << count
        longer = max(round(resolution.longer * base / int(resolution)), base) << count
        sides = (shorter, longer) if resolution.height <= resolution.width else (longer, shorter)
        if SMALLEST <= shorter <= LARGEST and longer <= LONGEST:
            found.append(Resolution(*sides))
    return found


def _bases(base: int, resolution: Resolution) -> Iterator[Resolution]:
    """The base grid that fits a resolution and is nearest to another, if there is one of a few pixels."""
    fits = [size for i in range(11) if (size := resolution >> i) >= SMALLEST and size << i == resolution]
    whole = [size for size in fits if resolution.doublings_from(size) is not None and size <= max(2 * base, 16)]
    yield from sorted(whole, key=lambda size: max(size / base, base / size))[:1]


def _written(size: Resolution) -> str:
    """As it is written in a recipe, and on the command line."""
    return str(size.plain).replace(" ", "")
