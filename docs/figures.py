"""Draw the pictures of README.md from finished runs: ``make figures`` calls this.

    python docs/figures.py runs/cyclegan_openmoji_64_neighbours runs/cyclegan_landscapes
    python docs/figures.py runs/cyclegan_openmoji_64_neighbours runs/cyclegan_landscapes --large large_landscapes

``--large`` is the folder that ``datasets/landscapes/prepare.py --large`` fetched.
"""

import argparse
import json
from pathlib import Path

from PIL import Image

import progcycle
from progcycle.export import Translator
from progcycle.export.contact_sheet import sheet

DOCS = Path(__file__).resolve().parent
TEST = DOCS.parent / "datasets" / "landscapes" / "testA"
PHOTOGRAPH = "picosdeeuropa_by_Aitzol_Berasategi.jpg"
OPENMOJI = DOCS.parent / "datasets" / "openmoji"
REFERENCES = ("1f353", "1f34f", "1f98a", "1f437")  # training pictures, as in the Makefile
SHOWN, TILE = 12, 64
DETAIL = 420  # pixels of a side that are shown as they are


def spread(folder: Path) -> list[Image.Image]:
    """Some pictures of a folder, evenly spread over their names."""
    paths = sorted(folder.iterdir())
    return [Image.open(paths[i * len(paths) // SHOWN]).convert("RGB") for i in range(SHOWN)]


def draw_coloured(model: Translator) -> Image.Image:
    """Test drawings, each in colours of pictures that resemble it, and in those of each reference, on the left."""
    drawings = spread(OPENMOJI / "testA")
    references = [Image.open(OPENMOJI / "trainB" / f"{name}.png").convert("RGB") for name in REFERENCES]
    blank = Image.new("RGB", references[0].size, "white")
    ways = [(blank, None), *zip(references, model.latents_like(references, "ab").split(1), strict=True)]
    made = [[left, *(model.translate(picture, "ab", latents=z) for picture in drawings)] for left, z in ways]
    return sheet([[blank, *drawings], *made], tile=TILE)


def draw_drawn(model: Translator) -> Image.Image:
    """Coloured test pictures, and their drawings below."""
    coloured = spread(OPENMOJI / "testB")
    return sheet([coloured, [model.translate(picture, "ba") for picture in coloured]], tile=TILE)


def draw_landscapes(model: Translator) -> Image.Image:
    """The first six test photographs in daylight, by name, each beside its translation."""
    pairs = []
    for path in sorted(TEST.iterdir())[:6]:
        photograph = Image.open(path)
        pairs.append([photograph, model.translate(photograph, "ab")])
    rows = [pairs[i] + pairs[i + 1] for i in range(0, 6, 2)]
    return sheet(rows, ["daylight", "translated to dusk"] * 2, tile=256)


def draw_detail(model: Translator, path: Path) -> Image.Image:
    """A large photograph and its translation: whole above, and a part of both in full size below."""
    before = Image.open(path).convert("RGB")
    after = model.translate(before, "ab")
    x, y = before.width // 2 - DETAIL // 2, before.height // 2 - DETAIL // 2
    parts = [image.crop((x, y, x + DETAIL, y + DETAIL)) for image in (before, after)]
    header = [f"{before.width} x {before.height} px", "translated to dusk", "a part of it, every pixel", "translated"]
    return sheet([[before, after, *parts]], header, tile=DETAIL)


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(description="Draw the pictures of README.md.")
    parser.add_argument("demo", type=Path, help="run folder of make demo, its evaluation in it")
    parser.add_argument("landscapes", type=Path, help="run folder of cyclegan_landscapes")
    parser.add_argument("--large", type=Path, metavar="FOLDER", help="large photographs, for large.jpg")
    args = parser.parse_args()
    images = DOCS / "images"
    demo = progcycle.load(args.demo)
    assert isinstance(demo, Translator)
    draw_coloured(demo).save(images / "demo_ab.png", optimize=True)
    draw_drawn(demo).save(images / "demo_ba.png", optimize=True)
    figures = max((args.demo / "evaluation").glob("*.json"))
    (images / "demo.json").write_text(json.dumps(json.loads(figures.read_text()), indent=1) + "\n")
    model = progcycle.load(args.landscapes)
    assert isinstance(model, Translator)
    draw_landscapes(model).save(images / "landscapes.jpg", quality=90)
    if args.large is not None:
        draw_detail(model, args.large / PHOTOGRAPH).save(images / "large.jpg", quality=90)


if __name__ == "__main__":
    main()
