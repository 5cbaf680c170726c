"""``progcycle generate`` with a model of classes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progcycle.commands.cli import main
from progcycle.export import Generator, load, to_pil
from progcycle.export.contact_sheet import grid

Make = Callable[..., Path]
CLASSES = ("cat", "dog", "0")


def pictures_in(folder: Path) -> list[bytes]:
    found = []
    for path in sorted(folder.glob("0*.png")):
        with Image.open(path) as image:
            found.append(image.tobytes())
    return found


@pytest.mark.parametrize(("options", "labels"), [([], [0, 1, 2, 0, 1]), (["--class", "dog"], [1] * 5)])
def test_classes_in_turn_or_the_one_asked_for(
    make_snapshot: Make, tmp_path: Path, options: list[str], labels: list[int]
) -> None:
    run = make_snapshot(task="pggan", classes=CLASSES)
    out = tmp_path / "out"
    assert main(["generate", str(run), "--count", "5", "--batch-size", "2", "--out", str(out), "--grid", *options]) == 0
    model = load(run)
    assert isinstance(model, Generator)
    expected = [image.tobytes() for image in to_pil(model.generate(5, batch_size=2, labels=labels))]
    assert pictures_in(out) == expected
    with Image.open(out / "grid.png") as image:
        # With names above, there is room for them.
        assert image.size == ((100 * 3 + 4, 24 + 100 * 2 + 4) if not options else (68 * 3 + 4, 68 * 2 + 4))


def test_a_class_by_its_number_and_a_name_that_is_a_number(make_snapshot: Make, tmp_path: Path) -> None:
    run = str(make_snapshot(task="pggan", classes=CLASSES))
    for name, same in (("2", "0"), ("1", "dog")):  # 0 is the name of class 2
        for i, given in enumerate((name, same)):
            assert main(["generate", run, "--count", "2", "--class", given, "--out", str(tmp_path / f"{name}{i}")]) == 0
        assert pictures_in(tmp_path / f"{name}0") == pictures_in(tmp_path / f"{name}1")


def test_an_unknown_class_or_a_model_without_leaves_nothing(
    make_snapshot: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command, end in (("generate", "x"), ("interpolate", "x.webp"), ("progression", "x.png")):
        out = str(tmp_path / end)
        run = str(make_snapshot(task="pggan", classes=CLASSES).parent.parent)
        assert main([command, run, "--out", out, "--class", "cow"]) == 2
        assert capsys.readouterr().err.endswith("error: This model has no class cow; it has cat, dog, 0.\n")
        run = str(make_snapshot(task="pggan", run="without").parent.parent)
        assert main([command, run, "--out", out, "--class", "cat"]) == 2
        assert capsys.readouterr().err.endswith(
            "error: This model was trained without classes, so there is none to choose.\n"
        )
        assert sorted(p.name for p in tmp_path.iterdir()) == ["run", "without"]


@pytest.mark.parametrize(
    ("count", "classes", "shape"),
    [(64, 10, (7, 10)), (12, 3, (4, 3)), (5, 3, (2, 3)), (64, 17, (8, 8)), (2, 3, (1, 2)), (7, 0, (3, 3))],
)
def test_a_grid_has_a_column_for_each_class(count: int, classes: int, shape: tuple[int, int]) -> None:
    """Every class has its own grey, so that the columns can be told apart."""
    greys = [20 + 10 * (i % max(classes, 1)) for i in range(count)]
    page = np.asarray(grid([Image.new("L", (96, 96), grey) for grey in greys], [f"c{i}" for i in range(classes)]))
    rows, columns = shape
    top = page.shape[0] - (100 * rows + 4)
    assert page.shape[1] == 100 * columns + 4
    assert top == (24 if classes and columns == classes else 0)
    for i, grey in enumerate(greys):
        y, x = divmod(i, columns)
        assert page[top + 4 + 100 * y + 48, 4 + 100 * x + 48].tolist() == [grey] * 3
