"""How a stage begins that growth by layers opens: as a copy of the stage before, or alone for its first share."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from progcycle.engine.trainable import keeping_frozen
from progcycle.errors import UserError
from progcycle.networks import Network
from progcycle.recipe import Recipe
from progcycle.schedule import Growth, GrowthSchedule
from progcycle.tasks import Task


class NewStages:
    """What the layers of a new stage are, and how they begin and learn.

    A discriminator whose pictures are halved k times gets its layers k stages later than the others.

    Args:
        recipe: a validated recipe.
        schedule: its growth plan.
        task: has the networks.

    Raises:
        UserError: the recipe asks for new stages that these networks cannot have.
    """

    def __init__(self, recipe: Recipe, schedule: GrowthSchedule, task: Task) -> None:
        self.options, self.schedule, self.task = recipe.schedule, schedule, task
        if self.options.growth == "layers":
            self._check(recipe)

    def _check(self, recipe: Recipe) -> None:
        opened = range(self.schedule.phases[0].stage + 1, self.schedule.final.stage + 1)
        options, grows = self.options, any(network.newest(0) for network in self.task.networks.values())
        for key, given in (("new_stage", options.new_stage == "copy"), ("old_layers", options.old_layers is not None)):
            if given and opened and not grows:
                raise UserError(f"schedule.{key}: no network here grows, so that no layers are added; leave it out.")
        if options.new_stage != "copy":
            return
        owners = {name: player for player, names in self.task.players.items() for name in names}
        for name, network in self.task.networks.items():
            for stage in self._own(name, opened):
                if why := network.unlike(stage):
                    side = recipe.network.base_resolution << stage
                    key = self.task.keys.get(name, f"network.{owners[name]}")
                    raise UserError(
                        f"schedule.new_stage: in {name} the layers of {side} px cannot be a copy, since {why}; keep "
                        f"the feature maps equal ({key}.channels.decay: 0), or use new_stage: random."
                    )

    def _own(self, name: str, stages: Iterable[int]) -> list[int]:
        """The stages of a network that these of the plan add to it."""
        halvings = self.task.halvings.get(name, 0)
        return [s - halvings for s in stages if s > halvings] if self.task.networks[name].newest(0) else []

    def copy(self, growth: Growth, averages: Mapping[str, Network]) -> None:
        """Let the layers of a stage that opens begin as those before, in the networks and in their averages.

        Args:
            growth: where it opens.
            averages: of some of the networks, by name.
        """
        before = self.schedule.stage_before(growth.plan_stage)
        if self.options.new_stage == "random" or before is None:
            return
        for name, network in (*self.task.networks.items(), *averages.items()):
            for stage in self._own(name, range(before + 1, growth.stage + 1)):
                with keeping_frozen([network]):
                    network.copy_stage(stage)

    def groups(self, name: str, parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
        """Parameters of a network as groups of an optimizer: one, or apart by the stage of the plan that added them.

        Args:
            name: of the network.
            parameters: those that are trained.
        """
        network = self.task.networks[name]
        added: dict[nn.Parameter, int] = {}
        stages = () if self.options.old_layers is None else range(1, self.schedule.final.stage + 1)
        for own in self._own(name, stages):
            stage = own + self.task.halvings.get(name, 0)
            added |= {p: stage for module in network.newest(own).values() for p in module.parameters()}
        groups: dict[int, list[nn.Parameter]] = {}
        for parameter in parameters:
            groups.setdefault(added.get(parameter, 0), []).append(parameter)
        adds = frozenset(added.values())
        return [{"params": group, "stage": stage, "adds": adds} for stage, group in groups.items()]

    def factor(self, group: Mapping[str, Any], growth: Growth) -> float:
        """What the learning rate of a group is multiplied by: its layers wait where the network has newer ones."""
        before = self.schedule.stage_before(growth.plan_stage)
        if before is None or group["stage"] > before:
            return 1.0
        newer = any(before < stage <= growth.stage for stage in group["adds"])
        return growth.old_lr_scale if newer else 1.0
