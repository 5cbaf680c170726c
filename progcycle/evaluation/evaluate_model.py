"""Evaluation of a trained model of any task."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from progcycle.errors import UserError
from progcycle.evaluation.evaluate_autoencoder import AutoencoderOptions, evaluate_autoencoder
from progcycle.evaluation.evaluate_generator import GeneratorOptions, evaluate_generator
from progcycle.evaluation.evaluate_lapgan import evaluate_lapgan
from progcycle.evaluation.evaluate_translator import TranslatorOptions, evaluate_translator
from progcycle.evaluation.result import Evaluation
from progcycle.export import SnapshotModel, find_snapshot, load
from progcycle.export.run_files import run_folder


@dataclass(frozen=True)
class TaskEvaluation:
    """How the models of a task are measured once they are trained.

    Attributes:
        options: a dataclass of what to measure; ``device`` is among its fields.
        measure: from a model, its snapshot, the run folder and the options to figures.
        page: whether it makes a page of pictures too.
    """

    options: Callable[..., Any]
    measure: Callable[[Any, Path, Path, Any], Evaluation]
    page: bool = False

    @property
    def names(self) -> list[str]:
        """Names of the options."""
        return [field.name for field in fields(self.options)]  # type: ignore[arg-type]


# By task. Programs may add rows.
EVALUATIONS: dict[str, TaskEvaluation] = {
    "pggan": TaskEvaluation(GeneratorOptions, evaluate_generator),
    "lapgan": TaskEvaluation(GeneratorOptions, evaluate_lapgan),
    "cyclegan": TaskEvaluation(TranslatorOptions, evaluate_translator, page=True),
    "began": TaskEvaluation(GeneratorOptions, evaluate_generator),
    "autoencoder": TaskEvaluation(AutoencoderOptions, evaluate_autoencoder),
}


def evaluate(run: str | Path, device: str = "cpu", **options: Any) -> Evaluation:
    """Measure the newest snapshot of a run, or a snapshot; nothing is written.

    Args:
        run: a run folder, or a snapshot.
        device: where to compute.
        options: of the class that ``EVALUATIONS`` names: :class:`GeneratorOptions` for a PG-GAN,
            :class:`TranslatorOptions` for translators, :class:`AutoencoderOptions` for an autoencoder.

    Returns:
        Figures, see :class:`Evaluation`; ``save()`` writes them into the run folder.

    Raises:
        UserError: there is no snapshot, an option is not one of this task, or something cannot be measured.
    """
    snapshot = find_snapshot(Path(run))
    return evaluate_model(load(snapshot, device), snapshot, device=device, **options)


def evaluate_model(model: SnapshotModel, snapshot: Path, **options: Any) -> Evaluation:
    """Measure a model that is already loaded.

    Args:
        model: of the snapshot.
        snapshot: where it comes from.
        options: as :func:`evaluate`, and ``device``.
    """
    if model.task not in EVALUATIONS:
        raise UserError(
            f"evaluate: models of the task {model.task} cannot be measured, only of {', '.join(EVALUATIONS)}."
        )
    measured = EVALUATIONS[model.task]
    if unknown := sorted(options.keys() - set(measured.names)):
        raise UserError(
            f"evaluate: {unknown[0]} is no option for {model.kind}; choose from {', '.join(measured.names)}."
        )
    return measured.measure(model, snapshot, run_folder(snapshot), measured.options(**options))
