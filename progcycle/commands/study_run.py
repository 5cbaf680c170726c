"""One run of a study in a process of its own: train, then measure."""

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progcycle.commands.cli import versions
from progcycle.recipe import CycleganRecipe, Recipe, Study

if TYPE_CHECKING:
    pass

METRICS = ("swd",)  # of a PG-GAN, where a study does not say
Figures = dict[str, float]


def run_row(study: Study, variant: str, seed: int, recipe: Recipe, run_dir: Path) -> dict[str, Any]:
    """Train one variant with one seed in this process, and measure it.

    The CPU time is that of training in this process, over all the parts of a run that was interrupted.
    """
    import torch

    from progcycle.commands.metrics import evaluator, measure
    from progcycle.engine.loop import Trainer
    from progcycle.export import save_snapshot

    torch.set_num_threads(1)
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "log.txt").open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        resumed = (run_dir / "checkpoints").exists()
        wall = time.perf_counter()
        trainer = Trainer(recipe, run_dir, save_snapshot, evaluator(recipe))
        trainer.run()
        wall = time.perf_counter() - wall
        if isinstance(recipe, CycleganRecipe):
            course = measure_course(run_dir, recipe)
            figures = {name: value for name, value in course[-1].items() if name not in ("nimg", "cpu_seconds")}
            if study.raw:
                figures |= {f"raw/{name}": value for name, value in measure_raw(trainer, run_dir, recipe).items()}
        else:
            course, figures = [], measure(run_dir, study.metrics or METRICS, study.count)
    return {
        "variant": variant,
        "seed": seed,
        "figures": figures,
        "curves": read_curves(run_dir / "stats.jsonl", study.curves),
        "course": course,
        "nimg": trainer.nimg,
        "cpu_seconds": round(trainer.cpu_seconds, 1),
        "wall_seconds": round(wall, 1),
        "resumed": resumed,
        "versions": versions(),
    }


def read_curves(stats: Path, names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Points (kimg, value) of figures in a training log."""
    lines = [json.loads(line) for line in stats.read_text(encoding="utf-8").splitlines()]
    return {name: [(line["nimg"] / 1000, line[name]) for line in lines if name in line] for name in names}
