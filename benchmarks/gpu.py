"""Everything about one GPU in ten minutes: is it right, how fast is it, and does it need the memory that plan says?

benchmarks/gpu.sh                      # starts this; a table last
benchmarks/gpu.sh --out gpu.json       # and all figures
benchmarks/gpu.sh --quick              # small networks and pictures, a minute or two; the default without a GPU

1. gradients of a small PG-GAN in float32, bf16, fp16 and compiled, against float64 on the CPU;
2. a run that is stopped and resumed, with deterministic algorithms, against one that is not: bit for bit;
3. steps of ``pggan_celebahq`` from 4 to 1024 px and of ``cyclegan_horse2zebra`` at 256 and 512 px, on noise: as the
   recipe has them, in bf16, compiled, and with CUDA graphs; and their memory against ``plan --memory``;
4. the wait for data: a loader of JPEGs that are made for it, by ``progcycle bench``.

Parts that no longer fit into ``--seconds`` are left out by name, those of compiled networks first.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

import progcycle
from progcycle.engine.bench import bench
from progcycle.engine.build import build
from progcycle.engine.compiled import Compilation, CompiledCall, why_not
from progcycle.engine.context import choose_algorithms
from progcycle.engine.estimate import noise
from progcycle.engine.precision import DTYPES, Precision
from progcycle.engine.stage_memory import plan_memory
from progcycle.engine.trainer import Trainer
from progcycle.networks import PgganDiscriminator, PgganGenerator
from progcycle.objectives import zero_centred
from progcycle.recipe import Recipe, load_recipe
from progcycle.runtime.measure_precision import device_clock

NARROW = 64  # px up to which CUDA graphs are tried
COMPILED = (16, 64, 256)  # px at which compiling is tried, which takes a minute each
# Largest errors, of the norm: of numbers of 24, 8 and 11 bits, through two backward passes.
BOUNDS = {"float32": 1e-4, "float32, compiled": 1e-4, "bf16": 0.2, "fp16": 0.03}
RECIPES: dict[str, tuple[tuple[int, ...], list[str]]] = {
    "pggan_celebahq": ((4, 8, 16, 32, 64, 128, 256, 512, 1024), []),
    "cyclegan_horse2zebra": ((256, 512), ["resolution=512"]),
}
SMALL = {
    "pggan_celebahq": ((4, 8, 16), ["resolution=16", "network.channels.max=8", "schedule.batch_size=4"]),
    "cyclegan_horse2zebra": ((32, 64), ["resolution=64", "network.channels.max=4", "schedule.batch_size=2"]),
}


class Report:
    """Lines of a table, and the time that is left.

    Args:
        seconds: for everything.
    """

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self.rows: list[dict[str, Any]] = []

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def add(self, part: str, case: str, **figures: Any) -> None:
        """Keep a row, and say it at once: a script that is stopped has said what it knows."""
        self.rows.append({"part": part, "case": case, **figures})
        print(f"{part}: {case}: {told(figures)}", flush=True)

    def table(self) -> str:
        """All rows, under the names of their parts."""
        lines = list[str]()
        for part in dict.fromkeys(row["part"] for row in self.rows):
            lines.append(part)
            for row in (row for row in self.rows if row["part"] == part):
                lines.append(f"  {row['case']:34}{told({k: v for k, v in row.items() if k not in ('part', 'case')})}")
        return "\n".join(lines)


def told(figures: dict[str, Any]) -> str:
    """Figures by name, floats with three digits."""
    return ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())


# --- correctness ------------------------------------------------------------------------------------------------------


def small_gradients(device: torch.device, kind: str, backend: Any) -> Tensor:
    """All gradients of a small PG-GAN in mid-fade, with R1, as one row in float64 on the CPU."""
    torch.manual_seed(0)
    generator, discriminator = PgganGenerator([16, 16, 8], latent_size=16), PgganDiscriminator([16, 16, 8], hidden=16)
    z, real = torch.randn(8, 16), torch.rand(8, 3, 16, 16) * 2 - 1
    dtype = torch.float64 if kind == "float64" else torch.float32
    for network in (generator, discriminator):
        network.to(device, dtype)
    if kind.endswith("compiled"):
        generator._compiled_call_impl = CompiledCall(generator, backend)
    z, real = z.to(device, dtype), real.to(device, dtype)
    scale = 1024.0 if kind == "fp16" else 1.0
    with torch.autocast(device.type, dtype=DTYPES.get(kind, torch.bfloat16), enabled=kind in DTYPES):
        logits = discriminator(generator(z, 2, 0.3), 2, 0.3) - discriminator(real, 2, 0.3)
        loss = torch.nn.functional.softplus(logits).mean()
        loss = loss + zero_centred(lambda pictures: discriminator(pictures, 2, 0.3), real, 1.0)
    (scale * loss).backward()  # type: ignore[no-untyped-call]
    used = [p.grad for network in (generator, discriminator) for p in network.parameters() if p.grad is not None]
    return torch.cat([gradient.flatten().double().cpu() for gradient in used]) / scale


def check_gradients(report: Report, device: torch.device, backend: Any) -> bool:
    """Compare number formats with float64."""
    exact, right = small_gradients(torch.device("cpu"), "float64", None), True
    kinds = [kind for kind in BOUNDS if device.type == "cuda" or kind != "fp16"]
    for kind in kinds:
        if kind.endswith("compiled") and (trouble := why_not(device, backend)):
            report.add("gradients against float64", kind, skipped=trouble)
            continue
        error = float((small_gradients(device, kind, backend) - exact).norm() / exact.norm())
        fits = error < BOUNDS[kind]
        right &= fits
        report.add("gradients against float64", kind, error=error, allowed=BOUNDS[kind], right="yes" if fits else "NO")
    return right


def check_resuming(report: Report, folder: Path, pictures: Path) -> bool:
    """Stop a run in mid-fade and go on, and compare all that it would save with a run that was not stopped."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    changes = {
        "data.path": pictures,
        "data.workers": 0,
        "resolution": 16,
        "network.channels.max": 16,
        "training.compile": "off",
        "schedule.stable_kimg": "{4: 0.064, 8: 0.064, 16: 0.096}",
        "schedule.fade_kimg": 0.064,
        "schedule.batch_size": 16,
        "schedule.decay_kimg": 0,
        "schedule.total_kimg": 0.4,
    }
    recipe = load_recipe("pggan_emoji", [f"{key}={value}" for key, value in changes.items()])
    whole, halves = folder / "whole", folder / "halves"
    progcycle.train(recipe, whole)
    shorter = recipe.model_copy(update={"schedule": recipe.schedule.model_copy(update={"total_kimg": 0.288})})
    for part in (shorter, recipe):
        progcycle.train(part, halves)
    torch.use_deterministic_algorithms(before[0])
    torch.backends.cudnn.benchmark = before[1]
    files = [sorted((run / "checkpoints").glob("nimg-*"))[-1] for run in (whole, halves)]
    names = sorted(file.name for file in files[0].iterdir() if file.suffix == ".safetensors")
    same = bool(names) and all((files[0] / name).read_bytes() == (files[1] / name).read_bytes() for name in names)
    report.add("a run that is resumed", "16 px", files=len(names), equal="yes" if same else "NO")
    return same


# --- steps ------------------------------------------------------------------------------------------------------------


def variants(side: int, compiled: bool, quick: bool, backend: Any) -> Iterator[tuple[str, list[str], Compilation]]:
    """What is tried at a resolution: words, changes of the recipe, and what is compiled."""
    bf16 = ["training.precision=bf16"]
    if not compiled:
        yield "float32", ["training.precision=no"], Compilation()
        yield "bf16", bf16, Compilation()
        yield "bf16, activations again", [*bf16, f"training.checkpoint_activations={side}"], Compilation()
    elif side in COMPILED or quick:
        yield "bf16, compiled", bf16, Compilation("generators", backend=backend)
        if side <= NARROW and not quick:
            yield "bf16, compiled, CUDA graphs", bf16, Compilation("generators", graphs=NARROW, backend=backend)


def time_steps(report: Report, name: str, compiled: bool, quick: bool, backend: Any, device: torch.device) -> None:
    """Steps of a recipe on noise, at every resolution, and their memory."""
    sides, changes = (SMALL if quick else RECIPES)[name]
    plan = () if compiled else plan_memory(load_recipe(name, [*changes, "training.precision=no"])).stages
    planned = {stage.resolution: stage.peak() for stage in plan}
    for side in sides:
        for words, more, compilation in variants(side, compiled, quick, backend):
            if report.left < (90 if compiled else 20):
                figures: dict[str, Any] = {"skipped": "no time left"}
            elif compiled and (trouble := why_not(device, backend)):
                figures = {"skipped": trouble}
            else:
                figures = step(load_recipe(name, [*changes, *more]), side, compilation, device)
            if words == "float32":
                figures["planned_GB"] = planned[side] / 1e9
            report.add(name, f"{side} px, {words}", **figures)


def step(recipe: Recipe, side: int, compilation: Compilation, device: torch.device) -> dict[str, Any]:
    """Median time of a step past its fade, pictures a second, and the peak of memory, or why there is none."""
    accelerator, built = Accelerator(cpu=device.type == "cpu"), build(recipe)
    trainer = Trainer(recipe, built, accelerator, Precision(recipe.training.precision, device), compilation=compilation)
    phase = next(phase for phase in reversed(built.schedule.phases) if phase.resolution == side)
    growth = replace(built.schedule.at(phase.start), alpha=1.0, fading=False)
    domains: Any = {d: SimpleNamespace(options=o, classes=()) for d, o in recipe.data.domains.items()}
    batches, clock = noise(domains, growth), device_clock(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    took, began = list[float](), time.monotonic()
    try:
        while len(took) < 3 or time.monotonic() - began < 2:
            start = clock()
            trainer.train_step(batches, growth)
            took.append(clock() - start)
    except torch.OutOfMemoryError:
        return {"skipped": "out of memory"}
    seconds = statistics.median(took[len(took) // 2 :])
    figures: dict[str, Any] = {"ms": 1000 * seconds, "img/s": growth.batch_size / seconds, "first_s": took[0]}
    if device.type == "cuda":
        figures["peak_GB"] = torch.cuda.max_memory_allocated(device) / 1e9
    return figures


def wait_for_data(report: Report, pictures: Path, quick: bool) -> None:
    """The share of a step that waits for the loader, by stage."""
    side = 16 if quick else 128
    changes = {"data.path": pictures, "resolution": side, "schedule.stable_kimg": 10, "schedule.fade_kimg": 0}
    recipe = load_recipe("pggan_emoji", [f"{key}={value}" for key, value in changes.items()])
    found = bench(recipe, "gpu", min(max(report.left - 10, 5), 8 if quick else 60))
    for stage in found.stages:
        figures = {"share": stage.shares["data"], "img/s": stage.pictures_per_second}
        report.add("wait for data", f"{stage.resolution} px", **figures)


def write_pictures(folder: Path, count: int, side: int) -> Path:
    """JPEGs of coloured noise, enlarged, which compress as photographs do."""
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i:05}.jpg", quality=90)
    return folder


def main() -> int:
    """Run all parts; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small networks; the default without a GPU")
    parser.add_argument("--seconds", type=float, default=570.0, help="for everything (default 570)")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    args = parser.parse_args()
    cuda = torch.cuda.is_available()
    device, quick = torch.device("cuda", 0) if cuda else torch.device("cpu"), args.quick or not cuda
    backend = "inductor" if cuda else "eager"  # on a CPU, compiling takes longer than everything else
    choose_algorithms(device)
    logging.getLogger("progcycle").setLevel(logging.WARNING)
    report = Report(args.seconds)
    print(
        f"{torch.cuda.get_device_name(device) if cuda else 'CPU'}, torch {torch.__version__}, quick: {quick}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as scratch:
        pictures = write_pictures(Path(scratch) / "pictures", 64 if quick else 2000, 64 if quick else 256)
        right = check_gradients(report, device, backend)
        right &= check_resuming(report, Path(scratch), pictures)
        wait_for_data(report, pictures, quick)
        for compiled in (False, True):
            for recipe in RECIPES:
                time_steps(report, recipe, compiled, quick, backend, device)
    print("\n" + report.table())
    if args.out:
        content = {"device": str(device), "torch": torch.__version__, "quick": quick, "rows": report.rows}
        args.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print("\nall that was checked is right" if right else "\nNOT RIGHT: see the lines with NO")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
