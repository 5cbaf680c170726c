"""Strict reading and writing of the two files of a snapshot: no tensor may be missing, extra or of another shape."""

import json
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from progcycle.errors import UserError
from progcycle.export.config import CONFIG_FILE, WEIGHTS_FILE, SnapshotConfig, read_config
from progcycle.files import atomic_file, with_default_permissions

FLOAT32 = "F32"  # as safetensors calls it
M = TypeVar("M", bound=nn.Module)


def write_model(folder: Path, config: SnapshotConfig, weights: Mapping[str, Tensor]) -> None:
    """Write ``model.safetensors`` (float32, CPU) and ``config.json`` into a folder.

    Raises:
        UserError: a weight is not a finite number.
    """
    tensors = {name: w.detach().to("cpu", torch.float32).contiguous().clone() for name, w in weights.items()}
    _check_finite(tensors, folder)
    with atomic_file(folder / WEIGHTS_FILE) as path:
        with_default_permissions(path, partial(save_file, tensors, metadata=_metadata(config)))
        _order_metadata(path)
    with atomic_file(folder / CONFIG_FILE) as path:
        path.write_text(config.to_json(), encoding="utf-8")


def _metadata(config: SnapshotConfig) -> dict[str, str]:
    """What the file says of itself without its config: a network of which task, at which stage, by which recipe."""
    return {
        "format": "pt",
        "library": "progcycle",
        "progcycle_version": config.progcycle_version,
        "task": config.task,
        "resolution": str(config.resolution.label),
        "stage": str(config.stage),
        "alpha": f"{config.alpha:g}",
        "nimg": str(config.nimg),
        "recipe_sha256": config.recipe_sha256,
    }


def _order_metadata(path: Path) -> None:
    """Put the metadata of a safetensors file in order, so that equal snapshots are equal files.

    safetensors writes them in an order that differs from process to process.
    """
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:  # as it is, as safetensors writes the same words
            file.seek(8)
            file.write(text.ljust(length))


def read_model(folder: Path, kind: Callable[[SnapshotConfig], M], device: str | torch.device = "cpu") -> M:
    """Build the model of a folder and give it its weights.

    Raises:
        UserError: a file is missing or unreadable, or config and weights do not fit each other exactly.
    """
    config = read_config(folder)
    # On the meta device nothing is allocated or drawn: loading leaves the random state alone.
    with torch.device("meta"):
        model = _built(kind, config, folder)
    tensors = _read_weights(folder, {name: tuple(w.shape) for name, w in model.state_dict().items()})
    _check_finite(tensors, folder)
    model.load_state_dict(tensors, strict=True, assign=True)
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(f"The model cannot be moved to the device {str(device)!r} ({reason}).") from None


def _built(kind: Callable[[SnapshotConfig], M], config: SnapshotConfig, folder: Path) -> M:
    try:
        return kind(config)
    except UserError as error:
        raise UserError(f"{folder / CONFIG_FILE}: {error}") from None


def _read_weights(folder: Path, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The weights, which are read only when the file's header fits: no memory is taken for what it merely claims."""
    path = folder / WEIGHTS_FILE
    try:
        with safe_open(path, "pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            header = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()}
            _check_fit(expected, header, folder)
            return {name: file.get_tensor(name) for name in expected}
    except FileNotFoundError:
        raise UserError(f"{path.parent}: this snapshot has no {path.name}.") from None
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: this file cannot be read as safetensors ({reason}).") from None


def _check_fit(
    expected: Mapping[str, tuple[int, ...]], header: Mapping[str, tuple[tuple[int, ...], str]], folder: Path
) -> None:
    faults = {
        "has no weight": [name for name in expected if name not in header],
        "has an unknown weight": [name for name in header if name not in expected],
    }
    for words, names in faults.items():
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise UserError(f"{folder / WEIGHTS_FILE} {words} {names[0]}{more}.")
    for name, shape in expected.items():
        got, dtype = header[name]
        if got != shape:
            raise UserError(
                f"{folder / WEIGHTS_FILE}: {name} has the shape {list(got)}, {CONFIG_FILE} asks for {list(shape)}."
            )
        if dtype != FLOAT32:
            raise UserError(f"{folder / WEIGHTS_FILE}: {name} is of type {dtype}, a snapshot holds {FLOAT32}.")


def _check_finite(tensors: Mapping[str, Tensor], folder: Path) -> None:
    for name, w in tensors.items():
        if not w.isfinite().all():
            raise UserError(f"{folder / WEIGHTS_FILE}: {name} holds numbers that are not finite.")
