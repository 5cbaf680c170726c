"""What the commands that paint with a PG-GAN share."""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from progcycle.errors import UserError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from progcycle.export import Generator


def add_class(p: argparse.ArgumentParser, default: str = "the classes in turn") -> None:
    """The option ``--class``."""
    words = f"paint this class only: its name, or its number (default: {default})"
    p.add_argument("--class", dest="class_name", metavar="NAME", help=words)


def check_file(out: Path, kinds: Sequence[str]) -> None:
    """Refuse what cannot become a file of one of the kinds.

    Raises:
        UserError: it is a folder, or has another ending.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder; give --out the name of a file.")
    if out.suffix.lower() not in kinds:
        raise UserError(f"{out}: give --out a name that ends in {', '.join(kinds[:-1])} or {kinds[-1]}.")


def load_generator(run: Path, device: str) -> "Generator":
    """Read a PG-GAN.

    Raises:
        UserError: there is no snapshot, or it holds something else.
    """
    from progcycle.export import Generator, load

    model = load(run, device)
    if not isinstance(model, Generator):
        raise UserError(f"{run} holds translators, which need a picture to start from; use progcycle translate.")
    return model


def choose_labels(model: "Generator", class_name: str | None, count: int) -> list[int] | None:
    """Class numbers of so many pictures: one class, or the classes in turn.

    Raises:
        UserError: there is no such class.
    """
    if class_name is not None:
        return [model.class_number(class_name)] * count
    return [i % len(model.classes) for i in range(count)] if model.classes else None


def paint(
    model: "Generator", latents: "Tensor", labels: Sequence[int] | None, resolution: int | None, batch_size: int
) -> Iterator["Image.Image"]:
    """Paint pictures one after the other, a batch at a time.

    Args:
        model: a generator.
        latents: of all pictures.  # [N, D]
        labels: class numbers of all pictures, or None.
        resolution: an earlier stage, or None.
        batch_size: pictures painted at a time.
    """
    import torch

    from progcycle.export import to_pil

    for i in range(0, len(latents), batch_size):
        with torch.no_grad():
            some = None if labels is None else labels[i : i + batch_size]
            pictures = to_pil(model(latents[i : i + batch_size], resolution, some))
        yield from (picture.convert("RGB") for picture in pictures)


def columns_for(count: int) -> int:
    """Columns of a grid of ``count`` pictures: near to a square, and without gaps if it need not be far from one."""
    least = math.ceil(math.sqrt(count))
    whole = next(columns for columns in range(least, count + 1) if count % columns == 0)
    return whole if whole <= 2 * least else least
