"""Whether a discriminator of a run has seen the features that the run is measured in.

A distance in features that a discriminator looks at is better than the pictures are (Kynkaanniemi et al. 2022), also if
the two networks are of one family and were trained on the same pictures.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from progcycle.metrics.features import FAMILIES

if TYPE_CHECKING:
    from progcycle.recipe import Recipe

MARK = "^"
# Figures in the features of KID, and in those of kid-resnet.
IN_MAIN_FEATURES = (
    *("kid", "kid_error", "fid", "is", "fd", "feature", "source_feature"),
    *("precision", "recall", "density", "coverage"),
)
IN_RESNET = ("kid_resnet", "kid_resnet_error")


def architectures(recipe: "Recipe") -> list[str]:
    """Names of the pre-trained networks that discriminators of a recipe look through, each once."""
    return list(dict.fromkeys(_named(recipe.network.model_dump())))


def has_seen(recipe: "Recipe", features: str | None) -> bool:
    """Whether a discriminator looks through a network of the family of these features, given by their name."""
    if features is None:
        return False
    family = FAMILIES.get(features, features)
    return any(family in name.lower() for name in architectures(recipe))


def seen_figures(recipe: "Recipe", features: str | None, resnet: str | None) -> list[str]:
    """Names of the figures whose features a discriminator has seen.

    Args:
        recipe: of the run.
        features: name of those of KID, or None.
        resnet: name of those of kid-resnet, or None.
    """
    groups = ((features, IN_MAIN_FEATURES), (resnet, IN_RESNET))
    return [figure for name, figures in groups if has_seen(recipe, name) for figure in figures]


def mark_note(names: list[str]) -> str:
    """What the mark at figures means.

    Args:
        names: of the features.
    """
    return (
        f"{MARK} in features of {' and of '.join(names)}, a kind of network that a discriminator of this run looks\n"
        "  through: such figures flatter; compare others"
    )


def _named(section: Any) -> Iterator[str]:
    """Values of the keys ``architecture``, wherever in a section."""
    if isinstance(section, Mapping):
        for key, value in section.items():
            if key == "architecture" and isinstance(value, str):
                yield value
            yield from _named(value)
    elif isinstance(section, list | tuple):
        for value in section:
            yield from _named(value)
