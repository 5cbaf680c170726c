"""Count the modes of stacked digits."""

from typing import TYPE_CHECKING, Any

from progcycle.errors import UserError
from progcycle.evaluation.generator_metrics import modes_figures
from progcycle.output import bars_hidden

if TYPE_CHECKING:
    import numpy as np

    from progcycle.evaluation.generator_samples import GeneratorSamples
    from progcycle.metrics.digits import DigitClassifier

REPEATS = 10  # of the paper's protocol
HELD_OUT = 10  # one of so many given digits is held out, to measure the classifier's accuracy


def choose_digit_classifier(digits: str | None, resolution: int) -> tuple["DigitClassifier", dict[str, Any]]:
    """The classifier of scikit-learn's digits, or one that is trained on given digits first.

    Args:
        digits: folder or zip file of single digits, in folders 0 to 9; None for scikit-learn's.
        resolution: pixels per side of the stacks to read.

    Returns:
        The classifier, and its training digits and accuracies for the record.

    Raises:
        UserError: scikit-learn is not installed, the given digits cannot be used, or the classifier's size does not
            divide the stacks'.
    """
    from progcycle.metrics.digits import digit_classifier, digit_split, train_digit_classifier

    if digits is None:
        classifier = digit_classifier()
        seen, checked = (classifier.accuracy(*digit_split(part)) for part in ("train", "check"))
        return classifier, {"digits": "scikit-learn", "accuracy": checked, "accuracy_on_digits_of_stacks": seen}
    pictures, classes = _single_digits(digits, resolution)
    held_out, rest = slice(len(classes) // HELD_OUT), slice(len(classes) // HELD_OUT, None)
    classifier = train_digit_classifier(pictures[rest], classes[rest])
    return classifier, {"digits": digits, "accuracy": classifier.accuracy(pictures[held_out], classes[held_out])}


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


def measure_modes(samples: "GeneratorSamples", classifier: "DigitClassifier", count: int) -> dict[str, Any]:
    """Mode coverage of generated pictures, mean and deviation over ten sets of ``count``; and of real pictures."""
    import numpy as np

    runs = [modes_figures(classifier, samples.generated(count, start=i * count)) for i in range(REPEATS)]
    seen = min(count, len(samples.reals))
    real = modes_figures(classifier, samples.real(seen))
    mean, deviation = ({key: float(of([run[key] for run in runs])) for key in real} for of in (np.mean, np.std))
    return {
        "count": count,
        "repeats": REPEATS,
        "generated": {"mean": mean, "deviation": deviation},
        "real": {"count": seen, **real},
    }
