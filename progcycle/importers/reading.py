"""Reading files of strangers: tensors and plain values come out, and nothing in them is executed."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from progcycle.errors import UserError

LARGEST = 4 << 30  # bytes of a file
SAVED = (b"PK", b"\x80")  # how files of torch.save begin: zip files, and pickles before torch 1.6
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile


class Settings:
    """Stands in for the object in which pytorch_GAN_zoo keeps its settings; only its attributes are read."""


def check_file(path: Path) -> bytes:
    """The first bytes of a file that may be read.

    Raises:
        UserError: it is missing, a folder, too large, empty, or a web page.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {what}; give the file of the weights.")
    if (size := path.stat().st_size) > LARGEST:
        raise UserError(f"{path} has {size} bytes, more than {LARGEST}; no network that can be imported is so large.")
    with path.open("rb") as file:
        head = file.read(512)
    if head.lstrip()[:1] == b"<":
        raise UserError(f"{path} is a web page, not weights: the download failed; download it again.")
    if not head:
        raise UserError(f"{path} is empty; download it again.")
    return head


def read_torch(path: Path) -> Any:
    """The content of a file of ``torch.save``: containers, tensors and plain values.

    Raises:
        UserError: it cannot be read without executing what is in it.
    """
    allowed: list[Any] = [(Settings, "models.utils.config.BaseConfig")]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())
        with path.open("rb") as file:
            is_saved = file.read(2).startswith(SAVED)
        if not is_saved:
            raise UserError(f"{path} was not written by torch.save; give a file of weights.") from None
        if "Unsupported" in reason or "GLOBAL" in reason:
            raise UserError(
                f"{path} holds Python objects, such as a whole network saved by torch.save(network), and not only "
                "tensors; loading them would execute what the file says, so save network.state_dict() there instead."
            ) from None
        raise UserError(f"{path} is damaged, or was not written by torch.save ({reason[:120]}).") from None
    except Exception as error:  # a damaged file makes the reader raise nearly anything
        reason = " ".join(str(error).split())[:120].rstrip(".")
        raise UserError(f"{path} is damaged, or was not written by torch.save ({reason}).") from None


def as_state(content: Any, path: Path) -> dict[str, Tensor]:
    """A dictionary of tensors, without the prefixes that wrappers leave.

    Raises:
        UserError: it is something else, a tensor is not finite, or is no tensor of numbers.
    """
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path} holds no tensors by name, as state_dict() gives them.")
    state = dict[str, Tensor]()
    for key, tensor in content.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise UserError(
                f"{path} holds {str(key)[:60]!r}, which is no tensor; it is not the weights of one network."
            )
        while key.startswith(PREFIXES):  # only in front: pytorch_GAN_zoo has "module." inside of names
            key = key.removeprefix(PREFIXES[0]).removeprefix(PREFIXES[1])
        state[key] = tensor.detach()
    check_finite(state, path)
    return state


def check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse numbers that are none."""
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UserError(f"{path}: {key} holds numbers that are not finite.")
