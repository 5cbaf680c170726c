"""The one training loop. It knows Accelerate, optimizers, files and the clock, but not which task it trains."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from progcycle.data import Batch, as_reals
from progcycle.engine import memory, recovery, reports, state
from progcycle.engine.alarms import Alarms
from progcycle.engine.build import build, parts
from progcycle.engine.clock import CpuClock
from progcycle.engine.ema import EmaNetworks
from progcycle.engine.evaluation import BestFolder
from progcycle.engine.folder import claim, has_checkpoint, places_of
from progcycle.engine.log import RunLog
from progcycle.engine.meter import Meter
from progcycle.engine.page import RunPage
from progcycle.engine.samples import spread
from progcycle.engine.setup import cache_of, end, prepare_data, set_up
from progcycle.engine.start import begin
from progcycle.engine.trackers import start_trackers
from progcycle.engine.trainable import Trainable
from progcycle.engine.trouble import stop_if_trouble
from progcycle.evaluation import evaluator
from progcycle.evaluation.sampler import Sampler
from progcycle.recipe import Adam, Recipe
from progcycle.runtime.guard import guard
from progcycle.runtime.lock import RunLock
from progcycle.runtime.parallel import Votes, average_gradients, broadcast_weights
from progcycle.runtime.stop import SIGNALS, StoppedError, StopSignals, agreed
from progcycle.runtime.writer import CheckpointWriter
from progcycle.schedule import Growth

Batches = Iterable[tuple[int, Growth, dict[str, Batch]]]


class Trainer:
    """A run: made from a recipe and a run folder, resumed if the folder holds a checkpoint.

    Args:
        recipe: a validated recipe.
        run_dir: the run folder.
        preparation: what to train in place of the recipe's task, see :func:`build`.
        cache_dir: folder of the caches of pictures; default: ``.cache`` beside the run folder.
        signals: whether the signals of ``runtime/stop.py`` stop the run in good order.
        lock: taken before anything is written; whoever made it gives it back.

    Raises:
        UserError: anything in the recipe, the data or the run folder that cannot work.
    """

    def __init__(
        self,
        recipe: Recipe,
        run_dir: Path,
        preparation: str | None = None,
        cache_dir: Path | None = None,
        signals: bool = False,
        lock: RunLock | None = None,
    ) -> None:
        self.recipe, self.run_dir = recipe, run_dir
        self.evaluate = evaluator(recipe, cache_dir or cache_of(run_dir))
        self.preparation = preparation
        built = build(recipe, preparation)
        self.schedule, self.task = built.schedule, built.task
        self.ground = set_up(recipe, run_dir, self.schedule, cache_dir)
        self.accelerator, self.precision = self.ground.accelerator, self.ground.precision
        fresh = not has_checkpoint(run_dir, recipe)
        begun = begin(recipe, run_dir, self.task.networks, preparation) if fresh else ()
        if lock is not None:
            lock.take(self.accelerator)
        claim(run_dir, recipe, self.accelerator)
        device = self.accelerator.device
        for network in self.task.networks.values():
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        broadcast_weights(self.accelerator, self.task.networks.values())
        self.ema = EmaNetworks({name: self.task.networks[name] for name in self.task.ema_of}, recipe.training.ema)
        self.trainable = Trainable(self.task.networks, self.task.players)
        self.scalers = {player: self.precision.scaler() for player in self.task.players}
        self.optimizers = {player: self._optimizer(player) for player in self.task.players}
        self.meter = Meter(device)
        self.log = RunLog(self.accelerator, run_dir, self.schedule)
        self.writer = CheckpointWriter(self.accelerator, places_of(run_dir, recipe), self.log.say)
        self.clock = CpuClock(self.writer.cpu_seconds)
        self.stop = StopSignals(signals)
        self.votes = Votes(self.accelerator, lambda: [*self.stop.votes(), *self.writer.votes()])
        evaluation = recipe.training.evaluation
        self.best = BestFolder(run_dir, evaluation.best if evaluation else None, self.schedule.final.resolution)
        for line in (*self.ground.notes, *begun):
            self.log.say(line)
        self.alarms = Alarms(self.schedule.total, self.log.say)
        self.nimg = self.step = 0
        self.attempt = 0  # how often the run has gone back to a checkpoint
        self.stage, self.fading = self.schedule.at(0).stage, False
        self.page = RunPage(self)
        self.broken: list[str] = []  # sentences about pictures, not said yet

    def _optimizer(self, player: str) -> Any:
        options: Adam = getattr(self.recipe.optimizer, player)
        adam = torch.optim.Adam(
            self.trainable.of(player), lr=options.lr, betas=options.betas, eps=options.eps, fused=True
        )
        return self.accelerator.prepare(adam)

    @property
    def cpu_seconds(self) -> float:
        """CPU time of training in this process, since the run began; see :class:`progcycle.engine.clock.CpuClock`.

        What evaluations, samples, snapshots and checkpoints take is left out, and so are the loader's workers. A killed
        run counts from its last checkpoint.
        """
        return self.clock.seconds

    # --- one step ------------------------------------------------------------------------------------------------

    def train_step(self, batches: Mapping[str, Batch], growth: Growth) -> None:
        """One round of updates on one batch, and the average of the generators. Nothing in it waits for the device."""
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
            stop_if_trouble(self)  # while the stage to blame is known
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
        self.trainable.choose(player)
        self.optimizers[player].zero_grad(set_to_none=True)
        count = parts(self.recipe, growth.resolution, len(next(iter(reals.values()))))
        chunks = {domain: batch.chunk(count) for domain, batch in reals.items()}
        for i in range(count):
            with self.precision.autocast():
                loss, stats = self.task.loss(player, {d: chunk[i] for d, chunk in chunks.items()}, growth, self.step)
            self.scalers[player].backward(loss / count)
            self.meter.add({f"loss/{player}": loss, **stats}, self.step)
        average_gradients(self.accelerator, self.trainable.of(player), self.votes)

    def _apply(self, player: str, growth: Growth) -> None:
        # Not through Accelerate's wrapper: its step would make the scaler wait for the device.
        adam, scaler = self.optimizers[player].optimizer, self.scalers[player]
        for group in adam.param_groups:
            group["lr"] = getattr(self.recipe.optimizer, player).lr * growth.lr_scale
        scaler.unscale(adam)
        norms = {f"gradient/{name}": _norm(self.task.networks[name]) for name in self.task.players[player]}
        # With fp16 an overflow is no trouble: the scaler skips the step and halves its scale.
        self.meter.add(norms, self.step, check=not scaler.enabled)
        scaler.step(adam, norms.values())

    # --- the run -------------------------------------------------------------------------------------------------

    def run(self, last: bool = True) -> None:
        """Train from where the run folder stands to the end of the plan.

        Args:
            last: whether no other run follows in these processes.

        Raises:
            UserError: a figure was not finite, or too many pictures are broken.
            StoppedError: a signal stopped the run, and its checkpoint is written.
        """
        resumed = state.resume(self)
        if self.nimg >= self.schedule.total:
            self.log.say(f"this run is finished, at {self.nimg / 1000:g} kimg; there is nothing to do")
            self.page.settle()
            end(self.accelerator, last)
            return
        start_trackers(self.recipe, self.accelerator, self.run_dir)
        prepare_data(self.ground, self.schedule, self.log.say)
        if not resumed:
            self._initialize()
        reports.begin(self)
        try:
            # The page is written while signals are heard: launchers end the others as soon as one process has left.
            with self.stop.listening(), self.page.to_the_end():
                if not resumed and self.recipe.training.recovery:
                    with guard():
                        state.save(self)  # something to go back to
                recovery.train(self)
        except StoppedError:
            last = True
            raise
        finally:
            self.clock.stop()
            self.writer.close()
            self.log.close()
            end(self.accelerator, last)

    def steps(self, loader: Batches) -> None:
        """Train on all batches, and write what is due; see :func:`progcycle.engine.recovery.train`."""
        if self.nimg == 0:
            reports.samples(self, self.schedule.at(0))
            self.page.write()
        clock, shown = (began := time.perf_counter()), self.nimg
        self.clock.start()
        for nimg, growth, batches in loader:
            self.broken += [f"domain {d}: {sentence}" for d, batch in batches.items() for sentence in batch.broken]
            with memory.told(self, growth):
                self.train_step(batches, growth)
            before = time.perf_counter()
            self.log.time_left.step(growth, before - began)
            self.log.progress(growth.batch_size)
            if told := self.due(nimg, self.recipe.training.status_kimg):
                reports.status(self, growth, self.nimg - shown, before - clock)
                clock, shown = before, self.nimg
            with self.clock.paused():
                votes = self.votes.read()
                self._act(votes)
                reports.save(self, nimg, growth)
                if told or self.due(nimg, self.recipe.training.sample_kimg):
                    self.page.write()
                if votes and (number := agreed(votes[: len(SIGNALS)])):
                    reports.stop(self, number, growth)
            began = time.perf_counter()
            clock += began - before
            self.log.time_left.beside(began - before)
        self.clock.stop()
        self.writer.finish()
        self._stop_if_unwritable()

    def _act(self, votes: Sequence[float]) -> None:
        """Go on with the checkpoint on its way, and stop if the run folder cannot be written."""
        written_and_failed = votes[len(SIGNALS) :]
        if written_and_failed:
            self.writer.advance(written_and_failed)
            if written_and_failed[-1]:
                self._stop_if_unwritable()

    def _stop_if_unwritable(self) -> None:
        if reason := self.writer.trouble():
            self.writer.rescue(state.contents(self), reason)

    def _initialize(self) -> None:
        """Let the task set weights by real pictures; a resumed run has them in its checkpoint."""
        growth, sets = self.schedule.at(0), self.ground.sets
        device = self.accelerator.device
        with torch.no_grad():
            self.task.initialize(lambda domain, count: spread(sets[domain], count, growth, device), growth)
        broadcast_weights(self.accelerator, self.task.networks.values())  # equal but for rounding until now

    def due(self, before: int, every_kimg: float) -> bool:
        """Whether a multiple of ``every_kimg``, or the end, lies in the step that began at ``before``."""
        every = max(round(1000 * every_kimg), 1)
        return before // every != self.nimg // every or self.nimg >= self.schedule.total

    def sampler(self, growth: Growth) -> Sampler:
        """What samples from the averages as they are now; ``growth`` is that of the step just done."""
        return Sampler(
            self.task, self.ema.networks, growth, self.nimg, self.precision.autocast, self.accelerator.device
        )


def _norm(network: nn.Module) -> Tensor:
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    if not gradients:  # the loss does not depend on this network now
        return torch.zeros((), device=next(network.parameters()).device)
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm
