"""Files that do harm where a reader trusts them."""

import contextlib
import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import torch


class _Touch:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def pickles(folder: Path, mark: Path) -> dict[str, bytes]:
    """Pickles of several kinds; whoever loads one makes the folder ``mark``.

    Args:
        folder: a place to write to.
        mark: must not exist.
    """
    torch.save({"weight": _Touch(mark)}, folder / "zip.pt")
    torch.save({"weight": _Touch(mark)}, folder / "old.pt", _use_new_zipfile_serialization=False)
    content = {"plain": pickle.dumps(_Touch(mark), protocol=2), "text": pickle.dumps(_Touch(mark), protocol=0)}
    return {**content, **{name: (folder / f"{name}.pt").read_bytes() for name in ("zip", "old")}}


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file from its header, which may say anything."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def harmful(path: Path, mark: Path) -> bool:
    """Whether a file does harm where it is unpickled: a test of the tests."""
    with contextlib.suppress(Exception):  # of a plain pickle torch says so only after it has been executed
        torch.load(path, weights_only=False)
    done = mark.exists()
    if done:
        mark.rmdir()
    return done
