"""Recipes: a YAML file of a whole experiment becomes a validated, frozen object.

This package checks the *shape* of a recipe (keys, types, ranges); ``engine.build`` checks names and combinations. The
options of a network are defined with the network.
"""

from progcycle.recipe.draft import Draft
from progcycle.recipe.growth_plan import Schedule
from progcycle.recipe.networks import (
    CycleganNetwork,
    DiscriminatorsOf,
    NetworkOf,
    NetworkSection,
    OwnTerms,
    PgganNetwork,
    Place,
    discriminators,
    options_in,
    places_in,
    players_of,
)
from progcycle.recipe.objectives import (
    TERMS,
    Adaptive,
    Adversarial,
    Balance,
    ClassWeights,
    DiscriminatorAugment,
    DiscriminatorNoise,
)
from progcycle.recipe.optimizer import Ema, Optimizer, OptimizerSection, PlayerOptimizer
from progcycle.recipe.overrides import override, override_with
from progcycle.recipe.reading import (
    CHANGEABLE,
    difference,
    dump,
    json_schema,
    load_recipe,
    merge,
    recipe_from,
    validate,
)
from progcycle.recipe.schema import (
    MAX_PIXELS,
    RECIPES,
    Augmentation,
    CycleganData,
    CycleganRecipe,
    DataOptions,
    Evaluation,
    PgganData,
    PgganRecipe,
    Pictures,
    Pretraining,
    Recipe,
    Recovery,
    TranslationEvaluation,
    WarmStart,
)
from progcycle.recipe.shipped import find_recipe, shipped_folder, shipped_recipes, shipped_studies
from progcycle.recipe.sizes import Sizes, sizes_for
from progcycle.recipe.study_file import Study, load_study
from progcycle.recipe.values import RecipeError, by_resolution, on_curve

__all__ = [
    "CHANGEABLE",
    "MAX_PIXELS",
    "RECIPES",
    "TERMS",
    "Adaptive",
    "Adversarial",
    "Augmentation",
    "Balance",
    "ClassWeights",
    "CycleganData",
    "CycleganNetwork",
    "CycleganRecipe",
    "DataOptions",
    "DiscriminatorAugment",
    "DiscriminatorNoise",
    "DiscriminatorsOf",
    "Draft",
    "Ema",
    "Evaluation",
    "NetworkOf",
    "NetworkSection",
    "Optimizer",
    "OptimizerSection",
    "OwnTerms",
    "PgganData",
    "PgganNetwork",
    "PgganRecipe",
    "Pictures",
    "Place",
    "PlayerOptimizer",
    "Pretraining",
    "Recipe",
    "RecipeError",
    "Recovery",
    "Schedule",
    "Sizes",
    "Study",
    "TranslationEvaluation",
    "WarmStart",
    "by_resolution",
    "difference",
    "discriminators",
    "dump",
    "find_recipe",
    "json_schema",
    "load_recipe",
    "load_study",
    "merge",
    "on_curve",
    "options_in",
    "override",
    "override_with",
    "places_in",
    "players_of",
    "recipe_from",
    "shipped_folder",
    "shipped_recipes",
    "shipped_studies",
    "sizes_for",
    "validate",
]
