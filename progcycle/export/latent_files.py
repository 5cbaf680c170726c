"""Files of latents that ``progcycle project`` found, for ``progcycle interpolate``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from progcycle.errors import UserError
from progcycle.export.generator import Generator
from progcycle.files import atomic_file, with_default_permissions


@dataclass(frozen=True)
class Latents:
    """Latents, and what they are of.

    Attributes:
        rows: the latents.  # [N, D]
        labels: numbers of their classes, of a model with classes.
    """

    rows: Tensor
    labels: list[int] | None = None


def write_latents(path: Path, found: Latents, names: Sequence[str], about: Mapping[str, str]) -> None:
    """Write latents as safetensors; the file appears complete or not at all.

    Args:
        path: of the file.
        found: the latents.
        names: of the pictures that they are of.
        about: how they were found.
    """
    tensors = {"latents": found.rows.float().contiguous()}
    if found.labels is not None:
        tensors["labels"] = torch.tensor(found.labels)
    metadata = {"format": "pt", **about, "names": json.dumps(list(names), ensure_ascii=False)}
    with atomic_file(path) as temporary:
        with_default_permissions(temporary, lambda file: save_file(tensors, file, metadata))


def read_latents(path: Path, model: Generator) -> Latents:
    """Read latents for a model.

    Raises:
        UserError: there is no such file, it holds none, or they are another model's.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}; give the latents.safetensors that progcycle project wrote.")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: this file cannot be read as safetensors ({error}).") from None
    rows, labels = tensors.get("latents"), tensors.get("labels")
    size = sum(size for size, _ in model.latent_parts)
    if rows is None or rows.ndim != 2 or not len(rows) or not rows.isfinite().all():
        raise UserError(f"{path}: there are no latents in this file; give one that progcycle project wrote.")
    if rows.shape[1] != size:
        raise UserError(f"{path}: its latents have {rows.shape[1]} numbers, and this model's have {size}.")
    numbers = None if labels is None else labels.flatten().tolist()
    if (numbers is None) != (not model.classes) or (
        numbers is not None and (len(numbers) != len(rows) or not all(0 <= n < len(model.classes) for n in numbers))
    ):
        raise UserError(
            f"{path}: the classes of its latents are not those of this model, which has {len(model.classes)}."
        )
    return Latents(rows.float(), numbers)
