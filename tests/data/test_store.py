"""A store is read as the folder that it was made from, to the bit."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from picture_folders import pack, picture, write_folder
from PIL import Image
from sentences import refused
from stores import prepare

import progcycle.data.reader as reader_module
from progcycle.data import cache_warning, identity, resolve_sets, resolve_test_sets
from progcycle.data.measure import with_levels
from progcycle.data.source import find_pictures
from progcycle.recipe import CycleganData, PgganData, Pictures


@pytest.fixture
def forbid_decoding(monkeypatch):
    def forbid():
        def fail(*_, **__):
            raise AssertionError("a picture was decoded")

        monkeypatch.setattr(reader_module, "decode_picture", fail)

    return forbid


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], {}),
        (["--fit", "pad", "--background", "black"], {"fit": "pad", "background": "black"}),
        (["--channels", "1"], {"channels": 1}),
        (["--resolution", "36"], {"load_resolution": 36}),
    ],
)
def test_arrays_are_those_of_training_to_the_bit(tmp_path, make_set, forbid_decoding, arguments, options):
    folder = write_folder(tmp_path / "pictures", 70, width=50, height=44)  # more than a process writes at a time
    Image.fromarray(picture(9, 256, 256)).save(folder / "large.jpg")  # is decoded at a smaller scale
    direct = make_set(folder, mirror=True, **options)
    expected = [direct.training(p, r) for p in range(90) for r in (4, 8, 16, 32)]
    assert prepare(folder, tmp_path / "store", "--resolution", 32, *arguments) == 0
    shutil.rmtree(folder)
    stored = make_set(tmp_path / "store", mirror=True, cache_dir=tmp_path / "cache", **options)
    forbid_decoding()
    stored.prepare([4, 8, 16, 32])
    for got, wanted in zip((stored.training(p, r) for p in range(90) for r in (4, 8, 16, 32)), expected, strict=True):
        assert np.array_equal(got.image, wanted.image)
        assert got.name == wanted.name
    assert not (tmp_path / "cache").exists()
    assert cache_warning(stored, [4, 8, 16, 32]) is None


def of_a_recipe(options: Pictures) -> dict:
    return options.model_dump(exclude={"path", "test_path"})


@pytest.mark.parametrize("given", [None, (100.0, 3000.0)])
def test_arrays_of_16_bits_are_those_of_training_to_the_bit(tmp_path, make_set, forbid_decoding, given):
    """12 bits of a scanner, seen through the window that training measures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(9):
        deep = picture(i)[:, :, 0].astype(np.uint16) * 16 + i
        Image.fromarray(deep).save(folder / f"{i}.png")
    window = {} if given is None else {"window": {"range": given}}

    def options(path):
        asked = Pictures.model_validate({"channels": 1, **window})
        found = with_levels(asked, "data", lambda options: make_set(path, **of_a_recipe(options)), print)
        return of_a_recipe(found)

    direct = make_set(folder, **options(folder))
    assert direct.levels.bits == 16
    wanted = [(p, r, direct.training(p, r).image) for p in range(9) for r in (4, 32)]
    arguments = [] if given is None else ["--window", *given]
    assert prepare(folder, tmp_path / "store", "--resolution", 32, "--channels", 1, *arguments) == 0
    kept = options(tmp_path / "store")
    forbid_decoding()
    stored = make_set(tmp_path / "store", **kept)
    for p, r, image in wanted:
        got = stored.training(p, r).image
        assert got.dtype == image.dtype == np.uint16
        assert np.array_equal(got, image)
    with pytest.raises(AssertionError, match="a picture was decoded"):  # of another window
        make_set(tmp_path / "store", **{**kept, "window": {"range": (0.0, 5000.0)}}).training(0, 4)


def test_a_window_that_does_not_fit_is_refused_with_one_that_does(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for i in range(3):
        Image.fromarray(picture(i)[:, :, 0].astype(np.uint16)).save(tmp_path / "in" / f"{i}.png")
    arguments = [tmp_path / "in", tmp_path / "store", "--resolution", 16, "--channels", 1]
    assert prepare(*arguments, "--window", 0, 65535) == 2
    advice = capsys.readouterr().err.rpartition("give --window ")[2].strip().rstrip(".").split()
    assert prepare(*arguments, "--window", *advice) == 0, "what it says"


def test_other_options_and_larger_stages_are_read_from_the_files(tmp_path, make_set):
    folder = write_folder(tmp_path / "pictures", 7)
    budget = 7 * 3 * (4 * 4 + 8 * 8) / 1e9
    assert prepare(folder, tmp_path / "store", "--resolution", 32, "--budget-gb", budget) == 0
    arrays = tmp_path / "store" / "train" / "arrays" / "32-crop"
    assert sorted(f.name for f in arrays.iterdir()) == ["4.npy", "8.npy", "manifest.json"]
    for options in ({}, {"fit": "pad"}, {"resolution": 16}):
        wanted = make_set(folder, **options)
        got = make_set(tmp_path / "store", cache_dir=tmp_path / "cache", **options)
        got.prepare([4, 8, 16])
        for i in range(7):
            assert np.array_equal(got.training(i, 16).image, wanted.training(i, 16).image)
            assert np.array_equal(got.plain(i, 8).image, wanted.plain(i, 8).image)


def test_a_held_out_part_reads_its_own_rows(tmp_path, make_set, forbid_decoding):
    folder = write_folder(tmp_path / "pictures", 30)
    wanted = [make_set(folder, validation=0.3, held_out=out) for out in (False, True)]
    images = [[s.plain(i, 32) for i in range(len(s))] for s in wanted]
    prepare(folder, tmp_path / "store", "--resolution", 32)
    forbid_decoding()
    for out in (False, True):
        got = make_set(tmp_path / "store", validation=0.3, held_out=out)
        assert got.names == wanted[out].names
        assert all(np.array_equal(got.plain(i, 32).image, s.image) for i, s in enumerate(images[out]))


def test_a_run_recognizes_its_pictures_in_a_store(tmp_path, make_set):
    """So that a training that began on the folder goes on with the store."""
    folder = write_folder(tmp_path / "pictures", 7)
    prepare(folder, tmp_path / "store")
    assert identity(make_set(tmp_path / "store")) == identity(make_set(folder))


def test_classes_are_kept(tmp_path):
    for name, offset in (("cat", 0), ("dog", 20)):
        write_folder(tmp_path / "in" / name, 4, offset)
    prepare(tmp_path / "in", tmp_path / "store", "--labels", "folders")
    labels = tmp_path / "store" / "train" / "dataset.json"
    for given in (str(labels), "folders"):
        data = PgganData(path=(str(tmp_path / "store"),), labels=given)
        pictures = resolve_sets(data, resolution=16, seed=0, cache_dir=tmp_path)["real"]
        assert pictures.classes == ("cat", "dog")
        assert [pictures.label_at(i) for i in range(8)] == [0] * 4 + [1] * 4


def test_what_prepare_advises_works_where_test_pictures_have_classes_too(tmp_path, capsys):
    """Test pictures of the same names have classes of their own, and without classes they are not advised."""
    kinds = {"in": ("cat", "cat", "dog"), "tst": ("dog", "cat", "dog")}
    for seed, name in enumerate(kinds):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(picture(20 * seed + i)).save(tmp_path / name / f"{i}.png")
    labels = {f"{name}/{i}.png": kind for name, some in kinds.items() for i, kind in enumerate(some)}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    given = ["--labels", tmp_path / "labels.json", "--test", tmp_path / "tst"]
    prepare(tmp_path / "in", tmp_path / "store", *given)
    advice = capsys.readouterr().out.partition("train from it with ")[2].split()
    keys = {key.removeprefix("data."): value for key, value in (word.split("=") for word in advice)}
    assert set(keys) == {"path", "test_path", "labels"}
    data = PgganData(**{**keys, "path": (keys["path"],), "test_path": (keys["test_path"],)})
    options = {"resolution": 16, "seed": 0, "cache_dir": tmp_path}
    train, test = (read(data, **options)["real"] for read in (resolve_sets, resolve_test_sets))
    for pictures, wanted in zip((train, test), kinds.values(), strict=True):
        assert [pictures.classes[pictures.label_at(i)] for i in range(3)] == list(wanted)
    content = {key: value for key, value in labels.items() if key.startswith("in")}
    (tmp_path / "in" / "dataset.json").write_text(json.dumps({key[3:]: value for key, value in content.items()}))
    prepare(tmp_path / "in", tmp_path / "other", "--test", tmp_path / "tst")
    printed = capsys.readouterr().out
    assert "data.test_path" not in printed.partition("train from it with ")[2].splitlines()[0]
    assert "the test pictures have no classes: data.test_path=" in printed


def test_both_domains_at_once(tmp_path):
    for i, (name, count) in enumerate({"trainA": 5, "trainB": 4, "testA": 2, "testB": 3}.items()):
        write_folder(tmp_path / "in" / name, count, 50 * i)
    prepare(pack(tmp_path / "in", tmp_path / "in.zip", "in/"), tmp_path / "store")
    sets = {}
    for root in ("in", "store"):
        data = CycleganData(root=str(tmp_path / root))
        arguments = {"resolution": 16, "seed": 0, "cache_dir": tmp_path}
        sets[root] = resolve_sets(data, **arguments), resolve_test_sets(data, **arguments)
    for of_folder, of_store in zip(sets["in"], sets["store"], strict=True):
        assert list(of_folder) == list(of_store) == ["a", "b"]
        for domain, pictures in of_folder.items():
            assert np.array_equal(pictures.training(0, 16).image, of_store[domain].training(0, 16).image)
            assert identity(pictures) == identity(of_store[domain])


def test_the_index_and_the_files_by_an_independent_reader(tmp_path):
    """With nothing but json, zipfile and hashlib."""
    folder = write_folder(tmp_path / "pictures", 5)
    prepare(folder, tmp_path / "store", "--licence", "CC0")
    about = json.loads((tmp_path / "store" / "store.json").read_text())
    assert about["licence"] == "CC0"
    part = tmp_path / "store" / "train"
    index = (part / "pictures.jsonl").read_bytes()
    assert hashlib.sha256(index).hexdigest() == about["parts"]["train"]["index"]
    rows = [json.loads(line) for line in index.splitlines()]
    assert [row["name"] for row in rows] == sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*.png"))
    for row in rows:
        original = (folder / row["name"]).read_bytes()
        archive = zipfile.ZipFile(part / row["file"])
        assert archive.read(row["name"]) == original
        assert archive.getinfo(row["name"]).external_attr >> 16 == 0o644
        assert (part / row["file"]).read_bytes()[row["offset"] : row["offset"] + row["bytes"]] == original
        assert row["sha256"] == hashlib.sha256(original).hexdigest()
        assert (row["width"], row["height"], row["mode"]) == (40, 36, "RGB")


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path) -> Path:
    prepare(write_folder(tmp_path / "pictures", 6), tmp_path / "store", "--resolution", 16)
    return tmp_path / "store"


def edit(store: Path, **changes) -> None:
    """Change the first line of an index, and sign it again, as somebody would who means harm."""
    file = store / "train" / "pictures.jsonl"
    first, *others = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps({**json.loads(first), **changes}), *others, ""]))
    about = json.loads((store / "store.json").read_text())
    about["parts"]["train"]["index"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (store / "store.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 10**9},
        {"offset": -1},
        {"bytes": 1 << 40},
        {"file": "../../pictures/00.png"},
        {"file": "nothing.zip"},
        {"offset": "x"},
        {"more": 1},
    ],
)
def test_an_index_that_lies(store, changes):
    edit(store, **changes)
    assert "store" in refused(lambda: find_pictures([str(store)]))


def test_damaged_stores(store, make_set):
    index = store / "train" / "pictures.jsonl"
    whole = index.read_bytes()
    index.write_bytes(whole[:-9])
    assert "pictures.jsonl is damaged; prepare the store again" in refused(lambda: make_set(store))
    index.write_bytes(whole)
    for text in ("{", '{"format": "progcycle store"}', '{"format": "progcycle store", "version": 1, "parts": []}'):
        about = (store / "store.json").read_text()
        (store / "store.json").write_text(text)
        assert "store.json is damaged" in refused(lambda: make_set(store))
        (store / "store.json").write_text(about)
    newer = {**json.loads(about), "version": 99}
    (store / "store.json").write_text(json.dumps(newer))
    assert "newer version" in refused(lambda: make_set(store))
    (store / "store.json").write_text(about)
    array = store / "train" / "arrays" / "16-crop" / "8.npy"
    array.write_bytes(array.read_bytes()[:-1])
    sentence = refused(lambda: make_set(store, resolution=16).training(0, 8))
    shutil.rmtree(store / "train" / "arrays" / "16-crop")  # what it says
    assert sentence.startswith(str(array))
    make_set(store, resolution=16).training(0, 8)


def test_bytes_that_have_changed_are_a_broken_picture(store, make_set):
    shutil.rmtree(store / "train" / "arrays")
    wanted = [make_set(store).plain(i, 16).image for i in range(6)]
    file = store / "train" / "00000.zip"
    content = bytearray(file.read_bytes())
    row = json.loads((store / "train" / "pictures.jsonl").read_text().splitlines()[2])
    content[row["offset"] + 100] ^= 1
    file.write_bytes(content)
    pictures = make_set(store)
    sample = pictures.plain(2, 16)
    assert np.array_equal(sample.image, wanted[3])
    assert "have changed" in sample.broken[0]
    file.write_bytes(file.read_bytes()[:-5000])
    assert "00000.zip is damaged" in refused(lambda: make_set(store))


def test_the_wrong_folder_of_a_store(store, tmp_path):
    assert "is a store of one domain" in refused(
        lambda: resolve_sets(CycleganData(root=str(store)), resolution=16, seed=0, cache_dir=tmp_path)
    )
    for name in ("a", "b"):
        write_folder(tmp_path / "two" / name, 3)
    prepare(tmp_path / "two" / "a", tmp_path / "two" / "b", tmp_path / "pair")
    sentence = refused(lambda: find_pictures([str(tmp_path / "pair")]))
    assert "is a store of two domains: give it as data.root, or one of them as" in sentence
    assert len(find_pictures([f"{tmp_path}/pair/trainA"]).entries) == 3
