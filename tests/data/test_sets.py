"""Layouts of translation data, and sets made from a recipe's data section."""

import zipfile

import numpy as np
import pytest
from picture_folders import AUGMENT, write_folder

from progcycle.data import resolve_sets, resolve_test_sets
from progcycle.errors import UserError
from progcycle.recipe import CycleganData, PgganData

LAYOUTS = {
    "usual": (("trainA", "trainB"), ("testA", "testB")),
    "no test": (("trainA", "trainB"), None),
    "domains": (("train/cat", "train/wild"), ("val/cat", "val/wild")),
    "domains with test": (("train/x", "train/y"), ("test/x", "test/y")),
    "short": (("A", "B"), None),
}


def resolve(data, tmp_path):
    options = {"resolution": 32, "seed": 0, "cache_dir": tmp_path / "cache"}
    return resolve_sets(data, **options), resolve_test_sets(data, **options)


def lay_out(root, layout):
    train, test = LAYOUTS[layout]
    for count, folder in enumerate((*train, *(test or ())), 2):
        write_folder(root / folder, count, offset=10 * count)
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["folder", "zip", "zip with a folder"])
def test_layouts(tmp_path, layout, kind):
    root = lay_out(tmp_path / "root", layout)
    if kind != "folder":
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
            for path in root.rglob("*.png"):
                archive.write(path, ("top/" if "with" in kind else "") + path.relative_to(root).as_posix())
        root = tmp_path / "data.zip"
    train, test = resolve(CycleganData(root=str(root)), tmp_path)
    assert {domain: len(pictures) for domain, pictures in train.items()} == {"a": 2, "b": 3}
    expected = {} if LAYOUTS[layout][1] is None else {"a": 4, "b": 5}
    assert {domain: len(pictures) for domain, pictures in test.items()} == expected
    assert train["a"].training(0, 32).image.shape == (32, 32, 3)


def test_test_path_comes_before_the_layout(tmp_path):
    root = lay_out(tmp_path / "root", "usual")
    write_folder(tmp_path / "other", 9)
    data = CycleganData.model_validate({"root": str(root), "a": {"test_path": str(tmp_path / "other")}})
    _, test = resolve(data, tmp_path)
    assert (len(test["a"]), len(test["b"])) == (9, 5)


def test_paths_and_options_of_each_domain(tmp_path):
    one, two = write_folder(tmp_path / "one", 2), write_folder(tmp_path / "two", 3)
    data = CycleganData.model_validate({"a": {"path": str(one), "channels": 1}, "b": {"path": [str(two), str(one)]}})
    train, test = resolve(data, tmp_path)
    assert not test
    assert (len(train["a"]), len(train["b"])) == (2, 5)
    assert train["a"].plain(0, 8).image.shape == (8, 8, 1)
    assert train["b"].plain(0, 8).image.shape == (8, 8, 3)


def test_pggan_data_and_its_unaltered_test_set(tmp_path):
    train_path, test_path = write_folder(tmp_path / "train", 3), write_folder(tmp_path / "test", 4)
    content = {"path": str(train_path), "test_path": str(test_path), "mirror": True, "load_resolution": 40}
    data = PgganData.model_validate({**content, "augment": AUGMENT, "cache_dir": str(tmp_path / "mine")})
    train, test = resolve(data, tmp_path)
    assert (len(train["real"]), len(test["real"])) == (3, 4)
    assert train["real"].cache.folder.parent == tmp_path / "mine"
    same = test["real"].training(0, 32)
    index = test["real"].index_at(0)
    assert np.array_equal(same.image, test["real"].plain(index, 32).image)
    assert resolve_test_sets(PgganData(path=(str(train_path),)), resolution=32, seed=0, cache_dir=tmp_path) == {}


def test_unknown_layouts(tmp_path):
    root = tmp_path / "root"
    write_folder(root / "horses", 1)
    with pytest.raises(UserError, match=r"root has none of the known layouts .* but horses; rename them"):
        resolve(CycleganData(root=str(root)), tmp_path)
    for name in ("x", "y", "z"):
        write_folder(root / "train" / name, 1)
    with pytest.raises(UserError, match=r"train must hold two folders.*holds x, y, z"):
        resolve(CycleganData(root=str(root)), tmp_path)
    with pytest.raises(UserError, match="nowhere"):
        resolve(CycleganData(root=str(tmp_path / "nowhere")), tmp_path)
