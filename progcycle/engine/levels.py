"""The depth and the window of a recipe's pictures: as its run has them, or found out and measured once."""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from progcycle.data.measure import same_levels, with_levels
from progcycle.data.sets import training_set
from progcycle.engine.folder import has_checkpoint
from progcycle.engine.initial_weights import PRETRAINING
from progcycle.output import warn
from progcycle.recipe import DataOptions, Pictures, Recipe, RecipeError, load_recipe


def resolve_levels(recipe: Recipe, run_dir: Path, note: Callable[[str], None] = warn) -> Recipe:
    """A recipe whose pictures have a depth and, unless they are 8 bits, a window; recipes without stay as they are.

    A run that goes on keeps what was measured when it began.

    Args:
        recipe: a validated recipe.
        run_dir: its run folder, which is not written.
        note: called with a sentence about pictures of mixed depths.

    Raises:
        UserError: pictures are missing, of different depths, or use less than 2 % of their window.
    """
    before = _as_begun(recipe, run_dir)
    data = recipe.data
    for domain, options in recipe.data.domains.items():
        known = None if before is None else before.domains.get(domain)
        if known is not None and same_levels(options, known):
            found = options.model_copy(update={"bits": known.bits, "window": known.window})
        else:
            make = partial(training_set, recipe.data, domain, resolution=recipe.resolution, seed=recipe.seed)
            found = with_levels(options, _key(recipe.data, options), make, note)
        data = _replaced(data, recipe.data, options, found)
    return recipe if data is recipe.data else recipe.model_copy(update={"data": data})


def _as_begun(recipe: Recipe, run_dir: Path) -> DataOptions | None:
    """The pictures of a run that goes on, as its own recipe has them."""
    places = [(run_dir, recipe), (run_dir / PRETRAINING, recipe.preparation_recipe)]
    for folder, made in places:
        if made is not None and has_checkpoint(folder, made):
            with contextlib.suppress(RecipeError):  # refused where the run folder is checked
                return load_recipe(folder / "recipe.yaml").data
    return None


def _place(data: DataOptions, options: Pictures) -> str | None:
    """The field of a data section that holds the options of a domain; None if it is the section itself."""
    return next((name for name in type(data).model_fields if getattr(data, name) is options), None)


def _key(data: DataOptions, options: Pictures) -> str:
    place = _place(data, options)
    return "data" if place is None else f"data.{place}"


def _replaced(data: DataOptions, original: DataOptions, options: Pictures, found: Pictures) -> DataOptions:
    if found == options:
        return data
    place = _place(original, options)
    update = {"bits": found.bits, "window": found.window} if place is None else {place: found}
    return data.model_copy(update=update)
