"""Pickles as the official PG-GAN code writes them, made with throw-away modules of its names."""

import pickle
import sys
import types
from collections.abc import Mapping
from typing import Any

import numpy as np


def official(states: list[Mapping[str, Any]], protocol: int = 4, module: str = "tfutil", several: bool = True) -> bytes:
    """A pickle of networks of these states."""
    stranger = types.ModuleType(module)

    class Network:
        def __init__(self, state: Mapping[str, Any]) -> None:
            self.state = dict(state)

        def __getstate__(self) -> dict[str, Any]:
            return self.state

    Network.__module__, Network.__qualname__ = module, "Network"
    stranger.Network = Network  # type: ignore[attr-defined]
    before = sys.modules.get(module)
    sys.modules[module] = stranger
    try:
        networks = tuple(Network(state) for state in states)
        return pickle.dumps(networks if several else networks[0], protocol)
    finally:
        del sys.modules[module]
        if before is not None:
            sys.modules[module] = before


def tensorflow(variables: Mapping[str, np.ndarray], name: str, source: str = "", **settings: Any) -> dict[str, Any]:
    """The state of a network of the TensorFlow code."""
    values = [(key, np.float32(value) if value.ndim == 0 else value) for key, value in variables.items()]
    return {
        "version": 2, "name": name, "static_kwargs": settings, "build_module_src": source,
        "build_func_name": f"{name[0]}_paper", "variables": values,
    }  # fmt: skip


WIDTHS = (7, 5, 3)  # feature maps at 4, 8 and 16 px


def generator_variables(fused: bool, latents: int = 6, classes: int = 0, lod: float = 0.0) -> dict[str, np.ndarray]:
    """Random variables of a generator of 16 px, by the table of the TensorFlow code."""
    rng, found = np.random.default_rng(3), {"lod": np.array(lod, np.float32)}

    def put(name: str, *shape: int) -> None:
        found[name] = rng.standard_normal(shape).astype(np.float32)

    put("4x4/Dense/weight", latents + classes, 16 * WIDTHS[0])
    put("4x4/Dense/bias", WIDTHS[0])
    put("4x4/Conv/weight", 3, 3, WIDTHS[0], WIDTHS[0])
    put("4x4/Conv/bias", WIDTHS[0])
    for side, come, go in ((8, WIDTHS[0], WIDTHS[1]), (16, WIDTHS[1], WIDTHS[2])):
        put(f"{side}x{side}/Conv0{'_up' * fused}/weight", 3, 3, *((go, come) if fused else (come, go)))
        put(f"{side}x{side}/Conv0{'_up' * fused}/bias", go)
        put(f"{side}x{side}/Conv1/weight", 3, 3, go, go)
        put(f"{side}x{side}/Conv1/bias", go)
    for lod_number, width in zip((2, 1, 0), WIDTHS, strict=True):
        put(f"ToRGB_lod{lod_number}/weight", 1, 1, width, 3)
        put(f"ToRGB_lod{lod_number}/bias", 3)
    return found


def discriminator_variables(fused: bool, hidden: int = 4, classes: int = 0, lod: float = 0.0) -> dict[str, np.ndarray]:
    """The same of a discriminator."""
    rng, found = np.random.default_rng(4), {"lod": np.array(lod, np.float32)}

    def put(name: str, *shape: int) -> None:
        found[name] = rng.standard_normal(shape).astype(np.float32)

    for lod_number, width in zip((2, 1, 0), WIDTHS, strict=True):
        put(f"FromRGB_lod{lod_number}/weight", 1, 1, 3, width)
        put(f"FromRGB_lod{lod_number}/bias", width)
    for side, wide, narrow in ((16, WIDTHS[2], WIDTHS[1]), (8, WIDTHS[1], WIDTHS[0])):
        put(f"{side}x{side}/Conv0/weight", 3, 3, wide, wide)
        put(f"{side}x{side}/Conv0/bias", wide)
        put(f"{side}x{side}/Conv1{'_down' * fused}/weight", 3, 3, wide, narrow)
        put(f"{side}x{side}/Conv1{'_down' * fused}/bias", narrow)
    put("4x4/Conv/weight", 3, 3, WIDTHS[0] + 1, WIDTHS[0])
    put("4x4/Conv/bias", WIDTHS[0])
    put("4x4/Dense0/weight", 16 * WIDTHS[0], hidden)
    put("4x4/Dense0/bias", hidden)
    put("4x4/Dense1/weight", hidden, 1 + classes)
    put("4x4/Dense1/bias", 1 + classes)
    return found
