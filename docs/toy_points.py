"""The toy experiments of WGAN-GP (Gulrajani et al. 2017, section 5.1): points of a plane, by dense networks.

    python docs/toy_points.py                    # draws docs/images/toy_points.png, under a minute
    python docs/toy_points.py --updates 3000     # longer, and better

A point is a picture of one pixel with two channels. Losses, penalty, optimizers and networks are progcycle's own; only
the points come from here. The authors' code has 512 units a layer, a learning rate of 1e-4 and 100,000 updates.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from progcycle.data import Batch
from progcycle.engine.optimizers import make_optimizer
from progcycle.figures import Axes, new_figure
from progcycle.networks import DenseDiscriminator, DenseGenerator
from progcycle.recipe import Adversarial, PlayerOptimizer
from progcycle.recipe.objectives import GradientPenalty
from progcycle.schedule import Growth
from progcycle.tasks.adversarial_loss import AdversarialLoss

OUT = Path(__file__).parent / "images" / "toy_points.png"
GROWTH = Growth(stage=0, resolution=1, alpha=1.0, batch_size=256, lr_scale=1.0)
Points = Callable[[np.random.Generator, int], np.ndarray]
RING = 2 / 1.414 * np.stack([np.array([math.cos(a), math.sin(a)]) for a in np.arange(8) * math.pi / 4])
GRID = np.stack([np.array([x, y]) for x in range(-2, 3) for y in range(-2, 3)]) * 2 / 2.828


def ring(rng: np.random.Generator, count: int) -> np.ndarray:
    """Eight Gaussians in a ring.  # [N, 2]"""
    return RING[rng.integers(8, size=count)] + rng.standard_normal((count, 2)) * 0.02 / 1.414


def grid(rng: np.random.Generator, count: int) -> np.ndarray:
    """Twenty-five Gaussians in a grid.  # [N, 2]"""
    return GRID[rng.integers(25, size=count)] + rng.standard_normal((count, 2)) * 0.05 / 2.828


def swiss_roll(rng: np.random.Generator, count: int) -> np.ndarray:
    """A spiral, as scikit-learn makes it, seen from the side.  # [N, 2]"""
    t = 1.5 * math.pi * (1 + 2 * rng.random(count))
    points = np.stack([t * np.cos(t), t * np.sin(t)], axis=1)
    return (points + 0.25 * rng.standard_normal((count, 2))) / 7.5


def pixels(points: np.ndarray) -> Tensor:
    """Points as pictures.  # [N, 2] -> [N, 2, 1, 1]"""
    return torch.from_numpy(points.astype(np.float32))[:, :, None, None]


class Toy:
    """A generator and a critic of points.

    Args:
        points: draws real points.
        units: of a layer.
        rate: learning rate of both.
        objective: of the game; default: that of the paper, with its lambda for toys.
        batch: points of an update.
    """

    def __init__(
        self,
        points: Points,
        units: int = 512,
        rate: float = 1e-4,
        objective: Adversarial | None = None,
        batch: int = 256,
        seed: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        self.points, self.batch, self.rng = points, batch, np.random.default_rng(seed)
        self.generator = DenseGenerator(1, 2, latent_size=2, filters=units, initialization="he")
        self.critic = DenseDiscriminator(1, 2, filters=units, initialization="he")
        self.objective = objective or Adversarial(loss="wgan", gradient_penalty=GradientPenalty(weight=0.1), n_critic=5)
        self.loss = AdversarialLoss(self.critic, self.objective, seed=seed)
        options = PlayerOptimizer(lr=rate, betas=(0.5, 0.9))
        networks = {"critic": self.critic, "generator": self.generator}
        self.optimizers = {
            name: make_optimizer(options, [{"params": list(network.parameters()), "lr": rate}])
            for name, network in networks.items()
        }
        self.shown = 0

    def sample(self, count: int) -> Tensor:
        """Points of the generator.  # [N, 2, 1, 1]"""
        latents = torch.from_numpy(self.rng.standard_normal((count, 2), dtype=np.float32))
        made: Tensor = self.generator(latents)
        return made

    def update_critic(self, fake: Tensor | None = None) -> float:
        """One update, on the generator's points or on others; the difference of the critic's means, real - fake."""
        positions = tuple(range(self.shown, self.shown + self.batch))
        self.shown += self.batch
        names = ("",) * self.batch
        real = Batch(pixels(self.points(self.rng, self.batch)), positions, names)
        with torch.no_grad():
            fake = self.sample(self.batch) if fake is None else fake
        loss, figures = self.loss.discriminator_loss(real, fake, GROWTH, self.shown // self.batch)
        self._step("critic", loss)
        return float((figures["score/real"] - figures["score/fake"]).detach())

    def update(self) -> None:
        """The critic's updates, and one of the generator."""
        for _ in range(self.objective.n_critic):
            self.update_critic()
        self.critic.requires_grad_(False)
        self._step("generator", -self.critic(self.sample(self.batch)).mean())
        self.critic.requires_grad_(True)

    def _step(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizers[name].step()


def modes(made: np.ndarray, centres: np.ndarray, near: float) -> tuple[int, float]:
    """How many centres have points near them, 20 % of their due at least, and the share of points that are near one.

    Args:
        made: points.  # [N, 2]
        centres: of the modes.  # [K, 2]
        near: largest distance.
    """
    distances = np.linalg.norm(made[:, None] - centres[None], axis=2)
    hit = distances.min(axis=1) < near
    counts = np.bincount(distances.argmin(axis=1)[hit], minlength=len(centres))
    return int((counts >= 0.2 * len(made) / len(centres)).sum()), float(hit.mean())


@torch.no_grad()
def draw(axes: Axes, toy: Toy, title: str) -> None:
    """Real points, made ones, and the level lines of the critic."""
    real, made = toy.points(toy.rng, 1000), toy.sample(1000).flatten(1).numpy()
    side = np.linspace(-2.4, 2.4, 128)
    x, y = np.meshgrid(side, side)
    levels = toy.critic(pixels(np.stack([x.ravel(), y.ravel()], axis=1))).numpy().reshape(x.shape)
    axes.contour(x, y, levels, levels=16, linewidths=0.6, cmap="Greys")
    axes.scatter(*real.T, s=3, color="tab:orange", label="real")
    axes.scatter(*made.T, s=3, color="tab:green", alpha=0.6, label="made")
    axes.set(title=title, xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), aspect="equal", xticks=[], yticks=[])


def main() -> None:
    """Train the three, and draw them."""
    parser = argparse.ArgumentParser(description="draw the toy experiments of WGAN-GP")
    parser.add_argument("--updates", type=int, default=300, help="of the generator, for each (default 300)")
    parser.add_argument("--units", type=int, default=64, help="of a layer (default 64)")
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate (default 3e-3)")
    parser.add_argument("--batch", type=int, default=128, help="points of an update (default 128)")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    figure = new_figure(12, 4.4)
    kinds: dict[str, Points] = {"8 Gaussians": ring, "25 Gaussians": grid, "swiss roll": swiss_roll}
    for axes, (title, points) in zip(figure.subplots(1, 3), kinds.items(), strict=True):
        toy = Toy(points, args.units, args.rate, batch=args.batch)
        for _ in range(args.updates):
            toy.update()
        if points is not swiss_roll:
            centres = RING if points is ring else GRID
            count, share = modes(toy.sample(5000).detach().flatten(1).numpy(), centres, near=0.2)
            title += f": {count} of {len(centres)}, {share:.0%} of points near one"
        draw(axes, toy, title)
        print(title, flush=True)
    figure.axes[0].legend(loc="upper right", markerscale=3)
    figure.savefig(args.out, dpi=110)


if __name__ == "__main__":
    main()
