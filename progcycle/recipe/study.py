"""A study: variants of one recipe, each trained with several seeds and measured alike."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from progcycle.recipe.reading import merge, read_content, sentence, validate
from progcycle.recipe.schema import Recipe
from progcycle.recipe.section import Section
from progcycle.recipe.values import AsTuple, RecipeError, Texts


class Study(Section):
    """Content of a study file.

    Attributes:
        title: one line for the report.
        recipe: file of the recipe that all variants start from, relative to the study file.
        variants: changes to the recipe by the variant's name, as a recipe file would hold them.
        seeds: every variant is trained once with each.
        metrics: what is measured at the end of a run, by the names of ``progcycle evaluate``.
        count: pictures that are measured.
        curves: figures of the training log whose course is kept.
    """

    title: str
    recipe: str
    variants: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AsTuple]
    metrics: Texts = ("swd",)
    count: int = Field(16384, ge=2)
    curves: Texts = ()


def load_study(path: Path) -> tuple[Study, dict[tuple[str, int], Recipe]]:
    """Read a study file and the recipe of every run, by (variant, seed), the first seed of all variants first.

    Raises:
        RecipeError: the study, its recipe or one of the variants is wrong.
    """
    content = read_content(path)
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        told = "; ".join(dict.fromkeys(sentence(item, Study) for item in error.errors(include_url=False)))
        raise RecipeError(f"{path}: {told.rstrip('.')}.") from None
    base = read_content(path.parent / study.recipe)
    runs = {}
    for seed in study.seeds:
        for name, change in study.variants.items():
            runs[name, seed] = validate({**merge(base, change), "seed": seed}, f"{path}: variant {name}")
    return study, runs
