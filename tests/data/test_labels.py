"""Classes from folders and from JSON files, and how they travel to the batches."""

import json
import os
import pickle
import random
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_folders import pack, picture
from PIL import Image
from sentences import refused
from torture import declaring

from progcycle.data import Sample, build_loader, collate, find_classes, resolve_sets, resolve_test_sets
from progcycle.data.labels import read_labels
from progcycle.data.source import Entry
from progcycle.errors import UserError
from progcycle.recipe import PgganData, Schedule
from progcycle.schedule import GrowthSchedule

# Made so that neither the sorted names nor the sorted classes follow the other.
PICTURES = {"dog/9.png": "dog", "cat/7.png": "cat", "cat/deep/er/1.png": "cat", "emu/0.png": "emu", "dog/2.png": "dog"}


def write(root: Path, names=tuple(PICTURES)) -> Path:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i, 8, 8)).save(root / name)
    return root


def data(labels: str = "folders", path: object = None, **options) -> PgganData:
    paths = [str(p) for p in path] if isinstance(path, list) else str(path)
    return PgganData.model_validate({"path": paths, "labels": labels, "cache_resolution": 0, **options})


def labels_of(content: PgganData, test: bool = False) -> dict[str, str]:
    """The class of every picture by its name, as the set of pictures has it."""
    resolve = resolve_test_sets if test else resolve_sets
    pictures = resolve(content, resolution=8, seed=0, cache_dir=Path("nowhere"))["real"]
    assert test or pictures.classes == find_classes(content)
    for i in range(len(pictures)):
        assert pictures.plain(i, 8).label == pictures.label_at(i)
    return {name: pictures.classes[pictures.label_at(i)] for i, name in enumerate(pictures.names)}


# --- folders ----------------------------------------------------------------------------------------------------------


def test_without_labels_there_are_no_classes(tmp_path):
    content = PgganData(path=(str(write(tmp_path)),), cache_resolution=0)
    assert find_classes(content) == ()
    pictures = resolve_sets(content, resolution=8, seed=0, cache_dir=tmp_path)["real"]
    assert pictures.classes == ()
    assert pictures.training(0, 8).label is pictures.plain(0, 8).label is None
    assert collate([pictures.plain(0, 8)]).labels is None
    with pytest.raises(ValueError, match="have no labels"):
        pictures.label_at(0)


def test_the_first_folder_is_the_class(tmp_path):
    content = data(path=write(tmp_path / "x"))
    assert find_classes(content) == ("cat", "dog", "emu")
    assert labels_of(content) == PICTURES


@pytest.mark.parametrize("under", ["", "top/", "one/two/"])
def test_zip_files_and_what_encloses_everything(tmp_path, under):
    file = pack(write(tmp_path / "x"), tmp_path / "x.zip", under)
    assert labels_of(data(path=file)) == {under + name: label for name, label in PICTURES.items()}
    assert labels_of(data(path=f"{file}/{under}")) == PICTURES


def test_an_enclosing_folder_of_a_folder_is_a_class(tmp_path):
    write(tmp_path / "x" / "top")
    assert "of one class (top)" in refused(lambda: find_classes(data(path=tmp_path / "x")))


def test_a_zip_file_with_one_class_keeps_it(tmp_path):
    """Only folders that hold folders, and nothing else, are skipped."""
    cats = pack(write(tmp_path / "a", ["cat/1.png", "cat/2.png"]), tmp_path / "a.zip")
    dogs = pack(write(tmp_path / "b", ["dog/1.png", "dog/pups/2.png"]), tmp_path / "b.zip")
    assert labels_of(data(path=[cats, dogs])) == {
        "a.zip/cat/1.png": "cat",
        "a.zip/cat/2.png": "cat",
        "b.zip/dog/1.png": "dog",
        "b.zip/dog/pups/2.png": "dog",
    }


def test_several_paths_share_the_names(tmp_path):
    one, two = write(tmp_path / "one" / "x"), write(tmp_path / "two" / "x", ["cat/1.png", "ant/1.png"])
    three = pack(write(tmp_path / "three", ["bee/1.png", "cat/4.png"]), tmp_path / "x.zip", "top/")
    content = data(path=[one, two, three])
    assert find_classes(content) == ("ant", "bee", "cat", "dog", "emu")
    expected = {f"x-1/{name}": label for name, label in PICTURES.items()}
    expected |= {"x-2/cat/1.png": "cat", "x-2/ant/1.png": "ant", "x.zip/top/bee/1.png": "bee"}
    assert labels_of(content) == expected | {"x.zip/top/cat/4.png": "cat"}


def test_pictures_in_the_root_have_no_class(tmp_path):
    root = write(tmp_path / "x", [*PICTURES, "zebra.png", "ape.png"])
    sentence = refused(lambda: find_classes(data(path=root)))
    assert "2 of 7 pictures lie in no folder" in sentence
    assert "the first is ape.png;" in sentence
    assert "ape.png" in refused(lambda: find_classes(data(path=pack(root, tmp_path / "x.zip"))))


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_any_tree_of_folders(draw):
    """Against the definition: the first part of the name, and numbers in sorted order."""
    word = st.text("abc", min_size=1, max_size=2)
    names = draw.draw(st.sets(st.lists(word, min_size=2, max_size=4).map("/".join), min_size=2, max_size=12))
    entries = [Entry(name, f"/x/{name}", None, "") for name in sorted(names)]
    expected = [name.split("/")[0] for name in sorted(names)]
    if len(set(expected)) == 1:
        assert "one class" in refused(lambda: read_labels("folders", entries, ["/x"]))
    else:
        classes, numbers = read_labels("folders", entries, ["/x"])
        assert list(classes) == sorted(set(expected))
        assert [classes[i] for i in numbers] == expected


# --- JSON files -------------------------------------------------------------------------------------------------------


def pairs(labels):
    return [[name, label] for name, label in labels.items()]


FORMS = {
    "object with a list": lambda labels: {"labels": pairs(labels)},
    "list": pairs,
    "object": dict,
    "object of an object": lambda labels: {"labels": labels, "about": "a data set"},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [str, int])
def test_forms_of_json(tmp_path, form, kind):
    root = write(tmp_path / "x")
    numbers = {"dog": 10, "cat": 9, "emu": -1}  # as text, 10 would come before 9
    given = {name: label if kind is str else numbers[label] for name, label in PICTURES.items()}
    (tmp_path / "labels.json").write_text(json.dumps(FORMS[form]({**given, "no/such.png": given["cat/7.png"]})))
    content = data(str(tmp_path / "labels.json"), root)
    assert find_classes(content) == (("cat", "dog", "emu") if kind is str else ("-1", "9", "10"))
    assert labels_of(content) == {name: str(label) for name, label in given.items()}


def test_a_json_file_beside_the_pictures_and_relative_to_the_working_folder(tmp_path, monkeypatch):
    root = write(tmp_path / "x")
    (root / "dataset.json").write_text(json.dumps({"labels": pairs(PICTURES)}))
    monkeypatch.chdir(tmp_path)
    assert labels_of(data("x/dataset.json", "x")) == PICTURES


@pytest.mark.parametrize("under", ["", "top/"])
def test_a_json_file_in_the_zip_of_the_pictures(tmp_path, under):
    root = write(tmp_path / "x")
    (root / "dataset.json").write_text(json.dumps({"labels": pairs(PICTURES)}))
    file = pack(root, tmp_path / "x.zip", under)
    expected = {under + name: label for name, label in PICTURES.items()}
    assert labels_of(data(f"{file}/{under}dataset.json", file)) == expected


def test_names_from_the_files_own_folder_come_first(tmp_path):
    """Training and held-out pictures of one name each find their own label in one file above them."""
    write(tmp_path / "train", ["1.png", "2.png", "3.png"])
    write(tmp_path / "test", ["1.png", "2.png"])
    content = {"train/1.png": "a", "train/2.png": "b", "train/3.png": "c", "test/1.png": "c", "./test//2.png": "b"}
    (tmp_path / "labels.json").write_text(json.dumps({**content, "1.png": "a", "2.png": "a", "3.png": "a"}))
    both = data(str(tmp_path / "labels.json"), tmp_path / "train", test_path=str(tmp_path / "test"))
    assert labels_of(both) == {"1.png": "a", "2.png": "b", "3.png": "c"}
    assert labels_of(both, test=True) == {"1.png": "c", "2.png": "b"}


def test_composed_and_decomposed_accents_are_one(tmp_path):
    root = write(tmp_path / "x", [unicodedata.normalize("NFD", "é.png"), "f.png"])
    (tmp_path / "labels.json").write_text(json.dumps({"\u00e9.png": 0, "f.png": 1}))
    assert set(labels_of(data(str(tmp_path / "labels.json"), root)).values()) == {"0", "1"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"dog/9.png": "dog", "cat/7.png": "cat"}', "no label for 3 of 5 pictures, the first is cat/deep/er/1.png;"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("3", "must hold"),
        ('{"labels": null}', "says that its pictures have no labels (null); leave data.labels out."),
        ('[["a.png", 1], ["b.png"]]', "must hold"),
        ("[[1, 2]]", "must hold"),
        ('["a.png"]', "must hold"),
        ('{"a.png": 1.0}', "has the label 1.0 for a.png"),
        ('{"a.png": true}', "has the label True for a.png"),
        ('{"a.png": ""}', "has the label '' for a.png"),
        ('{"a.png": null}', "has the label None for a.png"),
        ('{"a.png": [1]}', "has the label [1] for a.png"),
        ('[["a.png", 1], ["./a.png", 2]]', "two labels for ./a.png, 1 and 2"),
        ('{"a.png": 1, "b.png": "1"}', "mixes numbers (a.png) and names (b.png)"),
        (json.dumps(dict.fromkeys(PICTURES, 4)), "all 5 pictures are of one class (4)"),
    ],
)
def test_wrong_json_is_refused(tmp_path, text, words):
    root = write(tmp_path / "x")
    (tmp_path / "labels.json").write_text(text)
    assert words in refused(lambda: find_classes(data(str(tmp_path / "labels.json"), root)))


@pytest.mark.parametrize("labels", ["folder", "x.zip/none.json", "x/none.json", "x"])
def test_a_missing_file_is_refused(tmp_path, monkeypatch, labels):
    pack(write(tmp_path / "x"), tmp_path / "x.zip")
    monkeypatch.chdir(tmp_path)
    sentence = refused(lambda: find_classes(data(labels, "x")))
    assert sentence.startswith(f"data.labels: there is no file {tmp_path / labels};")


# --- sets, batches ----------------------------------------------------------------------------------------------------


def test_held_out_pictures_have_the_numbers_of_training(tmp_path):
    train, test = write(tmp_path / "train"), write(tmp_path / "test", ["emu/1.png", "dog/5.png"])
    content = data(path=train, test_path=str(test))
    assert labels_of(content, test=True) == {"dog/5.png": "dog", "emu/1.png": "emu"}
    options = {"resolution": 8, "seed": 0, "cache_dir": tmp_path}
    pictures = resolve_test_sets(content, **options)["real"]
    assert (pictures.classes, [pictures.label_at(i) for i in range(2)]) == (("cat", "dog", "emu"), [1, 2])
    given = resolve_test_sets(data(path="nowhere", test_path=str(test)), classes=["emu", "dog"], **options)["real"]
    assert [given.label_at(i) for i in range(2)] == [1, 0]  # the training pictures need not be there
    write(test, ["yak/1.png"])
    sentence = refused(lambda: resolve_test_sets(content, **options))
    assert "yak/1.png is of the class yak, which no training picture has; the classes are cat, dog, emu." in sentence
    many = [f"{i}" for i in range(33)]
    assert "19 and 13 more." in refused(lambda: resolve_test_sets(content, classes=many, **options))


def test_training_samples_have_the_label_of_their_picture(tmp_path):
    pictures = resolve_sets(data(path=write(tmp_path)), resolution=8, seed=3, cache_dir=tmp_path)["real"]
    again = pickle.loads(pickle.dumps(pictures))
    for position in range(15):
        sample = again.training(position, 4)
        assert pictures.classes[sample.label] == PICTURES[sample.name]


@pytest.mark.parametrize("cached", [0, 8])
def test_a_replaced_picture_has_the_label_of_the_one_used(tmp_path, cached):
    root = write(tmp_path / "x")
    (root / "cat/deep/er/1.png").write_bytes(b"")  # the next one in name order is dog/2.png
    content = data(path=root, cache_resolution=cached, max_broken=0.5)
    pictures = resolve_sets(content, resolution=8, seed=0, cache_dir=tmp_path / "cache")["real"]
    pictures.prepare([8])
    sample = pictures.plain(1, 8)
    assert (pictures.names[1], sample.name, pictures.classes[sample.label]) == ("cat/deep/er/1.png", "dog/2.png", "dog")
    assert np.array_equal(sample.image, pictures.plain(2, 8).image)
    assert pictures.classes[pictures.label_at(1)] == "cat"


def test_caches_do_not_depend_on_labels(tmp_path):
    root = write(tmp_path / "x")
    with_labels = data(path=root, cache_resolution=8)
    without = with_labels.model_copy(update={"labels": None})
    options = {"resolution": 8, "seed": 0, "cache_dir": tmp_path}
    one, two = (resolve_sets(content, **options)["real"] for content in (with_labels, without))
    assert one.cache.folder == two.cache.folder


def test_collate_stacks_labels_or_refuses_some():
    samples = [Sample(np.zeros((2, 2, 3), np.uint8), i, "x", label=label) for i, label in enumerate((2, 0, 1))]
    batch = collate(samples)
    assert batch.labels.dtype == torch.int64
    assert batch.labels.tolist() == [2, 0, 1]
    assert [chunk.labels.tolist() for chunk in batch.chunk(3)] == [[2], [0], [1]]
    with pytest.raises(ValueError, match="3 of 4 samples have labels"):
        collate([*samples, Sample(samples[0].image, 3, "y")])


@pytest.mark.parametrize("workers", [0, 1])
def test_loader_delivers_labels(tmp_path, workers):
    names = [f"{label}/{i}.png" for i, label in enumerate(random.Random(0).choices("abc", k=9))]
    pictures = resolve_sets(data(path=write(tmp_path, names)), resolution=8, seed=0, cache_dir=tmp_path)
    plan = GrowthSchedule(Schedule.model_validate({"stable_kimg": 0.008, "fade_kimg": 0.004, "batch_size": 4}), 4, 8)
    where = {"rank": 1, "processes": 2, "start_nimg": 0, "workers": workers, "pin_memory": False}
    seen = 0
    for _, _, batches in build_loader(pictures, plan, **where):
        batch = batches["real"]
        assert ["abc"[label] for label in batch.labels] == [name[0] for name in batch.names]
        seen += len(batch)
    assert seen == 10


HOSTILE_LABELS = {
    "deep": ("[" * 100_000, "cannot be read as JSON"),
    "digits": ('{"labels": [["cat/7.png", ' + "9" * 10_000 + "]]}", "cannot be read as JSON"),
    "surrogates": ('{"\\ud800": [1]}', "has the label [1]"),
    "control characters": ('{"x\\u001b[2J\\n.png": null}', r"has the label None for x\x1b[2J\n.png"),
    "python": ("__import__('os').mkdir('executed')", "cannot be read as JSON"),
}


@pytest.mark.parametrize("name", HOSTILE_LABELS)
def test_hostile_files_of_labels_are_refused_in_one_line(tmp_path, monkeypatch, name):
    text, words = HOSTILE_LABELS[name]
    root = write(tmp_path / "x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(UserError) as caught:
        find_classes(data(str(tmp_path / "labels.json"), root))
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    assert not (tmp_path / "executed").exists()


def test_numbers_of_classes_may_be_of_any_size_and_files_may_not(tmp_path):
    root = write(tmp_path / "x")
    numbers = {name: 10**30 + i for i, name in enumerate(PICTURES)}
    (root / "labels.json").write_text(json.dumps(numbers))
    content = data(str(root / "labels.json"), root)
    assert find_classes(content) == tuple(map(str, sorted(numbers.values()))), "as many as there are, whatever they are"
    os.truncate(root / "labels.json", 1 << 40)  # takes no place on the disk
    with pytest.raises(UserError, match="it has 1099511627776 bytes"):
        find_classes(content)
    (root / "labels.json").unlink()
    packed = pack(root, tmp_path / "x.zip")
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.json", json.dumps(numbers))
    packed.write_bytes(declaring(packed.read_bytes(), "labels.json", 2**32 - 2))
    with pytest.raises(UserError, match="it has 4294967294 bytes"):
        find_classes(data(f"{packed}/labels.json", packed))
