"""Are two processes of one thread as fast as one process of two threads? Steps of a recipe, on cores that are free.

    python benchmarks/processes.py cyclegan_openmoji
    python benchmarks/processes.py pggan_emoji --side 32 --processes 2 --rounds 12

Both train in turn, on noise, with the same batch in all and in float32; the processes share it, and average their
gradients over gloo. Times are by the clock, medians over the rounds, so that other programs must leave the cores alone:
``cores`` says how many of them each side had. ``exchange`` is the share of a step in which a process sends its
gradients and waits for those of the others.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

from progcycle.engine import trainer as training
from progcycle.engine.build import build
from progcycle.engine.estimate import noise
from progcycle.engine.precision import Precision
from progcycle.recipe import load_recipe

WARM_UP = 8  # steps


class Block(NamedTuple):
    """What some steps took.

    Attributes:
        seconds: of a step, by the clock.
        exchange: seconds of a step in the averaging of gradients.
        processor: processor time of a step.
    """

    seconds: float
    exchange: float
    processor: float


def work(recipe: str, side: int) -> None:
    """Train some steps for every number that is read, and print what they took."""
    options = load_recipe(recipe)
    built, accelerator = build(options), Accelerator(cpu=True)
    trainer = training.Trainer(options, built, accelerator, Precision("no", torch.device("cpu")))
    phases = [phase for phase in built.schedule.phases if int(phase.resolution) == side]
    if not phases:
        raise SystemExit(f"{recipe} does not train at {side} px; --side takes a resolution of its plan.")
    growth = built.schedule.at(phases[-1].start)
    sets: Any = {name: SimpleNamespace(options=each, classes=()) for name, each in options.data.domains.items()}
    share = accelerator.num_processes
    batches = {name: batch.chunk(share)[accelerator.process_index] for name, batch in noise(sets, growth).items()}
    average, spent = training.average_gradients, [0.0]

    def timed(*arguments: Any) -> None:
        began = time.perf_counter()
        average(*arguments)
        spent[0] += time.perf_counter() - began

    training.average_gradients = timed  # type: ignore[assignment]
    for _ in range(WARM_UP):
        trainer.train_step(batches, growth)
    print("ready", flush=True)
    for line in sys.stdin:
        steps, spent[0] = int(line), 0.0
        accelerator.wait_for_everyone()
        began, busy = time.perf_counter(), time.process_time()
        for _ in range(steps):
            trainer.train_step(batches, growth)
        taken, busy = time.perf_counter() - began, time.process_time() - busy
        print(json.dumps(Block(taken / steps, spent[0] / steps, busy / steps)), flush=True)


class Workers:
    """Processes that train together.

    Args:
        recipe: name or path.
        side: resolution.
        processes: how many.
        threads: of each.
    """

    def __init__(self, recipe: str, side: int, processes: int, threads: int) -> None:
        self.title = f"{processes} x {threads}"
        shared = {**os.environ, "OMP_NUM_THREADS": str(threads), "ACCELERATE_USE_CPU": "true"}
        if processes > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
        command = [sys.executable, __file__, recipe, "--side", str(side), "--work"]
        self.members = [
            subprocess.Popen(
                command,
                env={**shared, **({"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(processes)
        ]
        for line in self._lines():
            if line != "ready":
                raise SystemExit(1)  # it has said why

    def _lines(self) -> list[str]:
        return [member.stdout.readline().strip() for member in self.members if member.stdout]

    def train(self, steps: int) -> Block:
        """Train, and return what the slowest needed, and the processor time of all."""
        for member in self.members:
            assert member.stdin
            member.stdin.write(f"{steps}\n")
            member.stdin.flush()
        blocks = [Block(*json.loads(line)) for line in self._lines()]
        seconds, exchange, _ = map(max, zip(*blocks, strict=True))
        return Block(seconds, exchange, sum(block.processor for block in blocks))

    def close(self) -> None:
        """Let them end."""
        for member in self.members:
            member.communicate()


def main() -> None:
    """Race, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="name or path of a recipe")
    parser.add_argument("--side", type=int, default=32, help="resolution of a stage; default 32")
    parser.add_argument("--processes", type=int, default=2, help="processes, and threads of one; default 2")
    parser.add_argument("--steps", type=int, default=8, help="steps of a round; a multiple of lazy penalties' period")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of both, in turn; default 10")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(args.recipe, args.side)
    count = args.processes
    both = [Workers(args.recipe, args.side, *form) for form in ((1, count), (count, 1))]
    rounds: list[list[Block]] = [[], []]
    for number in range(args.rounds):
        for i in (0, 1) if number % 2 else (1, 0):
            rounds[i].append(both[i].train(args.steps))
    print(f"{args.recipe}, {args.side} px, float32, torch {torch.__version__}")
    print(f"{'processes x threads':>20} {'ms/step':>9} {'exchange':>9} {'cores':>6}")
    for workers, blocks in zip(both, rounds, strict=True):
        seconds, exchange, processor = (statistics.median(each) for each in zip(*blocks, strict=True))
        line = f"{workers.title:>20} {1000 * seconds:9.1f} {exchange / seconds:9.1%} {processor / seconds:6.2f}"
        print(line)
        workers.close()
    one, several = (statistics.median(block.seconds for block in blocks) for blocks in rounds)
    print(f"{count} processes reach {one / several:.0%} of the speed of one with {count} threads")
    return None


if __name__ == "__main__":
    main()
