"""One run of a study in a process of its own: train, then measure."""

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progcycle.errors import UserError
from progcycle.evaluation.generator_metrics import check_metrics
from progcycle.evaluation.provenance import versions
from progcycle.output import console, say
from progcycle.recipe import AutoencoderRecipe, CycleganRecipe, Recipe, Study
from progcycle.studies.pictures import Show, show_autoencoder, show_generator

if TYPE_CHECKING:
    from torch import Tensor

    from progcycle.engine.run import Run
    from progcycle.evaluation.diversity import TestLatents
    from progcycle.evaluation.round_trip import Translate
    from progcycle.export import Translator
    from progcycle.export.translator import Direction

METRICS = ("swd",)  # of a PG-GAN, where a study names none
Figures = dict[str, float]


def run_row(study: Study, variant: str, seed: int, recipe: Recipe, run_dir: Path) -> dict[str, Any]:
    """Train one variant with one seed in this process, and measure it.

    The CPU time is that of training, pre-training included, over all the parts of a run that was interrupted.
    """
    import torch

    from progcycle.engine.initial_weights import PRETRAINING
    from progcycle.engine.train import train
    from progcycle.studies.budget import with_fixed_precision

    torch.set_num_threads(1)
    recipe = with_fixed_precision(recipe)
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "log.txt").open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log), console():
        resumed = (run_dir / "checkpoints").exists()
        wall = time.perf_counter()
        run = train(recipe, run_dir)
        wall = time.perf_counter() - wall
        before = cpu_seconds(run_dir / PRETRAINING / "stats.jsonl")
        course, figures = STUDIED[recipe.task].measure(study, run, recipe, before)
    return {
        "variant": variant,
        "seed": seed,
        "figures": figures,
        **({"seen_by_discriminators": seen} if (seen := STUDIED[recipe.task].seen(recipe)) else {}),
        "curves": read_curves(run_dir / "stats.jsonl", study.curves),
        "course": course,
        "nimg": run.trainer.nimg,
        "cpu_seconds": round(before + run.cpu_seconds, 3),
        "wall_seconds": round(wall, 1),
        "resumed": resumed,
        "versions": versions(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "precision": run.trainer.precision.name,
    }


def measured_snapshots(run_dir: Path, study: Study) -> list[Path]:
    """The snapshots of a finished run that a study measures, oldest first: its points, the end among them."""
    from progcycle.export import list_snapshots
    from progcycle.export.config import read_config

    found = list_snapshots(run_dir)
    if study.spacing == "pictures":
        return found
    spent = [read_config(snapshot).cpu_seconds or 0.0 for snapshot in found]
    return [found[i] for i in nearest_to_even(spent, study.points)]


def nearest_to_even(values: Sequence[float], count: int) -> list[int]:
    """Indices of those of rising values that lie nearest to 1/count, 2/count, ... of the last one; each once."""
    wanted = [values[-1] * k / count for k in range(1, count + 1)]
    return sorted({min(range(len(values)), key=lambda i: abs(values[i] - want)) for want in wanted})


def measure_generator_run(study: Study, run: "Run", recipe: Recipe, before: float) -> tuple[list[Figures], Figures]:
    """Figures of a finished run of a generator; arguments are those of :func:`measure_translator_run`."""
    from progcycle.evaluation.generator_metrics import measure_run

    return [], measure_run(run.run_dir, study.metrics or METRICS, study.count)


def check_generator_metrics(where: str, study: Study, recipe: Recipe) -> None:
    """Refuse metrics of a generator that cannot be computed.

    Raises:
        UserError: one sentence about the first of them, led by ``where``.
    """
    resolution = recipe.schedule.hold_resolution or recipe.resolution
    domain = recipe.data.domains["real"]
    check_metrics(study.metrics or METRICS, resolution, domain.channels, where)


def measure_translator_run(
    study: Study, run: "Run", recipe: CycleganRecipe, before: float
) -> tuple[list[Figures], Figures]:
    """Figures of a finished run of translators on the test pictures of its recipe.

    Args:
        study: whether the weights without averages are measured too.
        run: at its end.
        recipe: of the run.
        before: CPU seconds of pre-training.

    Returns:
        Figures at every snapshot, with ``nimg`` and ``cpu_seconds``, and those of the end, the ``raw`` ones included.
    """
    from progcycle.evaluation.diversity import TestLatents
    from progcycle.export import Translator, load_as

    benchmark = TranslationBenchmark(recipe, study.metrics or ())
    course: list[Figures] = []
    figures: Figures = {}
    for snapshot in measured_snapshots(run.run_dir, study):
        model = load_as(Translator, snapshot)
        # Earlier stages work at their own resolution, and their pictures are enlarged.
        figures = benchmark.measure(
            lambda x, to, z=None, model=model: model.translate(x, to, "train", latents=z, side=model.resolution),
            stage_translator(model),
            stage_latents(model),
        )
        spent = before + (model.config.cpu_seconds or 0.0)
        course.append({"nimg": model.config.nimg, "cpu_seconds": round(spent, 3), **figures})
    if study.raw:
        growth, task = run.schedule.final, run.trainer.task
        own = {name: task.networks[name].eval() for name in task.ema_of}
        raw = benchmark.measure(
            lambda x, to, *z: own[f"gen_{to}"](x, growth.stage, growth.alpha, *z).float().clamp(-1, 1),
            latents=TestLatents(
                {to: own[f"gen_{to}"].latent_size for to in ("ab", "ba")},
                lambda x, to: own[f"enc_{to[1]}"](x, growth.stage, growth.alpha).float(),
            ),
        )
        figures = figures | {f"raw/{name}": value for name, value in raw.items()}
    return course, figures


def stage_translator(model: "Translator") -> "Translate":
    """Translation as in training, at the resolution of a snapshot's stage, of pictures of any size.

    It translates the enlarged outputs of ``model.translate(x, to, "train")`` back. As in training they are neither
    rounded nor faded: the network that painted them has faded them already.
    """
    from progcycle.evaluation.round_trip import translate_as_training
    from progcycle.export.tensor_images import resize

    translate, shape = translate_as_training(model), model.resolution.shape

    def reduced(pictures: "Tensor", direction: "Direction", *latents: "Tensor") -> "Tensor":
        made = translate(resize(pictures, *shape), direction, *latents).float().clamp(-1, 1)
        return resize(made, *pictures.shape[2:])

    return reduced


def stage_latents(model: "Translator") -> "TestLatents":
    """The latents of a snapshot's translators, estimated at the resolution of its stage from pictures of any size."""
    from dataclasses import replace

    from progcycle.evaluation.diversity import latents_of
    from progcycle.export.tensor_images import resize

    shape = model.resolution.shape
    return replace(latents_of(model), estimate=lambda x, to: model.estimate_latents(resize(x, *shape), to))


LONG = ("kid-resnet", "two-sample")  # metrics of translators that a study must name


def check_translator_metrics(where: str, study: Study, recipe: CycleganRecipe) -> None:
    """Refuse metrics that translators do not have; arguments are those of :func:`check_generator_metrics`.

    Raises:
        UserError: one sentence about the first of them, led by ``where``.
    """
    for name in study.metrics or ():
        if name not in LONG:
            raise UserError(
                f"{where}: translators have no metric {name!r} to add to those that are always measured; choose from "
                f"{', '.join(LONG)}."
            )


def seen_by_discriminators(recipe: Recipe) -> list[str]:
    """Figures in features that a discriminator of the recipe has seen."""
    from progcycle.evaluation.seen_features import seen_figures

    return seen_figures(recipe, "efficientnet-lite0", "open-nsfw")


class TranslationBenchmark:
    """The test pictures of a recipe and their features, read once, to measure translators on.

    Args:
        recipe: of translators.
        metrics: what to measure beside all that is quick, of ``LONG``.
    """

    def __init__(self, recipe: CycleganRecipe, metrics: Sequence[str] = ()) -> None:
        from progcycle.evaluation.pairs import find_pairs
        from progcycle.evaluation.translation_metrics import QUICK, RealFeatures, real_features
        from progcycle.evaluation.translation_pictures import read_pictures, test_sets
        from progcycle.metrics import load_features

        sets = test_sets(recipe, None, None, recipe.resolution)
        pictures = {domain: read_pictures(sets[domain], recipe.resolution) for domain in ("a", "b")}
        pairing = find_pairs(sets, recipe.data.paired, lambda domain, places: pictures[domain][places])
        if pairing.sentence:
            say(f"{pairing.sentence}.")
        self.pairs, self.a, self.b = pairing.pairs, pictures["a"], pictures["b"]
        self.features = load_features()
        self.reals = real_features(self.features, self.a, self.b)
        self.more: RealFeatures | None = None
        if "kid-resnet" in metrics:
            resnet = load_features("open-nsfw")
            self.more = RealFeatures(resnet, real_features(resnet, self.a, self.b))
        self.metrics = (*QUICK, *(name for name in metrics if name == "two-sample"))

    def measure(
        self,
        translate: "Translate",
        translate_back: "Translate | None" = None,
        latents: "TestLatents | None" = None,
    ) -> Figures:
        """Figures of both directions, see :func:`measure_translation`."""
        import torch

        from progcycle.evaluation.diversity import WITHOUT
        from progcycle.evaluation.translation_metrics import measure_translation

        with torch.no_grad():
            return measure_translation(
                translate,
                self.a,
                self.b,
                self.pairs,
                self.features,
                reals=self.reals,
                more=self.more,
                metrics=self.metrics,
                translate_back=translate_back,
                latents=latents or WITHOUT,
            )

    def baselines(self, recipe: CycleganRecipe, run_dir: Path) -> dict[str, Figures]:
        """Figures of doing nothing, and of matching the colour statistics of the training pictures."""
        from progcycle.evaluation.evaluate_translator import match_training_colours
        from progcycle.evaluation.translation_metrics import DIRECTIONS, DirectionTestSet, source_target_pairs
        from progcycle.evaluation.translation_pictures import training_pictures

        colours, _ = training_pictures(recipe, run_dir, recipe.resolution)
        pictures = {"a": self.a, "b": self.b}
        found: dict[str, Figures] = {"do nothing": {}, "match colours": {}}
        for direction, source, target in DIRECTIONS:
            test_set = DirectionTestSet(
                direction,
                pictures[source],
                pictures[target],
                source_target_pairs(self.pairs, direction),
                self.features,
                self.reals,
                self.more,
            )
            found["do nothing"] |= test_set.measure(test_set.unchanged, metrics=self.metrics)
            if colours:
                found["match colours"] |= test_set.measure(
                    match_training_colours(test_set.unchanged, colours[source], colours[target]), metrics=self.metrics
                )
        return {name: figures for name, figures in found.items() if figures}


def measure_baselines(study: Study, recipe: CycleganRecipe, run_dir: Path) -> dict[str, Figures]:
    """Figures to compare every translator of a study with, see :meth:`TranslationBenchmark.baselines`."""
    return TranslationBenchmark(recipe, study.metrics or ()).baselines(recipe, run_dir)


def measure_autoencoder_run(
    study: Study, run: "Run", recipe: AutoencoderRecipe, before: float
) -> tuple[list[Figures], Figures]:
    """Figures of a finished run of an autoencoder on all its unseen pictures, at the final resolution throughout.

    Arguments and what is returned are those of :func:`measure_translator_run`.
    """
    from progcycle.evaluation.evaluate_autoencoder import measure_enlarged
    from progcycle.evaluation.translation_pictures import read_pictures
    from progcycle.export import Autoencoder, load_as
    from progcycle.export.autoencoder import unseen_pictures

    _, pictures = unseen_pictures(recipe)
    real = read_pictures(pictures, recipe.resolution)
    course: list[Figures] = []
    figures: Figures = {}
    for snapshot in measured_snapshots(run.run_dir, study):
        model = load_as(Autoencoder, snapshot)
        figures = measure_enlarged(model.restore, real)
        spent = before + (model.config.cpu_seconds or 0.0)
        course.append({"nimg": model.config.nimg, "cpu_seconds": round(spent, 3), **figures})
    return course, figures


def cpu_seconds(stats: Path) -> float:
    """CPU time of a run by its training log; 0 if there is none."""
    return max([float(line.get("cpu_seconds", 0.0)) for line in _lines(stats)], default=0.0)


def read_curves(stats: Path, names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Points (kimg, value) of figures in a training log."""
    lines = _lines(stats)
    return {name: [(line["nimg"] / 1000, line[name]) for line in lines if name in line] for name in names}


def _lines(stats: Path) -> list[dict[str, Any]]:
    """The lines of a training log; none if there is no log."""
    return [json.loads(line) for line in stats.read_text(encoding="utf-8").splitlines()] if stats.exists() else []


# --- tasks --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TaskStudy:
    """How a study measures the runs of a task.

    Attributes:
        measure: from the study, a finished run, its recipe and the CPU seconds before to figures of the run's course
            and of its end.
        check: refuses, before anything is trained, what of a study and a recipe cannot be measured; its first
            argument begins the errors.
        baselines: from the study, a recipe and a folder to figures of methods that learn nothing; None: there are none.
        seen: from a recipe to the names of figures in features that a discriminator has seen.
        pictures: from a run folder and its recipe to pictures for the study's sheet; None: there is no sheet.
        keys: keys of a study that this task uses and others may not. With ``points`` among them, figures are also
            measured during a run, at its snapshots, and a run writes no others.
    """

    measure: Callable[["Study", "Run", Any, float], tuple[list[Figures], Figures]]
    check: Callable[[str, Study, Any], None] | None = None
    baselines: Callable[["Study", Any, Path], dict[str, Figures]] | None = None
    seen: Callable[[Any], list[str]] = lambda recipe: []
    pictures: Show | None = None
    keys: frozenset[str] = frozenset()

    def measures_like(self, other: "TaskStudy") -> bool:
        """Whether the runs of both are measured alike, so that one study may hold them."""
        return (self.measure, self.keys) == (other.measure, other.keys)

    @property
    def in_course(self) -> bool:
        """Whether figures are also measured during a run."""
        return "points" in self.keys

    def check_keys(self, where: str, study: Study, task: str) -> None:
        """Refuse keys of a study that other tasks use and this one does not.

        Raises:
            UserError: one sentence about the first of them, led by ``where``.
        """
        optional = {key for row in STUDIED.values() for key in row.keys}
        for key in sorted(study.model_fields_set & optional - self.keys):
            raise UserError(f"{where}: {key}: studies of the task {task} do not use this key; leave it out.")


STUDIED: dict[str, TaskStudy] = {
    **dict.fromkeys(
        ("pggan", "began", "lapgan"),
        TaskStudy(
            measure_generator_run,
            check=check_generator_metrics,
            seen=seen_by_discriminators,
            pictures=show_generator,
            keys=frozenset({"metrics", "count"}),
        ),
    ),
    "cyclegan": TaskStudy(
        measure_translator_run,
        check=check_translator_metrics,
        baselines=measure_baselines,
        seen=seen_by_discriminators,
        keys=frozenset({"metrics", "points", "spacing", "raw", "rivals"}),
    ),
    "autoencoder": TaskStudy(
        measure_autoencoder_run, pictures=show_autoencoder, keys=frozenset({"points", "spacing", "rivals"})
    ),
}
