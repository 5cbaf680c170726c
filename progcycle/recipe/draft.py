"""A recipe drafted for folders of pictures: short, with every value that a stranger would change, each explained."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from progcycle.recipe.reading import validate
from progcycle.recipe.schema import Recipe
from progcycle.recipe.sizes import Sizes, sizes_for
from progcycle.recipe.text import parse
from progcycle.resolution import Resolution

UNGROWN = 64  # px up to which small translators are better or level without growth
PGGAN_BASE, TRANSLATOR_BASE = 4, 8
COMMENTS = 34  # column of the comments
FEW = 1000  # pictures, below which a PG-GAN's discriminator sees augmented ones


@dataclass(frozen=True)
class Draft:
    """A recipe to be written.

    Attributes:
        name: of the recipe, for its first line.
        command: that trains it.
        folders: of pictures: one for a PG-GAN, A and B for translators.
        counts: pictures of each folder.
        resolution: at last, see :class:`progcycle.resolution.Resolution`.
        gpu: whether a GPU trains it.
        validation: share of the pictures that is held out by name.
        tests: folders of test pictures of A and B, where there are some.
        channels: of each folder: 1 for grey pictures, 3 for colours, other numbers as the files have them; one number
            for all.
        crops: whether the pictures are so large and sharp that crops of them are offered, in a comment.
        measured: what training takes on this machine, for a comment; "" if it was not measured.
        notes: sentences about the pictures that the user should know.
    """

    name: str
    command: str
    folders: tuple[str, ...]
    counts: tuple[int, ...]
    resolution: Resolution
    gpu: bool = False
    validation: float = 0.0
    tests: tuple[str, ...] = ()
    channels: int | tuple[int, ...] = 3
    crops: bool = False
    measured: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolution", Resolution.of(self.resolution))

    @property
    def sizes(self) -> Sizes:
        """Widths, lengths and batch by the rule."""
        return sizes_for(self.resolution, self.gpu)

    @property
    def start(self) -> Resolution:
        """Where training starts: at the end for small pictures, else at 64 px at most; a PG-GAN at its base."""
        return self.base if len(self.folders) == 1 else self._half_of(UNGROWN)

    @property
    def base(self) -> Resolution:
        """The base grid: of a PG-GAN 4 to 7 px, if so many halves are whole; of translators 8 px or more."""
        if len(self.folders) == 1:
            return self.resolution.halves(PGGAN_BASE)[-1]
        return min(self.start, self._half_of(max(TRANSLATOR_BASE, self.resolution // 8)))

    def channels_of(self, which: int) -> int:
        """Of the pictures of one folder, by its number."""
        return self.channels if isinstance(self.channels, int) else self.channels[which]

    def _half_of(self, most: int) -> Resolution:
        """The resolution, halved until it has no more than so many pixels, or as often as halves are whole."""
        halves = self.resolution.halves(PGGAN_BASE)
        return next((size for size in halves if size <= most), halves[-1])

    @property
    def text(self) -> str:
        """The recipe as commented YAML."""
        return "\n".join(_translator(self) if len(self.folders) == 2 else _generator(self)) + "\n"

    @cached_property
    def recipe(self) -> Recipe:
        """The validated recipe."""
        return validate(parse(self.text, self.name), self.name)


def _translator(draft: Draft) -> list[str]:
    size, res = draft.sizes, draft.resolution
    base = int(draft.base)
    held = "of the pictures of each folder, by name; evaluate measures on them"
    return [
        f"# {draft.name}: pictures of A into pictures of B and back, at {res} px. Written by progcycle new.",
        *_head(draft),
        *_task(draft, "cyclegan"),
        "data:",
        *_domain(draft, 0),
        *_domain(draft, 1),
        *([_line(f"  validation: {draft.validation:g}", held)] if draft.validation else []),
        "",
        "network:",
        _line(f"  base_resolution: {base}", "how small the networks see the picture; smaller sees more at once"),
        _line(
            f"  channels: {{base: {size.base}, max: {size.widest}}}", "feature maps; twice takes 2 to 4 times as long"
        ),
        "  rgb: sum",
        "  generator:",
        _line("    name: progressive", "or resnet, unet, which do not grow, with options of their own"),
        "    residual_blocks: 3",
        _line("    predict: change", "paint what is added to the input, which keeps its detail; picture: all of it"),
        "    smooth: true",
        "    bounded: true",
        "  discriminator: {name: progressive, minibatch_stddev: 4}",
        "",
        "schedule:",
        "  # Lengths are thousands of pictures of each folder; a picture counts every time that it is shown.",
        _line(f"  start_resolution: {int(draft.start)}", "lower than the resolution: the networks grow from there"),
        *_lengths(draft, size.batch_size, "pictures of each folder in a step", size.stable_kimg / 2),
        "objective:",
        "  loss: non_saturating",
        "  r1: {gamma: 1.0, every: 8}",
        _line("  cycle: {aba: 10, bab: 10}", "how much of the input is kept; lower weights change more"),
        "  pool_size: 50",
        "",
        *_optimizer(0.001 if draft.gpu else 0.002),
        *_training(draft),
    ]


def _base(draft: Draft) -> list[str]:
    """The base of a PG-GAN, where it is not the default."""
    base = int(draft.base)
    return [] if base == PGGAN_BASE else [_line(f"  base_resolution: {base}", "doubled, it gives the resolution")]


def _generator(draft: Draft) -> list[str]:
    size, res = draft.sizes, draft.resolution
    few = draft.counts[0] < FEW
    return [
        f"# {draft.name}: new pictures like those of a folder, at {res} px. Written by progcycle new.",
        *_head(draft),
        *_task(draft, "pggan"),
        "data:",
        *_pictures(draft, 0, "  "),
        "",
        "network:",
        *_base(draft),
        _line(
            f"  channels: {{base: {2 * size.base}, max: {size.widest}}}",
            "feature maps; twice takes 2 to 4 times as long",
        ),
        _line("  generator: {name: pggan, latent_size: 64}", "random numbers that a picture is painted from"),
        "  discriminator: {name: pggan, minibatch_stddev: 4}",
        "",
        "schedule:",
        "  # Lengths are thousands of pictures; a picture counts every time that it is shown.",
        *_lengths(draft, 2 * size.batch_size, "pictures of a step", size.stable_kimg),
        "objective:",
        "  loss: wgan",
        "  gradient_penalty: {weight: 10}",
        "  drift: 0.001",
        *(
            [
                _line(
                    "  augment: {policy: [color, translation, cutout]}",
                    f"for few pictures; leave it out from some {FEW:,} on",
                )
            ]
            if few
            else []
        ),
        "",
        *_optimizer(0.001 if draft.gpu else 0.002),
        *_training(draft),
    ]


def _head(draft: Draft) -> list[str]:
    return [
        f"# Train it with: {draft.command}",
        "# Keys can also be changed there (seed=1); recipes/README.md of the project explains them.",
        *([f"# Measured on this machine: {draft.measured}."] if draft.measured else []),
        f"# Its sizes are those for a {'GPU' if draft.gpu else 'CPU'}; progcycle new on a "
        f"{'CPU writes smaller' if draft.gpu else 'GPU writes larger'} ones.",
    ]


def _task(draft: Draft, task: str) -> list[str]:
    what = "pixels of a side" if draft.resolution.is_square else "height and width"
    words = f"{what}: the base_resolution, doubled n times; twice takes about 4 times as long"
    return [f"task: {task}", _line(f"resolution: {draft.resolution.plain}", words), ""]


def _domain(draft: Draft, which: int) -> list[str]:
    letter = "ab"[which]
    tests = [f"    test_path: {_text(draft.tests[which])}"] if draft.tests else []
    first, *rest = _pictures(draft, which, "    ")
    return [f"  {letter}:", first, *tests, *rest]


def _pictures(draft: Draft, which: int, indent: str) -> list[str]:
    channels = draft.channels_of(which)
    why = "all are grey" if channels == 1 else "as the files have them"
    mirror = "half of the pictures are flipped; false where left and right differ, as in writing"
    lines = [f"{indent}path: {_text(draft.folders[which])}", _line(f"{indent}mirror: true", mirror)]
    lines += [_line(f"{indent}channels: {channels}", why)] if channels != 3 else []
    if draft.crops:
        also = "; in both sets or in none" if len(draft.folders) == 2 else ""
        lines.append(_line(f"{indent}# load_resolution: native", f"without the first #: crops at full size{also}"))
    return lines


def _optimizer(rate: float) -> list[str]:
    rates = f"{{lr: {rate:g}, betas: [0.0, 0.99]}}"
    return ["optimizer:", f"  generator: {rates}", f"  discriminator: {rates}", ""]


def _lengths(draft: Draft, batch_size: int, batch: str, decay: float) -> list[str]:
    stable, fade = _phases(draft)
    return [
        _line(f"  stable_kimg: {_table(stable)}", "longer is mostly better"),
        *([_line(f"  fade_kimg: {_table(fade)}", "while the next size is faded in")] if fade else []),
        _line(f"  batch_size: {batch_size}", batch),
        _line(f"  decay_kimg: {decay:g}", "the learning rate falls to 0 over the last part"),
        "",
    ]


def _phases(draft: Draft) -> tuple[dict[int, float], dict[int, float]]:
    """Lengths in kimg of the stable phases and of the fades, by resolution."""
    doublings = (int(draft.resolution) // int(draft.start)).bit_length()
    resolutions = [int(draft.start) << i for i in range(doublings)]
    size = draft.sizes
    return dict.fromkeys(resolutions, size.stable_kimg), dict.fromkeys(resolutions[1:], size.fade_kimg)


def _training(draft: Draft) -> list[str]:
    kimg = sum(length for lengths in _phases(draft) for length in lengths.values())
    often = max(round(kimg / 10), 1)
    return [
        "training:",
        _line(f"  ema: {{half_life_kimg: {kimg / 20:g}}}", "of the averaged weights, which paint all samples"),
        _line(f"  status_kimg: {max(kimg / 100, 0.1):g}", "how often: a status line,"),
        _line(f"  sample_kimg: {often:g}", "a sheet of samples,"),
        _line(f"  checkpoint_kimg: {often:g}", "a checkpoint to resume from,"),
        _line(f"  snapshot_kimg: {often:g}", "weights that the other commands load"),
    ]


def _table(lengths: Mapping[int, float]) -> str:
    return "{" + ", ".join(f"{px}: {kimg:g}" for px, kimg in lengths.items()) + "}"


def _text(value: str) -> str:
    """Any text as YAML in double quotes, which JSON is but for what YAML reads as a line break or not at all."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _line(key: str, words: str) -> str:
    return f"{key:{COMMENTS}}  # {words}"
