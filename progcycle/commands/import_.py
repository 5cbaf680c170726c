"""``progcycle import FILE ... --out FOLDER``: make a snapshot of the weights of another project."""

from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import guarded, parser, positive
from progcycle.output import say

KINDS = ("pytorch-cyclegan", "cut", "joligen", "gan-zoo", "official-pggan", "pytorch-dcgan")
DESCRIPTION = """Make a snapshot of the weights of another project, which commands and start_from take as that of a run.
Nothing in the files is executed. These can be taken:

  pytorch-cyclegan  pytorch-CycleGAN-and-pix2pix: ResNet, U-Net, PatchGAN, PixelGAN (latest_net_G_A.pth, ...)
  cut               CUT: the same with blurs (latest_net_G.pth)
  joligen           joliGEN: resnet (latest_net_G_A.pth)
  gan-zoo           pytorch_GAN_zoo: PG-GAN and DCGAN (NAME_s6_i80000.pt)
  official-pggan    the official PG-GAN code in TensorFlow or Theano (network-final.pkl)
  pytorch-dcgan     the DCGAN of pytorch/examples (netG_epoch_24.pth)

Translators: G_A in a file's name means from A to B, G_B from B to A; one of them is enough. Files of discriminators may
be given too, for start_from: {run: FOLDER, networks: all}."""
EXAMPLES = """examples:
  progcycle import latest_net_G_A.pth latest_net_G_B.pth --from pytorch-cyclegan --out runs/horse2zebra
  progcycle import latest_net_G.pth latest_net_D.pth --from cut --out runs/cut --resolution 256
  progcycle import karras2018iclr-celebahq-1024x1024.pkl --from official-pggan --out runs/celebahq
  progcycle import netG_epoch_24.pth --out runs/dcgan"""


def run(argv: Sequence[str] | None = None) -> int:
    """Write the folder with the snapshot and its recipe."""
    p = parser("import", DESCRIPTION, EXAMPLES)
    p.add_argument("files", type=Path, nargs="+", metavar="FILE", help="files of weights that belong together")
    p.add_argument("--from", dest="kind", choices=KINDS, help="the project (default: told by the names of the tensors)")
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to create")
    p.add_argument("--direction", choices=("ab", "ba"), help="of a single translator (default: by its name, else ab)")
    p.add_argument(
        "--resolution",
        type=positive,
        metavar="R",
        help="translators that take any size: pixels of a side (default 256)",
    )
    args = p.parse_intermixed_args(argv)

    from progcycle.importers import import_weights

    done = import_weights(args.files, args.out, args.kind, direction=args.direction, resolution=args.resolution)
    say(f"wrote {done.snapshot}: {done.words}")
    for remark in done.remarks:
        say(f"note: {remark}")
    return 0


main = guarded(run)
