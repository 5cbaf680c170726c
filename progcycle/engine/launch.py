"""Checks of the launcher and its environment variables: what is refused, and what the recipe overrides."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import yaml
from accelerate import Accelerator
from accelerate.commands.config.config_args import default_config_file

from progcycle.engine.precision import DISPLAY_NAMES, Precision
from progcycle.errors import UserError
from progcycle.runtime.launcher import LAUNCH_VARIABLE

SHARDED = ("DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG")


def unsupported_launch(kind: str) -> UserError:
    """The error about a configuration that shards the weights of one network over processes."""
    return UserError(
        f"Accelerate is configured for {kind}, which does not suit GANs; configure plain multi-GPU with accelerate "
        f"config, or unset ACCELERATE_USE_{kind}."
    )


def check_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse unsupported configurations before Accelerate asks for the packages that they need.

    Raises:
        UserError: Accelerate is configured to shard weights.
    """
    for kind in SHARDED:
        if environment.get(f"ACCELERATE_USE_{kind}", "").lower() == "true":
            raise unsupported_launch(kind)


def check_processes(accelerator: Accelerator) -> None:
    """Refuse a launch whose processes are not connected to each other, or that shards the weights.

    Raises:
        UserError: the launcher started several processes, but Accelerate runs them one by one; or it was configured
            for DeepSpeed, FSDP and the like.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world != accelerator.num_processes:
        raise UserError(
            f"The launcher started {world} processes, but each of them trains by itself; "
            "to use several CPU processes set ACCELERATE_USE_CPU=true and launch with torchrun."
        )
    kind = str(accelerator.distributed_type).removeprefix("DistributedType.")
    if kind in SHARDED:
        raise unsupported_launch(kind)


def overridden_variables(precision: Precision, choice: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """A line about every environment variable of Accelerate that the recipe overrides.

    Args:
        precision: of the run.
        choice: ``training.precision`` of the recipe.
        environment: the variables.
    """
    found = []
    requested = environment.get(LAUNCH_VARIABLE, precision.name).lower()
    if requested != precision.name:
        decided = DISPLAY_NAMES.get(precision.name, precision.name)
        found.append((f"{LAUNCH_VARIABLE}={requested}", f"training.precision: {choice} is {decided}"))
    steps = environment.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if steps != "1":
        found.append(
            (
                f"ACCELERATE_GRADIENT_ACCUMULATION_STEPS={steps}",
                "every batch is one update; training.max_batch_per_device computes it in parts",
            )
        )
    backend = environment.get("ACCELERATE_DYNAMO_BACKEND", "no")
    if backend.lower() != "no":
        found.append((f"ACCELERATE_DYNAMO_BACKEND={backend}", "training.compile says what is compiled"))
    return [f"{variable} is ignored, as the recipe decides: {decision}" for variable, decision in found]


def missing_processes(accelerator: Accelerator, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Lines for a run that was to have several processes: on a CPU, accelerate launch starts one."""
    if accelerator.num_processes > 1 or accelerator.device.type != "cpu" or LAUNCH_VARIABLE not in environment:
        return []
    requested = _requested_processes(_launcher())
    if requested < 2:
        return []
    return [
        f"accelerate launch starts only one process on a CPU, not the {requested} that were requested. "
        f"To start {requested}:",
        f"  ACCELERATE_USE_CPU=true torchrun --nproc_per_node {requested} -m progcycle.train ...",
    ]


def _launcher() -> list[str]:
    """Command line of the parent process; empty if it cannot be read."""
    try:
        return list(psutil.Process(os.getppid()).cmdline())
    except (psutil.Error, OSError):
        return []


def _requested_processes(command: Sequence[str]) -> int:
    """The number of processes that a command line of accelerate launch names, itself or by its configuration."""
    options = dict[str, str]()
    for i, word in enumerate(command):
        name, equals, _ = word.replace("_", "-").partition("=")
        if name in ("--num-processes", "--config-file"):
            options.setdefault(name, word.partition("=")[2] if equals else "".join(command[i + 1 : i + 2]))
    if "--num-processes" not in options:
        try:
            content = yaml.safe_load(Path(options.get("--config-file", default_config_file)).read_text("utf-8"))
            options["--num-processes"] = str(content["num_processes"])
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            return 1
    return int(options["--num-processes"]) if options["--num-processes"].isdigit() else 1
