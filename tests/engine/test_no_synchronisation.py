"""A step never waits for the device: nothing in it reads a number back, and nothing is copied there unpinned.

The device is stood for by torch's meta device, whose tensors have no numbers to read. What a GPU would wait for is
refused: reading a number or a truth, shapes that depend on numbers, and copies from the CPU that block.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tiny_runs import TASKS, began, full, projected, tiny, tiny_content, tiny_pyramid, write_domains
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from progcycle.blocks import autocast
from progcycle.data import Batch
from progcycle.engine import optimizers
from progcycle.engine.build import build
from progcycle.engine.precision import Precision
from progcycle.engine.stage_memory import _blank
from progcycle.engine.trainer import Trainer
from progcycle.objectives import penalties
from progcycle.recipe import Recipe, load_recipe, merge, validate

META = torch.device("meta")
SHIPPED = ("autoencoder_emoji", "cyclegan_classic_emoji", "dcgan_emoji", "wgan_gp_emoji")
READS = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "unique", "_unique2", "masked_select", "item")
SEVERAL: dict[str, Any] = {"discriminator": [{"name": "pggan", "minibatch_stddev": 2}] * 2}


class Refusing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses what would make a GPU wait."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, given = func._schema.name.removeprefix("aten::"), [t for t in tree_iter(args) if isinstance(t, Tensor)]
        where = {t.device.type for t in given}
        if "meta" in where and name in READS:
            raise AssertionError(f"{name} waits for the device")
        if name == "index" and any(t.dtype == torch.bool for t in given[1:]) and "meta" in where:
            raise AssertionError("a mask as index waits for the device")
        output = func(*args, **(kwargs or {}))
        options = {**dict(zip((a.name for a in func._schema.arguments), args, strict=False)), **(kwargs or {})}
        if name in ("_to_copy", "copy_") and isinstance(output, Tensor):
            source = given[-1].device.type
            if "meta" in (source, output.device.type) and source != output.device.type:
                if source == "meta":
                    raise AssertionError("a copy to the CPU waits for the device")
                # A number of the CPU in an operation on the device travels as an argument, not as a copy.
                if not options.get("non_blocking"):
                    raise AssertionError(f"a copy of {tuple(given[-1].shape)} numbers to the device waits")
        return output


class Unpinned(TorchFunctionMode):
    """Refuses ``torch.tensor(..., device=...)``, which copies and waits without showing it to the other mode."""

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if (
            func in (torch.tensor, torch.as_tensor, torch.asarray)
            and output.is_meta
            and not isinstance(args[0], Tensor)
        ):
            raise AssertionError("torch.tensor with a device waits; fill on the device, or pin")
        return output


class AutocastOfMeta:
    """torch, whose autocast knows the meta device."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def autocast(kind: str, **options: Any) -> Any:
        return torch.autocast(kind.replace("meta", "cpu"), **options)

    @staticmethod
    def is_autocast_enabled(kind: str) -> bool:
        return torch.is_autocast_enabled(kind.replace("meta", "cpu"))


@pytest.fixture
def _meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are trained on the meta device, which no fused Adam knows."""
    adam = optimizers._Adam
    monkeypatch.setattr(optimizers, "_Adam", lambda *a, **options: adam(*a, **{**options, "fused": False}))
    for module in (autocast, penalties):  # not torch itself, which others may import meanwhile
        monkeypatch.setattr(module, "torch", AutocastOfMeta())


def trainer_of(recipe: Recipe) -> Trainer:
    real = Accelerator(cpu=True)
    with META:
        built = build(recipe)
    processes: Any = SimpleNamespace(
        device=META, num_processes=1, is_main_process=True, prepare=real.prepare, reduce=real.reduce
    )
    # Autocast does not know the meta device; what it would convert does not matter here.
    return Trainer(recipe, built, processes, Precision(recipe.training.precision, torch.device("cpu")))


def moments(trainer: Trainer) -> Iterator[tuple[Any, dict[str, Batch]]]:
    """The first steps of a fade, if there is one, and of the last phase, with pictures on the CPU."""
    phases = trainer.compiled.schedule.phases
    fades = [phase for phase in phases if phase.kind == "fade"]
    for phase, steps in ((fades[0], 4), (phases[-1], 1)) if fades else ((phases[-1], 4),):
        for nimg in range(phase.start, phase.start + steps * phase.batch_size, phase.batch_size):
            growth = trainer.compiled.schedule.at(nimg)
            yield growth, _blank(trainer, growth, growth.batch_size)


def kinds() -> dict[str, Any]:
    """Recipes of every task, plain and with what has a memory."""
    found: dict[str, Any] = {task: lambda data, task=task: tiny(task, data) for task in TASKS}
    latents = {"network": {"generator": {"latents": {"ab": 3}}}}
    found["latents"] = lambda data: tiny("cyclegan", data, latents)
    found |= {f"{task}, full": lambda data, task=task: tiny(task, data, full(task, data)) for task in TASKS}
    # With windows of pictures (halving.stall_kimg), one number a window is read.
    found["began"] = lambda data: began(data, {"optimizer": {"halving": None}})
    found["lapgan"] = lambda data: validate(tiny_pyramid(data))
    found["projected"] = lambda data: tiny("pggan", data, projected())
    found |= {name: lambda _, name=name: load_recipe(name) for name in SHIPPED}
    found["several discriminators"] = lambda data: tiny("pggan", data, {"network": SEVERAL})
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_domains(tmp_path_factory.mktemp("data"))


@pytest.mark.usefixtures("_meta")
@pytest.mark.parametrize("kind", kinds())
def test_nothing_in_a_step_waits_for_the_device(kind: str, data: Path) -> None:
    trainer = trainer_of(kinds()[kind](data))
    for growth, batches in moments(trainer):
        trainer._enter(growth)  # what happens once a stage may wait
        with Refusing(), Unpinned():
            trainer.train_step(batches, growth)


def test_what_is_refused() -> None:
    """So that the test above can fail."""
    x, here = torch.ones(3, device=META), torch.ones(3)
    for waits in (
        lambda: here.to(META),
        lambda: x.copy_(here),
        lambda: x[x > 0],
        lambda: x.nonzero(),
        lambda: x.cpu(),
        lambda: float(x.sum()),
        lambda: bool(x.sum() > 0),
        lambda: torch.tensor([1.0, 2.0], device=META),
    ):
        with Refusing(), Unpinned(), pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
            waits()
    with Refusing():
        assert (here.to(META, non_blocking=True) * 2 + x).device == META


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("task", TASKS)
def test_no_step_waits_for_a_gpu(task: str, precision: str, data: Path) -> None:
    recipe = validate(merge(tiny_content(task, data), {"training": {"precision": precision}}))
    accelerator = Accelerator()
    trainer = Trainer(recipe, build(recipe), accelerator, Precision(precision, accelerator.device))
    for number, (growth, batches) in enumerate(moments(trainer)):
        pinned = {
            domain: Batch(batch.images.pin_memory(), batch.positions, batch.names) for domain, batch in batches.items()
        }
        torch.cuda.set_sync_debug_mode("error" if number else "default")  # the first step fills caches
        try:
            trainer.train_step(pinned, growth)
        finally:
            torch.cuda.set_sync_debug_mode("default")
