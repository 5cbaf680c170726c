"""Measure a trained model, whatever it is."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from progcycle.errors import UserError
from progcycle.evaluation.evaluate_generator import GeneratorOptions, evaluate_generator
from progcycle.evaluation.evaluate_translator import TranslatorOptions, evaluate_translator
from progcycle.evaluation.provenance import run_folder
from progcycle.evaluation.result import Evaluation
from progcycle.export import Generator, Translator, find_snapshot, load


def evaluate(run: str | Path, device: str = "cpu", **options: Any) -> Evaluation:
    """Measure the newest snapshot of a run, or a snapshot; nothing is written.

    Args:
        run: a run folder, or a snapshot.
        device: where to compute.
        options: of :class:`GeneratorOptions` for a PG-GAN, of :class:`TranslatorOptions` for translators.

    Returns:
        Figures, see :class:`Evaluation`; ``save()`` writes them into the run folder.

    Raises:
        UserError: there is no snapshot, an option is not one of this task, or something cannot be measured.
    """
    snapshot = find_snapshot(Path(run))
    return evaluate_model(load(snapshot, device), snapshot, device=device, **options)


def evaluate_model(model: Generator | Translator, snapshot: Path, **options: Any) -> Evaluation:
    """The same of a model that is loaded already.

    Args:
        model: of the snapshot.
        snapshot: where it comes from.
        options: as :func:`evaluate`, and ``device``.
    """
    kind = TranslatorOptions if isinstance(model, Translator) else GeneratorOptions
    known = [field.name for field in fields(kind)]
    if unknown := sorted(options.keys() - set(known)):
        words = "translators" if isinstance(model, Translator) else "a PG-GAN"
        raise UserError(f"evaluate: {unknown[0]} is no option for {words}; choose from {', '.join(known)}.")
    folder = run_folder(snapshot)
    if isinstance(model, Translator):
        return evaluate_translator(model, snapshot, folder, TranslatorOptions(**options))
    return evaluate_generator(model, snapshot, folder, GeneratorOptions(**options))
