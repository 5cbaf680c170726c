"""Trackers, through Accelerate: what a recipe names is opened, fed and closed; one that fails is left out.

The project is called ``progcycle``, and a run in it as its folder.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType
from PIL import Image

from progcycle.errors import UserError
from progcycle.recipe import Recipe

PROJECT = "progcycle"
# What each calls the name of a run; the others name runs by their folders, or by themselves.
RUN_NAME = {
    "wandb": "name",
    "trackio": "name",
    "mlflow": "run_name",
    "clearml": "task_name",
    "swanlab": "experiment_name",
}
# How a picture  # [H, W, 3] uint8  is given to those that take some.
AS_PICTURES: dict[str, Callable[[np.ndarray], tuple[Any, dict[str, Any]]]] = {
    "tensorboard": lambda picture: (picture[None], {"dataformats": "NHWC"}),
    "wandb": lambda picture: ([picture], {}),
    "swanlab": lambda picture: ([picture], {}),
    "clearml": lambda picture: (picture, {}),
    "aim": lambda picture: (Image.fromarray(picture), {}),
}


def check_trackers(recipe: Recipe) -> None:
    """Check that the recipe's trackers are there.

    Raises:
        UserError: one is unknown or not installed.
    """
    known = sorted(str(tracker.value) for tracker in LoggerType if tracker != LoggerType.ALL)
    installed = {str(tracker) for tracker in get_available_trackers()}
    for name in recipe.training.trackers:
        if name not in known:
            raise UserError(f"training.trackers: there is no {name!r}; choose from {', '.join(known)}.")
        if name not in installed:
            raise UserError(f"training.trackers: {name} is not installed; pip install it, or leave it out.")


def start_trackers(recipe: Recipe, accelerator: Accelerator, run_dir: Path) -> None:
    """Open the recipe's trackers.

    Raises:
        UserError: one of them does not start.
    """
    if not recipe.training.trackers:
        return
    folder = run_dir.resolve()
    name = f"{folder.parent.name}/{folder.name}" if folder.name == "pretraining" else folder.name
    named = {tracker: {key: name} for tracker, key in RUN_NAME.items()}
    config = flat_config(recipe.model_dump(mode="json"))
    try:
        accelerator.init_trackers(PROJECT, config=config, init_kwargs=named)
    except Exception as error:  # each tracker has its own kinds: no account, no network, ...
        raise UserError(f"training.trackers: {' '.join(str(error).split()) or type(error).__name__}") from None


def track(accelerator: Accelerator, figures: Mapping[str, float], nimg: int, warn: Callable[[str], None]) -> None:
    """Give figures to the trackers.

    Args:
        accelerator: the processes and their trackers.
        figures: by name.
        nimg: pictures shown, which is the step.
        warn: told of a tracker that fails; it is left out from then on.
    """
    _each(accelerator, lambda tracker: tracker.log(dict(figures), step=nimg), warn)


def track_samples(accelerator: Accelerator, picture: np.ndarray, nimg: int, warn: Callable[[str], None]) -> None:
    """Give a sheet of samples to the trackers that take pictures, see :func:`track`.  # [H, W, 3] uint8"""

    def show(tracker: Any) -> None:
        if tracker.name in AS_PICTURES and hasattr(tracker, "log_images"):
            given, options = AS_PICTURES[tracker.name](picture)
            tracker.log_images({"samples": given}, step=nimg, **options)

    _each(accelerator, show, warn)


def close_trackers(accelerator: Accelerator) -> None:
    """Close the trackers; one that fails has nothing more to say."""
    for tracker in accelerator.trackers:
        with suppress(Exception):
            tracker.finish()
    accelerator.trackers = []


def _each(accelerator: Accelerator, feed: Callable[[Any], None], warn: Callable[[str], None]) -> None:
    for tracker in list(accelerator.trackers):
        try:
            feed(tracker)
        except Exception as error:  # no network, a full disk, a service that has ended
            accelerator.trackers.remove(tracker)
            why = " ".join(str(error).split()) or type(error).__name__
            warn(f"the tracker {tracker.name} failed ({why}); the run goes on without it")


def flat_config(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, int | float | str | bool]:
    """A recipe as flat scalars, which is what trackers take."""
    flat: dict[str, int | float | str | bool] = {}
    for key, value in recipe.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flat_config(value, f"{name}."))
        else:
            flat[name] = value if isinstance(value, int | float | str | bool) else str(value)
    return flat
