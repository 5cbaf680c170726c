"""House rules: imports go down the stairs and in no circle, functions are short, the package lists are complete."""

import ast
import functools
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "progcycle"
FILES = sorted(PACKAGE.rglob("*.py"))

LEAVES = {"errors", "figures", "files", "output", "pretrained", "recipe", "resolution", "rng", "schedule", "section"}
# What each room may know of the others; rooms on one floor do not know each other.
STAIRS = {
    "errors": set(),
    "rng": set(),
    "files": set(),
    "figures": set(),
    "output": set(),
    "pretrained": {"errors"},
    "section": set(),
    "resolution": set(),
    "recipe": {"errors", "networks", "resolution", "section"},
    "schedule": {"errors", "recipe", "resolution"},
    "blocks": set(),
    "networks": {"blocks", "pretrained", "resolution", "rng", "section"},
    "objectives": {"blocks"},
    "data": {"blocks", *LEAVES},
    "tasks": {"blocks", "networks", "objectives", "data", *LEAVES} - {"files"},
    "metrics": {"blocks", "data", *LEAVES},
    "export": {"blocks", "networks", "data", "version", *LEAVES},
    "runtime": {"errors", "files", "output"},
    "evaluation": {"blocks", "networks", "data", "tasks", "metrics", "export", "version", *LEAVES},
    "web": {"data", "export", "version", *LEAVES},
    "importers": {"networks", "tasks", "export", "version", *LEAVES},
    "engine": {
        "blocks",
        "networks",
        "objectives",
        "data",
        "tasks",
        "export",
        "evaluation",
        "runtime",
        "version",
        *LEAVES,
    },
    "api": {"data", "engine", "evaluation", "export", "runtime", *LEAVES},
    "studies": {"data", "metrics", "export", "evaluation", "engine", "runtime", "version", *LEAVES},
    # They parse, call and print: what they know of pictures, networks and figures is what they call.
    "commands": {
        "api",
        "data",
        "engine",
        "evaluation",
        "export",
        "importers",
        "runtime",
        "studies",
        "web",
        "version",
        "errors",
        "files",
        "output",
        "recipe",
        "resolution",
    },
}
# What the lower rooms, and the commands, may use of the world outside.
OUTSIDE = {
    "errors": set(),
    "rng": {"numpy", "torch"},
    "files": set(),
    "figures": {"matplotlib"},
    "output": set(),
    "pretrained": {"efficientnet_lite_pytorch", "safetensors", "torch", "torchvision"},
    "section": {"pydantic", "pydantic_core"},
    "resolution": {"pydantic", "pydantic_core"},
    "recipe": {"pydantic", "pydantic_core", "yaml"},
    "schedule": set(),
    "blocks": {"numpy", "torch"},
    "networks": {"pydantic", "torch"},
    "objectives": {"torch"},
    "tasks": {"torch"},
    "runtime": {"torch", "accelerate", "psutil", "safetensors", "threadpoolctl"},
    "commands": {"torch", "tqdm"},
}


@functools.cache
def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def room_of(path: Path) -> str:
    """The folder under progcycle, or the name of a single file there."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_in(path: Path) -> set[str]:
    """Other rooms that a file imports; the package itself counts as its version."""
    found = {name.split(".")[1] for name in imports(path) if name.startswith("progcycle.")} - {room_of(path)}
    return {"version" if room == "__version__" else room for room in found}


def files_of(room: str) -> list[Path]:
    files = [path for path in FILES if room_of(path) == room]
    assert files, f"there is no room {room}"
    return files


@pytest.mark.parametrize("room", STAIRS)
def test_imports_go_down_the_stairs(room: str) -> None:
    for path in files_of(room):
        assert rooms_in(path) <= STAIRS[room], f"{path.relative_to(ROOT)} knows a room that it must not"


@pytest.mark.parametrize("room", OUTSIDE)
def test_some_rooms_need_little_of_the_world(room: str) -> None:
    for path in files_of(room):
        outside = {name.partition(".")[0] for name in imports(path)} - {"progcycle", *sys.stdlib_module_names}
        assert outside <= OUTSIDE[room], path.relative_to(ROOT)


def test_every_room_has_its_place_on_the_stairs() -> None:
    entrances = {path.stem for path in PACKAGE.glob("*.py")} - LEAVES - {"api"}
    rooms = {room_of(path) for path in FILES} - entrances
    assert rooms == set(STAIRS)
    for entrance in entrances - {"__init__"}:
        assert rooms_in(PACKAGE / f"{entrance}.py") <= {"commands"}, "what can be run is in commands"


def test_matplotlib_is_imported_in_one_place() -> None:
    """The place that does not fall over the backend of a notebook."""
    users = [path for path in FILES if any(name.split(".")[0] == "matplotlib" for name in imports(path))]
    assert users == [PACKAGE / "figures.py"]


def test_grey_levels_become_numbers_in_one_place() -> None:
    """So that another depth of bits is an argument and not a hunt; 255 is also how Pillow writes opaque."""
    opacity = {PACKAGE / "data" / "decode.py", PACKAGE / "data" / "bit_depth.py", PACKAGE / "export" / "metadata.py"}
    for path in set(FILES) - {PACKAGE / "blocks" / "levels.py"}:
        numbers = [
            node.value for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Constant)
        ]
        found = {127.5, 32767.5, 65535} | (set() if path in opacity else {255})
        assert not found & {number for number in numbers if type(number) in (int, float)}, path.relative_to(ROOT)


def test_tasks_do_not_know_each_other() -> None:
    shared = {"__init__", "adversarial_loss", "augment_controller", "base", "feature_queue", "image_pool", "specs"}
    shared |= {"discriminators", "equilibrium", "noise_controller", "palette_comparison", "translation_latents"}
    names = {path.stem for path in files_of("tasks")} - shared
    assert names >= {"pggan", "cyclegan"}
    for name in names:
        others = {f"progcycle.tasks.{other}" for other in names - {name}}
        assert not {".".join(module.split(".")[:3]) for module in imports(PACKAGE / "tasks" / f"{name}.py")} & others


def test_accelerate_stays_in_the_engine_and_the_runtime() -> None:
    users = {room_of(path) for path in FILES if any(name.split(".")[0] == "accelerate" for name in imports(path))}
    assert users == {"engine", "runtime"}


def knows(path: Path, room: list[Path]) -> set[Path]:
    """Files of a room that one of them imports, be it for types only."""
    names = {".".join(other.relative_to(ROOT).with_suffix("").parts): other for other in room}
    return {names[name] for full in imports(path) for name in (full, full.rpartition(".")[0]) if name in names}


@pytest.mark.parametrize("room", sorted({room_of(path) for path in FILES}))
def test_no_files_of_a_room_import_each_other_in_a_circle(room: str) -> None:
    """Imports for types only count too: whoever reads one file of a circle has to read them all."""
    left = {path: knows(path, files_of(room)) - {path} for path in files_of(room)}
    while free := [path for path, others in left.items() if not others & left.keys()]:
        for path in free:
            del left[path]
    assert not left, f"in a circle, or above one: {', '.join(sorted(path.name for path in left))}"


def test_functions_have_60_lines_at_most_without_the_docstring() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if ast.get_docstring(node) is not None:
                    lines -= node.body[0].end_lineno - node.body[0].lineno + 1
                assert lines <= 60, f"{path.relative_to(ROOT)}: {node.name} has {lines} lines"


def test_files_are_finished() -> None:
    words = ("TODO", "FIXME")
    assert not [path for path in FILES if any(word in path.read_text(encoding="utf-8") for word in words)]


def test_datasets_hold_no_package() -> None:
    """It would shadow the installed package of that name when Python starts in the repository root."""
    assert not list((ROOT / "datasets").rglob("__init__.py"))


def test_every_folder_of_code_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("__init__.py")}
    assert {path.parent for path in FILES} == folders
