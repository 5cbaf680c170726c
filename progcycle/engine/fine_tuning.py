"""The recipe key ``start_from``: networks that begin with the weights of a trained run, on other data or larger."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from progcycle.engine.folder import checkpoint_folders
from progcycle.engine.state import tensors_of
from progcycle.engine.trainable import frozen_hashes
from progcycle.errors import UserError
from progcycle.export import SnapshotConfig, find_snapshot, load
from progcycle.export.config import DISCRIMINATORS_FILE
from progcycle.networks import Network
from progcycle.recipe import Recipe, RecipeError, difference, load_recipe, validate
from progcycle.resolution import Resolution
from progcycle.runtime import checkpoint
from progcycle.tasks import TASKS

KEY = "start_from"


def start_from(recipe: Recipe, networks: Mapping[str, Network]) -> Sequence[str]:
    """Give networks the weights of the run that a recipe names; stages that it does not have stay as they are.

    The generators get the averages of a snapshot, the discriminators, where they are asked for, the weights of the
    newest checkpoint. Stages above the resolution of that run, and parts that no training changes, are left alone; the
    latter must be the same there.

    Args:
        recipe: has ``start_from``.
        networks: of its task, by name, initialised; on the meta device nothing is copied, only checked.

    Returns:
        Lines about what they begin with.

    Raises:
        UserError: the run is of another task, has no such weights, or its networks do not fit.
    """
    options = recipe.start_from
    assert options is not None
    try:
        snapshot = find_snapshot(options.run)
        model = load(snapshot)
    except UserError as error:
        raise UserError(f"{KEY}: {error}") from None
    config = model.config
    if config.task != recipe.task:
        raise UserError(
            f"{KEY}: {options.run} was trained with task: {config.task}, and this recipe has {recipe.task}."
        )
    weights = {name: tensors_of(model.state_dict(), name) for name in config.networks}
    source, frozen = str(snapshot), dict[str, str]()
    if unknown := sorted(weights.keys() - networks.keys()):
        raise UserError(
            f"{KEY}: {options.run} has a network {unknown[0]}, and this recipe has none; give this recipe the network "
            f"settings of that run{_changes(config, recipe)}."
        )
    if options.networks == "all":
        wanted = [name for name in networks if name not in weights]
        path, others, frozen = _of_file(snapshot, wanted) or _of_checkpoint(Path(options.run), wanted)
        weights |= others
        source += f", and of {path} the discriminators"
    common = recipe.resolution.halved_to(min(config.final_resolution, recipe.resolution))
    if common is None or common < recipe.network.base_resolution:
        raise UserError(
            f"{KEY}: {options.run} ends at {config.final_resolution} px, which is no resolution of this recipe, whose "
            f"double from {recipe.network.base_resolution} to {recipe.resolution} px; choose another resolution for it."
        )
    smaller = _up_to(common, recipe)
    for name, tensors in weights.items():
        settings = "network settings"
        if fault := _other_frozen(name, tensors, frozen.get(name), networks[name]):
            settings = "seed and the network settings"  # from which they may be drawn
        if fault := fault or _copy(name, tensors, networks[name], smaller[name]):
            remedy = f"give this recipe the {settings} of that run{_changes(config, recipe)}"
            raise UserError(f"{KEY}: {name} of {options.run} does not fit this recipe: {fault}; {remedy}.")
    begun = f"{' and '.join(weights)} begin{'s' * (len(weights) == 1)} from {source}, after {config.nimg / 1000:g} kimg"
    grown = f"; what is above {common} px is new" if recipe.resolution > common else ""
    return [begun + grown]


def _other_frozen(name: str, tensors: Mapping[str, Tensor], known: str | None, network: Network) -> str:
    """What is wrong with the frozen weights of a network; "" if they are those that it was trained with.

    Args:
        name: of the network.
        tensors: its trained weights, frozen ones left out or not.
        known: hash of the frozen ones, where the run tells it.
        network: gets them; on the meta device it has none.
    """
    own = network.frozen_tensors()
    if any(tensor.is_meta for tensor in own.values()):
        return ""
    both = [key for key in own if key in tensors and tensors[key].shape == own[key].shape]
    same = all(torch.equal(tensors[key], own[key]) for key in both)
    if known is not None:
        same = same and known == frozen_hashes({name: network}).get(name)
    return "" if same else "it was trained with other frozen weights"


def _of_file(snapshot: Path, names: Sequence[str]) -> tuple[Path, dict[str, dict[str, Tensor]], dict[str, str]] | None:
    """The discriminators beside an imported snapshot, as far as there are any; None where it is none."""
    path = snapshot / DISCRIMINATORS_FILE
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{KEY}: {path} cannot be read as safetensors ({' '.join(str(error).split())}).") from None
    found = {name: tensors_of(tensors, name) for name in names}
    return path, {name: weights for name, weights in found.items() if weights}, {}


def _of_checkpoint(run: Path, names: Sequence[str]) -> tuple[Path, dict[str, dict[str, Tensor]], dict[str, str]]:
    """The weights of networks that no snapshot holds, and the hashes of what they have frozen."""
    remedy = f"; give the folder of a run that has one, or {KEY}.networks: generators"
    if not (run / "recipe.yaml").is_file():
        raise UserError(f"{KEY}: discriminators are in checkpoints only, and {run} is no run folder{remedy}.")
    folder, *others = checkpoint_folders(run, load_recipe(run / "recipe.yaml"))
    found = checkpoint.newest_whole(folder, lambda _: None, *others)
    if found is None:
        raise UserError(f"{KEY}: discriminators are in checkpoints only, and {run} has none{remedy}.")
    path, record = found
    tensors = checkpoint.read(path, "networks")
    return path, {name: tensors_of(tensors, name) for name in names}, record.get("frozen", {})


def _changes(config: SnapshotConfig, recipe: Recipe) -> str:
    """The network settings in which a recipe differs from that of a snapshot, as far as that can still be read."""
    try:
        changed = [line for line in difference(validate(config.recipe), recipe) if line.startswith("network.")]
    except RecipeError:
        return ""
    return f" (from there to here, {', '.join(changed)})" if changed else ""


def _up_to(resolution: Resolution, recipe: Recipe) -> Mapping[str, Network]:
    """The networks of a recipe that ends at a resolution, without memory."""
    with torch.device("meta"):
        schedule = recipe.schedule.model_copy(update={"start_resolution": resolution})
        smaller = recipe.model_copy(update={"resolution": resolution, "schedule": schedule})
        return TASKS[recipe.task](smaller).networks


def _copy(name: str, tensors: Mapping[str, Tensor], network: Network, common: Network) -> str:
    """Copy the weights of the stages that both have, if all of them fit.

    Args:
        name: of the network.
        tensors: its trained weights, frozen ones left out or not.
        network: gets them.
        common: the same network, ending at the resolution up to which both go.

    Returns:
        What does not fit, or "".

    Raises:
        UserError: the network has another shape at that resolution, since it does not grow.
    """
    own = network.state_dict()
    wanted = {key: tensor for key, tensor in common.state_dict().items() if key not in network.frozen}
    for key, tensor in wanted.items():
        if key in own and own[key].shape != tensor.shape:
            raise UserError(f"{KEY}: {name} does not grow, so that it begins at its own resolution only.")
        shape, found = list(tensor.shape), list(tensors[key].shape) if key in tensors else None
        if key not in own or found != shape:
            return f"{key} " + ("is not in it" if found is None else f"has the shape {found} there, and {shape} here")
    network.load_state_dict({**own, **{key: tensors[key] for key in wanted}})
    return ""
