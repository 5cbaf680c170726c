"""``progcycle page``: a folder that shows a model in a browser, and needs no server.

Everything that the page reads lies in scripts beside it, packed, since a page that was opened as a file may read
nothing else: models and onnxruntime-web are handed over by calls of ``deliver``.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from progcycle.errors import UserError
from progcycle.export import ExportedFile, SnapshotModel, export_model
from progcycle.files import atomic_folder
from progcycle.pretrained import MissingExtra
from progcycle.web.content import EXAMPLES, Content, Names
from progcycle.web.moments import Moments, Over
from progcycle.web.runtime import GLUE, SCRIPT, VERSION, WASM, delivery, runtime_file

MARK = '<meta name="generator" content="progcycle">'  # in pages that may be replaced
INDEX, STYLE, SCRIPT_FILE, ENGINE, MODELS = "index.html", "page.css", "page.js", "engine.js", "models"
NEEDS = (
    "A page computes with ONNX models, and {name} is not installed; install it with pip install 'progcycle[export]', "
    "or use progcycle demo, which needs none."
)


@dataclass(frozen=True)
class Page:
    """A page that was written.

    Attributes:
        folder: where it is.
        bytes: of all files.
        moments: how many snapshots or stages it has.
        difference: the largest one of its models from the run's, in grey levels.
    """

    folder: Path
    bytes: int
    moments: int
    difference: float

    @property
    def index(self) -> Path:
        """The file to open."""
        return self.folder / INDEX


def write_page(
    run: str | Path,
    folder: str | Path,
    *,
    over: Over = "snapshots",
    count: int | None = None,
    examples: int = EXAMPLES,
    title: str | None = None,
    names: tuple[str, str] = ("A", "B"),
    half: bool = False,
    licence: str | None = None,
    overwrite: bool = False,
    on_moment: Callable[[int, int], None] = lambda done, of: None,
) -> Page:
    """Write a folder that shows a model in a browser, from a server or opened as a file.

    Args:
        run: a run folder, or a snapshot.
        folder: to write; it appears complete or not at all.
        over: what its slider moves over: snapshots of the run, or stages of the newest one.
        count: of them at most; default: several where all their weights together are small, else one.
        examples: pictures of each domain of the run that are put into the page, at most.
        title: default: the name of the run.
        names: what people read for A and B.
        half: weights of convolutions in float16, which takes half the space.
        licence: of the weights; default: that of the stores that training read.
        overwrite: whether a page that is there may be replaced.
        on_moment: called with the number of exported moments, and of all.

    Returns:
        What was written.

    Raises:
        MissingExtra: the extra ``export`` is not installed.
        UserError: the folder is in use, or the model is none for a browser. Nothing is written then.
    """
    folder = Path(folder)
    check_folder(folder, overwrite)
    moments = Moments(run, over)
    chosen = moments.spread(count, half)
    content = Content(moments, chosen, Names(title or name_of(run), names), examples, licence)
    worst = 0.0
    with tempfile.TemporaryDirectory() as exports, atomic_folder(folder) as temporary:
        (temporary / MODELS).mkdir()
        for i, moment in enumerate(chosen):
            options: dict[str, Any] = {"resolution": moment.resolution, "half": half, "licence": licence}
            made = _exported(moments.model_at(moment.path), Path(exports, str(i)), **options)
            for file in made:
                name = model_name(file.path.stem.removesuffix("_fp16"), i)
                script = delivery(**{name: file.path.read_bytes()})
                (temporary / MODELS / f"{name}.js").write_text(script, "ascii")
                worst = max(worst, file.grey_levels)
            content.licence = made[0].metadata["license"]
            on_moment(i + 1, len(chosen))
        about = content.as_json(server=False, runtime=VERSION, half=half)
        for file_name, text in page_files(about).items():
            (temporary / file_name).write_text(text, "utf-8")
        (temporary / ENGINE).write_text(engine(), "ascii")
        shutil.copy(str(files("progcycle.web").joinpath("onnxruntime", "LICENSE")), temporary / "LICENSE.onnxruntime")
        size = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())
    return Page(folder, size, len(chosen), worst)


def check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds something else than a page.

    Raises:
        UserError: it is a file, has other content, or is a page that must not be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give --out a folder.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    index = folder / INDEX
    ours = index.is_file() and MARK.encode() in index.read_bytes()[:4096]
    if not ours:
        raise UserError(f"{folder} is not empty, and holds no page of progcycle; give --out another folder.")
    if not overwrite:
        raise UserError(f"{folder} holds a page already; give another folder, or --overwrite to replace it.")


def name_of(run: str | Path) -> str:
    """What a run is called: its folder's name."""
    path = Path(run).resolve()
    return path.parent.parent.name if path.parent.name == "snapshots" else path.name


def model_name(graph: str, moment: int) -> str:
    """What a model is called in the page, such as ``ab0``."""
    return f"{graph}{moment}"


def page_files(about: Mapping[str, Any]) -> dict[str, str]:
    """The files that a page is, by name, without what computes.

    Args:
        about: what :meth:`Content.as_json` gives.
    """
    data = json.dumps(about, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return {
        INDEX: _template().render(about=about, data=Markup(data), mark=Markup(MARK)),  # no < in it
        STYLE: _own(STYLE),
        SCRIPT_FILE: _own(SCRIPT_FILE),
    }


@cache
def engine() -> str:
    """The script that hands over what computes: onnxruntime-web, and the worker around it."""
    worker = runtime_file(SCRIPT) + b"\n" + _own("worker.js").encode()
    return delivery(worker=worker, glue=runtime_file(GLUE), wasm=runtime_file(WASM))


def _exported(model: SnapshotModel, folder: Path, **options: Any) -> list[ExportedFile]:
    try:
        return export_model(model, folder, **options)
    except MissingExtra as error:
        name = str(error).removeprefix("Exporting to ONNX needs ").partition(";")[0]
        raise MissingExtra(NEEDS.format(name=name)) from None


def _own(name: str) -> str:
    return files("progcycle.web").joinpath(name).read_text("utf-8")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_own("page.html"))
