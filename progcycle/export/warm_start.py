"""The recipe key ``warm_start``: translators whose decoders begin with the stages of a trained PG-GAN."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from progcycle.errors import UserError
from progcycle.export.generator import Generator
from progcycle.export.snapshot import load
from progcycle.networks import GrowingDecoder, Network, copy_stages
from progcycle.recipe import Recipe


def warm_start(recipe: Recipe) -> Callable[[Mapping[str, Network]], Sequence[str]] | None:
    """A function that copies the first weights into a recipe's translators; None without the key.

    The PG-GANs are read when it is called: a run that is resumed does not need them any more.

    Args:
        recipe: a validated recipe.

    Returns:
        A function of the networks. It returns sentences about what it copied, and raises UserError where a PG-GAN is
        missing or does not fit.
    """
    runs = recipe.first_weights
    if not runs:
        return None

    def start_from(networks: Mapping[str, Network]) -> Sequence[str]:
        return [_copy_decoder(recipe, name, run, networks[name]) for name, run in runs.items()]

    return start_from


def _copy_decoder(recipe: Recipe, name: str, run: str, translator: Network) -> str:
    where = f"warm_start.{name}"
    network: Any = recipe.network  # of translators: no other recipe has first weights
    try:
        model = load(run)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if not isinstance(model, Generator):
        raise UserError(f"{where}: {run} holds {model.kind}; give the run folder of a PG-GAN.")
    source, target = model.generator.growing_decoder(), translator.growing_decoder()
    for decoder, owner in ((source, run), (target, f"network.generator: {network.generator.name}")):
        if not isinstance(decoder, GrowingDecoder):
            raise UserError(f"{where}: {owner} has no growing decoder, whose stages could be copied; leave it out.")
    assert isinstance(source, GrowingDecoder)
    assert isinstance(target, GrowingDecoder)
    try:
        copied = copy_stages(
            source,
            target,
            source_base=model.config.base_resolution,
            target_base=network.base_resolution,
            top=model.resolution,
            to_rgb=not translator.predicts_change,
        )
    except ValueError as error:
        raise UserError(
            f"{where}: the PG-GAN {run} does not fit, {error}; give it the network settings of this recipe."
        ) from None
    stages = f"{len(copied)} stage{'s' if len(copied) > 1 else ''}"
    return f"{name}: {stages} from {run} ({copied[0]} to {copied[-1]} px)"
