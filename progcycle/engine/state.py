"""A checkpoint is a dict of named parts, each with ``state_dict`` and ``load_state_dict``.

The kind of a part (:class:`Part`) decides where a checkpoint stores it: tensors in safetensors files, everything else
in ``state.json`` under ``parts``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

from accelerate import Accelerator
from torch import Tensor

from progcycle.engine.memory import is_out_of_memory
from progcycle.errors import UserError
from progcycle.runtime import checkpoint
from progcycle.runtime.checkpoint import Content

Tensors = dict[str, Tensor]


class Stateful(Protocol):
    """An object whose state can be saved and restored."""

    def state_dict(self) -> Mapping[str, Any]:
        """Everything that a later step depends on."""

    def load_state_dict(self, state: Any, /) -> object:
        """Restore what :meth:`state_dict` gave."""


@dataclass(frozen=True)
class Part:
    """A part of a checkpoint.

    Attributes:
        of: the object whose state is saved.
        kind: ``shared``: tensors that are the same in all processes; the first one writes them into a file of the part.
            ``own``: tensors that differ between processes; each writes its own file. ``values``: JSON, the same in all
            processes.
        common: of an ``own`` part, the tensors with which a run continues on another number of processes, given those
            of the first process; None: nothing is restored then.
    """

    of: Stateful
    kind: Literal["shared", "own", "values"]
    common: Callable[[Tensors], Tensors] | None = None


class AttributeState:
    """Numbers and booleans of an object, as a part.

    Args:
        owner: the object.
        names: of its attributes.
    """

    def __init__(self, owner: object, *names: str) -> None:
        self.owner, self.names = owner, names

    def state_dict(self) -> dict[str, Any]:
        """The values by name."""
        return {name: getattr(self.owner, name) for name in self.names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ValueError: a value is missing, or of another type.
        """
        for name in self.names:
            known = type(getattr(self.owner, name))
            if type(state.get(name)) is not known:
                raise ValueError(f"{name} is {state.get(name)!r}, not of type {known.__name__}")
        for name in self.names:
            setattr(self.owner, name, state[name])


class StateGroup:
    """Several objects of one kind, as one part.

    Args:
        members: by name.
    """

    def __init__(self, members: Mapping[str, Stateful]) -> None:
        self.members = members

    def state_dict(self) -> dict[str, Any]:
        """The states by name."""
        return {name: member.state_dict() for name, member in self.members.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ValueError: a member is missing.
        """
        for name, member in self.members.items():
            if name not in state:
                raise ValueError(f"{name} is missing")
            member.load_state_dict(state[name])


# --- parts and their states ---------------------------------------------------------------------------------------


def state_of(parts: Mapping[str, Part]) -> dict[str, Mapping[str, Any]]:
    """The states of all parts by name; tensors are the parts' own, not copies."""
    return {name: part.of.state_dict() for name, part in parts.items()}


def load_state(parts: Mapping[str, Part], states: Mapping[str, Mapping[str, Any]]) -> None:
    """Restore what :func:`state_of` gave.

    Raises:
        UserError: one sentence about the first part that is missing, or that does not fit.
    """
    for name, part in parts.items():
        _load(name, part, lambda name=name: states[name])  # type: ignore[misc]


def _load(name: str, part: Part, read: Callable[[], Any]) -> None:
    try:
        state = read()
    except KeyError:
        raise UserError(f"the part {name} is missing") from None
    except Exception as error:  # files can be unreadable in many ways
        raise _refused(name, error) from None
    try:
        part.of.load_state_dict(state)
    except Exception as error:  # a damaged or hostile state can raise nearly anything
        raise _refused(name, error) from None


def _refused(name: str, error: Exception) -> Exception:
    if is_out_of_memory(error):
        return error
    return UserError(f"in the part {name}: {' '.join(str(error).split()) or type(error).__name__}")


# --- checkpoints --------------------------------------------------------------------------------------------------


def checkpoint_content(
    parts: Mapping[str, Part], nimg: int, accelerator: Accelerator, about: Mapping[str, Any]
) -> Content:
    """The state of this process, copied.

    Args:
        parts: of the run, by name.
        nimg: pictures shown.
        accelerator: the processes.
        about: more facts for ``state.json``, from which no part is restored.
    """
    files: dict[str, Mapping[str, Tensor]] = {}
    files[_own_file(accelerator)] = _joined((name, part) for name, part in parts.items() if part.kind == "own")
    if accelerator.is_main_process:
        files |= {name: part.of.state_dict() for name, part in parts.items() if part.kind == "shared"}
    values = {name: part.of.state_dict() for name, part in parts.items() if part.kind == "values"}
    return Content(nimg, checkpoint.copies(files), {**about, "parts": values})


def restore(parts: Mapping[str, Part], path: Path, record: Mapping[str, Any], accelerator: Accelerator) -> bool:
    """Restore all parts from a checkpoint.

    Args:
        parts: of the run, by name.
        path: the checkpoint.
        record: its ``state.json``, see :func:`upgrade_record`.
        accelerator: the processes.

    Returns:
        Whether as many processes wrote it as there are now. If not, ``own`` parts hold what is common, or nothing new.

    Raises:
        UserError: one sentence about the first part that is missing, or that does not fit.
    """
    same = bool(record["processes"] == accelerator.num_processes)
    file = _own_file(accelerator) if same else "rank-0"
    own = cache(lambda: checkpoint.read(path, file))

    def read(name: str, part: Part) -> Any:
        if part.kind == "values":
            return record["parts"][name]
        if part.kind == "shared":
            return checkpoint.read(path, name)
        tensors = {key: tensor.to(accelerator.device) for key, tensor in tensors_of(own(), name).items()}
        return tensors if same or part.common is None else part.common(tensors)

    for name, part in parts.items():
        if same or part.kind != "own" or part.common is not None:
            _load(name, part, lambda name=name, part=part: read(name, part))  # type: ignore[misc]
    return same


def upgrade_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the ``state.json`` of any readable format to the current one.

    In format 1, of progcycle 0.1.0, the values of all parts were at the top level. Its earliest checkpoints have no
    alarms, attempts and CPU time.

    Args:
        record: the content of a ``state.json``.
    """
    if record["format"] != 1:
        return dict(record)
    old = dict(record)
    parts = {
        "progress": {"nimg": old["nimg"], **{name: old.pop(name) for name in ("step", "stage", "fading")}},
        "scalers": old.pop("scalers"),
        "attempts": {"number": old.pop("attempt", 0)},
        "alarms": old.pop("alarms", {}),
        "clock": {"cpu_seconds": old.pop("cpu_seconds", None)},
        "log": {"stats_bytes": old.pop("stats_bytes")},
    }
    return {**old, "format": checkpoint.FORMAT, "parts": parts}


def _own_file(accelerator: Accelerator) -> str:
    return f"rank-{accelerator.process_index}"


def _joined(parts: Iterable[tuple[str, Part]]) -> Tensors:
    """Tensors of several parts in one dict, under ``part.key``."""
    return {f"{name}.{key}": value for name, part in parts for key, value in part.of.state_dict().items()}


def tensors_of(tensors: Mapping[str, Tensor], name: str) -> Tensors:
    """The tensors of one part, or of one network, out of those of several under ``<name>.<key>``."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
