"""Moving pictures of translators: from a picture to its translation and back, or from translation to translation.

Between a picture and its translation nothing is painted: a frame is a blend, the picture plus a share of the change
that the translators make of it, in grey levels. With ``network.generator.predict: change`` that is a share of what the
network painted. Between two translations of one picture, by translators with latents, the network paints every frame.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image

from progcycle.export.contact_sheet import wrapped_sheet
from progcycle.export.interpolation import walk
from progcycle.export.parts import PixelParts
from progcycle.export.source_pictures import TranslatorExamples
from progcycle.export.translator import Direction, Translator


def share_at(frame: int, steps: int) -> float:
    """How much of the change frame number ``frame`` shows: 0 at the picture, 1 after ``steps`` frames, then back.

    It goes along a cosine, so that it is slow at both ends.
    """
    return 0.5 - 0.5 * math.cos(math.pi * frame / steps)


def blended(before: Image.Image, after: Image.Image, share: float) -> Image.Image:
    """A picture plus a share of the change to another one of its size, in grey levels; of mode RGB."""
    x, y = (np.asarray(image.convert("RGB"), np.float32) for image in (before, after))
    return Image.fromarray((x + share * (y - x)).round().astype(np.uint8))


def morph_frames(model: Translator, examples: TranslatorExamples, steps: int) -> Iterator[Image.Image]:
    """Frames in which pictures turn into their translations, and back.

    Args:
        model: the translators.
        examples: the pictures.
        steps: frames from a picture to its translation, and as many back.

    Yields:
        ``2 * steps`` frames, of mode RGB; the first shows the pictures. A title says what is shown.
    """
    before, after = list(examples.sources), examples.made_by(model)
    a, b = tuple(examples.direction.upper())
    for frame in range(2 * steps):
        share = share_at(frame, steps)
        words = {0: a, steps: f"{a} to {b}"}.get(frame, f"{a} + {share:.0%} of the change to {b}")
        shown = [blended(x, y, share) for x, y in zip(before, after, strict=True)]
        yield wrapped_sheet(shown, examples.side, words)


def latent_frames(
    model: Translator, examples: TranslatorExamples, keyframes: int, steps: int, seed: int = 0
) -> Iterator[Image.Image]:
    """Frames that go from translation to translation of the same pictures, and back to the first.

    Args:
        model: translators with latents in the direction of the examples.
        examples: the pictures.
        keyframes: translations to pass, those of the seeds from ``seed`` on.
        steps: frames from one of them to the next.
        seed: of the first.

    Yields:
        ``keyframes * steps`` frames, of mode RGB: the pictures above their translations.

    Raises:
        UserError: there are no latents in this direction.
    """
    direction: Direction = "ab" if examples.direction == "ab" else "ba"
    seeds = range(seed, seed + keyframes)
    levels = model.levels(direction)[0]
    parts = [PixelParts(levels.pixels(values), model.device) for values in examples.levels]
    keys = torch.stack([model.latents(direction, seeds, model.sources(part)) for part in parts], dim=1)  # [K, N, D]
    sources: Sequence[Image.Image] = examples.sources
    words = f"{' to '.join(direction.upper())}, seeds {seeds[0]} to {seeds[-1]}"
    for z in walk(keys, steps):
        made = [
            examples.translated(values, model, latents=row.to(torch.float32), side=model.resolution)
            for values, row in zip(examples.levels, z[:, None], strict=True)
        ]
        yield wrapped_sheet(made, examples.side, words, above=sources)
