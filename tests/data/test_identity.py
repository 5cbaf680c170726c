"""What a run remembers of its pictures: the same wherever they lie, and another when anything of them is."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import write_pictures

from progcycle.data import PictureSet, describe_change, identity
from progcycle.recipe import Pictures


def of(*paths: Path, **options: Any) -> dict[str, Any]:
    found = PictureSet("real", Pictures(), [str(path) for path in paths], resolution=16, seed=0, **options)
    return identity(found)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "here/summer", 4, seed=1)
    write_pictures(tmp_path / "here/dusk", 3, seed=2)
    return tmp_path / "here"


def test_the_same_wherever_they_lie(here: Path, tmp_path: Path) -> None:
    known = of(here)
    assert known["count"] == 7
    assert json.loads(json.dumps(known)) == known
    shutil.copytree(here, tmp_path / "other/place")
    assert of(tmp_path / "other/place") == of(tmp_path / "other") == known
    with zipfile.ZipFile(tmp_path / "packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in here.rglob("*.png"):
            archive.write(file, f"place/{file.relative_to(here)}")
    assert of(tmp_path / "packed.zip") == of(tmp_path / "packed.zip/place") == known
    both = of(here / "summer", here / "dusk")
    assert both == of(tmp_path / "other/place/summer", tmp_path / "other/place/dusk")
    assert both == of(here / "dusk", here / "summer"), "they are sorted"
    (here / "dusk").rename(here / "winter")  # now the last in the order
    assert of(here / "summer", here / "winter")["names"] != both["names"]


def test_what_changed_is_told(here: Path) -> None:
    known, stack = of(here / "summer"), here / "summer"
    assert describe_change(known, of(stack)) == ""
    write_pictures(stack, 6, seed=1)
    assert describe_change(known, of(stack)) == "there were 4 pictures, now there are 6"
    for name in ("04.png", "03.png"):
        (stack / name).unlink()
    assert describe_change(known, of(stack)) == "there are 4 pictures as before, but some have other names"
    shutil.rmtree(stack)
    write_pictures(stack, 4, seed=7)
    assert describe_change(known, of(stack)) == "some pictures are other files than before, though of the same names"


def test_labels_belong_to_it(here: Path) -> None:
    labels = {f"{folder}/{i:02}.png": i % 2 for folder, count in (("summer", 4), ("dusk", 3)) for i in range(count)}
    known = []
    for first in (0, 0, 1):
        (here / "labels.json").write_text(json.dumps(labels | {"summer/00.png": first}))
        known.append(of(here, labels=str(here / "labels.json")))
    assert known[0] == known[1]
    assert describe_change(known[0], known[2]) == "some pictures have other labels than before"
    assert {**known[0], "labels": ""} == of(here)
