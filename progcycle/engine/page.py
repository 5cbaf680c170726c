"""``index.html`` of a run folder: one file that shows the run while it trains and afterwards, and needs no server."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from progcycle.engine.description import RunDescription
from progcycle.engine.formatting import brief, duration, memory_size, position
from progcycle.engine.log import RunLog
from progcycle.errors import UserError
from progcycle.files import atomic_file
from progcycle.runtime.stop import StoppedError
from progcycle.schedule import GrowthSchedule

FILE_NAME = "index.html"
REFRESH = 15  # seconds after which an open page reloads itself
SHOWN = 12  # newest evaluations that the page shows
SAMPLE = re.compile(r"nimg-(\d{12,})\.png")
STATES = ("training", "finished", "stopped", "failed")
# Figures about progress, which the page shows elsewhere.
PLACE = frozenset(
    {"time", "nimg", "stage", "resolution", "alpha", "step", "seconds", "cpu_seconds", "memory_gb", "images_per_s"}
)


@dataclass
class Figures:
    """The figures of the page, read from stats.jsonl as the file grows.

    Attributes:
        newest: the last status line.
        evaluations: the metrics of all evaluations, with nimg and resolution.
    """

    path: Path
    newest: dict[str, Any] = field(default_factory=dict)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    _read: int = 0

    def update(self) -> None:
        """Read new lines; all of them if the file was truncated."""
        length = self.path.stat().st_size if self.path.exists() else 0
        if length < self._read:
            self.newest, self.evaluations, self._read = {}, [], 0
        if not length:
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]  # an incomplete last line is read the next time
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
    """Writes the page of a run.

    Args:
        run_dir: the run folder.
        schedule: the growth plan.
        about: the description of the run.
        log: for warnings, and for the time that is left.
        main: whether this is the first process; only that one writes.
    """

    def __init__(self, run_dir: Path, schedule: GrowthSchedule, about: RunDescription, log: RunLog, main: bool) -> None:
        self.run_dir, self.schedule, self.description, self.log, self.main = run_dir, schedule, about, log, main
        self.figures = Figures(log.stats_path)

    def write(self, nimg: int, state: str = "training", message: str = "") -> None:
        """Write the page. If it cannot be written, that is logged once, and training goes on.

        Args:
            nimg: pictures shown.
            state: one of ``STATES``.
            message: more about that state, such as the error.
        """
        if not self.main or not self.run_dir.is_dir():  # a run folder that has vanished is not created again
            return
        with self.log.tolerating_failure(FILE_NAME):
            self.figures.update()
            left = self.log.time_left.left() if state == "training" else None
            text = render(
                self.run_dir,
                self.schedule,
                self.description,
                self.figures,
                nimg=nimg,
                state=state,
                message=message,
                left=left,
            )
            with atomic_file(self.run_dir / FILE_NAME) as path:
                path.write_text(text, encoding="utf-8", errors="backslashreplace")

    def redirect_from(self, run_dir: Path) -> None:
        """Write a page into the run folder above that redirects to this run, until the run there begins.

        Args:
            run_dir: the run folder above.
        """
        if not self.main:
            return
        link = (self.run_dir.relative_to(run_dir) / FILE_NAME).as_posix()
        text = (
            '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
            f'<meta http-equiv="refresh" content="0; url={link}">\n<title>{self.run_dir.name}</title>\n'
            f'<p>This run begins after its <a href="{link}">{self.run_dir.name}</a>.</p>\n</html>\n'
        )
        with self.log.tolerating_failure(FILE_NAME), atomic_file(run_dir / FILE_NAME) as path:
            path.write_text(text, encoding="utf-8")

    def ensure_finished(self, nimg: int) -> None:
        """Mark the page of a finished run as finished, in case the run was killed before it could."""
        path = self.run_dir / FILE_NAME
        with suppress(OSError):
            if b'data-state="finished"' in path.read_bytes():
                return
        self.write(nimg, "finished")

    def reread_statistics(self) -> None:
        """Read stats.jsonl from the start: it was truncated, and may have grown to its old length again."""
        self.figures = Figures(self.log.stats_path)

    @contextmanager
    def recording_outcome(self, nimg: Callable[[], int]) -> Iterator[None]:
        """Write the page before the training inside, and again with its outcome, however it ends.

        Args:
            nimg: returns the pictures shown so far.
        """
        self.write(nimg())
        try:
            yield
        except StoppedError as stopped:
            self.write(nimg(), "stopped", str(stopped))
            raise
        except (KeyboardInterrupt, GeneratorExit):
            self.write(nimg(), "stopped", "interrupted; the same command resumes from the newest checkpoint")
            raise
        except BaseException as error:
            text = " ".join(str(error).split())
            self.write(nimg(), "failed", text if isinstance(error, UserError) else f"{type(error).__name__}: {text}")
            raise
        self.write(nimg(), "finished")


def render(
    run_dir: Path,
    schedule: GrowthSchedule,
    about: RunDescription,
    figures: Figures,
    *,
    nimg: int,
    state: str,
    message: str,
    left: float | None,
) -> str:
    """The page as HTML; every text in it is escaped.

    Args:
        run_dir: the run folder, which is searched for samples and other pictures.
        schedule: the growth plan.
        about: the description of the run.
        figures: of stats.jsonl.
        nimg: pictures shown.
        state: one of ``STATES``.
        message: more about that state, such as the error.
        left: seconds to the end of the plan; None if unknown or not shown.
    """
    sheets = (SAMPLE.fullmatch(path.name) for path in run_dir.glob("samples/nimg-*"))
    # Later ones were left by a killed run or a rollback; training will replace them.
    samples = sorted(number for sheet in sheets if sheet and (number := int(sheet[1])) <= nimg)
    newest = figures.newest
    growth = schedule.at(max(nimg - 1, 0))
    progress = [f"{position(nimg, schedule.total).strip()} kimg", f"{growth.resolution} px"]
    progress += [f"alpha {growth.progress:.2f}"] if growth.fading else []
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
    data = {"samples": samples, "phases": [[p.start, p.end, p.resolution.label] for p in schedule.phases]}
    return _template().render(
        name=run_dir.resolve().name or str(run_dir),
        state=state,
        message=message,
        what=about.what,
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
        next=about.next_commands if state == "finished" else (),
        facts=about.facts,
        recipe=about.recipe,
        data=Markup(json.dumps(data, separators=(",", ":"))),  # numbers, and sizes
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files("progcycle.engine").joinpath("page.html").read_text("utf-8"))


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""


def _links(run_dir: Path) -> list[tuple[str, str]]:
    found = [
        ("pre-training", f"pretraining/{FILE_NAME}"),
        ("reports of non-finite numbers", "trouble"),
        ("best snapshot", "best"),
    ]
    return [*found, ("the training that follows", f"../{FILE_NAME}")] if run_dir.name == "pretraining" else found
