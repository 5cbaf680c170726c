"""What pip installs: the package, its recipes and pages in a wheel, and an editable install that wins over a folder."""

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from hatchling.build import build_editable, build_wheel

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def in_the_clone() -> Iterator[None]:
    """pip calls a build backend in the folder of the project."""
    here = Path.cwd()
    os.chdir(ROOT)
    yield
    os.chdir(here)


@pytest.fixture(scope="module")
def wheel(in_the_clone: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return folder / build_wheel(str(folder))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as pip would unpack it."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def python(code: str, cwd: Path, site: Path, *options: str) -> str:
    """What Python prints that starts in ``cwd`` with ``site`` as its folder of packages, .pth files read."""
    prelude = f"import site; site.addsitedir({str(site)!r}); "
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *options, "-c", prelude + code], capture_output=True, text=True, cwd=cwd, env=env
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_library_that_is_imported_is_declared() -> None:
    declared = set(re.findall(r'^    "([\w.-]+)', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE))
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in declared}
    distributions = packages_distributions()
    imported = dict[str, Path]()
    for path in (ROOT / "progcycle").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported |= {module.partition(".")[0]: path for module in modules}
    others = {name: path for name, path in imported.items() if name not in {*sys.stdlib_module_names, "progcycle", ""}}
    assert len(others) > 10
    for module, path in others.items():
        found = {re.sub(r"[-_.]+", "-", name).lower() for name in distributions.get(module, [module])}
        assert found & names, f"{path.relative_to(ROOT)} imports {module}"


def test_the_wheel_holds_every_file_that_is_needed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    package = [path for path in (ROOT / "progcycle").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    recipes = [path for path in (ROOT / "recipes").rglob("*") if path.is_file()]
    assert {path.suffix for path in package} >= {".py", ".html", ".typed"}
    for path in package:
        assert held[path.relative_to(ROOT).as_posix()] == path.read_bytes()
    for path in recipes:
        assert held[f"progcycle/_recipes/{path.relative_to(ROOT / 'recipes').as_posix()}"] == path.read_bytes()
    entry = next(content for name, content in held.items() if name.endswith("entry_points.txt"))
    assert b"progcycle = progcycle.commands.cli:main" in entry
    assert not [name for name in held if name.startswith(("tests/", "datasets/"))]


def test_an_editable_install_wins_over_the_folder_of_the_clone(in_the_clone: None, tmp_path: Path) -> None:
    """A clone in ``progcycle/``, and Python started beside it: there the folder is a package without ``__init__``."""
    with zipfile.ZipFile(tmp_path / build_editable(str(tmp_path))) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "progcycle").symlink_to(ROOT, target_is_directory=True)
    code = "import progcycle; print(progcycle.__file__, progcycle.__version__, callable(progcycle.__getattr__))"
    file, _, lazy = python(code, tmp_path / "beside", tmp_path / "site", "-S").split()  # nothing else installed
    assert (Path(file).resolve(), lazy) == (ROOT / "progcycle" / "__init__.py", "True")
    assert not list((tmp_path / "site").rglob("*.yaml")), "recipes are read in the clone, not from a copy"


def test_recipes_are_found_by_name_from_a_wheel(site: Path, tmp_path: Path) -> None:
    code = (
        "from progcycle.commands.cli import main; main(['recipes']); "
        "from progcycle.recipe import load_recipe, load_study, shipped_studies; "
        "print(load_recipe('cyclegan_emoji', ['data.root=mine']).data.root, len(load_study('averaging')[1]) > 1)"
    )
    lines = python(f"import sys; sys.path.insert(0, {str(site)!r}); " + code, tmp_path, site).splitlines()
    assert lines[-1] == "mine True"
    assert f"{site / 'progcycle' / '_recipes'}" in lines[-2]
    assert [line.split()[0] for line in lines[1:-4] if not line.startswith(" ")] == [
        path.stem for path in sorted((ROOT / "recipes").glob("*.yaml"))
    ]
