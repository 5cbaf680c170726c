"""One sheet of what all variants of a study make, a row for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from progcycle.files import atomic_file
from progcycle.recipe import Recipe, Study

COUNT, TILE = 12, 64  # pictures of a variant, and pixels of the tile that each is shown in


@dataclass(frozen=True)
class Strip:
    """Pictures of one run.

    Attributes:
        made: by its newest snapshot.
        real: what to compare them with, such as real pictures, or what they were made of; the same for all variants
            of one size.
        words: what these are.
    """

    made: list[Image.Image]
    real: list[Image.Image]
    words: str = "real"


Show = Callable[[Path, Recipe], Strip]


def write_pictures(
    study: Study, recipes: Mapping[tuple[str, int], Recipe], shows: Mapping[str, Show | None], runs: Path, out: Path
) -> list[Path]:
    """Write ``pictures.png``: real pictures, and below them a row for each variant, of its first seed that was run.

    Args:
        study: names the variants and the seeds.
        recipes: by (variant, seed).
        shows: by task, from a run folder and its recipe to pictures; None where there is nothing to show.
        runs: folder of the run folders; variants without a snapshot there are left out.
        out: folder of the sheet.

    Returns:
        The sheet, or [] if there is no run to show.
    """
    from progcycle.export.contact_sheet import sheet

    rows: dict[str, list[Image.Image]] = {}
    for variant in study.variants:
        for seed in study.seeds:
            folder = runs / f"{variant}-{seed}"
            recipe = recipes.get((variant, seed))
            show = None if recipe is None else shows.get(recipe.task)
            if recipe is not None and show is not None and any((folder / "snapshots").glob("nimg-*/config.json")):
                strip = show(folder, recipe)
                sides = {picture.size for row in rows.values() for picture in row}
                if not sides or strip.real[0].size not in sides:
                    rows[strip.words if strip.words not in rows else f"{strip.words}, {variant}"] = strip.real
                rows[variant] = strip.made
                break
    if not rows:
        return []
    path = out / "pictures.png"
    with atomic_file(path) as temporary:
        sheet(list(rows.values()), tile=TILE, side=list(rows), title=study.title).save(temporary, format="PNG")
    return [path]


def show_generator(run: Path, recipe: Recipe) -> Strip:
    """The first pictures of seed 0, next to real ones."""
    from progcycle.data.pixels import as_image
    from progcycle.evaluation.generator_samples import RealPictures, real_picture_set
    from progcycle.export import Generator, load_as, to_pil

    model = load_as(Generator, run)
    reals = RealPictures(real_picture_set(recipe, recipe.seed), model.config.growth)
    levels = reals(range(min(COUNT, len(reals)))).permute(0, 2, 3, 1).contiguous().numpy()
    return Strip(made=to_pil(model.generate(COUNT, seed=0)), real=[as_image(picture) for picture in levels])


def show_autoencoder(run: Path, recipe: Recipe) -> Strip:
    """Unseen pictures, and what is restored of them."""
    from progcycle.export import Autoencoder, load_as, to_pil
    from progcycle.export.autoencoder import run_pictures

    model = load_as(Autoencoder, run)
    real = run_pictures(model.config, COUNT)
    return Strip(made=to_pil(model.restore(real)), real=to_pil(real))
