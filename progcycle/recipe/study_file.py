"""A study: variants of one recipe, or of several, each trained with several seeds and measured alike."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from progcycle.recipe.reading import describe_error, merge, read_content, validate
from progcycle.recipe.schema import Recipe
from progcycle.recipe.shipped import closest_name, find_recipe, shipped_studies
from progcycle.recipe.values import AsTuple, RecipeError, Texts
from progcycle.section import Section

FINER = 8  # snapshots for each point where points are even in time, which is known afterwards only


class Study(Section):
    """Content of a study file.

    Attributes:
        title: one line for the report.
        recipe: file of the recipe that all variants start from, relative to the study file.
        variants: changes to the recipe by the variant's name, as a recipe file would hold them; a key
            ``extends`` names another recipe to start from, which may be of another task: a file relative to the study
            file, or the name of a bundled recipe.
        seeds: every variant is trained once with each.
        metrics: what is measured of a PG-GAN at the end of a run, by the names of ``progcycle evaluate``; of
            translators, what is measured beside all that is quick: ``kid-resnet``, ``two-sample``.
        count: of PG-GANs: pictures that are measured.
        curves: figures of the training log whose curves are kept.
        cpu_minutes: CPU time of a run, in one thread: the plan of every variant is stretched or cut in all its parts
            alike, until training takes as long as this. Curves of weights and the halving of learning rates keep their
            kimg. Default: plans are followed as they are.
        points: of translators: how often a run is measured, evenly spaced; the last time is its end.
        spacing: of points: even in ``pictures``, or in ``cpu_time``, where the late stages of a growing plan have more.
        raw: also measure the translators' own weights, without the running average.
        shown: figures in the table and the plots; default: all.
        rivals: of translators: pairs of variants; reports the time that the first needs to reach the second's final
            figures.
    """

    title: str
    recipe: str
    variants: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AsTuple]
    metrics: Texts | None = None
    count: int = Field(16384, ge=2)
    curves: Texts = ()
    cpu_minutes: float | None = Field(None, gt=0)
    points: int = Field(1, ge=1)
    spacing: Literal["pictures", "cpu_time"] = "pictures"
    raw: bool = False
    shown: Texts = ()
    rivals: Annotated[tuple[Annotated[tuple[str, str], AsTuple], ...], AsTuple] = ()

    @model_validator(mode="after")
    def _known_rivals(self) -> "Study":
        for name in (name for pair in self.rivals for name in pair):
            if name not in self.variants:
                raise ValueError(f"rivals: there is no variant {name!r}")
        return self

    @model_validator(mode="after")
    def _points_to_space(self) -> "Study":
        if self.spacing != "pictures" and self.points == 1:
            raise ValueError("spacing is of several points, and a run is measured once; set points, or leave it out")
        return self

    @property
    def snapshots(self) -> int:
        """Of a run, even in pictures; those that are measured are chosen among them."""
        return self.points if self.spacing == "pictures" else FINER * self.points

    @property
    def measured(self) -> tuple[object, ...]:
        """All of the study, apart from the recipe, that the figures of a row depend on."""
        more: tuple[object, ...] = (self.points, self.raw) if self.points > 1 or self.raw else ()
        more += (self.spacing,) if self.spacing != "pictures" else ()
        return (self.metrics, self.count, self.curves, *more)


def load_study(path: Path) -> tuple[Study, dict[tuple[str, int], Recipe]]:
    """Read a study file and the recipe of every run, by (variant, seed), the first seed of all variants first.

    Args:
        path: a file, or the name of a bundled study.

    Raises:
        RecipeError: the study, its recipe or one of the variants is wrong.
    """
    path = find_recipe(path, known := shipped_studies())
    if not os.path.exists(path):
        near = closest_name(path, known)
        names = f"; did you mean {near}?" if near else f", such as {next(iter(known))}."
        raise RecipeError(
            f"There is no study {path}; give the path of a YAML file, or the name of a bundled study{names}"
        )
    content = read_content(path)
    if "task" in content:
        raise RecipeError(f"{path} is a recipe, not a study; progcycle train {path} trains it.")
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(dict.fromkeys(describe_error(item, Study) for item in error.errors(include_url=False)))
        raise RecipeError(f"{path}: {problems.rstrip('.')}.") from None
    runs = {}
    for seed in study.seeds:
        for name, change in study.variants.items():
            changes = dict(change)
            start = changes.pop("extends", study.recipe)
            if not isinstance(start, str):
                raise RecipeError(f"{path}: variant {name}: extends takes the name of a recipe, got {start!r}.")
            base = read_content(find_recipe(start, folder=path.parent))
            runs[name, seed] = validate({**merge(base, changes), "seed": seed}, f"{path}: variant {name}")
    return study, runs
