"""What the networks of a run begin with, where the recipe says so: the same, whoever starts the training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from progcycle.engine.fine_tuning import start_from
from progcycle.engine.folder import checkpoint_folders
from progcycle.engine.trainable import Weights, keeping_frozen
from progcycle.errors import UserError
from progcycle.export import warm_start
from progcycle.networks import Network
from progcycle.recipe import Recipe
from progcycle.runtime import checkpoint
from progcycle.schedule import GrowthSchedule

PRETRAINING = "pretraining"  # of the folder in the run folder, and of the recipe's section


def in_order(recipe: Recipe) -> list[tuple[str | None, Recipe]]:
    """What a recipe trains, one after the other: pre-training by its name, if there is any, and the task as None."""
    before = recipe.preparation_recipe
    if before is None:
        return [(None, recipe)]
    return [(PRETRAINING, before), (None, recipe.model_copy(update={"pretraining": None}))]


def set_initial_weights(
    recipe: Recipe,
    run_dir: Path,
    networks: Mapping[str, Network],
    preparation: str | None = None,
) -> Sequence[str]:
    """Give the networks of a run that starts afresh their first weights.

    Args:
        recipe: of the run.
        run_dir: its folder.
        networks: of its task, by name, initialised.
        preparation: what the run trains in place of the recipe's task.

    Returns:
        Lines about what they begin with.

    Raises:
        UserError: what the recipe asks for is not there.
    """
    before = recipe.preparation_recipe if preparation is None else None
    with keeping_frozen(networks.values()):
        if before is not None:
            return _averages(run_dir / PRETRAINING, before, networks)
        return load_source_weights(recipe, networks)


def load_source_weights(recipe: Recipe, networks: Mapping[str, Network]) -> Sequence[str]:
    """Give networks what ``start_from`` or ``warm_start`` says; without either they stay as they are.

    Args:
        recipe: of the run.
        networks: by name; on the meta device nothing is copied, only checked.

    Returns:
        Lines about what they begin with.

    Raises:
        UserError: the run that is named does not exist, or does not fit.
    """
    if recipe.start_from is not None:
        return start_from(recipe, networks)
    warm = warm_start(recipe)
    return () if warm is None else warm(networks)


def _averages(run_dir: Path, recipe: Recipe, networks: Mapping[str, Network]) -> Sequence[str]:
    """Give networks the averages of a finished run; from its files, so that it does not matter when it was."""
    warnings: list[str] = []
    folder, *others = checkpoint_folders(run_dir, recipe)
    found = checkpoint.newest_whole(folder, warnings.append, *others)
    if found is None or found[1]["nimg"] < GrowthSchedule.of(recipe).total:
        raise UserError(
            f"{PRETRAINING}: {run_dir} has no finished pre-training to begin from; use progcycle train, or "
            "progcycle.engine.train.train, which do it first."
        )
    path, content = found
    tensors = checkpoint.read(path, "ema")
    names = sorted({key.partition(".")[0] for key in tensors})
    begun = {name: networks[name] for name in names if name in networks}
    try:
        Weights(begun).load_state_dict(tensors)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"The averages of {path} do not fit this run ({' '.join(str(error).split())}).") from None
    return [*warnings, f"{' and '.join(names)} begin from {path}, after {content['nimg'] / 1000:g} kimg"]
