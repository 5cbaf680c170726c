"""At which scale training sees pictures, and at which test pictures are shown.

Where ``load_resolution`` is less than twice the resolution, training sees nearly whole pictures, moved about a little;
test pictures are whole ones, as is usual, and what they show is a little smaller. From twice on, and with ``native``,
training sees parts of pictures, and knows nothing of how whole ones look at its resolution. Test pictures then are the
middle of pictures that are loaded as in training.
"""

from typing import TypeVar

from progcycle.recipe import NATIVE, RANDOM_CROP, Pictures
from progcycle.resolution import Resolution

P = TypeVar("P", bound=Pictures)

PARTS = 2  # times the resolution from which on training sees parts of pictures


def load_side(options: Pictures, resolution: int) -> Resolution | None:
    """What training makes pictures cover, of the shape of the resolution; None for their own size.

    Of squares it is what the short side of pictures is brought to.
    """
    size = Resolution.of(resolution)
    if options.load_resolution == NATIVE:
        return None
    return size.scaled(options.load_resolution) if options.load_resolution else size


def test_side(options: Pictures, resolution: int) -> Resolution | None:
    """What test pictures, and those to translate, cover; None for their own size."""
    side = load_side(options, resolution)
    return side if side is None or side >= PARTS * resolution else Resolution.of(resolution)


def unaltered(options: P, resolution: int) -> P:
    """The options of test pictures: those of training without anything random."""
    changes: dict[str, object] = {"mirror": False, "augment": ()}
    if test_side(options, resolution) == resolution:
        changes["load_resolution"] = None
        if options.fit == RANDOM_CROP:
            changes["fit"] = "crop"
    return options.model_copy(update=changes)


def describe_scale(options: Pictures, resolution: int) -> str:
    """What test pictures are beside those of training, without a full stop; "" where both are whole pictures."""
    trained, tested = load_side(options, resolution), test_side(options, resolution)
    if trained == tested == resolution:
        return ""
    loaded = "pictures at their own size" if trained is None else f"pictures of {trained} px"
    crops = f"crops of {resolution} px of {loaded} are trained on"
    if trained == tested:
        return f"{crops}; test pictures are the middle {resolution} px of such pictures, at the same scale"
    assert trained is not None
    return (
        f"{crops}; test pictures are whole ones of {resolution} px, in which everything is {trained / resolution:.3g} "
        "times smaller"
    )
