"""Count the modes of stacked digits."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from progcycle.errors import UserError
from progcycle.evaluation.generator_metrics import modes_figures
from progcycle.output import bars_hidden

if TYPE_CHECKING:
    import numpy as np

    from progcycle.evaluation.generated import Subject
    from progcycle.metrics.digits import DigitJudge

REPEATS = 10  # of the paper's protocol
HELD_BACK = 10  # one of so many given digits tells how well their judge reads


@dataclass(frozen=True)
class Judge:
    """What reads digits, and what is known of it, for the record."""

    network: "DigitJudge"
    about: dict[str, Any]


def pick_judge(digits: str | None, resolution: int) -> Judge:
    """The judge of scikit-learn's digits, or one that learns from given digits first.

    Args:
        digits: folder or zip file of single digits, in folders 0 to 9; None for scikit-learn's.
        resolution: pixels of a side of the stacks to read.

    Raises:
        UserError: scikit-learn is not installed, the given digits are not as they should be, or the judge's size does
            not divide the stacks'.
    """
    from progcycle.metrics.digits import digit_judge, digit_split, train_judge

    if digits is None:
        judge = digit_judge()
        seen, checked = (judge.accuracy(*digit_split(part)) for part in ("train", "check"))
        return Judge(judge, {"digits": "scikit-learn", "accuracy": checked, "accuracy_on_digits_of_stacks": seen})
    pictures, classes = _single_digits(digits, resolution)
    learn, check = slice(len(classes) // HELD_BACK, None), slice(len(classes) // HELD_BACK)
    judge = train_judge(pictures[learn], classes[learn])
    return Judge(judge, {"digits": digits, "accuracy": judge.accuracy(pictures[check], classes[check])})


def _single_digits(path: str, resolution: int) -> tuple["np.ndarray", "np.ndarray"]:
    """Digits in random order.  # [N, R, R] uint8, [N] int64"""
    import numpy as np
    from tqdm import tqdm

    from progcycle.data import PictureSet
    from progcycle.recipe import Pictures

    pictures = PictureSet("digits", Pictures(channels=1), (path,), resolution=resolution, seed=0, labels="folders")
    if pictures.classes != tuple("0123456789"):
        raise UserError(f"--digits: {path} must hold folders 0 to 9 of digits, but has {', '.join(pictures.classes)}.")
    if len(pictures) < 100:
        raise UserError(f"--digits: {path} has {len(pictures)} digits, too few to learn from; give 100 or more.")
    bar = tqdm(range(len(pictures)), desc="reading digits", unit="img", disable=bars_hidden(), leave=False)
    samples = [pictures.plain(pictures.index_at(place), resolution) for place in bar]
    return np.stack([sample.image[:, :, 0] for sample in samples]), np.array([sample.label for sample in samples])


def measure_modes(subject: "Subject", judge: "DigitJudge", count: int) -> dict[str, Any]:
    """How generated pictures cover the modes, the mean and deviation of ten times ``count``, beside real ones."""
    import numpy as np

    runs = [modes_figures(judge, subject.painted(count, start=i * count)) for i in range(REPEATS)]
    seen = min(count, len(subject.reals))
    real = modes_figures(judge, subject.real(seen))
    mean, deviation = ({key: float(of([run[key] for run in runs])) for key in real} for of in (np.mean, np.std))
    return {
        "count": count,
        "repeats": REPEATS,
        "generated": {"mean": mean, "deviation": deviation},
        "real": {"count": seen, **real},
    }
