"""The console script ``progcycle NAME ...``, and what all commands share: errors as one sentence, and exit codes.

Exit codes: 0 done, 1 done but for the pictures that are listed, 2 wrong input, 130 interrupted. Training leaves by a
signal with 128 + its number: 129 (SIGHUP), 130 (SIGINT), 138 (SIGUSR1), 140 (SIGUSR2), 143 (SIGTERM), 152 (SIGXCPU).
Where standard output is a pipe whose reader has gone, training goes on in silence; other commands end with 1.
"""

import argparse
import importlib
import keyword
import logging
import os
import platform
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from progcycle import __version__
from progcycle.errors import UserError
from progcycle.output import LOGGER, console, flush_or_silence, is_main_process, set_level, silence, warn
from progcycle.resolution import Resolution

PATIENCE = 12.0  # seconds; longer than the grace of runtime/watchdog.py

RESOLUTION = "a whole number, or height and width as in 256x384"
STAGE = "pixels of a side, of a rectangle the shorter one, or height and width as in 64x96"

COMMANDS = {
    "new": "check your pictures, and write a recipe for them",
    "inspect": "look at every picture of a folder or another source, and say what there is",
    "prepare": "make a store of pictures, which training reads fast",
    "train": "train a recipe, or resume its run",
    "recipes": "list the bundled recipes, print one, or copy it to a file",
    "plan": "show when a recipe grows, and how large its networks are",
    "bench": "measure how fast a recipe trains here, and what limits it",
    "generate": "generate pictures with a trained generator",
    "join": "put levels of LAPGANs together that were trained in different runs",
    "interpolate": "make a video from picture to picture of a generator, or to translations and back",
    "progression": "show how the same latents or pictures came out during training, or at each stage",
    "project": "find the latents from which a generator paints given pictures",
    "translate": "translate pictures with a trained CycleGAN",
    "import": "make a snapshot of the weights of another project",
    "export": "write a trained model for other runtimes: ONNX, or torch.export",
    "page": "write a static page that runs a trained model in the browser",
    "demo": "serve that page on this computer, with the whole model behind it",
    "push": "publish a trained model on the Hugging Face Hub, or write its folder and model card",
    "pull": "get a model of the Hugging Face Hub as a folder",
    "evaluate": "measure a trained model: generated pictures, or translations against true pairs",
    "study": "train variants of a recipe with several seeds, and compare them",
    "doctor": "look at this machine: devices, precision, processes, disk, and what is not installed",
}
EPILOG = """examples:
  progcycle new summer photos/july photos/january
  progcycle plan cyclegan_openmoji
  progcycle train cyclegan_openmoji
  progcycle translate runs/cyclegan_openmoji photos/ translated/ --direction ab

progcycle NAME --help describes a command. Training on several GPUs: accelerate launch -m progcycle.train ..."""

Command = Callable[[Sequence[str] | None], int]


def guarded(command: Command) -> Callable[..., int]:
    """``command`` with bad input reported in one sentence on standard error instead of a traceback.

    Returns:
        A function of the arguments (default: those of the process) that gives the exit code.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        with console(), _interrupts() as interrupted:
            try:
                return _code_of(command, argv)
            except KeyboardInterrupt:
                pass
            except BaseException:
                # An import that was interrupted may say so by any error.
                if not interrupted.is_set():
                    raise
            warn("interrupted")
            return 130

    return main


def _code_of(command: Command, argv: Sequence[str] | None) -> int:
    """Run a command; bad input is printed."""
    try:
        return command(argv)
    except UserError as error:
        return _refused(str(error))
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        silence(sys.stdout)
        return 1
    except OSError as error:
        if error.strerror is None:
            raise
        flush_or_silence(sys.stdout)
        return _refused(f"{error.filename2 or error.filename or 'a file'}: {error.strerror}.")
    except ValueError as error:
        from progcycle.recipe import RecipeError  # imports torch, without which doctor works too

        if not isinstance(error, RecipeError):
            raise
        return _refused(str(error))


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Remember whether Ctrl-C was pressed, which still interrupts; only where no other handler is set."""
    interrupted = threading.Event()
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupted
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _refused(sentence: str) -> int:
    """Print what is wrong, and return the exit code of bad input.

    A launcher ends all processes when the first one has ended, so the others wait for the main process to print.
    """
    warn(f"error: {sentence}")
    if not is_main_process():
        time.sleep(PATIENCE)
    return 2


def parser(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """An argument parser with the options that all commands share, whose examples keep their line breaks."""
    p = argparse.ArgumentParser(
        prog=f"progcycle {name}",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbosity = p.add_mutually_exclusive_group()
    verbosity.add_argument(
        "--quiet", action=_SetLevel, const=logging.WARNING, nargs=0, help="print nothing but warnings and errors"
    )
    verbosity.add_argument(
        "--verbose",
        action=_SetLevel,
        const=logging.DEBUG,
        nargs=0,
        help="print more, and the time and level of each line",
    )
    return p


class _SetLevel(argparse.Action):
    """Show lines from the level ``const`` on."""

    def __call__(self, *_: Any) -> None:
        set_level(self.const)
        if LOGGER.isEnabledFor(logging.DEBUG):
            import torch

            threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
            LOGGER.debug(
                f"progcycle {__version__}, torch {torch.__version__}, Python {platform.python_version()}, {threads}"
            )


def add_recipe(p: argparse.ArgumentParser) -> None:
    """The argument ``RECIPE`` and the overrides behind it."""
    p.add_argument("recipe", type=Path, metavar="RECIPE", help="a YAML file, or a name that progcycle recipes lists")
    # Without a default, argparse would call the overrides required where the recipe is missing.
    p.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="changes to the recipe, such as seed=1"
    )


def add_run(p: argparse.ArgumentParser) -> None:
    """The argument ``RUN``."""
    p.add_argument("run", type=Path, metavar="RUN", help="a run folder (its newest snapshot is used), or a snapshot")


def add_class(p: argparse.ArgumentParser, default: str = "the classes in turn") -> None:
    """The option ``--class``."""
    words = f"PG-GAN with classes: show only this one, by its name or its number (default: {default})"
    p.add_argument("--class", dest="class_name", metavar="NAME", help=words)


def add_painting(p: argparse.ArgumentParser) -> None:
    """The options ``--resolution``, ``--levels`` and ``--batch-size``."""
    sizes = p.add_mutually_exclusive_group()
    sizes.add_argument("--resolution", type=resolution, metavar="R", help=f"use an earlier stage: {STAGE}")
    sizes.add_argument("--levels", type=positive, metavar="N", help="LAPGAN: stop after N levels, the coarsest first")
    add_batch_size(p)


def painted_resolution(model: Any, run: Path, resolution: int | None, levels: int | None) -> Resolution:
    """The resolution that a generator is to paint.

    Args:
        model: a loaded generator.
        run: where it comes from.
        resolution, levels: the options of :func:`add_painting`.

    Raises:
        UserError: the model has no such stage or level, or no levels at all.
    """
    if levels is not None:
        sides = getattr(model, "all_levels", None)
        if sides is None:
            raise UserError(f"--levels is no option for {model.kind}, which {run} holds; use --resolution.")
        if levels > len(sides):
            raise UserError(f"--levels: {run} has {len(sides)} levels, of {', '.join(map(str, sides))} px.")
        resolution = sides[levels - 1]
    return Resolution.of(model.growth_at(resolution).resolution)


def add_batch_size(p: argparse.ArgumentParser) -> None:
    """The option ``--batch-size``."""
    p.add_argument("--batch-size", type=positive, default=16, help="pictures computed at a time (default 16)")


def add_device(p: argparse.ArgumentParser) -> None:
    """The option ``--device``."""
    p.add_argument("--device", help="cpu, cuda, cuda:1, mps; default: cuda if there is one, else cpu")


def pick_device(name: str | None) -> str:
    """The device of that name, or the best one."""
    import torch

    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def refuse_others(given: Iterable[str], taken: Collection[str], run: Path, kind: str) -> None:
    """Refuse options of another task, which would change nothing.

    Args:
        given: names of the options that were given, as Python has them.
        taken: names of those that the model of the run takes.
        run: a run folder, or a snapshot.
        kind: what the run holds, such as ``a PG-GAN``.

    Raises:
        UserError: one of them is not taken.
    """
    for name in given:
        if name not in taken:
            options = ", ".join(_option(other) for other in taken)
            raise UserError(f"{_option(name)} is no option for {kind}, which {run} holds; its options are {options}.")


def _option(name: str) -> str:
    return "--" + name.removesuffix("_name").removesuffix("_gb").replace("_", "-")


def check_file(out: Path, kinds: Sequence[str]) -> None:
    """Refuse a path of ``--out`` that cannot become a file of one of the kinds.

    Raises:
        UserError: it is a folder, or has another ending.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder; give --out the name of a file.")
    if out.suffix.lower() not in kinds:
        endings = " or ".join(filter(None, (", ".join(kinds[:-1]), kinds[-1])))
        raise UserError(f"{out}: give --out a name that ends in {endings}.")


def check_folder(out: Path, ours: re.Pattern[str], argument: str, what: str, overwrite: bool) -> None:
    """Refuse to replace anything but what an earlier run of a command wrote, and that without ``overwrite``.

    Args:
        out: the folder.
        ours: matches the whole names of what the command writes there.
        argument: which gives the folder.
        what: such files are, for people.
        overwrite: whether they may be replaced.

    Raises:
        UserError: the folder is not free.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give {argument} the name of a folder.")
    if out == Path.cwd():
        raise UserError(f"{argument} is the current folder; give the name of a new one.")
    names = [entry.name for entry in out.iterdir()] if out.exists() else []
    foreign = sorted(name for name in names if not ours.fullmatch(name))
    if foreign:
        raise UserError(f"{out} holds other files than {what}, such as {foreign[0]}; give another folder.")
    if names and not overwrite:
        raise UserError(f"{out} is not empty; give another folder, or add --overwrite to replace the {what} in it.")


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    return _whole(text, 1)


def resolution(text: str) -> Resolution:
    """A resolution, for argparse: ``256``, or ``256x384`` of height and width."""
    try:
        return Resolution.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{RESOLUTION}, got {text}") from None


def natural(text: str) -> int:
    """A whole number of at least 0, for argparse."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, got {text}")
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names."""
    names = "\n".join(f"  {name:12} {words}" for name, words in COMMANDS.items())
    p = argparse.ArgumentParser(
        prog="progcycle",
        usage="progcycle [-h] [--version] NAME ...",
        description=f"GANs that grow, trained from recipes.\n\ncommands:\n{names}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--version", action="version", version=f"progcycle {__version__}")
    p.add_argument("name", metavar="NAME", choices=tuple(COMMANDS), help="one of the commands above")
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = p.parse_args(arguments[:1]).name

    def run(rest: Sequence[str] | None) -> int:
        # Imported only now: other commands' libraries would make --help slow.
        module = name + "_" * keyword.iskeyword(name)
        command: Command = importlib.import_module(f"progcycle.commands.{module}").main
        return command(rest)

    return guarded(run)(arguments[1:])
