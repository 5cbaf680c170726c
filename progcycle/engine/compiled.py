"""torch.compile of networks in training: of their calls, not of the modules, so that names of weights and files stay.

What is compiled belongs to one stage, in which shapes stand still. A fade, its end, and passes without gradients are
code of their own each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from progcycle.errors import UserError
from progcycle.networks import Network
from progcycle.recipe.schema import Training
from progcycle.schedule import Growth, GrowthSchedule
from progcycle.tasks import Task

LONG = 20_000  # steps of a stage that auto compiles: it saves some milliseconds of each, and takes minutes
VARIANTS = 64  # of the code of one function: torch's own limit of 8 would be reached, and end in uncompiled steps
Backend = str | Callable[..., Any]


@dataclass(frozen=True)
class Compilation:
    """What a run compiles.

    Attributes:
        what: of its networks.
        fewest: steps of a stage that is compiled.
        graphs: pixels of the largest pictures at which CUDA graphs are replayed; 0 for none.
        reason: why there is less than the recipe might lead one to expect, for people; else empty.
        backend: of torch.compile.
    """

    what: Literal["off", "generators", "all"] = "off"
    fewest: int = 0
    graphs: int = 0
    reason: str = ""
    backend: Backend = "inductor"

    def __str__(self) -> str:
        stages = f" in stages of {self.fewest:,} steps or more" if self.fewest and self.what != "off" else ""
        graphs = f", as CUDA graphs up to {self.graphs} px" if self.graphs else ""
        return f"{self.what}{stages}{graphs}" + (f" ({self.reason})" if self.reason else "")


def choose_compilation(
    options: Training, device: torch.device, schedule: GrowthSchedule, backend: Backend = "inductor"
) -> Compilation:
    """What to compile on a device.

    Args:
        options: ``compile`` and ``cuda_graphs``. ``auto`` is off on a CPU, where compiling takes longest and gains
            least, and where a trial fails; else it is ``generators``, in stages of :data:`LONG` steps.
        device: where the run computes.
        schedule: the growth plan.
        backend: of torch.compile.

    Raises:
        UserError: the recipe wants code or graphs that this machine cannot make.
    """
    if options.cuda_graphs is not None and device.type != "cuda":
        raise UserError(f"training.cuda_graphs: needs a CUDA GPU, this run is on {device.type}; leave it out.")
    graphs, automatic = options.cuda_graphs or 0, options.compile == "auto"
    longest = max(_steps(schedule, phase.stage) for phase in schedule.phases)
    if options.compile == "off" or (automatic and (device.type != "cuda" or longest < LONG)):
        return Compilation()
    if trouble := why_not(device, backend):
        if not automatic or graphs:
            key, instead = ("cuda_graphs", "leave it out") if automatic else ("compile", "set training.compile=off")
            raise UserError(
                f"training.{key}: torch.compile does not work here ({trouble}); install a C++ compiler"
                f"{' and triton' * (device.type == 'cuda')}, or {instead}."
            )
        return Compilation(reason=f"torch.compile does not work here: {trouble}")
    if options.compile == "auto":
        return Compilation("generators", LONG, graphs, backend=backend)
    return Compilation(options.compile, 0, graphs, backend=backend)


@cache
def why_not(device: torch.device, backend: Backend = "inductor") -> str:
    """Compile a line of arithmetic and its gradient, which takes seconds; "" if it works, else why not, in a line."""
    try:
        x = torch.ones(4, device=device, requires_grad=True)
        torch.compile(_trial, backend=backend)(x).backward()  # type: ignore[no-untyped-call]
        return "" if x.grad is not None and x.grad.eq(3).all() else "a trial gave a wrong gradient"
    except Exception as error:  # whatever compilers and linkers raise
        cause = getattr(error, "inner_exception", error)  # of torch's own
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        return (lines or [type(error).__name__])[0].rstrip(".:")[:200]


def _trial(x: Tensor) -> Tensor:
    return (x * x + x).sum()


class CompiledCall:
    """The call of a network, compiled.

    Weights of blends, such as alpha, go in as tensors until they stay as they are. Numbers would become constants of
    the code, and each step of a fade would be compiled anew.

    Args:
        network: whose call it is.
        backend: of torch.compile.
        graphs: whether it is replayed as CUDA graphs, by torch's own cudagraph trees. What they give is overwritten by
            their next step, so that tasks get a copy, which may be kept.
    """

    def __init__(self, network: Network, backend: Backend, graphs: bool = False) -> None:
        mode: Mapping[str, Any] = {"mode": "reduce-overhead"} if graphs else {}
        self.graphs = graphs
        self.call = torch.compile(network._call_impl, backend=backend, dynamic=False, **mode)

    def __call__(self, x: Tensor, *arguments: Any, **options: Any) -> Any:
        """Call the network."""
        # Fades end at 1, and what else changes with the pictures shown (Network.options_at) at 0.
        given = [_as_input(x, each, 1.0) for each in arguments]
        output = self.call(x, *given, **{key: _as_input(x, each, 0.0) for key, each in options.items()})
        return output.clone() if self.graphs and isinstance(output, Tensor) else output


def _as_input(x: Tensor, argument: Any, end: float) -> Any:
    if isinstance(argument, float) and argument != end:
        return x.new_full((), argument)  # filled on the device, so that nothing waits
    return argument


class CompiledNetworks:
    """The networks of a task, compiled at the stages where the run wants it.

    Args:
        choice: what to compile.
        task: with the networks.
        schedule: the growth plan.
    """

    def __init__(self, choice: Compilation, task: Task, schedule: GrowthSchedule) -> None:
        self.choice, self.schedule, self.stage = choice, schedule, -1
        names = {"off": (), "generators": task.ema_of, "all": task.networks}[choice.what]
        shared = {name for name in names if task.specs[name]["arguments"].get("gather")}  # waits for other processes
        self.networks = {name: task.networks[name] for name in names if name not in task.uncompiled() | shared}

    def begin_step(self, growth: Growth) -> None:
        """Called before every step: compiles anew what a new stage needs."""
        if not self.networks:
            return
        if growth.plan_stage != self.stage:
            self.stage = growth.plan_stage
            self._open(growth)
        if self._graphs(growth):
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    def _open(self, growth: Growth) -> None:
        """Drop the code of the stage before; torch makes the new one when it is first called."""
        for network in self.networks.values():
            network.zero_grad(set_to_none=True)  # gradients may lie in the memory of graphs, which goes too
        torch.compiler.reset()
        limits: Any = torch._dynamo.config
        limits.recompile_limit = max(limits.recompile_limit, VARIANTS)
        wanted = _steps(self.schedule, growth.plan_stage) >= self.choice.fewest
        for network in self.networks.values():
            call = CompiledCall(network, self.choice.backend, self._graphs(growth)) if wanted else None
            network._compiled_call_impl = call

    def _graphs(self, growth: Growth) -> bool:
        return growth.resolution <= self.choice.graphs


def _steps(schedule: GrowthSchedule, stage: int) -> float:
    phases = [phase for phase in schedule.phases if phase.stage == stage]
    return sum((phase.end - phase.start) / phase.batch_size for phase in phases)
