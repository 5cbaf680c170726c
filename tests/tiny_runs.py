"""Recipes, pictures and runs that are small enough to train in a test."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image
from torch import Tensor

from progcycle.data import Batch, as_reals, build_loader
from progcycle.engine import run as run_module
from progcycle.engine.log import TIMES
from progcycle.engine.run import Run
from progcycle.engine.train import train_run
from progcycle.evaluation.sampler import EvaluationCallback
from progcycle.recipe import Recipe, merge, validate
from progcycle.schedule import Growth

TASKS = ("pggan", "cyclegan")
# Batches of 4. Pictures shown when a phase begins: 0 stable 4 px, 16 fade 8, 32 stable 8, 48 fade 16, 64 stable 16.
TOTAL, STEPS = 88, 22
CLASSES = ("cat", "dog", "fox")
OPENINGS, FADE_EDGES = [16, 48], [16, 32, 48, 64]


def write_pictures(folder: Path, count: int, seed: int, side: int = 20) -> Path:
    """Noise with a grey level of its own for each picture, as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = rng.integers(0, 100, (side, side, 3)) + rng.integers(0, 155)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder


def write_domains(root: Path) -> Path:
    """Two domains of different size, and held-out pictures of one of them; its labels in a file beside them."""
    counts = {"trainA": 11, "trainB": 7, "testA": 3}
    for seed, (name, count) in enumerate(counts.items()):
        write_pictures(root / name, count, seed)
    labels = [[f"{name}/{i:02}.png", CLASSES[i % 3]] for name in ("trainA", "testA") for i in range(counts[name])]
    (root / "labels.json").write_text(json.dumps({"labels": labels}))
    return root


def tiny_content(task: str, data: Path, changes: Mapping[Any, Any] | None = None) -> dict[Any, Any]:
    """A recipe of 22 steps from 4 to 16 px with most terms switched on, before validation."""
    augment = [{"name": "RandomBrightnessContrast", "p": 0.5}]
    domains = {"path": str(data / "trainA"), "mirror": True, "augment": augment}
    adam = {"lr": 0.003, "betas": [0.0, 0.9]}
    content: dict[Any, Any] = {
        "task": task,
        "seed": 3,
        "resolution": 16,
        "data": {"workers": 0},
        "network": {"base_resolution": 4, "channels": {"base": 32, "max": 8}, "discriminator": {"minibatch_stddev": 2}},
        "schedule": {
            "stable_kimg": {4: 0.016, 8: 0.016, 16: 0.024},
            "fade_kimg": 0.016,
            "batch_size": 4,
            "decay_kimg": 0.02,
        },
        "optimizer": {"generator": adam, "discriminator": adam},
        "training": {
            "precision": "no",
            "ema": {"half_life_kimg": 0.02},
            "status_kimg": 0.012,
            "sample_kimg": 0.044,
            "checkpoint_kimg": 0.02,
            "snapshot_kimg": 0.044,
            "sample_count": 4,
        },
    }
    if task == "pggan":
        own: dict[Any, Any] = {
            "data": domains,
            "network": {"generator": {"latent_size": 8}},
            "objective": {"loss": "wgan", "gradient_penalty": {"weight": 10, "target": 1}, "drift": 0.001},
        }
    else:
        own = {
            "data": {"root": str(data), "a": {"mirror": True, "augment": augment}},
            "network": {"generator": {"residual_blocks": 1}},
            "objective": {
                "loss": "non_saturating",
                "r1": {"gamma": 1, "every": 3},
                "pool_size": 6,
                "identity": {"a": 0.5, "b": 0.5},
            },
        }
    content = merge(merge(content, own), changes or {})
    network = {key: value for key, value in content["network"].items() if value is not None}
    return {**content, "network": network}


def full(task: str, data: Path) -> dict[Any, Any]:
    """Changes to :func:`tiny_content` that bring in what has a memory or an order of its own."""
    noise = {"limit": 0.0, "gain": 0.5, "momentum": 0.5, "signal": "fake"}
    policy = ["color", "translation", "cutout", "flip", "rotate90", "scale", "rotate", "aspect", "hue"]
    augment = {"policy": policy, "probability": 0.3, "adaptive": {"kimg": 0.1, "every": 3}}
    objective = {
        "loss": "lsgan", "lsgan_fake_factor": 0.5, "n_critic": 2, "noise": noise, "augment": augment, "drift": 0,
    }  # fmt: skip
    if task == "pggan":
        return {
            "data": {"labels": str(data / "labels.json")},
            "network": {
                "generator": {"normalization": "batch"},
                "discriminator": {"normalization": "layer", "spectral_norm": True},
            },
            "objective": {**objective, "gradient_penalty": None},
        }
    instead = {"kernels": 4, "dimensions": 2, "init_pictures": 6}
    return {
        "network": {
            "generator": {"normalization": "batch", "latents": {"ab": 3, "drawn": "real", "neighbours": 2}},
            "discriminator": {
                "normalization": "layer",
                "head": "dense",
                "minibatch_stddev": 0,
                "minibatch_discrimination": instead,
            },
        },
        "objective": objective,
    }


def began(data: Path, changes: Mapping[Any, Any] | None = None) -> Recipe:
    """The plan of :func:`tiny_content` for a growing BEGAN, with all that it remembers.

    Small weights make the first fakes grey, which is restored at once, so that k rises from the first step on.
    """
    content = tiny_content("pggan", data)
    content |= {
        "task": "began",
        "network": {
            "base_resolution": 4,
            "channels": {"base": 32, "max": 8},
            "latent_size": 6,
            "equalized": False,
            "initialization": "normal",
            "generator": "progressive",
            "discriminator": {"name": "progressive", "normalization": "batch"},
        },
        "objective": {"gamma": 0.7, "lambda_k": 0.5},
    }
    optimizer = {**content["optimizer"], "halving": {"stall_kimg": 0.008, "floor": 1e-4}}
    training = {**content["training"], "evaluation": {"every_kimg": 0.02}}
    return validate(merge({**content, "optimizer": optimizer, "training": training}, changes or {}))


def projected() -> dict[Any, Any]:
    """Changes to :func:`tiny_content`: discriminators on frozen features, with all that they remember or draw anew."""
    options = {
        "name": "projected",
        "architecture": "efficientnet-lite0",
        "feature_resolution": 32,
        "taps": [2, 4],
        "mixing": {"channels": 3},
        "filters": 4,
        "minibatch_stddev": {"group": "batch", "queue": 6},
        "reset_heads": True,
        "r1": {"gamma": 1, "every": 3},
    }
    sections = {"channels": None, "generator": {"channels": {"base": 32, "max": 8}}, "discriminator": options}
    augment = {"policy": ["color", "translation", "cutout"]}
    objective = {"loss": "hinge", "gradient_penalty": None, "drift": 0, "r1": None, "augment": augment}
    return {"network": sections, "objective": objective}


def tiny_pyramid(data: Path) -> dict[Any, Any]:
    """A recipe of 16 steps of a LAPGAN with levels of 8, 16 and 32 px, before validation."""
    return {
        "task": "lapgan",
        "seed": 3,
        "resolution": 32,
        "data": {"path": str(data / "trainA"), "workers": 0},
        "network": {
            "generator": {"filters": 4, "pyramid": "bilinear"},
            "discriminator": {"filters": 4},
            "coarsest_generator": {"hidden": 6, "latent_size": 4},
            "coarsest_discriminator": {"hidden": 6},
        },
        "objective": {"r1": {"gamma": 1, "every": 2}},
        "schedule": {"stable_kimg": 0.064, "batch_size": 4},
        "optimizer": {"generator": {"name": "sgd", "lr": 0.02, "momentum": [[0, 0.5], [0.064, 0.7]]}},
        "training": {
            "precision": "no",
            "ema": {"half_life_kimg": 0.02},
            "status_kimg": 0.012,
            "sample_kimg": 0.032,
            "checkpoint_kimg": 0.02,
            "snapshot_kimg": 0.032,
            "sample_count": 4,
        },
    }


def tiny(task: str, data: Path, changes: Mapping[Any, Any] | None = None) -> Recipe:
    """:func:`tiny_content`, validated."""
    return validate(tiny_content(task, data, changes))


def leave_out_plots() -> None:
    """Empty files in place of plots in this process for good, which take longer than tiny runs."""
    run_module.plot_plan = run_module.plot_curves = lambda _, path, *__: path.touch()  # type: ignore[assignment]


class ProcessKilledError(Exception):
    """Stands for a run that is killed."""


class WatchedRun(Run):
    """A training that can be interrupted before a step, and that remembers what went in."""

    stop_before: int | None = None
    on_step: Callable[["WatchedRun", Growth], None] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: dict[int, list[tuple[str, tuple[int, ...], tuple[str, ...], int]]] = {}

    def train_step(self, batches: Mapping[str, Batch], growth: Growth) -> None:
        if self.trainer.step == self.stop_before:
            raise ProcessKilledError
        self.seen[self.trainer.step] = [(d, b.positions, b.names, int(b.images.sum())) for d, b in batches.items()]
        if self.on_step is not None:
            self.on_step(self, growth)
        super().train_step(batches, growth)


def measured_by(evaluate: EvaluationCallback | None) -> AbstractContextManager[Any]:
    """Runs that are made meanwhile take their figures from a function of the test's, not from the recipe."""
    return nullcontext() if evaluate is None else patch.object(run_module, "evaluator", lambda *_: evaluate)


def train(
    recipe: Recipe,
    run_dir: Path,
    stop_before: int | None = None,
    on_step: Callable[[WatchedRun, Growth], None] | None = None,
    evaluate: EvaluationCallback | None = None,
) -> WatchedRun:
    """Train (or go on) until a step or to the end."""
    with measured_by(evaluate):
        training = WatchedRun(recipe, run_dir)
    training.stop_before, training.on_step = stop_before, on_step
    try:
        train_run(training)
    except ProcessKilledError:
        assert stop_before is not None
    return training


def hook(training: Run, network: str, change: Callable[[Tensor], Tensor]) -> Callable[[], None]:
    """Let every gradient of a network's first parameter pass through ``change``; the result takes it off again."""
    parameter = next(training.trainer.task.networks[network].parameters())
    handle = parameter.requires_grad_(True).register_hook(change)  # type: ignore[no-untyped-call]
    remove: Callable[[], None] = handle.remove
    return remove


def stats(run_dir: Path, times: bool = False) -> list[dict[str, Any]]:
    """The lines of stats.jsonl, without the figures that differ between two equal runs."""
    lines = [json.loads(line, parse_constant=_refuse) for line in (run_dir / "stats.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if times or k not in TIMES} for line in lines]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def checkpoint_content(folder: Path) -> dict[str, Any]:
    """Every file of a checkpoint as bytes; of state.json what does not depend on the clock."""
    content: dict[str, Any] = {p.name: p.read_bytes() for p in folder.iterdir()}
    state = json.loads(content.pop("state.json"))
    del state["digest"], state["parts"]["clock"], state["parts"]["log"]  # figures of time have more digits or fewer
    return {**content, "state.json": state}


def as_before(folder: Path, *lacking: str) -> None:
    """Write the state of a checkpoint as format 1 did, of version 0.1.0 or, without some keys, of before it."""
    state = json.loads((folder / "state.json").read_text())
    parts = state.pop("parts")
    del state["digest"], parts["progress"]["nimg"]
    state |= {"format": 1, **parts["progress"], **parts["clock"], **parts["log"]}
    state |= {"attempt": parts["attempts"]["number"], "alarms": parts["alarms"], "scalers": parts["scalers"]}
    state = {key: value for key, value in state.items() if key not in lacking}
    state["digest"] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    (folder / "state.json").write_text(json.dumps(state))


def gradients_at(training: Run, nimgs: Sequence[int]) -> dict[str, Tensor]:
    """Gradients of every player at some moments, in float64, before any update; by moment and parameter.

    The means that the noise follows and the probabilities of augmentation are there too.
    """
    found = {}
    for network in training.trainer.task.networks.values():
        network.double()
    accelerator = training.accelerator
    for nimg in nimgs:
        rank, processes = accelerator.process_index, accelerator.num_processes
        where: dict[str, Any] = {"rank": rank, "processes": processes, "start_nimg": nimg}
        loader = build_loader(training.context.sets, training.schedule, **where, workers=0, pin_memory=False)
        _, growth, batches = next(loader)
        reals = {d: replace(b, images=as_reals(b.images, growth).double()) for d, b in batches.items()}
        training.trainer.step = nimg // growth.batch_size
        rounds = training.trainer.task.update_order
        for player in dict.fromkeys(player for one in rounds for update in one for player in update):
            training.trainer.compute_gradients(player, reals, growth)
            for name in training.trainer.task.players[player]:
                for key, parameter in training.trainer.task.networks[name].named_parameters():
                    if parameter.grad is not None:
                        found[f"{nimg}|{name}.{key}"] = parameter.grad.clone()
        memory = training.trainer.task.common_state(training.trainer.task.state_dict())
        found |= {f"{nimg}|{key}": value.double() for key, value in memory.items() if key.endswith((".mean", ".p"))}
    return found
