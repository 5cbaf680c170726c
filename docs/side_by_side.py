"""Draw random test pictures of a study of translators: what was given, and what two of its variants make of it.

    python docs/side_by_side.py runs/studies/translators_openmoji classic-0 latents-0 docs/images

Writes ``NAME_ab.png`` and ``NAME_ba.png``, NAME being that of the study's folder. Which pictures are shown is drawn by
chance and is the same for both directions; so are the latents of a translator that has some.
"""

import argparse
import random
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from PIL import Image

from progcycle.export import Translator, load_as
from progcycle.export.contact_sheet import sheet
from progcycle.recipe import load_study

DOCS = Path(__file__).resolve().parent
COUNT, BESIDE, TILE = 36, 6, 64  # pictures, how many stand in a row, and pixels of a side
NAMES = {"classic": "published"}


def drawn_by_chance(folder: Path, count: int = COUNT, seed: int = 0) -> list[Path]:
    """Some pictures of a folder: every one has the same chance.

    Raises:
        ValueError: there are fewer.
    """
    return random.Random(seed).sample(sorted(path for path in folder.iterdir() if path.suffix == ".png"), count)


def draw(models: dict[str, Translator], folder: Path, direction: str) -> Image.Image:
    """A sheet of triples: the picture that was given, and the translation by each model.

    Args:
        models: by the name that stands above its pictures.
        folder: of the test pictures.
        direction: ``ab`` or ``ba``.
    """
    cells = []
    for number, path in enumerate(drawn_by_chance(folder)):
        given = Image.open(path)
        seeds = [number if model.latent_size(direction) else None for model in models.values()]
        translated = [
            model.translate(given, direction, seed=seed) for model, seed in zip(models.values(), seeds, strict=True)
        ]
        cells.append([given.convert("RGB"), *translated])
    rows = [list(chain.from_iterable(cells[i : i + BESIDE])) for i in range(0, len(cells), BESIDE)]
    return sheet(rows, ["given", *models] * BESIDE, tile=TILE)


def names_of(runs: Sequence[str]) -> list[str]:
    """What stands above the pictures of two runs: the run's own name where the others would be the same."""
    names = [NAMES.get(run.rpartition("-")[0], "progcycle") for run in runs]
    return names if len({*names}) == len(names) else list(runs)


def main() -> None:
    """Draw both directions."""
    parser = argparse.ArgumentParser(description="Draw random test pictures of two runs of a study side by side.")
    parser.add_argument("study", type=Path, help="folder of the study's run folders, named like the study")
    parser.add_argument("runs", nargs=2, help="two of them, such as classic-0: a variant and a seed")
    parser.add_argument("out", type=Path, help="folder of the sheets")
    args = parser.parse_args()
    _, recipes = load_study(Path(args.study.name))
    names = names_of(args.runs)
    models = {name: load_as(Translator, args.study / run) for name, run in zip(names, args.runs, strict=True)}
    args.out.mkdir(parents=True, exist_ok=True)
    first = args.runs[0].rpartition("-")[0]
    root = DOCS.parent / next(recipe for (variant, _), recipe in recipes.items() if variant == first).data.root
    for direction, folder in (("ab", "testA"), ("ba", "testB")):
        path = args.out / f"{args.study.name}_{direction}.png"
        draw(models, root / folder, direction).save(path, optimize=True)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
