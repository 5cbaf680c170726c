"""What a training step computes, and how often."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tiny_runs import tiny
from torch.utils._python_dispatch import TorchDispatchMode

from progcycle.blocks import EqualizedConv2d, EqualizedLinear
from progcycle.data import Batch
from progcycle.engine.build import build
from progcycle.engine.precision import Precision
from progcycle.engine.trainer import Trainer

LAST = 64  # pictures shown when the last phase of tiny runs begins


class Products(TorchDispatchMode):
    """How often each of some tensors was multiplied."""

    def __init__(self, tensors: Mapping[int, str]) -> None:
        super().__init__()
        self.tensors, self.counts = tensors, Counter[str]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket is torch.ops.aten.mul and args[0].data_ptr() in self.tensors:
            self.counts[self.tensors[args[0].data_ptr()]] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_every_weight_is_scaled_once_for_each_backward_pass(task: str, parts: int, pictures: Path) -> None:
    changes = {"training": {"max_batch_per_device": 4 // parts}}
    recipe, accelerator = tiny(task, pictures, changes), Accelerator()
    built = build(recipe)
    trainer = Trainer(recipe, built, accelerator, Precision("no", accelerator.device))
    weights = {
        layer.weight.data_ptr(): f"{name}.{key}"
        for name, network in trainer.task.networks.items()
        for key, layer in network.named_modules()
        if isinstance(layer, EqualizedConv2d | EqualizedLinear)
    }
    growth, domains = built.schedule.at(LAST), ("real",) if task == "pggan" else ("a", "b")
    batch = Batch(torch.rand(4, 3, 16, 16) * 2 - 1, tuple(range(LAST, LAST + 4)), ("",) * 4)
    for player in trainer.task.players:
        with Products(weights) as products:
            trainer.compute_gradients(player, dict.fromkeys(domains, batch), growth)
        assert len(products.counts) > 8
        assert set(products.counts.values()) == {parts}, player
