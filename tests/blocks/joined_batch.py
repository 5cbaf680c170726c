"""What the test of gathered layers runs in each of two processes: ``python joined_batch.py <rank> <folder>``.

Not a test itself. Each process writes what it finds to ``<folder>/<rank>.pt``; test_joined_batch.py compares that with
one process that has the joined batch.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from progcycle.blocks import (
    GroupSize,
    MinibatchDiscrimination,
    gather_rows,
    minibatch_stddev,
    own_rows,
    stddev_channels,
    sum_over_processes,
    world_size,
)

PROCESSES = 2
ROWS = 12  # of the joined batch; its three groups of four have pictures of both processes
MODES = ("all", "flat", "spatial", "none", "gpool", "group2")
CASES: dict[str, tuple[str, GroupSize]] = {
    **{averaging: (averaging, 4) for averaging in MODES},
    "one group": ("all", "batch"),
    "discrimination": ("", 0),
}


class Critic(nn.Module):
    """Smooth features, the layer under test, and a smooth logit; in float64."""

    def __init__(self, case: str, gather: bool) -> None:
        super().__init__()
        self.averaging, self.group = CASES[case]
        self.gather = gather
        torch.manual_seed(3)
        self.conv = nn.Conv2d(2, 4, 3)
        self.discrimination = MinibatchDiscrimination(16, 6, 3, gather) if not self.averaging else None
        added = 6 if self.discrimination else stddev_channels(self.averaging, 4) * 4
        self.dense = nn.Linear(16 + added, 5)
        self.logit = nn.Linear(5, 1)
        if self.discrimination:
            nn.init.normal_(self.discrimination.log_scale, std=0.3)
        self.double()

    def layer(self, x: Tensor) -> Tensor:
        """Features with what the layer under test appends.  # [N, 2, 4, 4] -> [N, 16 + added]"""
        y = F.softplus(self.conv(x))
        if self.discrimination:
            out: Tensor = self.discrimination(y.flatten(1))
            return out
        return minibatch_stddev(y, self.group, self.averaging, self.gather).flatten(1)

    def judge(self, features: Tensor) -> Tensor:  # [N, 16 + added] -> [N]
        logits: Tensor = self.logit(torch.tanh(self.dense(features)))[:, 0]
        return logits


def joined_batch() -> Tensor:
    """Pictures of both processes.  # [12, 2, 4, 4]"""
    generator = torch.Generator().manual_seed(5)
    return torch.randn(ROWS, 2, 4, 4, dtype=torch.float64, generator=generator)


def judged(case: str, x: Tensor, gather: bool) -> dict[str, Tensor]:
    """Rows of the layer and of the gradients for the pictures, and the weights' gradients of a loss and a penalty."""
    critic = Critic(case, gather)
    x = x.clone().requires_grad_(True)
    rows = critic.layer(x)
    logits = critic.judge(rows)
    names, weights = zip(*critic.named_parameters(), strict=True)
    loss = F.softplus(logits).mean()
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    out = {"rows": rows, "picture gradients": gradient}
    penalty = ((gradient.square().sum(dim=(1, 2, 3)) + 1e-12).sqrt() - 1).square().mean()
    for kind, value in (("loss", loss), ("penalty", penalty)):
        found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True, materialize_grads=True)
        out |= {f"{kind} {name}": g for name, g in zip(names, found, strict=True)}
    return {name: value.detach() for name, value in out.items()}


def plain(rank: int) -> dict[str, Any]:
    """What the functions on rows themselves give."""
    mine = torch.arange(3.0)[:, None] * 10 + rank  # rows r, 10 + r, 20 + r
    joined = gather_rows(mine)
    pictures = (torch.arange(2 * 3 * 2 * 2.0).reshape(2, 3, 2, 2) + 100 * rank).contiguous(
        memory_format=torch.channels_last
    )
    half = torch.tensor([[1.5 + rank]], dtype=torch.bfloat16)
    total = torch.tensor([1.0 + rank, 2.0], requires_grad=True)
    kept = total.detach().clone()
    summed = sum_over_processes(total)
    return {
        "size": world_size(),
        "joined": joined,
        "own": own_rows(joined),
        "pictures": gather_rows(pictures),
        "half": gather_rows(half),
        "empty": gather_rows(torch.ones(0, 3)),
        "integers": gather_rows(torch.tensor([rank])),
        "sum": summed,
        "sum of no dimensions": sum_over_processes(torch.tensor(rank + 0.5)),
        "sum asks for gradients": summed.requires_grad,
        "argument of the sum is kept": torch.equal(total, kept),
    }


def main(rank: int, folder: Path) -> None:
    """Write what this process finds."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES)
    cases = {case: judged(case, joined_batch()[rank::PROCESSES], gather=True) for case in CASES}
    torch.save({"plain": plain(rank), **cases}, folder / f"{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
