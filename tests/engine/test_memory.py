"""A device that runs out of memory: one sentence, whose advice works when it is followed."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tiny_runs import tiny, train

from progcycle.engine import memory, optimizers
from progcycle.engine import run as run_module
from progcycle.engine import train as train_module
from progcycle.engine.memory import MemoryAdvice
from progcycle.errors import UserError
from progcycle.recipe import Recipe, load_recipe, merge
from progcycle.runtime.checkpoint import checkpoints
from progcycle.schedule import Growth, GrowthSchedule
from progcycle.tasks.adversarial_loss import AdversarialLoss

ERRORS = {
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "numpy": MemoryError("Unable to allocate 93.1 GiB for an array"),
}


def run_out(monkeypatch: pytest.MonkeyPatch, more_than: int, error: BaseException, resolution: int = 16) -> None:
    """A device that can judge so many pictures of a resolution at a time."""
    loss = AdversarialLoss.discriminator_loss

    def limited(adversarial: AdversarialLoss, *arguments: Any, **keywords: Any) -> Any:
        pictures = next(value for value in (*arguments, *keywords.values()) if isinstance(value, torch.Tensor))
        if pictures.shape[-1] == resolution and len(pictures) > more_than:
            raise error
        return loss(adversarial, *arguments, **keywords)

    monkeypatch.setattr(AdversarialLoss, "discriminator_loss", limited)


def refused(recipe: Recipe, run: Path) -> str:
    with pytest.raises(UserError) as error:
        train(recipe, run)
    return str(error.value)


@pytest.mark.parametrize(("task", "kind"), [("pggan", "CUDA"), ("cyclegan", "CPU")])
def test_the_key_that_helps_is_named_and_the_run_goes_on_with_it(
    task: str, kind: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_out(monkeypatch, 2, ERRORS[kind])
    run = tmp_path / "run"
    assert refused(tiny(task, pictures), run) == (
        "The device cpu does not have enough memory for training on 4 pictures at a time at stage 2 (16 px); "
        "add training.max_batch_per_device=2 to the command, which then resumes from the newest checkpoint."
    )
    assert [path.name for path in checkpoints(run / "checkpoints")] == ["nimg-000000000020", "nimg-000000000040"]
    training = train(tiny(task, pictures, {"training": {"max_batch_per_device": 2}}), run)
    assert min(training.seen) == 10
    assert training.trainer.nimg == 88


def test_without_a_checkpoint_the_run_starts_again(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_out(monkeypatch, 3, ERRORS["CUDA"], resolution=8)
    recipe = tiny("pggan", pictures, {"training": {"checkpoint_kimg": 1, "max_batch_per_device": {16: 2}}})
    told = refused(recipe, tmp_path / "run")
    assert told.endswith(
        "for training on 4 pictures at a time at stage 1 (8 px); add "
        "training.max_batch_per_device.8=2 to the command, which then starts from the beginning, "
        "as there is no checkpoint yet."
    )
    load_recipe(tmp_path / "run/recipe.yaml", ["training.max_batch_per_device.8=2"])


def test_what_cannot_be_divided_further_keeps_fewer_activations(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where networks can compute them again: not where batch norm would see them twice."""
    run_out(monkeypatch, 1, ERRORS["CUDA"])
    change: dict[str, Any] = {"training": {"max_batch_per_device": 2}}
    told = refused(tiny("pggan", pictures, change), tmp_path / "run")
    assert told.endswith(
        "; add training.checkpoint_activations=8 to the command, which then resumes from the newest checkpoint."
    )
    monkeypatch.undo()
    resumed = merge(change, {"training": {"checkpoint_activations": 8}})
    assert train(tiny("pggan", pictures, resumed), tmp_path / "run").trainer.nimg == 88
    normed = merge(change, {"network": {"generator": {"normalization": "batch"}}})
    recipe = tiny("pggan", pictures, normed)
    advice = MemoryAdvice(recipe, GrowthSchedule.of(recipe), Accelerator(), lambda: 0)
    with pytest.raises(UserError, match="the batch cannot be split further"), advice.explain(advice.schedule.at(70)):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_what_cannot_be_divided_further_ends_below_the_stage(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minibatch standard deviation compares two pictures, so that parts of one are no advice; nor is what is there."""
    run_out(monkeypatch, 1, ERRORS["CUDA"])
    training = {"max_batch_per_device": 2, "checkpoint_activations": 8}
    change: dict[str, Any] = {"training": training, "schedule": {"decay_kimg": 0}}
    told = refused(tiny("pggan", pictures, change), tmp_path / "run")
    assert (
        "for training on 2 pictures at a time at stage 2 (16 px); the batch cannot be split further; use a sm" in told
    )
    assert told.endswith(", or end growth before this stage with schedule.hold_resolution=8.")
    ended = train(tiny("pggan", pictures, merge(change, {"schedule": {"hold_resolution": 8}})), tmp_path / "run")
    assert ended.trainer.nimg == 48

    change["schedule"] = {"decay_kimg": 0.02}  # with a plan that ends at 48, the decay would have begun at 28
    told = refused(tiny("pggan", pictures, change), tmp_path / "decay")
    assert told.endswith("or a device with more memory.")


def test_samples_and_evaluations_name_their_own_keys(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ERRORS["CUDA"]

    run, recipe = tmp_path / "run", tiny("pggan", pictures, {"training": {"evaluation": {"every_kimg": 0.028}}})
    with pytest.raises(
        UserError,
        match=r"training.evaluation at stage 1 .* add training.evaluation=null to the command, which then resumes",
    ):
        train(recipe, run, evaluate=fail)
    real = run_module.make_panel

    def limited(task: Any, sets: Any, count: int, growth: Growth, device: Any) -> Any:
        return real(task, sets, count, growth, device) if growth.stage == 0 or count < 3 else fail()

    monkeypatch.setattr(run_module, "make_panel", limited)
    with pytest.raises(
        UserError,
        match=r"a grid of 4 samples at stage 1 .* add training.sample_count=2 to the command, which then resumes",
    ):
        train(tiny("pggan", pictures), run)
    assert train(tiny("pggan", pictures, {"training": {"sample_count": 2}}), run).trainer.nimg == 88


def test_memory_that_networks_or_a_checkpoint_need_is_told_too(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, recipe = tmp_path / "run", tiny("pggan", pictures)
    train(recipe, run, stop_before=6)

    def fail(*_: Any, **__: Any) -> Any:
        raise ERRORS["CUDA"]

    words = (
        r"There is not enough memory to prepare the run \(CUDA out of memory. Tried to allocate 2.00 GiB\); stop other"
    )
    for owner, name in ((torch.nn.Module, "to"), (optimizers.OptimizerStates, "load_state_dict")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            with pytest.raises(UserError, match=words):
                train_module.train(recipe, run)
    assert train(recipe, run, stop_before=7).trainer.nimg == 28


def test_other_errors_keep_their_traceback(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_out(monkeypatch, 0, RuntimeError("The size of tensor a (4) must match the size of tensor b (3)"))
    with pytest.raises(RuntimeError, match="size of tensor a"):
        train(tiny("pggan", pictures), tmp_path / "run")


def test_torch_says_it_as_expected() -> None:
    with pytest.raises(RuntimeError, match=re.escape("can't allocate memory")) as error:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert memory.is_out_of_memory(error.value)
    assert [kind for kind, known in ERRORS.items() if not memory.is_out_of_memory(known)] == []
    assert not memory.is_out_of_memory(RuntimeError("Trying to backward through the graph a second time"))
