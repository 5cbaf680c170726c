"""The pickles of the official PG-GAN code, read without executing anything.

Their networks hold the source text of the code that made them, which the official loader executes. Here it stays text.
Every name that a pickle may mention stands for a small class of this file; numpy's own are not among them, since a
pickle could call them with any shape.
"""

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from progcycle.errors import UserError

CODES = ("f2", "f4", "f8", "i4", "i8", "u1", "b1")
STYLEGAN = ("dnnlib.tflib.network", "torch_utils.persistence")


class RefusedError(Exception):
    """Something in a pickle that is not needed for weights; the message names it."""


class Network:
    """A network's state, as it lies in the file."""

    def __init__(self) -> None:
        self.state: Mapping[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise RefusedError("a network whose state is no dictionary")
        self.state = state


class _Type:
    """A type of numbers."""

    def __init__(self, code: object = "", *_: object) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if text not in CODES:
            raise RefusedError(f"numbers of the type {text!r:.40}")
        self.code, self.order = str(text), "<"

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise RefusedError("a type of numbers in an unknown form")
        if len(state) > 4 and any(part is not None for part in state[2:5]):
            raise RefusedError("a structured type of numbers")
        self.order = ">" if state[1] == ">" else "<"

    def read(self, raw: bytes, shape: tuple[int, ...], fortran: bool) -> np.ndarray:
        """The numbers, whose size must be that of the bytes."""
        kind = np.dtype(self.order + self.code)
        if not all(type(side) is int and 0 <= side < 1 << 32 for side in shape):
            raise RefusedError(f"an array of the shape {shape!r:.60}")
        if math.prod(shape) * kind.itemsize != len(raw):
            raise RefusedError(f"an array of the shape {shape!r:.60} in {len(raw)} bytes")
        array = np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C")
        return array.astype(kind.newbyteorder("="))


class _Array:
    """An array in the making."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Type):
            raise RefusedError("an array in an unknown form")
        _, shape, kind, fortran, raw = state
        self.value = kind.read(_bytes(raw), shape if isinstance(shape, tuple) else (), bool(fortran))


class _Ndarray:
    """Stands for the class numpy.ndarray, which pickles only mention."""


def _bytes(raw: Any) -> bytes:
    if isinstance(raw, str):  # of Python 2
        return raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray):
        raise RefusedError("an array without bytes")
    return bytes(raw)


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    if kind is not _Ndarray:
        raise RefusedError("an array of another class")
    return _Array()


def _scalar(kind: object, raw: object = b"") -> _Array:
    array = _Array()
    if not isinstance(kind, _Type):
        raise RefusedError("a number in an unknown form")
    array.value = kind.read(_bytes(raw), (), False)
    return array


def _frombuffer(raw: object, kind: object, shape: object, order: object = "C") -> _Array:
    array = _Array()
    if not isinstance(kind, _Type) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise RefusedError("an array in an unknown form")
    array.value = kind.read(_bytes(raw), shape, order == "F")
    return array


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedError("a text in another encoding than latin1")
    return text.encode("latin1")


def _names() -> dict[tuple[str, str], Any]:
    names: dict[tuple[str, str], Any] = {
        ("tfutil", "Network"): Network,
        ("network", "Network"): Network,
        ("numpy", "ndarray"): _Ndarray,
        ("numpy", "dtype"): _Type,
        ("_codecs", "encode"): _encode,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core._multiarray_umath"):
        names |= {(module, "_reconstruct"): _reconstruct, (module, "scalar"): _scalar}
    for module in ("numpy.core.numeric", "numpy._core.numeric"):
        names[module, "_frombuffer"] = _frombuffer
    return names


NAMES = _names()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = NAMES.get((module, name))  # never by getattr: a dotted name would lead anywhere
        if found is None:
            raise RefusedError(f"{module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedError("a persistent id")


def read_networks(path: Path) -> list[Mapping[str, Any]]:
    """The states of the networks in a pickle of the official code: G, D and the average of G, or one alone.

    Arrays are numpy's; ``build_module_src`` is text.

    Raises:
        UserError: it holds anything else, or is damaged.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
    except RefusedError as error:
        if str(error).startswith(STYLEGAN):
            raise UserError(
                f"{path} is a pickle of StyleGAN ({error}), whose networks progcycle does not have."
            ) from None
        raise UserError(
            f"{path} mentions {error}, which the weights of an official PG-GAN do not need; it was not loaded."
        ) from None
    except Exception as error:  # a damaged pickle makes the reader raise nearly anything
        reason = " ".join(str(error).split())[:120].rstrip(".")
        raise UserError(f"{path} is damaged, or is no pickle ({type(error).__name__}: {reason}).") from None
    networks = list(content) if isinstance(content, tuple | list) else [content]
    if len(networks) not in (1, 3) or not all(isinstance(network, Network) for network in networks):
        raise UserError(f"{path} does not hold the networks of the official PG-GAN code, one or three of them.")
    return [{key: _plain(value) for key, value in network.state.items()} for network in networks]


def _plain(value: Any) -> Any:
    """Arrays in the making as arrays, in containers too."""
    if isinstance(value, _Array):
        if value.value is None:
            raise UserError("An array of the pickle has no content.")
        return value.value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_plain(item) for item in value])
    return value
