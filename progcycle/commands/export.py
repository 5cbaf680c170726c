"""``progcycle export RUN --out FOLDER``: write a trained model for other runtimes."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import STAGE, add_run, guarded, parser, resolution
from progcycle.errors import UserError
from progcycle.output import say

OTHERS = "pytorch-cyclegan"

DESCRIPTION = """Write a trained model as ONNX, or for torch.export.load: generator.onnx, or ab.onnx and ba.onnx.

A file computes one stage of a generator, or of one direction of translators, with plain layers. It takes "input" and
gives "output": pictures are [N, C, H, W] of float32 in [-1, 1], or with --uint8 [N, H, W, C] of grey levels as files
and canvases have them. A batch may have any size, and a translator's pictures any sides in the multiples that the
metadata name. Each file is run at three sizes before it is written, and compared with the model: a difference above
1e-4 is an error. ONNX needs pip install 'progcycle[export]'.

The format pytorch-cyclegan is for classic translators (resnet, unet): latest_net_G_A.pth and latest_net_G_B.pth, which
pytorch-CycleGAN-and-pix2pix loads."""
EXAMPLES = """examples:
  progcycle export runs/openmoji --out exported
  progcycle export runs/openmoji --out exported --direction ab --uint8 --fp16
  progcycle export runs/pggan_celebahq --out exported --format pt2 --resolution 64 --license "CC BY-NC 4.0" """


def run(argv: Sequence[str] | None = None) -> int:
    """Write the files, and say how far each one is from the model."""
    p = parser("export", DESCRIPTION, EXAMPLES.rstrip())
    add_run(p)
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write to")
    p.add_argument("--format", choices=("onnx", "pt2", OTHERS), default="onnx", help="default: onnx")
    p.add_argument("--direction", choices=("ab", "ba"), help="translators: only this direction (default: both)")
    p.add_argument("--resolution", type=resolution, metavar="R", help=f"use an earlier stage: {STAGE}")
    p.add_argument("--uint8", action="store_true", help="pictures go in and come out as grey levels, [N, H, W, C]")
    p.add_argument(
        "--fp16", action="store_true", help="weights of convolutions in float16: half the size, and a little off"
    )
    p.add_argument(
        "--license", metavar="TEXT", help="of the weights, for the metadata (default: what the stores of training say)"
    )
    p.add_argument("--overwrite", action="store_true", help="replace files of these names")
    args = p.parse_intermixed_args(argv)

    if args.format == OTHERS:
        return _for_pytorch_cyclegan(args)

    from progcycle.export import export_model, load

    files = export_model(
        load(args.run),
        args.out,
        args.format,
        direction=args.direction,
        resolution=args.resolution,
        uint8=args.uint8,
        half=args.fp16,
        licence=args.license,
        overwrite=args.overwrite,
    )
    for file in files:
        unit = " grey levels" if args.uint8 else f", which is {file.grey_levels:.2g} grey levels"
        say(f"wrote {file.path} (largest difference from the model: {file.difference:.2g}{unit})")
    return 0


def _for_pytorch_cyclegan(args: argparse.Namespace) -> int:
    for option in ("direction", "resolution", "uint8", "fp16", "license"):
        if getattr(args, option):
            raise UserError(f"--{option} is no option for --format {OTHERS}; leave it out.")

    from progcycle.export import Translator, load_as
    from progcycle.importers import write_pytorch_cyclegan

    for path in write_pytorch_cyclegan(load_as(Translator, args.run), args.out, args.overwrite):
        say(f"wrote {path}")
    return 0


main = guarded(run)
