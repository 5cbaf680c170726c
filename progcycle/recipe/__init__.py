"""A recipe is the whole experiment: YAML in, a validated and frozen object out. Imports nothing else of progcycle.

This room checks the *shape* of a recipe (keys, types, ranges); ``engine.build`` checks names and combinations.
"""

from progcycle.recipe.networks import (
    CycleganNetwork,
    MinibatchDiscrimination,
    MinibatchStddev,
    NetworkOptions,
    Normalization,
    PgganNetwork,
)
from progcycle.recipe.objectives import Adversarial, ClassWeights, DiscriminatorNoise
from progcycle.recipe.pretraining import pretraining_recipe
from progcycle.recipe.reading import difference, dump, json_schema, load_recipe, merge, override, validate
from progcycle.recipe.schema import (
    Adam,
    Augmentation,
    BaseRecipe,
    CycleganData,
    CycleganRecipe,
    DataOptions,
    Ema,
    Evaluation,
    PgganData,
    PgganRecipe,
    Pictures,
    Pretraining,
    Recipe,
    Schedule,
    WarmStart,
)
from progcycle.recipe.study import Study, load_study
from progcycle.recipe.values import RecipeError, by_resolution, on_curve

__all__ = [
    "Adam",
    "Adversarial",
    "Augmentation",
    "BaseRecipe",
    "ClassWeights",
    "CycleganData",
    "CycleganNetwork",
    "CycleganRecipe",
    "DataOptions",
    "DiscriminatorNoise",
    "Ema",
    "Evaluation",
    "MinibatchDiscrimination",
    "MinibatchStddev",
    "NetworkOptions",
    "Normalization",
    "PgganData",
    "PgganNetwork",
    "PgganRecipe",
    "Pictures",
    "Pretraining",
    "Recipe",
    "RecipeError",
    "Schedule",
    "Study",
    "WarmStart",
    "by_resolution",
    "difference",
    "dump",
    "json_schema",
    "load_recipe",
    "load_study",
    "merge",
    "on_curve",
    "override",
    "pretraining_recipe",
    "validate",
]
