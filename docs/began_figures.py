"""Draw samples of the studies in began.md from their finished runs: ``make began`` calls this.

python docs/began_figures.py runs/studies
"""

import argparse
from pathlib import Path

from PIL import Image

from progcycle.export import Generator, load_as, to_pil
from progcycle.export.contact_sheet import sheet
from progcycle.recipe import load_study

COUNT, TILE = 12, 64


def draw_samples(runs: Path, name: str) -> Image.Image:
    """The first pictures of a seed, a row for each variant of a study.

    Args:
        runs: the folder of the studies' run folders.
        name: of a bundled study.
    """
    study, _ = load_study(Path(name))
    models = [load_as(Generator, runs / name / f"{variant}-{study.seeds[0]}") for variant in study.variants]
    return sheet([to_pil(model.generate(COUNT)) for model in models], None, TILE, side=list(study.variants))


def main() -> None:
    """Draw the samples of both studies, each into its folder."""
    parser = argparse.ArgumentParser(description="Draw samples of the studies in began.md.")
    parser.add_argument("runs", type=Path, help="folder of the studies, such as runs/studies")
    runs: Path = parser.parse_args().runs
    for name in ("began", "began_gamma"):
        path = runs / name / "samples.png"
        draw_samples(runs, name).save(path, optimize=True)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
