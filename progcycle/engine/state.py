"""What a checkpoint of a run holds, and how a run comes back from one bit for bit."""

import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from progcycle.engine.folder import checkpoint_folders
from progcycle.engine.memory import ran_out
from progcycle.engine.trainable import load_weights, without
from progcycle.errors import UserError
from progcycle.files import atomic_file, remove_temporaries
from progcycle.runtime import checkpoint
from progcycle.runtime.checkpoint import Content

if TYPE_CHECKING:
    from progcycle.engine.loop import Trainer


def save(trainer: "Trainer") -> None:
    """Begin to write a checkpoint of the run, as it is now; every process must call this.

    Raises:
        UserError: it cannot be written, or the one before it could not.
    """
    trainer.writer.finish()
    began = time.perf_counter()
    content = contents(trainer)
    trainer.writer.start(content, time.perf_counter() - began)
    trainer.votes.forget()


def contents(trainer: "Trainer") -> Content:
    """Everything that this process has to remember of the run, copied."""
    device = trainer.accelerator.device
    own = {"task": trainer.task.state_dict(), "meter": trainer.meter.state_dict(), "rng": _random_state(device)}
    files = {f"rank-{trainer.accelerator.process_index}": _joined(own)}
    if trainer.accelerator.is_main_process:
        # Running statistics of batch norm differ between processes, and those of the first are kept. Training never
        # uses them, so that the others go on the same.
        for name, networks in (("networks", trainer.task.networks), ("ema", trainer.ema.networks)):
            frozen = trainer.trainable.frozen
            files[name] = _joined(
                {key: without(network.state_dict(), frozen[key]) for key, network in networks.items()}
            )
        files["optimizers"] = _optimizer_tensors(trainer)
    state = {
        "step": trainer.step,
        "stage": trainer.stage,
        "fading": trainer.fading,
        "attempt": trainer.attempt,
        "alarms": trainer.alarms.state_dict(),
        "stats_bytes": trainer.log.length(),
        "cpu_seconds": trainer.clock.seconds,
        "precision": trainer.precision.name,
        "device": device.type,
        "pictures": trainer.ground.identities,
        "scalers": {player: scaler.state_dict() for player, scaler in trainer.scalers.items()},
    }
    return Content(trainer.nimg, checkpoint.copies(files), state)


def resume(trainer: "Trainer") -> bool:
    """Bring the run to its newest whole checkpoint; a run without one starts afresh.

    Returns:
        Whether there was one.

    Raises:
        UserError: the checkpoints are damaged, or do not fit the recipe's networks.
    """
    folder, *others = checkpoint_folders(trainer.run_dir, trainer.recipe)
    if trainer.accelerator.is_main_process:
        for place in (trainer.run_dir, trainer.run_dir / "samples"):
            remove_temporaries(place)
    found = checkpoint.newest_whole(folder, trainer.log.say, *others)
    if found is None:
        trainer.log.cut(0)
        if trainer.accelerator.is_main_process:
            _attempt_file(trainer).unlink(missing_ok=True)
        return False
    path, state = found
    try:
        _load(trainer, path, state)
    except Exception as error:  # what a damaged or hostile file can raise is nearly anything
        if ran_out(error):
            raise
        raise UserError(f"The checkpoint {path} does not fit this run ({' '.join(str(error).split())}).") from None
    trainer.writer.resumed(path, trainer.nimg)
    trainer.log.cut(state["stats_bytes"])
    trainer.log.say(f"resumed from {path} at {trainer.nimg / 1000:g} kimg, stage {trainer.stage}")
    return True


def note_attempt(trainer: "Trainer") -> None:
    """Write down the number of the attempt, which only the next checkpoint will hold.

    Raises:
        OSError: the run folder cannot be written.
    """
    if trainer.accelerator.is_main_process:
        with atomic_file(_attempt_file(trainer)) as path:
            path.write_text(json.dumps({"attempt": trainer.attempt}) + "\n", encoding="utf-8")


def _noted_attempt(trainer: "Trainer") -> int:
    if trainer.recipe.training.recovery is None:
        return 0
    try:
        return int(json.loads(_attempt_file(trainer).read_text(encoding="utf-8"))["attempt"])
    except (OSError, ValueError, KeyError, TypeError):  # mostly: there was no trouble
        return 0


def _attempt_file(trainer: "Trainer") -> Path:
    return trainer.run_dir / "attempt.json"


def _load(trainer: "Trainer", path: Path, state: dict[str, Any]) -> None:
    for file, networks in (("networks", trainer.task.networks), ("ema", trainer.ema.networks)):
        tensors = checkpoint.read(path, file)
        for name, network in networks.items():
            load_weights(network, part(tensors, name), trainer.trainable.frozen[name])
    _load_optimizers(trainer, checkpoint.read(path, "optimizers"))
    for player, scaler in trainer.scalers.items():
        scaler.load_state_dict(state["scalers"][player])
    trainer.nimg, trainer.step = state["nimg"], state["step"]
    trainer.stage, trainer.fading = state["stage"], state["fading"]
    # Attempts never become fewer: after going back, the checkpoint is older than the note.
    trainer.attempt = max(state.get("attempt", 0), _noted_attempt(trainer))
    trainer.alarms.load_state_dict(state.get("alarms", {}))
    trainer.clock.seconds = state.get("cpu_seconds", 0.0)
    if "cpu_seconds" not in state:
        trainer.log.say("the checkpoint does not say how much CPU time went before it: cpu_seconds counts from here")
    device, processes = trainer.accelerator.device, trainer.accelerator.num_processes
    if state["processes"] != processes:
        trainer.log.say(
            f"the checkpoint was written by {state['processes']} processes, this run has {processes}: image pools, "
            "queues of features and running figures start empty"
        )
        task = {key: value.to(device) for key, value in part(checkpoint.read(path, "rank-0"), "task").items()}
        trainer.task.load_state_dict(trainer.task.common_state(task))
        return
    own = checkpoint.read(path, f"rank-{trainer.accelerator.process_index}")
    trainer.task.load_state_dict({key: value.to(device) for key, value in part(own, "task").items()})
    trainer.meter.load_state_dict(part(own, "meter"))
    _set_random_state(part(own, "rng"), device)


def _random_state(device: torch.device) -> dict[str, Tensor]:
    """States of this process's random streams. Training draws from none of them; what is added to it may."""
    numpy_state: Any = np.random.get_state(legacy=False)
    texts = {
        "python": json.dumps(random.getstate()),
        "numpy": json.dumps(numpy_state, default=lambda array: array.tolist()),
    }
    state = {name: torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8) for name, text in texts.items()}
    state["torch"] = torch.get_rng_state()
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    version, internal, gauss = json.loads(state["python"].numpy().tobytes())
    random.setstate((version, tuple(internal), gauss))
    numpy_state = json.loads(state["numpy"].numpy().tobytes())
    numpy_state["state"]["key"] = np.asarray(numpy_state["state"]["key"], dtype=np.uint32)
    np.random.set_state(numpy_state)
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def _joined(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors of several parts in one dict, under ``part.key``."""
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors of one part out of :func:`_joined`."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _named(trainer: "Trainer", player: str) -> list[tuple[str, torch.nn.Parameter]]:
    """Parameters of a player with names that do not depend on any order."""
    networks = ((name, trainer.task.networks[name]) for name in trainer.task.players[player])
    return [(f"{player}|{name}.{key}", p) for name, network in networks for key, p in network.named_parameters()]


def _optimizer_tensors(trainer: "Trainer") -> dict[str, Tensor]:
    tensors = {}
    for player, optimizer in trainer.optimizers.items():
        for name, parameter in _named(trainer, player):
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{name}|{key}"] = value
    return tensors


def _load_optimizers(trainer: "Trainer", tensors: dict[str, Tensor]) -> None:
    for player, optimizer in trainer.optimizers.items():
        optimizer.state.clear()
        for name, parameter in _named(trainer, player):
            for key in ("step", "exp_avg", "exp_avg_sq"):
                value = tensors.pop(f"{name}|{key}", None)
                if value is not None:
                    # Adam's moments share the memory format of their parameter, which the sums' order depends on.
                    moment = torch.empty_like(parameter) if value.shape == parameter.shape else torch.empty_like(value)
                    optimizer.state[parameter][key] = moment.to(trainer.accelerator.device).copy_(value)
    if tensors:
        raise ValueError(f"unknown optimizer state {sorted(tensors)[0]}")
