"""A task that the library does not know: a balanced autoencoder (BEGAN-like), as a program of its own would add it.

It has three players, a memory that is common to all processes and one that each has for itself, a domain and recipe
keys of its own. :data:`ROWS` are all that the library learns of it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any, ClassVar, Literal
from unittest.mock import patch

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, softplus

from progcycle.blocks import sum_over_processes
from progcycle.data import Batch
from progcycle.evaluation import EVALUATIONS, EVALUATORS, Evaluation, TaskEvaluation
from progcycle.evaluation.sampler import EvaluationCallback, Sampler
from progcycle.export import MODELS, SnapshotModel, to_pil
from progcycle.export.examples import Examples
from progcycle.networks import Network
from progcycle.recipe import (
    RECIPES,
    Adversarial,
    DataOptions,
    NetworkSection,
    OptimizerSection,
    Pictures,
    PlayerOptimizer,
    Recipe,
)
from progcycle.schedule import Growth
from progcycle.tasks import TASKS, ImagePool, Memory, Stats, Task, Watched

# --- recipe -------------------------------------------------------------------------------------------------------


class ToyData(DataOptions):
    """One domain, ``faces``."""

    faces: Pictures

    @property
    def domains(self) -> dict[str, Pictures]:
        return {"faces": self.faces}


class ToyNetwork(NetworkSection):
    base_resolution: int = 4
    maps: int = Field(6, ge=1)


class ToyObjective(Adversarial):
    gain: float = Field(0.1, gt=0, description="of the balance between real and restored pictures")
    pool_size: int = Field(3, ge=0)


class ToyOptimizer(OptimizerSection):
    encoder: PlayerOptimizer = PlayerOptimizer()
    decoder: PlayerOptimizer = PlayerOptimizer()
    critic: PlayerOptimizer = PlayerOptimizer(lr=2e-3)


class ToyRecipe(Recipe):
    """A balanced autoencoder."""

    task: Literal["toy"]
    data: ToyData
    network: ToyNetwork = ToyNetwork()
    objective: ToyObjective = ToyObjective()
    optimizer: ToyOptimizer = ToyOptimizer()


# --- task ---------------------------------------------------------------------------------------------------------


class Encoder(Network):
    """Pictures of any size to a code of half the side."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, maps, 3, padding=1)

    def forward(self, x: Tensor, stage: int, alpha: float) -> Tensor:
        return avg_pool2d(self.conv(x), 2).tanh()


class Decoder(Network):
    def __init__(self, maps: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(maps, 3, 3, padding=1)

    def forward(self, code: Tensor, stage: int, alpha: float) -> Tensor:
        y: Tensor = self.conv(interpolate(code, scale_factor=2))
        return y


class Critic(Network):
    """One logit for every patch of 4 pixels a side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 4)

    def forward(self, x: Tensor, stage: int, alpha: float) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class Balance:
    """BEGAN's k: how much the critic looks at restored pictures; a mean over all processes moves it."""

    def __init__(self, gain: float) -> None:
        self.gain, self.k = gain, torch.ones(())

    @torch.no_grad()
    def move(self, real: Tensor, restored: Tensor) -> None:
        total = sum_over_processes(torch.stack([real - restored, torch.ones_like(real)]))
        self.k = (self.k + self.gain * total[0] / total[1]).clamp(0, 2)

    def state_dict(self) -> dict[str, Tensor]:
        return {"k": self.k}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.k = state["k"].clone()


class ToyTask(Task):
    symbols: ClassVar[Mapping[str, str]] = {"critic": "C", "encoder": "E"}
    terms: ClassVar[Mapping[str, tuple[str, ...]]] = {"error": ("error/l1",)}

    def __init__(self, recipe: ToyRecipe) -> None:
        maps = recipe.network.maps
        self.critic = Critic()
        self.encoder, self.decoder = Encoder(maps), Decoder(maps)
        self.networks = {"encoder": self.encoder, "decoder": self.decoder, "critic": self.critic}
        self.specs = {name: {"name": f"toy_{name}", "arguments": {"maps": maps}} for name in ("encoder", "decoder")}
        self.players = {name: (name,) for name in self.networks}
        self.update_order = ((("encoder", "decoder"), ("critic",)),)
        self.ema_of = ("encoder", "decoder")
        self.watched = {"critic": Watched("critic/loss", 2 * log(2))}
        self.pool = ImagePool(recipe.objective.pool_size, recipe.seed, "faces")
        self.balance = Balance(recipe.objective.gain)

    def loss(self, player: str, reals: Mapping[str, Batch], growth: Growth, step: int) -> tuple[Tensor, Stats]:
        faces, at = reals["faces"], (growth.stage, growth.alpha)
        restored = self.decoder(self.encoder(faces.images, *at), *at)
        if player == "critic":
            restored = self.pool.query(restored.detach(), faces.positions)
            real = softplus(-self.critic(faces.images, *at)).mean()
            fake = softplus(self.critic(restored, *at)).mean()
            loss = real + self.balance.k * fake
            self.balance.move(real, fake)
            return loss, {"critic/loss": real + fake, "balance/k": self.balance.k}
        error = (restored - faces.images).abs().mean()
        fooled = softplus(-self.critic(restored, *at)).mean()
        return error + 0.1 * fooled, {"error/l1": error} if player == "decoder" else {}

    def memories(self) -> dict[str, Memory]:
        return {"pool": Memory(self.pool), "balance": Memory(self.balance, common=True)}

    def on_new_stage(self, growth: Growth) -> None:
        self.pool.clear()

    def panel(self, count: int, pictures: Callable[[str], Tensor]) -> dict[str, Tensor]:
        return {"faces": pictures("faces")}

    def sample(self, networks: Mapping[str, nn.Module], panel: Mapping[str, Tensor], growth: Growth) -> list[Tensor]:
        code = networks["encoder"](panel["faces"], growth.stage, growth.alpha)
        return [panel["faces"], networks["decoder"](code, growth.stage, growth.alpha)]

    def row_names(self) -> tuple[str, ...]:
        return ("faces", "restored")


# --- what is loaded and measured ----------------------------------------------------------------------------------


@dataclass
class ToyExamples(Examples):
    """Plain greys of one level, and what is restored of them."""

    level: float = 0.0

    @property
    def words(self) -> str:
        return f"level {self.level:g}"

    def made_by(self, model: "ToyModel", resolution: int | None = None) -> list[Image.Image]:
        return to_pil(model.restore(torch.full((self.count, 3, 8, 8), self.level)))


class ToyModel(SnapshotModel):
    task: ClassVar[str] = "toy"
    names: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    registry: ClassVar[dict[str, Any]] = {"toy_encoder": Encoder, "toy_decoder": Decoder}
    kind: ClassVar[str] = "an autoencoder"
    examples: ClassVar[type[Examples] | None] = ToyExamples
    encoder: nn.Module
    decoder: nn.Module

    @torch.no_grad()
    def restore(self, x: Tensor) -> Tensor:
        return self.run(self.decoder, self.run(self.encoder, x, 0, 1.0), 0, 1.0)


def toy_evaluator(recipe: ToyRecipe, cache_dir: Path | None) -> EvaluationCallback:
    """The error on plain grey while training."""

    def evaluate(sample: Sampler, nimg: int) -> dict[str, float]:
        _, restored = sample({"faces": torch.zeros(2, 3, 8, 8)})
        return {"error": float(restored.abs().mean())}

    return evaluate


@dataclass(frozen=True)
class ToyOptions:
    level: float = 0.0
    device: str = "cpu"


def measure_toy(model: ToyModel, snapshot: Path, run: Path, options: ToyOptions) -> Evaluation:
    """The error on pictures of one level."""
    error = float((model.restore(torch.full((2, 3, 8, 8), options.level)) - options.level).abs().mean())
    record = {"snapshot": str(snapshot), "results": {"error": error}}
    return Evaluation(record, f"error {error:.4g}", run / "evaluation" / "toy.json")


ROWS: list[tuple[dict[str, Any], Any]] = [
    (RECIPES, ToyRecipe),
    (TASKS, ToyTask),
    (MODELS, ToyModel),
    (EVALUATORS, toy_evaluator),
    (EVALUATIONS, TaskEvaluation(ToyOptions, measure_toy)),
]


@contextmanager
def registered() -> Iterator[None]:
    """The rows are there meanwhile."""
    with ExitStack() as stack:
        for registry, row in ROWS:
            stack.enter_context(patch.dict(registry, {"toy": row}))
        yield


def toy_content(data: Path) -> dict[str, Any]:
    """12 steps of 4 pictures: 4 px, a fade from 24 pictures on, and 8 px from 32 on."""
    return {
        "task": "toy",
        "seed": 5,
        "resolution": 8,
        "data": {"faces": {"path": str(data / "trainA")}, "workers": 0},
        "network": {"maps": 4},
        "objective": {"gain": 0.2},
        "schedule": {"stable_kimg": {4: 0.024, 8: 0.016}, "fade_kimg": 0.008, "batch_size": 4},
        "optimizer": {"encoder": {"lr": 0.01}, "reset": "stage"},
        "training": {
            "precision": "no",
            "status_kimg": 0.008,
            "sample_kimg": 0.024,
            "checkpoint_kimg": 0.008,
            "snapshot_kimg": 0.024,
            "sample_count": 4,
            "evaluation": {"every_kimg": 0.024, "metrics": ["error"], "best": "error"},
        },
    }


__all__ = ["ROWS", "ToyModel", "ToyTask", "registered", "toy_content"]
