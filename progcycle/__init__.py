"""GANs that grow: an unconditional PG-GAN and a progressive CycleGAN.

``progcycle.load(run)`` gives a trained model; the commands are ``progcycle train``, ``plan``, ``generate``,
``translate`` and ``evaluate``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from progcycle.export import Generator, Translator, load

__version__ = "0.1.0"
__all__ = ["Generator", "Translator", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # torch is imported only when a model is asked for, so that --help and the version are quick.
    if name in ("Generator", "Translator", "load"):
        from progcycle import export

        return getattr(export, name)
    raise AttributeError(f"module 'progcycle' has no attribute {name!r}")
