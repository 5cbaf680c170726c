"""What an importer makes of a file: networks by this project's names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from progcycle.errors import UserError

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Part:
    """A network of a file.

    Attributes:
        player: ``generator`` or ``discriminator``.
        options: of the network, as a recipe has them, with its name.
        channels: of pictures that go in and come out, or one number.
        weights: by the names of this project.
        resolution: pixels of a side that it is made for; None: any.
        recipe: more keys of a recipe that describe it, merged into the importer's.
        override: constructor arguments that no recipe can say, or that follow from the file.
        alpha: weight of the newest stage.
        classes: names of classes.
        remarks: sentences about what is not as it was.
    """

    player: str
    options: Mapping[str, Any]
    channels: tuple[int, ...]
    weights: State
    resolution: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    override: Mapping[str, Any] = field(default_factory=dict)
    alpha: float = 1.0
    classes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def pick(
    state: State, names: Mapping[str, str], fill: Callable[[str], Tensor | None] = lambda _: None
) -> dict[str, Tensor]:
    """Tensors by their new names; all of a file must be taken.

    Args:
        state: tensors of a file.
        names: the file's name of each of ours.
        fill: what stands in for one of ours that the file does not have.

    Raises:
        UserError: a tensor is missing or left over.
    """
    found = dict[str, Tensor]()
    for own, theirs in names.items():
        tensor = state.get(theirs, fill(own))
        if tensor is None:
            raise UserError(f"the tensor {theirs} is missing.")
        found[own] = tensor
    if left := sorted(set(state) - set(names.values())):
        more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        raise UserError(f"there is a tensor {left[0]}{more} that does not belong to such a network.")
    return found
