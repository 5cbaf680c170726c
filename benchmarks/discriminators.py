"""Which faults does a discriminator see? What two of them learn in a few hundred steps, before a generator is trained.

python benchmarks/discriminators.py recipes/cyclegan_openmoji_64.yaml
python benchmarks/discriminators.py mine.yaml --steps 300 --faults ground blur

For both domains of a recipe, and for every fault, a new discriminator learns to tell real pictures from others with
the fault. The figure is the area under the ROC curve on pictures held out of its training, 0.5 for a fault that it does
not see, and that a generator may go on making. One is the growing discriminator on pixels, the other one on frozen
features (needs the extra ``projected``). Grey pictures have no faults of colour.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from progcycle.blocks import blurred
from progcycle.data import Batch, PictureSet, as_reals, collate, resolve_sets
from progcycle.engine.build import build
from progcycle.metrics.two_sample import area_under_curve
from progcycle.recipe import Recipe, recipe_from
from progcycle.rng import generator_at
from progcycle.schedule import Growth
from progcycle.tasks.discriminators import Discriminators

JUDGES: dict[str, dict[str, Any]] = {
    "pixels": {
        "network.discriminator": {"name": "progressive", "head": "patch", "minibatch_stddev": 4},
        "objective.loss": "non_saturating",
        "objective.r1": {"gamma": 1.0, "every": 8},
        "optimizer.discriminator.lr": 0.002,
    },
    "features": {
        "network.discriminator": {"name": "projected", "feature_resolution": 112},
        "objective.loss": "hinge",
        "objective.r1": None,
        "optimizer.discriminator.lr": 0.001,
    },
}
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
HELD_OUT = 5  # every fifth picture


def main(argv: Sequence[str] | None = None) -> None:
    """Train, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--steps", type=int, default=150, help="of a discriminator's training (150)")
    parser.add_argument("--batch", type=int, default=8, help="real pictures of a step, and as many with a fault (8)")
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=FAULTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args(argv)
    print(f"{'domain':8}{'fault':12}" + "".join(f"{name:>12}" for name in JUDGES), flush=True)
    for domain in ("a", "b"):
        for fault in args.faults:
            row = []
            for judge in JUDGES.values():
                found = [area(recipe_from(args.recipe, judge), domain, fault, seed, args) for seed in args.seeds]
                row.append(None if None in found else sum(found) / len(found))
            if None not in row:
                print(f"{domain:8}{fault:12}" + "".join(f"{value:12.3f}" for value in row), flush=True)
    print(f"{time.process_time():.0f} CPU seconds", file=sys.stderr)


def area(recipe: Recipe, domain: str, fault: str, seed: int, args: argparse.Namespace) -> float | None:
    """Area under the curve of a new discriminator; None where the fault changes nothing."""
    torch.manual_seed(seed)
    built = build(recipe.model_copy(update={"seed": seed}))
    last = built.schedule.phases[-1]
    growth = built.schedule.at(last.end - last.batch_size)
    with tempfile.TemporaryDirectory() as cache:
        pictures = resolve_sets(recipe.data, resolution=recipe.resolution, seed=seed, cache_dir=Path(cache))[domain]
        train, held_out = split(pictures, growth)
    spoil = FAULTS[fault]
    if torch.equal(spoil(train[:8], 0), train[:8]):
        return None
    judge = built.task.adversarial[domain]
    parameters = [p for m in judge.members for k, p in m.network.named_parameters() if k not in m.network.frozen]
    options = recipe.optimizer.of_players(built.task.players)["discriminator"]
    optimizer = torch.optim.Adam(parameters, options.lr, options.betas)
    order = generator_at(seed, "order", domain)
    for step in range(args.steps):
        numbers = order.integers(0, len(train), (2, args.batch))
        real, fake = train[numbers[0]], spoil(train[numbers[1]], step)
        batch = Batch(real, tuple(range(step * args.batch, (step + 1) * args.batch)), ("",) * args.batch)
        loss, _ = judge.discriminator_loss(batch, fake, growth, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    half = len(held_out) // 2
    with torch.no_grad():
        logits = [score(judge, x, growth) for x in (spoil(held_out[:half], -1), held_out[half:])]
    return area_under_curve(*logits)


def split(pictures: PictureSet, growth: Growth) -> tuple[Tensor, Tensor]:
    """All pictures, to train with and held out.  # each [N, C, H, W] in [-1, 1]"""
    samples = [pictures.plain(i, growth.resolution) for i in range(len(pictures))]
    images = as_reals(collate(samples).images, growth)
    held_out = torch.arange(len(images)) % HELD_OUT == 0
    return images[~held_out], images[held_out]


def score(judge: Discriminators, pictures: Tensor, growth: Growth, size: int = 32) -> Tensor:
    """Mean logit of each picture, in batches of one kind, as training shows them.  # [N, C, H, W] -> [N]"""
    logits = [judge.members[0].loss.output(x, growth, 1).logits for x in pictures.split(size)]
    return torch.cat([each.flatten(1).mean(1) if each.ndim > 1 else each for each in logits])


# --- faults: pictures [N, C, H, W] in [-1, 1] and the number of a batch to those with a fault -------------------------


def ground(x: Tensor, number: int) -> Tensor:
    """Darker by up to 8 grey levels in soft patches: paper that is not quite white."""
    rng = torch.Generator().manual_seed(number + 1)
    soft = F.interpolate(torch.rand(len(x), 1, 4, 4, generator=rng), x.shape[2:], mode="bicubic").clamp(0, 1)
    return (x - 16 / 255 * soft).clamp(-1, 1)


def grid(x: Tensor, number: int) -> Tensor:
    """A checkerboard of 3 grey levels up and down, as transposed convolutions leave it."""
    rows, columns = (torch.arange(side) for side in x.shape[2:])
    board = 1 - 2 * ((rows[:, None] + columns) % 2)
    return (x + 6 / 255 * board).clamp(-1, 1)


def blur(x: Tensor, number: int) -> Tensor:
    """Every pixel mixed with its neighbours: lines that are not sharp."""
    return blurred(x)


def gaps(x: Tensor, number: int) -> Tensor:
    """Four squares of an eighth of the side blank: parts that are missing."""
    rng = torch.Generator().manual_seed(number + 1)
    x, side = x.clone(), x.shape[2] // 8
    for i in range(len(x)):
        for _ in range(4):
            top, left = (int(torch.randint(0, s - side, (), generator=rng)) for s in x.shape[2:])
            x[i, :, top : top + side, left : left + side] = 1
    return x


def _with_chroma(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Another difference to the grey picture, the brightness kept."""
    if x.shape[1] != 3:
        return x
    weights = torch.tensor(LUMA).reshape(1, 3, 1, 1)
    luma = (weights * x).sum(1, keepdim=True)
    chroma = x - luma
    if chroma.abs().max() < 0.02:
        return x
    chroma = change(chroma)
    return (luma + chroma - (weights * chroma).sum(1, keepdim=True)).clamp(-1, 1)


def spill(x: Tensor, number: int) -> Tensor:
    """Colours run over their lines by a few pixels; the brightness stays."""
    return _with_chroma(x, lambda chroma: blurred(blurred(blurred(blurred(chroma)))))


def one_hue(x: Tensor, number: int) -> Tensor:
    """All colours yellow, as strong as they were."""
    yellow = torch.tensor([1.0, 0.8, -1.0]).reshape(1, 3, 1, 1)
    return _with_chroma(x, lambda chroma: yellow / yellow.norm() * chroma.norm(dim=1, keepdim=True))


def pale(x: Tensor, number: int) -> Tensor:
    """Half as colourful."""
    return _with_chroma(x, lambda chroma: chroma / 2)


def one_colour_less(x: Tensor, number: int) -> Tensor:
    """Every picture in the hue of its own mean colour: one fill in place of several."""

    def change(chroma: Tensor) -> Tensor:
        mean = chroma.mean(dim=(2, 3), keepdim=True)
        return mean / (mean.norm(dim=1, keepdim=True) + 1e-6) * chroma.norm(dim=1, keepdim=True)

    return _with_chroma(x, change)


FAULTS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "ground": ground,
    "grid": grid,
    "blur": blur,
    "gaps": gaps,
    "spill": spill,
    "pale": pale,
    "one hue": one_hue,
    "own hue": one_colour_less,
}


if __name__ == "__main__":
    main()
