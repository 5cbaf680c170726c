"""A device that has no float64, as Apple's GPUs have none, played by the CPU."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

MPS = torch.device("mps")


class OnDevice(torch.Tensor):
    """A tensor that says that it is on the device; ``.cpu()`` takes it away from there."""


class WithoutFloat64(TorchFunctionMode):
    """While it lasts, tensors of :class:`OnDevice` refuse float64 as MPS does, and what is made of them stays there."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__" and args and isinstance(args[0], OnDevice) and func == torch.Tensor.device.__get__:
            return MPS
        there = any(isinstance(arg, OnDevice) for arg in _tensors((args, kwargs)))
        wanted = [arg for arg in (*args, *kwargs.values()) if isinstance(arg, torch.device | str) and str(arg) == "mps"]
        there = there or bool(wanted)
        args = tree_map(lambda arg: "cpu" if isinstance(arg, torch.device) and arg.type == "mps" else arg, args)
        kwargs = {key: "cpu" if value == MPS or value == "mps" else value for key, value in kwargs.items()}
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        if name in ("cpu", "tolist", "item", "numpy", "__float__", "__int__", "__bool__") or not there:
            return _plain(result)
        return tree_map(_placed, result)


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _plain(value: Any) -> Any:
    return value.as_subclass(torch.Tensor) if isinstance(value, OnDevice) else value


def _placed(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    if value.dtype == torch.float64:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")
    return value.as_subclass(OnDevice)
