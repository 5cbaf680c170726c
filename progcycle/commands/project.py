"""``progcycle project RUN PICTURES OUT``: latents from which a generator paints given pictures as nearly as it can."""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progcycle import __version__
from progcycle.commands.cli import (
    add_class,
    add_device,
    add_run,
    check_folder,
    guarded,
    natural,
    parser,
    pick_device,
    positive,
)
from progcycle.errors import UserError
from progcycle.output import bars_hidden, say

if TYPE_CHECKING:
    from torch import Tensor

    from progcycle.export import Generator
    from progcycle.export.projection import PictureDistance, Projection, Search

DESCRIPTION = """Find the latents from which a generator (PG-GAN, BEGAN and others) paints pictures as nearly as it can,
which shows what it knows. Pictures get the resolution of the run as training pictures do.

Adam moves the latents, from several random starts, after section 5 of StyleGAN2 (Karras et al. 2020). The folder gets
the pictures that were found, latents.safetensors (for progcycle interpolate --latents), projection.png (each picture,
what was found, and the difference), loss.png (how the searches went) and projection.json (distances)."""
EXAMPLES = """examples:
  progcycle project runs/pggan_emoji photos/ found
  progcycle project runs/pggan_emoji face.png found --steps 1000 --starts 16
  progcycle project runs/pggan_digits_classes sevens/ found --class 7 --distance pixels
  progcycle interpolate runs/pggan_emoji --out between.webp --latents found/latents.safetensors"""
LATENTS, SHEET, LOSS, RECORD = "latents.safetensors", "projection.png", "loss.png", "projection.json"
PICTURES = "pictures"
OURS = re.compile("|".join(map(re.escape, (LATENTS, SHEET, LOSS, RECORD, PICTURES))))
SHOWN = 16  # pictures on the sheet and in the figure


def _parser() -> argparse.ArgumentParser:
    p = parser("project", DESCRIPTION, EXAMPLES)
    add_run(p)
    p.add_argument("pictures", type=Path, metavar="PICTURES", help="a picture, a folder of pictures or a zip file")
    p.add_argument("out", type=Path, metavar="OUT", help="folder to create")
    p.add_argument("--count", type=positive, help="project so many of the pictures, from all over (default: all)")
    p.add_argument("--steps", type=positive, default=500, help="steps of Adam (default 500)")
    starts = "searches for each picture, from the nearest of 16 times as many random latents (default 4)"
    p.add_argument("--starts", type=positive, default=4, help=starts)
    p.add_argument("--seed", type=natural, default=0, help="of the random latents and the noise (default 0)")
    p.add_argument("--rate", type=float, default=0.1, help="highest learning rate of Adam (default 0.1)")
    noise = "standard deviation of the noise on the latents at the beginning; 0: none (default 0.05)"
    p.add_argument("--noise", type=float, default=0.05, help=noise)
    p.add_argument(
        "--distance",
        choices=("pixels", "features", "both"),
        help="what is made small: the squared difference of pixels, that of features of a frozen classifier (extra "
        "'projected' or 'metrics'), or their sum (default, where the features are installed)",
    )
    add_class(p, "tried in turn")
    p.add_argument("--overwrite", action="store_true", help="replace the files of an earlier progcycle project")
    add_device(p)
    return p


def run(argv: Sequence[str] | None = None) -> int:
    """Write the folder; it appears complete or not at all."""
    args = _parser().parse_intermixed_args(argv)
    out: Path = args.out.absolute()
    check_folder(out, OURS, "OUT", "files of progcycle project", args.overwrite)
    for name, least in (("rate", "above 0"), ("noise", "0 or more")):
        value = getattr(args, name)
        if not (0 < value < 1e3 or value == 0 == (name == "rate")):
            raise UserError(f"--{name} must be {least} and below 1000, got {value:g}.")

    from tqdm import tqdm

    from progcycle.export import Generator, load_as
    from progcycle.export.projection import PictureDistance, Search, best_distance, project
    from progcycle.export.source_pictures import read_fitted
    from progcycle.files import atomic_folder

    model = load_as(Generator, args.run, pick_device(args.device))
    distance = PictureDistance(args.distance, model.device) if args.distance else best_distance(model.device)
    search = Search(args.steps, args.starts, args.rate, args.noise, args.seed, args.class_name)
    channels = model.image_channels
    names, targets = read_fitted(model.config, "real", args.pictures, channels, args.count)
    found = []
    with (
        atomic_folder(out) as folder,
        tqdm(total=len(targets) * search.steps, disable=bars_hidden(), leave=False) as bar,
    ):
        for target in targets:
            found.append(project(model, target, distance, search, bar.update))
        _write(folder, model, names, targets, found, search, distance)
    count, mean = len(found), sum(each.distance for each in found) / len(found)
    random = sum(each.random for each in found) / len(found)
    pictures = f"{count} picture{'s' * (count != 1)}"
    say(
        f"projected {pictures} of {model.resolution.words}: mean distance {mean:.4f} ({distance.words}), "
        f"of random latents {random:.4f}; wrote {args.out}"
    )
    return 0


def _write(
    folder: Path,
    model: "Generator",
    names: Sequence[str],
    targets: "Tensor",
    found: Sequence["Projection"],
    search: "Search",
    distance: "PictureDistance",
) -> None:
    """Everything that the command writes."""
    import torch

    from progcycle.export.latent_files import Latents, write_latents
    from progcycle.export.projection import draw_courses, projection_sheet

    labels = [each.label for each in found if each.label is not None]
    latents = Latents(torch.stack([each.latents for each in found]), labels if model.classes else None)
    about = {
        "progcycle_version": __version__,
        "distance": distance.words,
        **{key: str(value) for key, value in vars(search).items() if value is not None},
    }
    write_latents(folder / LATENTS, latents, names, about)
    (folder / PICTURES).mkdir()
    for name, each in zip(file_names(names), found, strict=True):
        model.write(each.picture, folder / PICTURES / name)
    projection_sheet(names[:SHOWN], targets[:SHOWN], found[:SHOWN]).save(folder / SHEET)
    draw_courses(names[:SHOWN], found[:SHOWN], distance.words, folder / LOSS)
    record = {**about, "pictures": [_record(model, *pair) for pair in zip(names, found, strict=True)]}
    (folder / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _record(model: "Generator", name: str, each: "Projection") -> dict[str, Any]:
    own = {} if each.label is None else {"class": model.classes[each.label]}
    return {
        "name": name,
        **own,
        "distance": each.distance,
        "random": each.random,
        "ends": each.ends.tolist(),
    }


def file_names(names: Sequence[str]) -> list[str]:
    """Names of files without endings for pictures: those of the sources, with their endings where two are alike."""
    flat = [name.replace("/", "_").replace("\\", "_") for name in names]
    stems = [name.rpartition(".")[0] or name for name in flat]
    return [name if stems.count(stem) > 1 else stem for name, stem in zip(flat, stems, strict=True)]


main = guarded(run)
