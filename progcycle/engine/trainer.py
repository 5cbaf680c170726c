"""The training step: losses, gradients and updates of a task. It knows no files, no clock and no run folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from progcycle.blocks import scaling_once
from progcycle.data import Batch, as_reals
from progcycle.engine.build import Built, count_parts
from progcycle.engine.compiled import Compilation, CompiledNetworks
from progcycle.engine.ema import EmaNetworks
from progcycle.engine.historical_averages import HistoricalAverages
from progcycle.engine.meter import Meter
from progcycle.engine.optimizers import OptimizerStates, make_optimizer, set_momentum
from progcycle.engine.precision import Precision
from progcycle.engine.state import AttributeState, Part, StateGroup, load_state, state_of
from progcycle.engine.trainable import Weights
from progcycle.evaluation.sampler import Sampler
from progcycle.recipe import Recipe
from progcycle.runtime.parallel import Votes, average_gradients, average_tensors, broadcast_tensors
from progcycle.schedule import Growth
from progcycle.tasks import loss_name


class Trainer:
    """A task in training: its networks, optimizers, scalers, averages and figures, one step at a time.

    Args:
        recipe: a validated recipe.
        built: schedule and task of the recipe, see :func:`progcycle.engine.build.build`.
        accelerator: the processes.
        precision: the number format.
        votes: flags that travel with the gradients, in a run; None in a bare trainer.
        compilation: what of the networks is compiled; by default nothing.

    Attributes:
        nimg: pictures shown.
        step: steps done.
        stage, fading: where the plan stood in the last step.
        parts: its state in named parts, see :mod:`progcycle.engine.state`.
    """

    def __init__(
        self,
        recipe: Recipe,
        built: Built,
        accelerator: Accelerator,
        precision: Precision,
        votes: Votes | None = None,
        compilation: Compilation = Compilation(),  # noqa: B008 - frozen
    ) -> None:
        self.recipe, self.task, self.accelerator = recipe, built.task, accelerator
        self.precision, self.votes = precision, votes
        networks, players = self.task.networks, self.task.players
        for network in networks.values():
            network.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._share_weights()
        self.ema = EmaNetworks({name: networks[name] for name in self.task.ema_of}, recipe.training.ema)
        self.trainable, self.new_stages = built.trainable, built.new_stages
        self.compiled = CompiledNetworks(compilation, self.task, built.schedule)
        self.scalers = {player: precision.scaler() for player in players}
        self.settings = recipe.optimizer.of_players(players)
        self.optimizers = {player: self._optimizer(player) for player in players}
        self.statistics = [tensor for net in networks.values() for tensor in net.running_statistics().values()]
        self.meter = Meter(accelerator.device)
        self.nimg = self.step = 0
        self.stage, self.fading = built.schedule.at(0).plan_stage, False
        named = {player: self.trainable.named(player) for player in players}
        averaged = {player: own.historical_averaging for player, own in self.settings.items()}
        self.history = HistoricalAverages({player: c for player, c in averaged.items() if c}, named)
        self.parts = {
            "progress": Part(AttributeState(self, "nimg", "step", "stage", "fading"), "values"),
            "networks": Part(Weights(networks), "shared"),
            "ema": Part(Weights(self.ema.networks), "shared"),
            "optimizers": Part(OptimizerStates(self.optimizers, named), "shared"),
            "scalers": Part(StateGroup(self.scalers), "values"),
            "task": Part(self.task, "own", self.task.common_state),
            "meter": Part(self.meter, "own"),
        }
        if self.history.weights:  # not there in checkpoints of others
            self.parts["history"] = Part(self.history, "shared")

    def _optimizer(self, player: str) -> Any:
        options = self.settings[player]
        groups: dict[tuple[Any, ...], dict[str, Any]] = {}
        for name in self.task.players[player]:
            rate = self.task.rates.get(name, options.lr)
            for group in self.new_stages.groups(name, self.trainable.parameters[name]):
                key = rate, group["stage"], group["adds"]
                like = groups.setdefault(key, {**group, "params": [], "lr": rate, "own_lr": rate})
                like["params"] += group["params"]
        return self.accelerator.prepare(make_optimizer(options, list(groups.values())))

    def _share_weights(self) -> None:
        networks = self.task.networks.values()
        broadcast_tensors(self.accelerator, (tensor for net in networks for tensor in net.changing_tensors()))

    def initialize(self, pictures: Callable[[str, int], Tensor], growth: Growth) -> None:
        """Let the task set weights by real pictures, before the first step; see :meth:`Task.initialize`."""
        with torch.no_grad():
            self.task.initialize(pictures, growth)
        self._share_weights()  # equal but for rounding until now

    def train_step(self, batches: Mapping[str, Batch], growth: Growth) -> None:
        """One round of updates on one batch, and the average of the generators. Nothing in it waits for the device.

        Args:
            batches: this process's pictures by domain, as the loader gives them, at the resolution of the stage.
            growth: where growth stands.
        """
        self._enter(growth)
        device = self.accelerator.device
        reals = {
            domain: replace(moved, images=as_reals(moved.images, growth).contiguous(memory_format=torch.channels_last))
            for domain, moved in ((d, b.to(device, non_blocking=True)) for d, b in batches.items())
        }
        for players in self.task.round_at(self.step):
            for player in players:
                self.task.before_update(player)
            for player in players:
                self.compute_gradients(player, reals, growth)
            for player in players:
                self._apply(player, growth)
        # Each process has seen pictures of its own; what is sampled and kept is of all of them.
        average_tensors(self.accelerator, self.statistics)
        self.ema.update(growth.nimg, growth.batch_size)
        self.nimg += growth.batch_size
        self.step += 1

    def _enter(self, growth: Growth) -> None:
        """Notify the task of a new stage, and clear the optimizers' moments where the recipe says so."""
        stage = growth.plan_stage
        new_stage, edge = stage != self.stage, (stage, growth.fading) != (self.stage, self.fading)
        if new_stage:
            self.new_stages.copy(growth, self.ema.networks)
            self.task.on_new_stage(growth)
        reset = self.recipe.optimizer.reset
        if (reset == "stage" and new_stage) or (reset == "fade_edges" and edge):
            for optimizer in self.optimizers.values():
                optimizer.state.clear()
        self.stage, self.fading = stage, growth.fading
        self.compiled.begin_step(growth)

    def compute_gradients(self, player: str, reals: Mapping[str, Batch], growth: Growth) -> None:
        """Leave the gradients of one player's loss, averaged over parts and processes, in its parameters.

        Args:
            player: whose loss; every other network is frozen meanwhile.
            reals: this process's real pictures by domain, as the networks see them.
            growth: where growth stands.
        """
        self.trainable.choose(player)
        for parameter in self.trainable.of(player):
            parameter.grad = None
        count = count_parts(self.recipe, growth.resolution, len(next(iter(reals.values()))))
        chunks = {domain: batch.chunk(count) for domain, batch in reals.items()}
        for i in range(count):
            with scaling_once():
                with self.precision.autocast():
                    part = {domain: chunk[i] for domain, chunk in chunks.items()}
                    loss, stats = self.task.loss(player, part, growth, self.step)
                self.scalers[player].backward(loss / count)
            self.meter.add({loss_name(player): loss, **stats}, self.step)
        average_gradients(self.accelerator, self.trainable.of(player), self.votes)

    def _apply(self, player: str, growth: Growth) -> None:
        # Not through Accelerate's wrapper: its step would make the scaler wait for the device.
        optimizer, scaler = self.optimizers[player].optimizer, self.scalers[player]
        for group in optimizer.param_groups:
            rate = self.task.learning_rate(group["own_lr"], growth)
            group["lr"] = rate * growth.lr_scale * self.new_stages.factor(group, growth)
        set_momentum(optimizer, self.settings[player], growth.nimg / 1000)
        scaler.unscale(optimizer)
        if figures := self.history.add_gradients(player):
            self.meter.add(figures, self.step)
        parameters, device = self.trainable.parameters, self.accelerator.device
        norms = {f"gradient/{name}": _norm(parameters[name], device) for name in self.task.players[player]}
        # With fp16 an overflow is no error: the scaler skips the step and halves its scale.
        self.meter.add(norms, self.step, check=not scaler.enabled)
        scaler.step(optimizer, norms.values())

    def sampler(self, growth: Growth) -> Sampler:
        """What samples from the averages as they are now; ``growth`` is that of the step just done."""
        autocast, device = self.precision.autocast, self.accelerator.device
        return Sampler(self.task, self.ema.networks, growth, self.nimg, autocast, device)

    def state_dict(self) -> dict[str, Mapping[str, Any]]:
        """Everything that later steps depend on, by part; tensors are not copied."""
        return state_of(self.parts)

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            UserError: one sentence about the first part that is missing, or that does not fit.
        """
        load_state(self.parts, state)


def _norm(parameters: Sequence[nn.Parameter], device: torch.device) -> Tensor:
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:  # the loss does not depend on this network now
        return torch.zeros((), device=device)
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm
