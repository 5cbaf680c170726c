"""``index.html`` of a run folder: one file that shows the run while it trains and afterwards, and needs no server."""

import json
import platform
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from progcycle import __version__
from progcycle.engine.words import brief, duration, memory_size, position
from progcycle.errors import UserError
from progcycle.files import atomic_file
from progcycle.recipe import dump
from progcycle.runtime.stop import StoppedError
from progcycle.schedule import GrowthSchedule

if TYPE_CHECKING:
    from progcycle.engine.loop import Trainer

NAME = "index.html"
REFRESH = 15  # seconds between two looks of an open page
SHOWN = 12  # evaluations on the page
SAMPLE = re.compile(r"nimg-(\d{12,})\.png")
STATES = ("training", "finished", "stopped", "failed")
# Where the run stands, which other lines of the page say.
PLACE = frozenset(
    {"time", "nimg", "stage", "resolution", "alpha", "step", "seconds", "cpu_seconds", "memory_gb", "images_per_s"}
)


@dataclass
class Figures:
    """What the page shows of stats.jsonl, read on as the file grows.

    Attributes:
        newest: the last status line.
        evaluations: all lines of evaluations, each with what it measured only.
    """

    path: Path
    newest: dict[str, Any] = field(default_factory=dict)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    _read: int = 0

    def update(self) -> None:
        """Read what is new; all of it if the file was cut."""
        length = self.path.stat().st_size if self.path.exists() else 0
        if length < self._read:
            self.newest, self.evaluations, self._read = {}, [], 0
        if not length:
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]  # a line on its way is read the next time
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                values = json.loads(line)
            except ValueError:
                continue
            if not isinstance(values, dict) or not isinstance(values.get("nimg"), int):
                continue
            measured = {name.removeprefix("metric/"): v for name, v in values.items() if name.startswith("metric/")}
            if measured:
                place = {"nimg": values["nimg"], "resolution": values.get("resolution", "")}
                self.evaluations.append({**place, "figures": measured})
            else:
                self.newest = values


class RunPage:
    """Writes the page of a run, in the first process.

    Args:
        trainer: the run.
    """

    def __init__(self, trainer: "Trainer") -> None:
        self.trainer = trainer
        self.main = bool(trainer.accelerator.is_main_process)
        self.figures = Figures(trainer.run_dir / "stats.jsonl")
        self._facts: list[tuple[str, str]] | None = None
        self._recipe = ""

    def write(self, state: str = "training", words: str = "") -> None:
        """Write the page as things stand; that it cannot be written is told once and stops nothing.

        Args:
            state: one of ``STATES``.
            words: what there is to say about it.
        """
        trainer = self.trainer
        if not self.main or not trainer.run_dir.is_dir():  # a folder that has vanished is not made anew
            return
        with trainer.log.drawing(NAME):
            self.figures.update()
            if self._facts is None:
                self._facts, self._recipe = facts(trainer), dump(trainer.recipe)
            text = render(
                trainer.run_dir,
                trainer.schedule,
                nimg=trainer.nimg,
                state=state,
                words=words,
                what=what_is_trained(trainer),
                left=trainer.log.time_left.left() if state == "training" else None,
                figures=self.figures,
                facts=self._facts,
                recipe=self._recipe,
                next_commands=next_commands(trainer) if state == "finished" else [],
            )
            with atomic_file(trainer.run_dir / NAME) as path:
                path.write_text(text, encoding="utf-8", errors="backslashreplace")

    def settle(self) -> None:
        """Let the page of a run that is finished say so, if it does not yet: the run may have been killed just then."""
        path = self.trainer.run_dir / NAME
        with suppress(OSError):
            if b'data-state="finished"' in path.read_bytes():
                return
        self.write("finished")

    @contextmanager
    def to_the_end(self) -> Iterator[None]:
        """Write how the training inside ended, whatever the way."""
        self.write()
        try:
            yield
        except StoppedError as stopped:
            self.write("stopped", str(stopped))
            raise
        except (KeyboardInterrupt, GeneratorExit):
            self.write("stopped", "interrupted; the same command goes on from the newest checkpoint")
            raise
        except BaseException as error:
            text = " ".join(str(error).split())
            self.write("failed", text if isinstance(error, UserError) else f"{type(error).__name__}: {text}")
            raise
        self.write("finished")


def render(
    run_dir: Path,
    schedule: GrowthSchedule,
    *,
    nimg: int,
    state: str,
    words: str,
    what: str,
    left: float | None,
    figures: Figures,
    facts: Sequence[tuple[str, str]],
    recipe: str,
    next_commands: Sequence[tuple[str, str]],
) -> str:
    """The page as HTML; every text in it is escaped.

    Args:
        run_dir: the run folder, looked into for samples until now, and for other pictures.
        schedule: the growth plan.
        nimg: pictures shown.
        state: one of ``STATES``.
        words: what there is to say about it.
        what: is trained, in a line.
        left: seconds to the end of the plan, None if that is not known or of no interest.
        figures: of stats.jsonl.
        facts: about the run, by name.
        recipe: as YAML.
        next_commands: what to do next, and by which command.
    """
    sheets = (SAMPLE.fullmatch(path.name) for path in run_dir.glob("samples/nimg-*"))
    # Later ones are of a run that was killed, or went back to a checkpoint; they are replaced as training gets there.
    samples = sorted(number for sheet in sheets if sheet and (number := int(sheet[1])) <= nimg)
    newest = figures.newest
    growth = schedule.at(max(nimg - 1, 0))
    progress = [f"{position(nimg, schedule.total).strip()} kimg", f"{growth.resolution} px"]
    progress += [f"alpha {growth.alpha:.2f}"] if growth.fading else []
    if state == "training":
        progress += [f"{brief(newest['images_per_s'])} pictures a second"] if "images_per_s" in newest else []
        progress += [f"{duration(left)} left"] if left is not None else []
    progress += [f"{memory_size(1e9 * newest['memory_gb'])} of memory at most"] if "memory_gb" in newest else []
    columns = list(dict.fromkeys(name for row in figures.evaluations for name in row["figures"]))
    evaluations = [
        [f"{row['nimg'] / 1000:g}", str(row["resolution"]), *(_cell(row["figures"].get(name)) for name in columns)]
        for row in figures.evaluations[: -SHOWN - 1 : -1]
    ]
    now = time.time()
    data = {"samples": samples, "phases": [[p.start, p.end, p.resolution] for p in schedule.phases]}
    return _template().render(
        name=run_dir.resolve().name or str(run_dir),
        state=state,
        words=words,
        what=what,
        links=[(text, link) for text, link in _links(run_dir) if (run_dir / link).exists()],
        percent=min(round(100 * nimg / schedule.total), 100),
        progress=", ".join(progress),
        alarms=[name.removeprefix("alarm/") for name in newest if name.startswith("alarm/")],
        updated=round(now),
        when=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)),
        refresh=REFRESH,
        samples=samples,
        newest_sheet=f"samples/nimg-{samples[-1]:012d}.png" if samples else None,
        curves="curves.png" if (run_dir / "curves.png").exists() else None,
        plan="plan.png" if (run_dir / "plan.png").exists() else None,
        columns=columns,
        evaluations=evaluations,
        earlier=max(len(figures.evaluations) - SHOWN, 0),
        figures=[(name, _cell(value)) for name, value in newest.items() if name not in PLACE],
        next=next_commands,
        facts=facts,
        recipe=recipe,
        data=Markup(json.dumps(data, separators=(",", ":"))),  # numbers only
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files("progcycle.engine").joinpath("page.html").read_text("utf-8"))


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""


def _links(run_dir: Path) -> list[tuple[str, str]]:
    found = [("pre-training", f"pretraining/{NAME}"), ("report of trouble", "trouble"), ("best snapshot", "best")]
    return [*found, ("the training that follows", f"../{NAME}")] if run_dir.name == "pretraining" else found


def what_is_trained(trainer: "Trainer") -> str:
    """Task, resolutions, length and size of a run, in a line."""
    schedule = trainer.schedule
    sides = sorted({phase.resolution for phase in schedule.phases})
    grows = f"from {sides[0]} to {sides[-1]} px" if len(sides) > 1 else f"at {sides[0]} px"
    parameters = sum(trainer.trainable.counts().values())
    name = f"{trainer.preparation} of {trainer.recipe.task}" if trainer.preparation else trainer.recipe.task
    return (
        f"{name} {grows}, {schedule.total / 1000:g} kimg, {parameters:,} parameters "
        f"in {len(trainer.task.networks)} network{'s' * (len(trainer.task.networks) > 1)}"
    )


def facts(trainer: "Trainer") -> list[tuple[str, str]]:
    """What a run stands on, by name: device, precision and why, pictures, networks, versions."""
    accelerator, ground = trainer.accelerator, trainer.ground
    pictures = {"train": ground.sets, "test": ground.tests, "validate": ground.validation}
    counts = (f"{domain}: {counted(domain, pictures)}" for domain in ground.sets)
    return [
        ("Device", device_name(accelerator.device)),
        ("Processes", str(accelerator.num_processes)),
        ("Precision", str(trainer.precision)),
        ("Pictures", "; ".join(counts)),
        ("Parameters", ", ".join(f"{name} {size:,}" for name, size in trainer.trainable.counts().items())),
        ("Seed", str(trainer.recipe.seed)),
        ("Versions", f"progcycle {__version__}, torch {torch.__version__}, Python {platform.python_version()}"),
    ]


def counted(domain: str, pictures: Mapping[str, Mapping[str, Any]]) -> str:
    """How many pictures of a domain there are, by what is done with them: train, test, validate."""
    return ", ".join(f"{len(sets[domain]):,} to {use}" for use, sets in pictures.items() if domain in sets)


def device_name(device: torch.device) -> str:
    """A device in words."""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else str(device)


def next_commands(trainer: "Trainer") -> list[tuple[str, str]]:
    """What to do with a finished run, each with a command that can be pasted."""
    run, sets, tests = trainer.run_dir, trainer.ground.sets, trainer.ground.tests
    if trainer.preparation:
        return []
    if "a" not in sets:
        paint = _command("generate", run, "--out", run / "generated", "--count", "16", "--grid")
        return [("paint pictures", paint), ("measure them", _command("evaluate", run))]
    folders = [str(path) for path in (tests.get("a") or sets["a"]).paths]
    found = [("translate", _command("translate", run, *folders[:1], run / "translated", "--direction", "ab", "--grid"))]
    return [*found, ("measure it", _command("evaluate", run))] if {"a", "b"} <= set(tests) else found


def _command(name: str, *words: str | Path) -> str:
    return f"progcycle {name} {shlex.join(str(word) for word in words)}"
