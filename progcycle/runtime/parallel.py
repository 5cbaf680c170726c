"""Data parallelism by hand: weights are broadcast at the start, and gradients averaged at every step.

There is no wrapper around networks. Averaging gradients by hand is correct for every pattern that GANs need:
penalties, frozen players, layers that have not grown yet, and several passes.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

from progcycle.errors import UserError
from progcycle.output import LOGGER
from progcycle.runtime.memory_format import has_channels_last
from progcycle.runtime.rendezvous import gather_texts

T = TypeVar("T")


@torch.no_grad()
def broadcast_tensors(accelerator: Accelerator, tensors: Iterable[Tensor]) -> None:
    """Give every process the tensors of the first: weights, and buffers, where spectral norm keeps its vectors."""
    if accelerator.num_processes > 1:
        for tensor in tensors:
            tensor.copy_(broadcast(tensor.detach().clone()))


@torch.no_grad()
def average_tensors(accelerator: Accelerator, tensors: Sequence[Tensor]) -> None:
    """Give every process the mean of each tensor over all of them, in one exchange; one process keeps its own."""
    if accelerator.num_processes > 1 and tensors:
        means = accelerator.reduce(torch.cat([tensor.flatten() for tensor in tensors]), "mean")
        for tensor, mean in zip(tensors, torch.split(means, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))


def first_message(text: str) -> str:
    """The first text, by rank, that is not empty; empty if all are. Every process must call this."""
    return next((each for each in gather_texts(text) if each), "")


class Votes:
    """Flags of every process that travel with the gradients, so that all act on them at the end of the same step.

    On a GPU the result arrives one step late. Reading it then only waits for the step before, while the device has the
    current one to do.

    Args:
        accelerator: the processes.
        flags: returns the flags of this process, always the same number of them.
    """

    def __init__(self, accelerator: Accelerator, flags: Callable[[], Sequence[bool]]) -> None:
        self.accelerator, self.flags = accelerator, flags
        self._sent: list[bool] = []
        self._own = self._means = torch.empty(0)
        self._coming: tuple[Tensor, torch.cuda.Event] | None = None

    def send(self) -> Tensor:
        """The flags of this process as 0 and 1, on its device."""
        flags = list(self.flags())
        if flags != self._sent:
            self._sent = flags
            self._own = torch.zeros(len(flags), device=self.accelerator.device)
            for i, flag in enumerate(flags):
                if flag:
                    self._own[i].fill_(1)  # a fill on the device, which needs no synchronization
        return self._own

    def receive(self, means: Tensor) -> None:
        """Take the means over the processes; the last ones of a step are used."""
        self._means = means.clone()

    def forget(self) -> None:
        """Drop results that are still on their way, as what they were about is over."""
        self._coming, self._means = None, torch.empty(0)

    def read(self) -> list[float]:
        """The share of the processes that set each flag, the same everywhere; empty if there is no result yet.

        To be called once at the end of every step.
        """
        if self.accelerator.num_processes == 1:
            return [float(flag) for flag in self.flags()]
        if self._means.device.type != "cuda":
            return list(self._means.tolist())
        came, here = self._coming, torch.empty(self._means.shape, dtype=self._means.dtype, pin_memory=True)
        here.copy_(self._means, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._coming = here, event
        if came is None:
            return []
        came[1].synchronize()
        return list(came[0].tolist())


@torch.no_grad()
def average_gradients(accelerator: Accelerator, parameters: Iterable[nn.Parameter], votes: Votes | None = None) -> None:
    """Replace every gradient by its mean over the processes, in one flat message that carries the votes too.

    The message itself becomes the gradients, so that nothing is copied back.
    """
    if accelerator.num_processes == 1:
        return
    own = [(p, p.grad, has_channels_last(p.grad)) for p in parameters if p.grad is not None]
    if not own:
        return
    ordered = [grad.permute(0, 2, 3, 1) if last else grad for _, grad, last in own]  # as they lie in memory
    flags = [] if votes is None else [votes.send().to(ordered[0].dtype)]
    flat = torch.cat([*(grad.flatten() for grad in ordered), *flags])
    torch.distributed.all_reduce(flat)  # Accelerate's own sums a copy
    flat /= accelerator.num_processes
    sizes = [grad.numel() for grad in ordered]
    means, rest = torch.split(flat, [sum(sizes), len(flat) - sum(sizes)])
    for (parameter, _, last), grad, mean in zip(own, ordered, torch.split(means, sizes), strict=True):
        shaped = mean.view(grad.shape).to(grad.dtype)
        parameter.grad = shaped.permute(0, 3, 1, 2) if last else shaped
    if votes is not None:
        votes.receive(rest)


def reporting_errors(accelerator: Accelerator, items: Generator[T, None, None]) -> Generator[T, None, None]:
    """Yield ``items``; log an error that they raise, unless in the first process, whose errors the command prints."""
    try:
        yield from items
    except UserError as error:
        if not accelerator.is_main_process:
            LOGGER.error(f"error in process {accelerator.process_index}: {error}")
        raise
