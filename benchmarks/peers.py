"""Whose step is faster? This project against pytorch_GAN_zoo and the PyTorch CycleGAN, from checkouts of yours.

git clone https://github.com/facebookresearch/pytorch_GAN_zoo
git clone https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix
python benchmarks/peers.py --gan-zoo pytorch_GAN_zoo --cyclegan pytorch-CycleGAN-and-pix2pix
OMP_NUM_THREADS=1 python benchmarks/peers.py --gan-zoo pytorch_GAN_zoo --sides 8 16 --width 64 --batch 8

Both sides train in this process, in turn, on noise, in float32, with networks of the same size and the same losses: a
PG-GAN with WGAN-GP, its penalty on D(x)^2, minibatch statistic and average, past its fade; and the published CycleGAN
with 9 blocks (6 below 256 px), identity terms and pools of 50. Loading pictures is no part of it. Times are processor
time on a CPU, and time by the clock on a GPU, medians over the rounds; a ratio above 1 is in favour of this project.
Nothing of theirs is in this repository.
"""

import argparse
import contextlib
import importlib
import io
import statistics
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator

from progcycle.engine.build import build
from progcycle.engine.context import choose_algorithms
from progcycle.engine.estimate import noise
from progcycle.engine.precision import Precision
from progcycle.engine.trainer import Trainer
from progcycle.importers.snapshot import TRANSLATION
from progcycle.recipe import recipe_from
from progcycle.runtime.measure_precision import device_clock

Step = Callable[[], Any]


@contextlib.contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Find packages in a checkout. Both have one called models, so that its name is free again afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("models", "util", "options", "data"):
                del sys.modules[name]


def ours(content: dict[str, Any], device: torch.device) -> tuple[Step, int]:
    """A step of this project at the last stage of a recipe, past its fade, and its number of parameters."""
    recipe = recipe_from(content, {})
    built = build(recipe)
    trainer = Trainer(recipe, built, Accelerator(), Precision("no", device))
    growth = built.schedule.final
    sets: Any = {name: SimpleNamespace(options=options, classes=()) for name, options in recipe.data.domains.items()}
    batches = noise(sets, growth)
    size = sum(p.numel() for network in trainer.task.networks.values() for p in network.parameters())
    return lambda: trainer.train_step(batches, growth), size


def pggan(side: int, width: int, batch: int) -> dict[str, Any]:
    """A PG-GAN with as many feature maps at every resolution."""
    adam = {"lr": 0.001, "betas": [0.0, 0.99]}
    return {
        "task": "pggan",
        "resolution": side,
        "data": {"path": "noise"},
        "network": {
            "base_resolution": 4,
            "channels": {"base": width * side, "max": width},
            "generator": {"latent_size": width},
            "discriminator": {"minibatch_stddev": 4},
        },
        "schedule": {"stable_kimg": 1, "fade_kimg": 1, "batch_size": batch},
        "objective": {"loss": "wgan", "gradient_penalty": {"weight": 10, "target": 1}, "drift": 0.001},
        "optimizer": {"generator": adam, "discriminator": adam},
        "training": {"precision": "no", "ema": {"per_step": 0.999}},
    }


def gan_zoo(folder: Path, side: int, width: int, batch: int) -> tuple[Step, int]:
    """The same in pytorch_GAN_zoo."""
    with importing_from(folder):
        theirs = importlib.import_module("models.progressive_gan").ProgressiveGAN

        def adam(model: Any, network: Any) -> torch.optim.Adam:
            # As there, but that newer versions of torch refuse [0, 0.99], whose numbers are of two types.
            rate = model.config.learningRate
            return torch.optim.Adam((p for p in network.parameters() if p.requires_grad), betas=(0.0, 0.99), lr=rate)

        makers = {f"getOptimizer{x}": lambda self, net=f"net{x}": adam(self, getattr(self, net)) for x in "DG"}
        model = type("ProgressiveGAN", (theirs,), makers)(
            dimLatentVector=width,
            depthScale0=width,
            miniBatchStdDev=True,
            lossMode="WGANGP",
            lambdaGP=10.0,
            epsilonD=0.001,
        )
    for _ in range((side // 4).bit_length() - 1):
        model.addScale(width)
    reals = torch.rand(batch, 3, side, side) * 2 - 1
    size = sum(p.numel() for network in (model.netG, model.netD) for p in network.parameters())
    return lambda: model.optimizeParameters(reals), size


def cyclegan(side: int, blocks: int, filters: int) -> dict[str, Any]:
    """The published CycleGAN."""
    return {
        "task": "cyclegan",
        "resolution": side,
        "data": {"a": {"path": "noise"}, "b": {"path": "noise"}},
        "network": {
            "generator": {"name": "resnet", "residual_blocks": blocks, "filters": filters},
            "discriminator": {"name": "patchgan", "filters": filters},
        },
        "schedule": {"stable_kimg": 12, "batch_size": 1},
        "objective": TRANSLATION["objective"],
        "optimizer": TRANSLATION["optimizer"],
        "training": {"precision": "no", "ema": {"per_step": 0}},
    }


def their_cyclegan(folder: Path, side: int, blocks: int, filters: int, device: torch.device) -> tuple[Step, int]:
    """The same in the PyTorch CycleGAN."""
    options = Namespace(
        isTrain=True, gpu_ids=[0] if device.type == "cuda" else [], device=device, checkpoints_dir=".", name="race",
        preprocess="none", input_nc=3, output_nc=3, ngf=filters, ndf=filters, netG=f"resnet_{blocks}blocks",
        netD="basic", n_layers_D=3, norm="instance", no_dropout=True, init_type="normal", init_gain=0.02,
        pool_size=50, gan_mode="lsgan", lr=0.0002, beta1=0.5, lambda_A=10.0, lambda_B=10.0, lambda_identity=0.5,
        direction="AtoB", continue_train=False, verbose=False, lr_policy="linear", epoch_count=1, n_epochs=1,
        n_epochs_decay=1,
    )  # fmt: skip
    with importing_from(folder):
        model = importlib.import_module("models.cycle_gan_model").CycleGANModel(options)
        model.setup(options)
    pictures = {name: torch.rand(1, 3, side, side) * 2 - 1 for name in ("A", "B")}
    size = sum(p.numel() for name in model.model_names for p in getattr(model, f"net{name}").parameters())

    def step() -> None:
        model.set_input({**pictures, "A_paths": "", "B_paths": ""})
        model.optimize_parameters()

    return step, size


def race(name: str, own: tuple[Step, int], theirs: tuple[Step, int], rounds: int, device: torch.device) -> None:
    """Time both in turn, and print the ratio."""
    clock = device_clock(device)
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 2):
        for (step, _), found in zip((own, theirs), times, strict=True):
            began = clock()
            step()
            if number >= 2:  # kernels are compiled, moments are there
                found.append(clock() - began)
    mine, other = map(statistics.median, times)
    differ = abs(own[1] - theirs[1]) / theirs[1]
    print(
        f"{name:28}{1000 * mine:9.1f} ms here{1000 * other:9.1f} ms there{other / mine:8.2f} times as fast"
        f"   ({own[1]:,} and {theirs[1]:,} parameters{', NOT ALIKE' * (differ > 0.02)})",
        flush=True,
    )


def main() -> int:
    """Race whom the user names."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--gan-zoo", type=Path, metavar="FOLDER", help="a checkout of pytorch_GAN_zoo")
    p.add_argument("--cyclegan", type=Path, metavar="FOLDER", help="a checkout of pytorch-CycleGAN-and-pix2pix")
    p.add_argument("--sides", type=int, nargs="+", default=[8, 16, 32], help="px of the PG-GANs (default 8 16 32)")
    p.add_argument("--width", type=int, default=64, help="feature maps of the PG-GANs (default 64)")
    p.add_argument("--batch", type=int, default=8, help="pictures a step of the PG-GANs (default 8)")
    p.add_argument("--cyclegan-side", type=int, default=64, help="px of the CycleGANs (default 64)")
    p.add_argument("--filters", type=int, default=64, help="filters of the CycleGANs (default 64)")
    p.add_argument("--rounds", type=int, default=10, help="steps that are timed (default 10)")
    args = p.parse_args()
    if args.gan_zoo is None and args.cyclegan is None:
        p.error("give --gan-zoo, --cyclegan, or both")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    choose_algorithms(device)
    warnings.simplefilter("ignore")  # old calls of torch
    threads = torch.get_num_threads()
    print(f"{device.type}, {threads} thread{'s' * (threads > 1)}, float32, {args.rounds} steps in turn")
    for side in args.sides if args.gan_zoo else ():
        own = ours(pggan(side, args.width, args.batch), device)
        race(f"PG-GAN {side} px", own, gan_zoo(args.gan_zoo, side, args.width, args.batch), args.rounds, device)
    if args.cyclegan:
        side, blocks = args.cyclegan_side, 9 if args.cyclegan_side >= 256 else 6
        own = ours(cyclegan(side, blocks, args.filters), device)
        theirs = their_cyclegan(args.cyclegan, side, blocks, args.filters, device)
        race(f"CycleGAN {side} px", own, theirs, args.rounds, device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
