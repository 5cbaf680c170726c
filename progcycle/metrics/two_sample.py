"""Classifier two-sample test (Lopez-Paz and Oquab 2017): can a network that is trained for it tell two sets apart?

No discriminator has seen this network, for it is new each time. It is small, and it looks at pixels.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import log2

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.rng import generator_at

FOLDS, REPEATS = 3, 3  # parts of which each is held out once, and divisions into parts
STEPS, BATCH, RATE, DECAY = 100, 32, 3e-3, 1e-2  # of a training; half of a batch is of each set
WIDEST, NARROWEST = 128, 16  # maps of the last layer, which halve with every larger one
COARSEST = 4  # pixels of a side that strided convolutions end at
SHIFT = 16  # training pictures move by up to this part of their side


@dataclass(frozen=True)
class TwoSampleTest:
    """How well a classifier tells pictures from real ones that it was not trained on.

    Attributes:
        errors: share of held-out pictures that it takes for the other set, the mean of both sets' shares; 0.5 is
            chance, 0 the worst for pictures that should pass for real. One for each division into parts.
        aucs: area under the ROC curve, the chance that a real picture looks more real than one of the others; 0.5 is
            chance, 1 the worst.
        seconds: that it took.
    """

    errors: tuple[float, ...]
    aucs: tuple[float, ...]
    seconds: float

    def figures(self) -> dict[str, float]:
        """Means over the divisions, and their standard deviations (with n - 1)."""
        means = {"two_sample_error": self.errors, "two_sample_auc": self.aucs}
        found = {name: float(np.mean(values)) for name, values in means.items()}
        return found | {f"{name}_deviation": float(np.std(values, ddof=1)) for name, values in means.items()}


def two_sample_test(
    pictures: Tensor,
    reals: Tensor,
    pairs: Sequence[tuple[int, int]] = (),
    *,
    seed: int = 0,
    folds: int = FOLDS,
    repeats: int = REPEATS,
    steps: int = STEPS,
) -> TwoSampleTest:
    """Train classifiers to tell pictures from real ones, and see what they make of those held out of training.

    Both sets are divided into ``folds`` parts; each is held out once while a network learns from the others. This is
    done ``repeats`` times. Pictures of one pair always fall into one part: what shows the same is never on both sides.
    A training is ``steps`` steps, whatever the pictures. All that is random follows from the seed, and every network
    is trained by one thread, so that the number of threads changes nothing.

    Args:
        pictures: in [-1, 1].  # [N, C, H, W]
        reals: in [-1, 1].  # [M, C, H, W]
        pairs: numbers of a picture and of a real one that show the same.
        seed: of divisions, weights, and the order and the places of pictures.
        folds: parts, 2 or more.
        repeats: divisions, 2 or more.
        steps: of a training.

    Raises:
        ValueError: the shapes differ, a set has fewer pictures than there are parts, or there are too few parts.
    """
    if pictures.ndim != 4 or pictures.shape[1:] != reals.shape[1:]:
        shapes = f"{list(pictures.shape)} and {list(reals.shape)}"
        raise ValueError(f"expected pictures [N, C, H, W] and [M, C, H, W], got {shapes}")
    if min(folds, repeats) < 2 or min(len(pictures), len(reals)) < folds:
        raise ValueError(f"{folds} parts and {repeats} divisions of {len(pictures)} and {len(reals)} pictures")
    begun = time.perf_counter()
    sets = [x.detach().cpu().float().contiguous() for x in (pictures, reals)]
    parts = [divide(len(pictures), len(reals), pairs, folds, seed, repeat) for repeat in range(repeats)]
    jobs = [(repeat, fold) for repeat in range(repeats) for fold in range(folds)]
    threads = torch.get_num_threads()

    def judge(job: tuple[int, int]) -> tuple[Tensor, Tensor]:
        repeat, fold = job
        torch.set_num_threads(1)  # sums in one order
        held_out = [part == fold for part in parts[repeat]]
        network = _train([x[~out] for x, out in zip(sets, held_out, strict=True)], seed, job, steps)
        with torch.no_grad():
            first, second = (network(x[out])[:, 0].double() for x, out in zip(sets, held_out, strict=True))
        return first, second

    try:
        with ThreadPoolExecutor(threads) as pool:
            logits = list(pool.map(judge, jobs))
    finally:
        torch.set_num_threads(threads)
    errors, aucs = [], []
    for repeat in range(repeats):
        mine = [found for job, found in zip(jobs, logits, strict=True) if job[0] == repeat]
        errors.append(float(np.mean([balanced_error(x, y) for x, y in mine])))
        aucs.append(float(np.mean([area_under_curve(x, y) for x, y in mine])))  # logits of two networks have no order
    return TwoSampleTest(tuple(errors), tuple(aucs), time.perf_counter() - begun)


def divide(
    count: int, reals: int, pairs: Sequence[tuple[int, int]], folds: int, seed: int, repeat: int
) -> tuple[Tensor, Tensor]:
    """The part that every picture of two sets falls into, pairs into the same one, all parts of nearly one size.

    Args:
        count: pictures of the first set.
        reals: of the second.
        pairs: numbers of the first and of the second.
        folds: parts.
        seed: see :func:`two_sample_test`.
        repeat: number of the division.

    Returns:
        Numbers from 0 to folds - 1.  # [count], [reals] int64
    """
    found = torch.empty(count, dtype=torch.int64), torch.empty(reals, dtype=torch.int64)
    for which, mine in enumerate(found):
        known = {pair[which] for pair in pairs}
        alone = [i for i in range(len(mine)) if i not in known]
        order = generator_at(seed, "two-sample/alone", repeat, which).permutation(len(alone))
        for place, k in enumerate(order):
            mine[alone[k]] = place % folds
    order = generator_at(seed, "two-sample/pairs", repeat).permutation(len(pairs))
    for place, k in enumerate(order):
        for mine, i in zip(found, pairs[k], strict=True):
            mine[i] = folds - 1 - place % folds  # what is alone filled the first ones
    return found


def balanced_error(first: Tensor, second: Tensor) -> float:
    """Mean of two shares: of the first set's logits above 0, and of the second's below; 0 itself counts half."""
    wrong = [(signed > 0).double() + 0.5 * (signed == 0).double() for signed in (first, -second)]
    return float(sum(x.mean() for x in wrong) / 2)


def area_under_curve(first: Tensor, second: Tensor) -> float:
    """Share of pairs of both sets in which the second's logit is the larger, equal ones counted half.

    That is the statistic of Mann and Whitney 1947, the area under the ROC curve.
    """
    order = torch.sort(first).values
    below = torch.searchsorted(order, second) + torch.searchsorted(order, second, right=True)
    return float(below.double().mean() / (2 * len(first)))


def _network(channels: int, side: int, seed: int, job: tuple[int, int]) -> nn.Sequential:
    """Strided convolutions down to 4 px, their mean, and a logit; above 0 is real."""
    depth = max(round(log2(side / COARSEST)), 1)
    layers: list[nn.Module] = []
    for level in range(depth):
        maps = max(WIDEST >> (depth - 1 - level), NARROWEST)
        convolution = nn.utils.skip_init(nn.Conv2d, channels, maps, 3, 2, 1, bias=False)  # type: ignore[no-untyped-call]
        layers += [convolution, nn.BatchNorm2d(maps), nn.ReLU()]
        channels = maps
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers.append(nn.utils.skip_init(nn.Linear, channels, 1))  # type: ignore[no-untyped-call]
    network = nn.Sequential(*layers)
    rng = generator_at(seed, "two-sample/weights", *job)
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Conv2d | nn.Linear):  # He et al. 2015
                scale = (2 / layer.weight[0].numel()) ** 0.5
                layer.weight.copy_(torch.from_numpy(scale * rng.standard_normal(tuple(layer.weight.shape), np.float32)))
            if isinstance(layer, nn.Linear):
                layer.bias.zero_()
    return network.to(memory_format=torch.channels_last)


def _train(sets: Sequence[Tensor], seed: int, job: tuple[int, int], steps: int) -> nn.Sequential:
    """A classifier of two sets.  # each [n, C, H, W]"""
    _, channels, *sides = sets[0].shape
    network = _network(channels, min(sides), seed, job)
    adam = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, max_lr=RATE, total_steps=steps, cycle_momentum=False)
    wanted = torch.tensor([0.0, 1.0]).repeat_interleave(BATCH // 2)
    with torch.enable_grad():
        for step in range(steps):
            rng = generator_at(seed, "two-sample/batch", *job, step)
            batch = torch.cat([x[_rows(len(x), BATCH // 2, step, seed, (*job, i))] for i, x in enumerate(sets)])
            logits = network(_moved(batch, rng).contiguous(memory_format=torch.channels_last))[:, 0]
            loss = F.binary_cross_entropy_with_logits(logits, wanted)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            rate.step()
    return network.eval()


def _rows(count: int, size: int, step: int, seed: int, where: tuple[int, ...]) -> Tensor:
    """Rows of a step: the whole set in a random order, then in another one."""
    places = range(step * size, (step + 1) * size)
    rounds = {place // count for place in places}
    orders = {r: generator_at(seed, "two-sample/order", *where, r).permutation(count) for r in rounds}
    return torch.tensor([int(orders[place // count][place % count]) for place in places])


def _moved(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Every picture mirrored or not, and moved by up to 1/16 of its shorter side; the border's pixels fill the gap."""
    count, (height, width) = len(pictures), pictures.shape[-2:]
    most = min(height, width) // SHIFT
    mirrored = torch.from_numpy(rng.integers(0, 2, count)).bool().reshape(-1, 1, 1, 1)
    x = torch.where(mirrored, pictures.flip(3), pictures)
    if not most:
        return x
    padded = F.pad(x, (most, most, most, most), mode="replicate")
    corners = rng.integers(0, 2 * most + 1, (count, 2)).tolist()
    return torch.stack([padded[k, :, i : i + height, j : j + width] for k, (i, j) in enumerate(corners)])
