"""Evaluation of autoencoders: how far restored pictures are from the real ones."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from progcycle.evaluation.generator_metrics import check_best, check_known
from progcycle.evaluation.generator_samples import real_picture_set
from progcycle.evaluation.provenance import default_path, origin, versions
from progcycle.evaluation.result import Evaluation
from progcycle.evaluation.translation_evaluator import choose_by_name
from progcycle.metrics import paired_scores

if TYPE_CHECKING:
    from torch import Tensor

    from progcycle.data import PictureSet
    from progcycle.evaluation.sampler import EvaluationCallback, Sampler
    from progcycle.export.autoencoder import Autoencoder
    from progcycle.recipe import AutoencoderRecipe
    from progcycle.schedule import Growth

# Figures by name: heading, and how it is written.
METRICS = {"l1": ("L1", ".4f"), "l2": ("L2", ".5f"), "psnr": ("PSNR", ".2f"), "ssim": ("SSIM", ".4f")}
LOWEST = {"l1": ("l1",), "l2": ("l2",)}
BATCH = 64  # pictures restored at a time
COUNT = 1000  # pictures of each set
Figures = dict[str, float]


@dataclass(frozen=True)
class AutoencoderOptions:
    """On which pictures to measure an autoencoder.

    Attributes:
        count: pictures of each set at most.
        data: folders or zip files of pictures, instead of the recipe's test pictures.
        batch_size: pictures restored at a time.
        device: where to compute.
    """

    count: int = COUNT
    data: Sequence[str] | None = None
    batch_size: int = BATCH
    device: str = "cpu"


def restoration_scores(restored: "Tensor", real: "Tensor") -> Figures:
    """Errors of restored pictures, the means over the set.

    Args:
        restored: in [-1, 1].  # [N, C, H, W]
        real: in [-1, 1].  # [N, C, H, W]

    Returns:
        ``l1`` (mean absolute difference), ``l2`` (mean squared difference), ``psnr`` (dB) and ``ssim``, see
        :func:`progcycle.metrics.paired_scores`.
    """
    scores = paired_scores(restored, real).means()
    l2 = (restored.double() - real.double()).square().mean()
    return {"l1": scores["l1"], "l2": float(l2), "psnr": scores["psnr"], "ssim": scores["ssim"]}


def read(pictures: "PictureSet", growth: "Growth", count: int) -> "Tensor":
    """Up to so many pictures, chosen by their names, as training shows them at a moment of growth.  # [N, C, R, R]

    Raises:
        UserError: one of them is broken.
    """
    from progcycle.data import as_reals
    from progcycle.evaluation.translation_pictures import read_pictures

    return as_reals(read_pictures(pictures, growth.resolution, choose_by_name(pictures, count)), growth)


def evaluate_autoencoder(model: "Autoencoder", snapshot: Path, run: Path, options: AutoencoderOptions) -> Evaluation:
    """Compare restored pictures with the real ones: unseen pictures, and those of training.

    Args:
        model: a trained autoencoder.
        snapshot: where it comes from.
        run: its run folder.
        options: what to measure.

    Raises:
        UserError: there are no pictures, or one is broken.
    """
    from progcycle.data import describe_scale, unaltered
    from progcycle.export.autoencoder import unseen_pictures

    recipe: AutoencoderRecipe = model.recipe  # type: ignore[assignment]  # an Autoencoder's
    started = time.perf_counter()
    sets: dict[str, PictureSet] = {}
    if options.data is None:
        kind, unseen = unseen_pictures(recipe)
        plain = unaltered(recipe.data, recipe.resolution)
        sets = {kind: unseen, "training": real_picture_set(recipe.model_copy(update={"data": plain}), recipe.seed)}
    else:
        data = recipe.data.model_copy(update={"test_path": tuple(options.data)})
        sets["given"] = unseen_pictures(recipe.model_copy(update={"data": data}))[1]
    growth, results = model.config.growth, dict[str, Any]()
    for kind, pictures in sets.items():
        real = read(pictures, growth, options.count)
        restored = torch.cat([model.restore(batch).cpu() for batch in torch.split(real, options.batch_size)])
        results[kind] = {"count": len(real), **restoration_scores(restored, real)}
    record = {
        **origin(snapshot, model.config),
        "seconds": round(time.perf_counter() - started, 1),
        "paths": {kind: list(pictures.paths) for kind, pictures in sets.items()},
        "scale": describe_scale(recipe.data, recipe.resolution),
        "results": results,
        "device": options.device,
        "versions": versions("numpy"),
    }
    return Evaluation(
        record, as_text(record), default_path(run, model), [line for s in sets.values() for line in s.remarks]
    )


def as_text(record: dict[str, Any]) -> str:
    """The table of a record."""
    fading = f" at alpha {record['alpha']:.2f}" if record["alpha"] < 1 else ""
    lines = [f"{record['snapshot']}, {record['resolution']} px{fading}: restored pictures against real ones"]
    if record["results"].keys() == {"training"}:
        lines.append("there are no others than those of training; set data.test_path, or data.validation=0.1")
    if record["scale"]:
        lines.append(record["scale"])
    lines += [
        "",
        f"{'pictures':12}" + "".join(f"{title:>10}" for title in ("count", *(t for t, _ in METRICS.values()))),
    ]
    for kind, row in record["results"].items():
        cells = (f"{row[name]:{style}}" for name, (_, style) in METRICS.items())
        lines.append(f"{kind:12}{row['count']:>10}" + "".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines)


def autoencoder_evaluator(recipe: "AutoencoderRecipe", cache_dir: Path | None = None) -> "EvaluationCallback":
    """The callback that measures an autoencoder during training, on held-out pictures or else on training pictures.

    Args:
        recipe: a validated recipe with ``training.evaluation``.
        cache_dir: folder of the run's caches of pictures, which are read if they exist.

    Raises:
        UserError: there is no such metric, or the pictures are missing.
    """
    from progcycle.export.autoencoder import unseen_pictures

    options = recipe.training.evaluation
    if options is None:
        raise ValueError("the recipe has no training.evaluation")
    check_known(options.metrics, METRICS, "training.evaluation.metrics")
    check_best(options.best, options.metrics, LOWEST)
    hidden = recipe.data.model_copy(update={"test_path": None})  # test pictures are never read while training
    _, pictures = unseen_pictures(recipe.model_copy(update={"data": hidden}), cache_dir)

    def evaluate(sampler: "Sampler", nimg: int) -> Figures:
        real = read(pictures, sampler.growth, options.count)
        batches = torch.split(real, BATCH)
        restored = torch.cat([sampler({"real": batch})[1].clamp(-1, 1).cpu() for batch in batches])
        scores = restoration_scores(restored, real)
        return {name: scores[name] for name in options.metrics}

    return evaluate


def measure_enlarged(restore: "Callable[[Tensor], Tensor]", real: "Tensor") -> Figures:
    """Errors at the size of the real pictures, whatever the stage: what is restored smaller is enlarged.

    Args:
        restore: pictures in [-1, 1] to restored ones of its own size.
        real: in [-1, 1].  # [N, C, R, R]
    """
    from progcycle.export.tensor_images import resize

    restored = torch.cat([resize(restore(batch).cpu(), *real.shape[2:]) for batch in torch.split(real, BATCH)])
    return restoration_scores(restored.clamp(-1, 1), real)
