"""What pip installs: the package, its recipes and pages in a wheel, and an editable install that wins over a folder."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from hatchling.build import build_editable, build_wheel

import progcycle

ROOT = Path(__file__).parents[1]
PICTURES = {"trainA": 60, "trainB": 43, "testA": 14, "testB": 14}


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
    assert json.loads(held["progcycle/_recipes/schema.json"])["$defs"]
    demo = {path: path.read_bytes() for path in (ROOT / "datasets" / "demo").rglob("*") if path.is_file()}
    assert {path.parent.name: len(list(path.parent.iterdir())) for path in demo if path.suffix == ".png"} == PICTURES
    for path, content in demo.items():
        assert held[f"progcycle/_datasets/{path.relative_to(ROOT / 'datasets').as_posix()}"] == content
    assert b"CC BY-SA 4.0" in held["progcycle/_datasets/demo/LICENSE.txt"]
    assert sum(len(content) for content in demo.values()) < 300_000
    (about,) = (content.decode() for name, content in held.items() if name.endswith("/METADATA"))
    assert "License-Expression: MIT AND CC-BY-SA-4.0" in about
    licences = ["LICENSE", "datasets/demo/LICENSE.txt", "progcycle/web/onnxruntime/LICENSE"]
    assert re.findall("License-File: (.+)", about) == licences
    entry = next(content for name, content in held.items() if name.endswith("entry_points.txt"))
    assert b"progcycle = progcycle.commands.cli:main" in entry
    assert {name.partition("/")[0] for name in held} == {"progcycle", f"progcycle-{progcycle.__version__}.dist-info"}


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
        "from progcycle.recipe import find_pictures_path, load_recipe, load_study, shipped_studies; "
        "print(load_recipe('cyclegan_emoji', ['data.root=mine']).data.root, len(load_study('averaging')[1]) > 1); "
        "print(find_pictures_path('datasets/demo/testA'))"
    )
    *lines, pictures = python(f"import sys; sys.path.insert(0, {str(site)!r}); " + code, tmp_path, site).splitlines()
    assert pictures == str(site / "progcycle" / "_datasets" / "demo" / "testA")
    assert lines[-1] == "mine True"
    assert f"{site / 'progcycle' / '_recipes'}" in lines[-2]
    assert [line.split()[0] for line in lines[1:-4] if not line.startswith(" ")] == [
        path.stem for path in sorted((ROOT / "recipes").glob("*.yaml"))
    ]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert (citation["cff-version"], citation["title"], citation["type"]) == ("1.2.0", "progcycle", "software")
    assert str(citation["version"]) == progcycle.__version__
    assert citation["authors"] == [{"name": "The progcycle authors"}]
    for paper in citation["references"]:
        assert {"type", "title", "authors", "year", "url"} <= paper.keys()
        assert all(author.keys() == {"family-names", "given-names"} for author in paper["authors"])


def test_pythons_that_are_named_are_those_that_are_asked_for() -> None:
    about = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = re.findall(r"Python :: (3\.\d+)", " ".join(about["classifiers"]))
    assert about["requires-python"] == f">={named[0]}"
    assert named == ["3.11", "3.12", "3.13"]
