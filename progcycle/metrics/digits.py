"""Stacked digits without a download: three of scikit-learn's 8x8 digits as the colours of a picture.

A classifier reads them. The 1,797 digits are split once and for all, class by class: into those that stacks are made
of, those that the classifier is trained on, and those that it is tested on.
"""

from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks import from_levels, max_level
from progcycle.errors import UserError
from progcycle.rng import generator_at

Part = Literal["train", "classifier", "check"]
SHARES: dict[Part, float] = {"train": 0.5, "classifier": 0.4, "check": 0.1}
SEED = 0  # of the division and of the classifier, so that all results are of one kind
SIDE, CLASSES, LIGHTEST = 8, 10, 16
STEPS, BATCH, RATE = 600, 40, 3e-3


def digit_split(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """The digits of one part, the same on every machine; every class is divided in the same proportions.

    Args:
        part: ``train`` (half of them: what stacks show), ``classifier`` (what the classifier learns from) or ``check``
            (what it is tested on).

    Returns:
        Grey levels 0 to 255 and classes.  # [N, 8, 8] uint8, [N] int64

    Raises:
        UserError: scikit-learn is not installed.
        ValueError: there is no such part.
    """
    if part not in SHARES:
        raise ValueError(f"part is one of {', '.join(SHARES)}, got {part!r}")
    pictures, classes = _digits()
    before = sum(list(SHARES.values())[: list(SHARES).index(part)])
    chosen: list[int] = []
    for digit in range(CLASSES):
        mine = generator_at(SEED, "digits", digit).permutation(np.flatnonzero(classes == digit))
        first, last = (round(share * len(mine)) for share in (before, before + SHARES[part]))
        chosen += mine[first:last].tolist()
    chosen.sort()
    return pictures[chosen], classes[chosen]


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError:
        raise UserError("Stacked digits need scikit-learn, which has them: pip install scikit-learn.") from None
    found = load_digits()
    return np.rint(found.images * (max_level() / LIGHTEST)).astype(np.uint8), found.target.astype(np.int64)


def stack_digits(count: int, seed: int, part: Part = "train") -> np.ndarray:
    """Pictures whose colours are three digits; every one of the 1,000 combinations is equally probable.

    Picture i is a function of (seed, part, i) alone.

    Args:
        count: how many.
        seed: which series of pictures.
        part: see :func:`digit_split`.

    Returns:
        The pictures.  # [count, 3, 8, 8] uint8

    Raises:
        UserError: scikit-learn is not installed.
    """
    return _stacks(count, seed, part)[0]


def stack_labels(count: int, seed: int, part: Part = "train") -> np.ndarray:
    """The digits on the pictures of :func:`stack_digits`.  # [count, 3] int64"""
    return _stacks(count, seed, part)[1]


def _stacks(count: int, seed: int, part: Part) -> tuple[np.ndarray, np.ndarray]:
    pictures, classes = digit_split(part)
    by_class = [np.flatnonzero(classes == digit) for digit in range(CLASSES)]
    labels, chosen = np.empty((count, 3), np.int64), np.empty((count, 3), np.int64)
    for i in range(count):
        rng = generator_at(seed, "stack", part, i)
        labels[i] = rng.integers(0, CLASSES, size=3)
        chosen[i] = [by_class[digit][rng.integers(len(by_class[digit]))] for digit in labels[i]]
    return pictures[chosen], labels


class DigitClassifier(nn.Module):
    """A small convolutional network that reads digits, on the CPU.

    Args:
        side: pixels per side of the digits that it works on, a multiple of 4.
    """

    def __init__(self, side: int = SIDE) -> None:
        super().__init__()
        self.side = side
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(64 * 4**2, 64),
            nn.ReLU(),
            nn.Linear(64, CLASSES),
        )

    def forward(self, digits: Tensor) -> Tensor:
        """Grey levels 0 to 255 to logits.  # [N, R, R] -> [N, 10]"""
        small = F.avg_pool2d(digits[:, None].float(), digits.shape[-1] // self.side)
        logits: Tensor = self.layers(from_levels(small))
        return logits

    @torch.no_grad()
    def read(self, stacks: Tensor) -> Tensor:
        """The digit on every channel of stacks; larger ones are first averaged down to the classifier's size.

        Args:
            stacks: grey levels 0 to 255; R is the classifier's size, or a multiple of it.  # [N, 3, R, R]

        Returns:
            The digits.  # [N, 3] int64

        Raises:
            ValueError: another shape.
        """
        if stacks.ndim != 4 or stacks.shape[1] != 3 or len({*stacks.shape[2:]}) != 1 or stacks.shape[2] % self.side:
            raise ValueError(f"expected stacks [N, 3, R, R], R a multiple of {self.side}, got {list(stacks.shape)}")
        logits: Tensor = self(stacks.cpu().flatten(0, 1))
        return logits.argmax(dim=1).reshape(-1, 3)

    @torch.no_grad()
    def accuracy(self, digits: np.ndarray, classes: np.ndarray) -> float:
        """Share of digits [N, R, R] that are read as their classes [N]."""
        read = torch.cat([self(piece).argmax(dim=1) for piece in torch.split(torch.from_numpy(digits), 1024)])
        return float((read.numpy() == classes).mean())


@cache
def digit_classifier() -> DigitClassifier:
    """The classifier of scikit-learn's digits, trained on the part ``classifier`` in a few seconds.

    Raises:
        UserError: scikit-learn is not installed.
    """
    return train_digit_classifier(*digit_split("classifier"))


def train_digit_classifier(digits: np.ndarray, classes: np.ndarray) -> DigitClassifier:
    """A classifier of given digits. The same digits give the same one, and torch's own generator is left alone.

    Args:
        digits: grey levels 0 to 255, light on black; R is 8, or larger and a power of two.  # [N, R, R] uint8
        classes: the digits that they are.  # [N] int64
    """
    pictures, labels = torch.from_numpy(digits), torch.from_numpy(classes)
    steps = max(STEPS, 4 * len(labels) // BATCH)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(SEED)
        classifier = DigitClassifier(min(digits.shape[-1], 2 * SIDE))
        adam = torch.optim.Adam(classifier.parameters(), lr=RATE)
        rate = torch.optim.lr_scheduler.OneCycleLR(adam, max_lr=RATE, total_steps=steps)
        for step in range(steps):
            rows = torch.from_numpy(generator_at(SEED, "judge", step).integers(0, len(labels), BATCH))
            loss = F.cross_entropy(classifier(_moved(pictures[rows])), labels[rows], label_smoothing=0.05)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            rate.step()
    return classifier.eval().requires_grad_(False)


def _moved(digits: Tensor) -> Tensor:
    """A batch moved by up to an eighth of its side over black, so that a few hundred digits are enough."""
    side = digits.shape[-1]
    most = side // SIDE
    down, right = (int(step) for step in torch.randint(0, 2 * most + 1, (2,)))
    return F.pad(digits, (most, most, most, most))[:, down : down + side, right : right + side]
