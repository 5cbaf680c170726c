"""The Python interface: draft, plan, estimate and train a recipe, and inspect a run, as the commands do."""

import base64
import html
import io
import json
import signal
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from progcycle.data.new_recipe import draft_for
from progcycle.data.survey import survey_folder
from progcycle.engine.build import build, count_parameters
from progcycle.engine.estimate import Estimate
from progcycle.engine.estimate import estimate as estimate_training
from progcycle.engine.stage_memory import MemoryPlan, plan_memory
from progcycle.engine.train import build_pretraining
from progcycle.engine.train import train as train_run
from progcycle.errors import UserError
from progcycle.evaluation import Evaluation, evaluate
from progcycle.export import SnapshotModel, load
from progcycle.output import LOGGER, console
from progcycle.recipe import Draft, Recipe, load_recipe, recipe_from
from progcycle.resolution import Resolution
from progcycle.runtime.stop import StoppedError
from progcycle.schedule import GrowthSchedule

RecipeSource = Recipe | Mapping[Any, Any] | str | Path  # a recipe, its content, a file, or a bundled recipe's name


class RunFolder:
    """A run folder: what was trained there, or is being trained by another process.

    Args:
        run_dir: the folder.

    Raises:
        UserError: the folder holds no run.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.run_dir = Path(run_dir)
        if not (self.run_dir / "recipe.yaml").is_file():
            raise UserError(f"{run_dir} holds no run: there is no recipe.yaml in it.")

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return load_recipe(self.run_dir / "recipe.yaml")

    def stats(self) -> list[dict[str, Any]]:
        """The lines of its training log, oldest first: figures by name, and ``nimg``, the pictures shown."""
        path = self.run_dir / "stats.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    def sample(self) -> Image.Image:
        """The newest sheet of samples, which the averaged networks painted.

        Raises:
            UserError: there are no samples yet.
        """
        sheets = sorted((self.run_dir / "samples").glob("nimg-*.png"))
        if not sheets:
            raise UserError(f"{self.run_dir} has no samples yet; the first one is written after training.sample_kimg.")
        with Image.open(sheets[-1]) as sheet:
            return sheet.copy()

    def load(self, device: str = "cpu") -> SnapshotModel:
        """The trained model, from the newest snapshot; see :func:`progcycle.load`."""
        return load(self.run_dir, device)

    def evaluate(self, **options: Any) -> Evaluation:
        """Measure the newest snapshot; see :func:`progcycle.evaluate`."""
        return evaluate(self.run_dir, **options)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.run_dir)!r})"

    def _repr_html_(self) -> str:
        """The newest samples and figures, for a notebook."""
        lines = self.stats()
        figures = {k: v for k, v in (lines[-1] if lines else {}).items() if isinstance(v, int | float) and k != "time"}
        cells = "".join(f"<tr><td>{html.escape(k)}</td><td>{v:.4g}</td></tr>" for k, v in figures.items())
        buffer = io.BytesIO()
        try:
            self.sample().save(buffer, "PNG")
        except UserError:
            picture = ""
        else:
            data = base64.b64encode(buffer.getvalue()).decode()
            picture = f'<img src="data:image/png;base64,{data}" alt="samples" style="max-width: 100%">'
        return f"<p>{html.escape(str(self.run_dir))}</p>{picture}<details><table>{cells}</table></details>"


@dataclass(frozen=True)
class Plan:
    """When a recipe grows, and how large its networks are.

    Attributes:
        schedule: the growth plan of training; ``schedule.at(nimg)`` is the state of growth.
        parameters: numbers that training may change, by network.
        pretraining: the growth plan of pre-training, or None.
        estimate: what each stage costs on this device, where it was timed.
        memory: what each stage takes, where that was asked for.
    """

    schedule: GrowthSchedule
    parameters: Mapping[str, int]
    pretraining: GrowthSchedule | None = None
    estimate: Estimate | None = None
    memory: MemoryPlan | None = None

    def __str__(self) -> str:
        lines = [f"pre-training:\n{self.pretraining.table()}\n\ntraining:"] if self.pretraining is not None else []
        lines += [self.schedule.table(), ""]
        lines += [f"{name:14}{count:>14,} parameters" for name, count in self.parameters.items()]
        if self.estimate is not None:
            lines += ["", self.estimate.table(), "", f"in all {self.estimate}"]
        if self.memory is not None:
            lines += ["", str(self.memory)]
        return "\n".join(lines)


def plan(recipe: RecipeSource, timed: bool = False, memory: bool = False, **overrides: Any) -> Plan:
    """The growth plan of a recipe and the sizes of its networks; nothing is trained or read, unless it is timed.

    Args:
        recipe: a recipe, its content, a YAML file, or the name of a bundled recipe.
        timed: whether to time some steps of every phase too, as :func:`estimate` does, so that it is seen what each
            stage costs and whether growing can save time; the recipe's pictures must be there.
        memory: whether to find the memory of every stage too, and the parts of a batch that fit GPUs of several sizes.
        overrides: changes, such as ``seed=1``, ``training={"precision": "no"}`` or ``**{"schedule.batch_size.32": 8}``.

    Raises:
        RecipeError, UserError: something in the recipe is wrong, or it cannot be timed.
    """
    made = recipe_from(recipe, overrides)
    with torch.device("meta"):  # sizes only: no memory, no time
        built, before = build(made), build_pretraining(made)
    parameters = {name: count_parameters(network) for name, network in built.task.networks.items()}
    measured = estimate_training(made) if timed else None
    return Plan(
        built.schedule,
        parameters,
        None if before is None else before.schedule,
        measured,
        plan_memory(made) if memory else None,
    )


def estimate(recipe: RecipeSource, **overrides: Any) -> Estimate:
    """How long a recipe would train on this device, and in how much memory: a few steps of every phase are timed.

    They run in a process of their own, so a script that calls this needs ``if __name__ == "__main__":``.

    Args:
        recipe: a recipe, its content, a YAML file, or the name of a bundled recipe; its pictures must be there.
        overrides: changes, as for :func:`train`.

    Raises:
        RecipeError, UserError: something in the recipe is wrong, or there is not enough memory for it.
    """
    return estimate_training(recipe_from(recipe, overrides))


def draft(*folders: str | Path, resolution: int | tuple[int, int] = 64, name: str = "new") -> Draft:
    """A recipe for pictures: translators for two folders, a PG-GAN for one; ``progcycle new`` writes its ``text``.

    Args:
        folders: folders or zip files of pictures, of A and B or of a PG-GAN's.
        resolution: final pixels of a side, or height and width; the shorter side has 32 to 1024 px.
        name: of the recipe.

    Returns:
        The draft: ``recipe`` for :func:`train`, ``text`` for a file, and ``notes`` about the pictures.

    Raises:
        UserError: a folder is missing or has too few pictures, or it is another resolution.
        ValueError: there are no folders, or more than two.
    """
    if not 1 <= len(folders) <= 2:
        raise ValueError(f"draft takes one folder or two, got {len(folders)}")
    size = Resolution.of(resolution)
    surveys = [survey_folder(str(folder), size) for folder in folders]
    return draft_for(surveys, size, name=name, gpu=torch.cuda.is_available())


def train(recipe: RecipeSource, run_dir: str | Path | None = None, **overrides: Any) -> RunFolder:
    """Train what a recipe describes; the same call again resumes from the newest checkpoint.

    Lines go to the logger ``progcycle``; a program that has set up no logging sees them on standard output. Ctrl-C
    finishes the step and writes a checkpoint first, in the main thread.

    Args:
        recipe: a recipe, its content, a YAML file, or the name of a bundled recipe.
        run_dir: the run folder; default: ``runs/<name>`` for a file or a name.
        overrides: changes, such as ``seed=1``, ``training={"precision": "no"}`` or ``**{"schedule.batch_size.32": 8}``.

    Returns:
        The finished run.

    Raises:
        RecipeError, UserError: something in the recipe, the data or the run folder cannot work.
        KeyboardInterrupt: Ctrl-C; the checkpoint is written.
        StoppedError: another signal stopped the run; its checkpoint is written.
    """
    made = recipe_from(recipe, overrides)
    if run_dir is None:
        if not isinstance(recipe, str | Path):
            raise UserError("train: a recipe without a file has no name for its run folder; give run_dir.")
        run_dir = Path("runs") / Path(recipe).stem
    main_thread = threading.current_thread() is threading.main_thread()
    try:
        with nullcontext() if LOGGER.hasHandlers() else console():
            train_run(made, Path(run_dir), signals=main_thread)
    except StoppedError as stopped:
        if stopped.number == signal.SIGINT:
            raise KeyboardInterrupt(str(stopped)) from None
        raise
    return RunFolder(run_dir)
