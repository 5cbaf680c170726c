"""Widths, lengths and batches by resolution: the defaults of a recipe that leaves them out.

The rule of the README of recipes ("Sizes by resolution"), for translators:

* widths: 16 feature maps at the final resolution, twice as many at every halving, up to 96, or up to as many as the
  resolution has pixels on a side;
* lengths: 10 kimg at every resolution; a fade half as long as the stable phase that follows it;
* batch: 4 pictures.

On a GPU ``progcycle new`` writes twice the width and the batch, and four times the lengths.

For both tasks: a resolution above all those that a table of ``schedule`` names has the entry of the highest one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from progcycle.recipe.grid import TABLES, written_resolution
from progcycle.recipe.networks import grows, places_in, put_at
from progcycle.recipe.values import DEFAULT, is_resolution_key
from progcycle.resolution import Resolution

MAPS_AT_THE_END: Final = 16
WIDEST_AT_LEAST: Final = 96
KIMG: Final = 10.0
FADE: Final = 0.5  # of the stable phase at the same resolution
BATCH: Final = 4


@dataclass(frozen=True)
class Sizes:
    """Sizes of a translator for one final resolution.

    Attributes:
        base, widest: ``base`` and ``max`` of the networks' ``channels``.
        stable_kimg, fade_kimg: lengths at every resolution.
        batch_size: pictures of a step.
    """

    base: int
    widest: int
    stable_kimg: float
    fade_kimg: float
    batch_size: int


def sizes_for(resolution: int, gpu: bool = False) -> Sizes:
    """Sizes by the rule above.

    Args:
        resolution: final pixels per side, of a rectangle its shorter side.
        gpu: whether training runs on a GPU.
    """
    wide, long = (2, 4) if gpu else (1, 1)
    resolution = int(resolution)
    widest = max(WIDEST_AT_LEAST, resolution)
    base = MAPS_AT_THE_END * resolution // 2
    return Sizes(wide * base, wide * widest, long * KIMG, long * KIMG * FADE, wide * BATCH)


def with_sizes(content: Any, section: type[BaseModel]) -> Any:
    """A recipe of a translator, before validation, with sizes by the rule for what it leaves out.

    Networks that do not grow have sizes of their own, and keep the plain defaults.

    Args:
        content: as written, its networks' options complete; anything that is not of a recipe's shape comes back as it
            is.
        section: class of its section ``network``.
    """
    if not isinstance(content, Mapping) or written_resolution(content.get("resolution")) is None:
        return content
    network = content.get("network", {})
    if not isinstance(network, Mapping) or not grows(section, network):
        return content
    sizes = sizes_for(Resolution.of(content["resolution"]))
    filled = dict(content)
    filled["network"] = dict(network)
    for place, (marker, written) in places_in(section, network).items():
        options = marker.options_of(written)
        if options is None or "channels" not in options.model_fields or not isinstance(written, Mapping):
            continue
        channels = written.get("channels", {})
        if isinstance(channels, Mapping):
            widths = {"base": sizes.base, "max": sizes.widest, **channels}
            filled["network"] = put_at(filled["network"], place, {**written, "channels": widths})
    filled["schedule"] = _schedule(content.get("schedule", {}), sizes)
    before = content.get("pretraining")
    if isinstance(before, Mapping) and before.get("schedule") is not None:
        filled["pretraining"] = {**before, "schedule": _schedule(before["schedule"], sizes)}
    return filled


def _schedule(written: Any, sizes: Sizes) -> Any:
    if not isinstance(written, Mapping):
        return written
    stable = written.get("stable_kimg", sizes.stable_kimg)
    filled = {"stable_kimg": stable, "batch_size": sizes.batch_size, **written}
    if "fade_kimg" not in written:
        try:
            fades = (
                {key: FADE * value for key, value in stable.items()} if isinstance(stable, Mapping) else FADE * stable
            )
        except TypeError:  # not a length, which validation reports
            return filled
        filled["fade_kimg"] = fades
    return filled


def with_longer_tables(content: Any) -> Any:
    """A recipe, before validation, whose tables of ``schedule`` reach up to its resolution, or to where growth holds.

    A table without a default that ends below has its highest entry for every resolution above.

    Args:
        content: as written; anything that is not of a recipe's shape comes back as it is.
    """
    if not isinstance(content, Mapping) or not isinstance(content.get("schedule"), Mapping):
        return content
    schedule = content["schedule"]
    end = schedule.get("hold_resolution") or content.get("resolution")
    if (last := written_resolution(end)) is None:
        return content
    longer = {name: _longer(schedule[name], int(last)) for name in TABLES if name in schedule}
    return {**content, "schedule": {**schedule, **longer}}


def _longer(table: Any, end: int) -> Any:
    if not isinstance(table, Mapping) or not table or DEFAULT in table or not all(map(is_resolution_key, table)):
        return table
    highest = max(table, key=int)
    above = [int(highest) << i for i in range(1, end.bit_length()) if int(highest) << i <= end]
    return {**table, **dict.fromkeys(above, table[highest])}
