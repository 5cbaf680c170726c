"""The one training loop. It knows Accelerate, optimizers, files and the clock, but not which task it trains."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from progcycle.data import Batch, as_reals, build_loader, collate, resolve_sets, resolve_test_sets
from progcycle.engine import checkpoint, state
from progcycle.engine.build import build, check_batches, parts
from progcycle.engine.ema import EmaNetworks
from progcycle.engine.log import RunLog, flat_config
from progcycle.engine.meter import Meter
from progcycle.engine.parallel import average_gradients, broadcast_weights, check_processes
from progcycle.engine.plots import plot_curves, plot_plan
from progcycle.engine.precision import Precision
from progcycle.errors import UserError
from progcycle.recipe import Adam, Recipe
from progcycle.schedule import Growth

SaveSnapshot = Callable[..., Path]


class Trainer:
    """A run: made from a recipe and a run folder, resumed if the folder holds a checkpoint.

    Args:
        recipe: a validated recipe.
        run_dir: the run folder.
        save_snapshot: writes inference weights, see ``export.save_snapshot``.

    Raises:
        UserError: anything in the recipe, the data or the run folder that cannot work.
    """

    def __init__(self, recipe: Recipe, run_dir: Path, save_snapshot: SaveSnapshot) -> None:
        self.recipe, self.run_dir, self.save_snapshot = recipe, run_dir, save_snapshot
        built = build(recipe)
        self.schedule, self.task = built.schedule, built.task
        self.accelerator = make_accelerator(recipe, run_dir)
        check_batches(recipe, self.schedule, self.accelerator.num_processes)
        device = self.accelerator.device
        self.precision = Precision(recipe.training.precision, device)
        self.sets = open_sets(recipe, run_dir)
        self.tests = resolve_test_sets(
            recipe.data, resolution=recipe.resolution, seed=recipe.seed, cache_dir=cache_dir(recipe, run_dir)
        )
        state.claim(run_dir, recipe, self.accelerator)
        for network in self.task.networks.values():
            network.to(device, memory_format=torch.channels_last)
        broadcast_weights(self.accelerator, self.task.networks.values())
        self.ema = EmaNetworks({name: self.task.networks[name] for name in self.task.ema_of}, recipe.training.ema)
        self.scalers = {player: self.precision.scaler() for player in self.task.players}
        self.optimizers = {player: self._optimizer(player) for player in self.task.players}
        self.meter = Meter(device)
        self.log = RunLog(self.accelerator, run_dir, self.schedule)
        self.nimg = self.step = 0
        self.stage, self.fading = self.schedule.at(0).stage, False
        self.last_good: Path | None = None
        self.broken: dict[str, None] = {}

    def _optimizer(self, player: str) -> torch.optim.Optimizer:
        options: Adam = getattr(self.recipe.optimizer, player)
        adam = torch.optim.Adam(
            self._parameters(player), lr=options.lr, betas=options.betas, eps=options.eps, fused=True
        )
        prepared: torch.optim.Optimizer = self.accelerator.prepare(adam)
        return prepared

    def _parameters(self, player: str) -> list[nn.Parameter]:
        return [p for name in self.task.players[player] for p in self.task.networks[name].parameters()]

    # --- one step ------------------------------------------------------------------------------------------------

    def train_step(self, batches: Mapping[str, Batch], growth: Growth) -> None:
        """One round of updates on one batch, and the average of the generators."""
        self._enter(growth)
        device = self.accelerator.device
        reals = {
            domain: replace(moved, images=as_reals(moved.images, growth).contiguous(memory_format=torch.channels_last))
            for domain, moved in ((d, b.to(device, non_blocking=True)) for d, b in batches.items())
        }
        updates = self.task.update_order[self.step % len(self.task.update_order)]
        for players in updates:
            for player in players:
                self.compute_gradients(player, reals, growth)
            for player in players:
                self._apply(player, growth)
        self.ema.update(growth.nimg, growth.batch_size)
        self.nimg += growth.batch_size
        self.step += 1

    def _enter(self, growth: Growth) -> None:
        """Tell the task of a new stage, and clear Adam's moments where the recipe says so."""
        new_stage, edge = growth.stage != self.stage, (growth.stage, growth.fading) != (self.stage, self.fading)
        if new_stage:
            self.task.on_new_stage(growth)
            self.log.say(f"stage {growth.stage}: {growth.resolution} px opens at {growth.nimg / 1000:g} kimg")
        reset = self.recipe.optimizer.reset
        if (reset == "stage" and new_stage) or (reset == "fade_edges" and edge):
            for optimizer in self.optimizers.values():
                optimizer.state.clear()
        self.stage, self.fading = growth.stage, growth.fading

    def compute_gradients(self, player: str, reals: Mapping[str, Batch], growth: Growth) -> None:
        """Leave the gradients of one player's loss, averaged over parts and processes, in its parameters.

        Args:
            player: whose loss; every other network is frozen meanwhile.
            reals: this process's real pictures by domain, as the networks see them.
            growth: where growth stands.
        """
        for name, network in self.task.networks.items():
            network.requires_grad_(name in self.task.players[player])
        self.optimizers[player].zero_grad()
        count = parts(self.recipe, growth.resolution, len(next(iter(reals.values()))))
        chunks = {domain: batch.chunk(count) for domain, batch in reals.items()}
        for i in range(count):
            with self.precision.autocast():
                loss, stats = self.task.loss(player, {d: chunk[i] for d, chunk in chunks.items()}, growth, self.step)
            self.scalers[player].scale(loss / count).backward()  # type: ignore[no-untyped-call]
            self.meter.add({f"loss/{player}": loss, **stats}, self.step)
        average_gradients(self.accelerator, self._parameters(player))

    def _apply(self, player: str, growth: Growth) -> None:
        optimizer, scaler = self.optimizers[player], self.scalers[player]
        for group in optimizer.param_groups:
            group["lr"] = getattr(self.recipe.optimizer, player).lr * growth.lr_scale
        scaler.unscale_(optimizer)
        norms = {f"gradient/{name}": _norm(self.task.networks[name]) for name in self.task.players[player]}
        # With fp16 an overflow is no trouble: the scaler skips the step and halves its scale.
        self.meter.add(norms, self.step, check=not scaler.is_enabled())
        scaler.step(optimizer)
        scaler.update()

    # --- the run -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train from where the run folder stands to the end of the plan.

        Raises:
            UserError: a figure was not finite, or too many pictures are broken.
        """
        state.resume(self)
        self._prepare_data()
        if self.accelerator.is_main_process:
            plot_plan(self.schedule, self.run_dir / "plan.png")
        loader = build_loader(
            self.sets,
            self.schedule,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
            start_nimg=self.nimg,
            workers=self._workers(),
            pin_memory=self.accelerator.device.type == "cuda",
        )
        self.log.start(self.nimg)
        if self.nimg == 0:
            self._samples(self.schedule.at(0))
        clock = time.perf_counter()
        shown = self.nimg
        try:
            for nimg, growth, batches in loader:
                self._name_broken(batches)
                self.train_step(batches, growth)
                self.log.progress(growth.batch_size)
                if self._due(nimg, self.recipe.training.status_kimg):
                    seconds = time.perf_counter() - clock
                    self._status(growth, seconds, (self.nimg - shown) / seconds)
                    clock, shown = time.perf_counter(), self.nimg
                before = time.perf_counter()
                self._save(nimg, growth)
                clock += time.perf_counter() - before
        finally:
            loader.close()
            self.log.close()
            self.accelerator.end_training()

    def _due(self, before: int, every_kimg: float) -> bool:
        """Whether a multiple of ``every_kimg``, or the end, lies in the step that began at ``before``."""
        every = max(round(1000 * every_kimg), 1)
        return before // every != self.nimg // every or self.nimg >= self.schedule.total

    def _status(self, growth: Growth, seconds: float, rate: float) -> None:
        self._stop_if_trouble()
        extra: dict[str, float] = {"step": self.step, "seconds": round(seconds, 3), "images_per_s": round(rate, 2)}
        if self.precision.name == "fp16":
            extra |= {f"scale/{player}": scaler.get_scale() for player, scaler in self.scalers.items()}
        self.log.status(self.nimg, growth, self.meter.means(self.accelerator), extra)

    def _save(self, before: int, growth: Growth) -> None:
        options = self.recipe.training
        samples, snapshot, full = (
            self._due(before, every) for every in (options.sample_kimg, options.snapshot_kimg, options.checkpoint_kimg)
        )
        if samples:
            self._samples(growth)
            if self.accelerator.is_main_process and self.log.stats_path.exists():
                plot_curves(self.log.stats_path, self.run_dir / "curves.png")
        if snapshot or full:
            self._stop_if_trouble()
        if snapshot and self.accelerator.is_main_process:
            self.save_snapshot(
                self.run_dir / "snapshots" / checkpoint.folder_name(self.nimg),
                task=self.recipe.task,
                networks=self.ema.networks,
                specs={name: self.task.specs[name] for name in self.task.ema_of},
                growth=growth,
                base_resolution=self.recipe.network.base_resolution,
                nimg=self.nimg,
                recipe=self.recipe,
            )
        if full:
            self.last_good = state.save(self)

    def _stop_if_trouble(self) -> None:
        trouble = self.meter.trouble(self.accelerator)
        if trouble:
            step, names = trouble
            good = f"the last good checkpoint is {self.last_good}" if self.last_good else "there is no checkpoint yet"
            raise UserError(
                f"Training stopped: {', '.join(names)} not finite at step {step} (stage {self.stage}); {good}. "
                "Lower the learning rate, or use precision bf16 or no."
            )

    @torch.no_grad()
    def _samples(self, growth: Growth) -> None:
        if not self.accelerator.is_main_process:
            return
        device, count = self.accelerator.device, self.recipe.training.sample_count

        def pictures(domain: str) -> Tensor:
            chosen = self.tests.get(domain, self.sets[domain])
            # Spread over the set: neighbours in name order are often alike.
            indices = [i * len(chosen) // count for i in range(min(count, len(chosen)))]
            images = collate([chosen.plain(i, growth.resolution) for i in indices]).images
            return as_reals(images.to(device), growth)

        panel = {name: tensor.to(device) for name, tensor in self.task.panel(count, pictures).items()}
        with self.precision.autocast():
            self.log.samples(self.nimg, self.task.sample(self.ema.networks, panel, growth))

    def _prepare_data(self) -> None:
        resolutions = sorted({phase.resolution for phase in self.schedule.phases})
        with self.accelerator.main_process_first():
            for pictures in self.sets.values():
                pictures.prepare(resolutions, progress=self.accelerator.is_main_process)

    def _workers(self) -> int:
        if self.recipe.data.workers is not None:
            return self.recipe.data.workers
        if self.accelerator.device.type == "cpu":
            return 0
        return min(8, max(1, (os.cpu_count() or 1) // self.accelerator.num_processes - 1))

    def _name_broken(self, batches: Mapping[str, Batch]) -> None:
        for batch in batches.values():
            for sentence in batch.broken:
                if sentence not in self.broken:
                    self.broken[sentence] = None
                    self.log.say(f"warning: broken picture replaced: {sentence} ({len(self.broken)} so far)")


def _norm(network: nn.Module) -> Tensor:
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def make_accelerator(recipe: Recipe, run_dir: Path) -> Accelerator:
    """The Accelerator of a run, trackers started.

    Raises:
        UserError: a tracker that is unknown or not installed, or a launch whose processes do not know each other.
    """
    trackers: list[Any] = list(recipe.training.trackers)
    try:
        accelerator = Accelerator(mixed_precision="no", log_with=trackers or None, project_dir=run_dir)
    except (ValueError, ImportError) as error:
        raise UserError(f"training.trackers: {' '.join(str(error).split())}") from None
    check_processes(accelerator)
    if trackers:
        known = {tracker.value if hasattr(tracker, "value") else str(tracker) for tracker in accelerator.log_with}
        if missing := sorted(set(trackers) - known):
            raise UserError(
                f"training.trackers: {', '.join(missing)} is not installed; pip install it or leave it out."
            )
        accelerator.init_trackers("progcycle", config=flat_config(recipe.model_dump(mode="json")))
    return accelerator


def cache_dir(recipe: Recipe, run_dir: Path) -> Path:
    """Folder of the arrays of small pictures, shared by the runs beside each other."""
    return Path(recipe.data.cache_dir) if recipe.data.cache_dir else run_dir.parent / ".cache"


def open_sets(recipe: Recipe, run_dir: Path) -> dict[str, Any]:
    """The training pictures of a recipe by domain.

    Raises:
        UserError: pictures are missing; the sentence names the folder and the README that says how to get them.
    """
    return resolve_sets(
        recipe.data, resolution=recipe.resolution, seed=recipe.seed, cache_dir=cache_dir(recipe, run_dir)
    )
