"""The random streams of a process. Training draws from none of them; what is added to it may."""

import json
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


class RandomState:
    """The states of Python's, numpy's and torch's streams, as a part of a checkpoint.

    Args:
        device: of the run; a CUDA GPU has a stream of its own.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def state_dict(self) -> dict[str, Tensor]:
        """The states, each as bytes.  # each [N] uint8"""
        numpy_state: Any = np.random.get_state(legacy=False)
        texts = {
            "python": json.dumps(random.getstate()),
            "numpy": json.dumps(numpy_state, default=lambda array: array.tolist()),
        }
        state = {name: torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8) for name, text in texts.items()}
        state["torch"] = torch.get_rng_state()
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        here = {name: tensor.cpu() for name, tensor in state.items()}
        version, internal, gauss = json.loads(here["python"].numpy().tobytes())
        random.setstate((version, tuple(internal), gauss))
        numpy_state = json.loads(here["numpy"].numpy().tobytes())
        numpy_state["state"]["key"] = np.asarray(numpy_state["state"]["key"], dtype=np.uint32)
        np.random.set_state(numpy_state)
        torch.set_rng_state(here["torch"])
        if self.device.type == "cuda" and "cuda" in here:
            torch.cuda.set_rng_state(here["cuda"], self.device)
