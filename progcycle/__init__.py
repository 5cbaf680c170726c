"""GANs that grow: an unconditional PG-GAN and a progressive CycleGAN.

``progcycle.train(recipe, run_dir)`` trains, ``progcycle.evaluate(run)`` measures, ``progcycle.load(run)`` gives the
trained model, ``progcycle.plan(recipe)`` shows when it grows, ``progcycle.draft(folders)`` and
``progcycle.estimate(recipe)`` are for new pictures. The commands of these names, and ``new``, do the same.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from progcycle.api import Plan, RunFolder, draft, estimate, plan, train
    from progcycle.engine.estimate import Estimate
    from progcycle.evaluation import Evaluation, evaluate
    from progcycle.export import Generator, Translator, load
    from progcycle.recipe import Draft, Recipe

__version__ = "0.1.0"
# Where each name comes from.
_NAMES = {
    "Draft": "recipe",
    "Estimate": "engine.estimate",
    "Evaluation": "evaluation",
    "Generator": "export",
    "Plan": "api",
    "Recipe": "recipe",
    "RunFolder": "api",
    "Translator": "export",
    "draft": "api",
    "estimate": "api",
    "evaluate": "evaluation",
    "load": "export",
    "plan": "api",
    "train": "api",
}
__all__ = [
    "Draft",
    "Estimate",
    "Evaluation",
    "Generator",
    "Plan",
    "Recipe",
    "RunFolder",
    "Translator",
    "__version__",
    "draft",
    "estimate",
    "evaluate",
    "load",
    "plan",
    "train",
]


def __getattr__(name: str) -> Any:
    # torch is imported only when it is needed, so that --help and the version are quick.
    if name in _NAMES:
        from importlib import import_module

        return getattr(import_module(f"progcycle.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'progcycle' has no attribute {name!r}")


class _Package(ModuleType):
    """Keeps ``progcycle.train`` the function: the module of that name is for ``python -m progcycle.train``."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _NAMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
