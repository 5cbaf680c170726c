"""The bundled data sets are whole and leak nothing; the checks of the others say what is wrong."""

from __future__ import annotations

import csv
import io
import json
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DATASETS = Path(__file__).resolve().parents[2] / "datasets"

COUNTS = {
    "openmoji": {"trainA": 858, "trainB": 859, "testA": 200, "testB": 200},
    "emoji": {"trainA": 753, "trainB": 753, "trainB_rest": 753, "testA": 400, "testB": 400},
    "kai": {"trainA": 1727, "trainB": 1728, "testA": 300, "testB": 300},
}
MODES = {"openmoji": "RGB", "emoji": "RGB", "kai": "L"}

# Written by hand, so as not to test the grouping with itself.
VARIANTS = [
    ["1f468-200d-1f692", "1f469-200d-1f692", "1f9d1-200d-1f692"],  # firefighters
    ["1f468-200d-1f4bb", "1f469-200d-1f4bb", "1f9d1-200d-1f4bb"],  # technologists
    ["1f468-200d-2695-fe0f", "1f469-200d-2695-fe0f", "1f9d1-200d-2695-fe0f"],  # health workers
    ["1f575", "1f575-fe0f", "1f575-fe0f-200d-2640-fe0f", "1f575-fe0f-200d-2642-fe0f"],
    ["1f46e", "1f46e-200d-2640-fe0f", "1f46e-200d-2642-fe0f"],  # police officers
    ["1f9dc", "1f9dc-200d-2640-fe0f", "1f9dc-200d-2642-fe0f"],  # merpeople
    [
        "1f6b6",
        "1f6b6-200d-2640-fe0f",
        "1f6b6-200d-27a1-fe0f",
        "1f6b6-200d-2640-fe0f-200d-27a1-fe0f",
        "1f6b6-200d-2642-fe0f-200d-27a1-fe0f",
    ],  # walking
    ["1f9d1-200d-1f9bd", "1f468-200d-1f9bd-200d-27a1-fe0f", "1f469-200d-1f9bd"],  # wheelchairs
    [
        "1f468",
        "1f469",
        "1f9d1",
        "1f468-200d-1f9b0",
        "1f469-200d-1f9b3",
        "1f9d1-200d-1f9b2",
        "1f471",
        "1f471-200d-2640-fe0f",
    ],  # adults and their hair
    ["1f466", "1f467", "1f9d2"],  # children
    ["1f474", "1f475", "1f9d3"],  # older people
    [
        "1f46a",
        "1f468-200d-1f469-200d-1f466",
        "1f469-200d-1f467",
        "1f9d1-200d-1f9d2",
        "1f468-200d-1f468-200d-1f467-200d-1f467",
    ],  # families
    ["1f48f", "1f469-200d-2764-fe0f-200d-1f48b-200d-1f468", "1f468-200d-2764-fe0f-200d-1f48b-200d-1f468"],  # kisses
    ["1f491", "1f469-200d-2764-fe0f-200d-1f469", "1f468-200d-2764-fe0f-200d-1f468"],  # couples
    ["1f46b", "1f46c", "1f46d", "1f9d1-200d-1f91d-200d-1f9d1"],  # holding hands
    ["1f934", "1f478", "1fac5"],  # prince, princess, person with crown
    ["1f385", "1f936", "1f9d1-200d-1f384"],  # Santa, Mrs. and Mx Claus
    ["1f930", "1fac3", "1fac4"],  # pregnant people
    ["1f1eb-1f1f7", "1f1f2-1f1eb", "1f1e8-1f1f5"],  # France, Saint Martin, Clipperton: one flag
    ["1f1f3-1f1f4", "1f1f8-1f1ef", "1f1e7-1f1fb"],  # Norway, Svalbard, Bouvet Island: one flag
]


def names(data_set: str, folder: str) -> set[str]:
    return {path.stem for path in (DATASETS / data_set / folder).iterdir()}


@pytest.mark.parametrize(("data_set", "folder"), [(s, f) for s in COUNTS for f in COUNTS[s]])
def test_folder_is_whole(data_set: str, folder: str) -> None:
    paths = sorted((DATASETS / data_set / folder).iterdir())
    assert len(paths) == COUNTS[data_set][folder]
    for path in paths:
        assert path.suffix == ".png"
        assert path.stem == path.stem.lower()
        with Image.open(path) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", MODES[data_set], (64, 64)), path
            assert not picture.info, path
            pixels = np.atleast_3d(np.asarray(picture))
        assert (pixels < 250).any(2).mean() > 0.03, f"{path} is as good as empty"


@pytest.mark.parametrize("data_set", COUNTS)
def test_splits_share_no_name(data_set: str) -> None:
    train_a, train_b = names(data_set, "trainA"), names(data_set, "trainB")
    test = names(data_set, "testA")
    assert names(data_set, "testB") == test
    assert not train_a & train_b
    assert not test & (train_a | train_b)


def test_rest_is_every_other_twemoji() -> None:
    assert names("emoji", "trainB_rest") == names("emoji", "trainA")


@pytest.mark.parametrize("data_set", COUNTS)
def test_test_pictures_are_not_in_training(data_set: str) -> None:
    def contents(folder: str) -> set[bytes]:
        return {path.read_bytes() for path in (DATASETS / data_set / folder).iterdir()}

    assert not contents("testA") & contents("trainA")
    for folder in COUNTS[data_set]:
        if folder.startswith("trainB"):
            assert not contents("testB") & contents(folder)


@pytest.mark.parametrize("data_set", ["openmoji", "emoji"])
@pytest.mark.parametrize("variants", VARIANTS, ids=lambda variants: variants[0])
def test_variants_stay_together(data_set: str, variants: list[str]) -> None:
    splits = {folder: names(data_set, folder) for folder in ("trainA", "trainB", "testA")}
    places = {name: folder for name in variants for folder in splits if name in splits[folder]}
    assert len(places) >= 2, "the example names no emoji of this set"
    assert len(set(places.values())) == 1, places


def test_size_and_no_package() -> None:
    bundled = [path for name in COUNTS for path in (DATASETS / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in bundled) < 20_000_000
    for name in COUNTS:
        assert (DATASETS / name / "preview.png").stat().st_size < 150_000
    assert not list(DATASETS.rglob("__init__.py"))


def test_held_out_names_are_training_names_of_both_sides() -> None:
    hold_out = runpy.run_path(str(DATASETS / "_common.py"))["hold_out"]
    place = {f"{side}{i}": side for side in ("A", "B", "test") for i in range(30)}
    barred = {"A0", "A1", "B0"}
    held = hold_out(place, 20, barred.__contains__)
    test = {name for name, where in held.items() if where == "test"}
    assert sum(name.startswith("A") for name in test) == sum(name.startswith("B") for name in test) == 10
    assert not test & barred
    assert not any(name.startswith("test") for name in held), "what was the test is in no folder"
    assert all(where == place[name] for name, where in held.items() if name not in test)
    assert hold_out(dict(reversed(place.items())), 20, barred.__contains__) == dict(reversed(held.items()))


def test_more_names_than_there_are_cannot_be_held_out() -> None:
    hold_out = runpy.run_path(str(DATASETS / "_common.py"))["hold_out"]
    with pytest.raises(Exception, match="expected 10 names to hold out, found 4"):
        hold_out({"a": "A", "b": "A", "c": "B", "d": "B"}, 10)


@pytest.mark.parametrize("data_set", ["openmoji", "kai"])
def test_other_sets_do_not_replace_the_bundled_one(data_set: str) -> None:
    for option, value in {"--held-out": 200, "--resolution": 128}.items():
        assert_refused(script(f"{data_set}/prepare.py", option, value), option, "--out")
    assert_refused(script(f"{data_set}/prepare.py", "--resolution", 4), "from 8 to 1024")


def test_openmoji_is_drawn_at_any_resolution_with_the_same_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole script with a renderer that paints each picture in the colour of its file's content."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    prepare = runpy.run_path(str(DATASETS / "openmoji" / "prepare.py"))
    made = {}
    package = tmp_path / "openmoji"
    emoji = [{"hexcode": f"1F{i:03X}", "skintone": "", "group": "x", "subgroups": "y"} for i in range(60)]
    emoji += [{"hexcode": f"1F1EB-1F1F{i}", "skintone": "", "group": "flags", "subgroups": "z"} for i in range(8)]
    (package / "data").mkdir(parents=True)
    (package / "package.json").write_text('{"name": "openmoji", "version": "17.0.0"}')
    (package / "data" / "openmoji.json").write_text(json.dumps(emoji))
    for style, base in {"black": 0, "color": 3}.items():
        (package / style / "svg").mkdir(parents=True)
        for i, one in enumerate(emoji):
            (package / style / "svg" / f"{one['hexcode']}.svg").write_text(str(base + 3 * i))

    def render(svg_path: str, width: int, height: int, skip_system_fonts: bool) -> bytes:
        assert skip_system_fonts
        level = int(Path(svg_path).read_text())
        stored = io.BytesIO()
        Image.new("RGBA", (width, height), (level, 255 - level, (level * 97) % 256, 255)).save(stored, "PNG")
        return stored.getvalue()

    main = prepare["main"]
    changes = {"load_renderer": lambda: render, "LISTED": 68, "KEPT": 68, "TEST": 20}
    for name, value in changes.items():
        monkeypatch.setitem(main.__globals__, name, value)
    for resolution in (64, 24):
        out = tmp_path / str(resolution)
        command = ["prepare.py", "--package-dir", package, "--out", out, "--resolution", resolution]
        monkeypatch.setattr(sys, "argv", [*map(str, command)])
        main()
        made[resolution] = {
            str(path.relative_to(out)): np.asarray(Image.open(path)) for path in sorted(out.rglob("?*[AB]/*.png"))
        }
    assert list(made[64]) == list(made[24])
    assert sum(name.startswith("test") for name in made[64]) == 40
    for name, picture in made[24].items():
        assert picture.shape == (24, 24, 3)
        assert (picture[0, 0] == made[64][name][0, 0]).all()


# ---------------------------------------------------------------- landscapes

LANDSCAPES = {"trainA": 200, "trainB": 76, "testA": 20, "testB": 10}
SIDES = ("left", "right")
FREE = {"public-domain", "CC-BY-SA-3.0", "CC-BY-SA-4.0"}


def test_landscapes_are_whole_and_every_picture_has_an_author() -> None:
    with (DATASETS / "landscapes" / "pictures.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert all(row["author"] and row["licence"] in FREE for row in table)
    listed: dict[str, set[str]] = {folder: set() for folder in LANDSCAPES}
    for row in table:
        folder = row["split"] + {"day": "A", "dusk": "B"}[row["light"]]
        listed[folder] |= {row["picture"]} if row["split"] == "test" else {f"{row['picture']}-{s}" for s in SIDES}
    for folder, count in LANDSCAPES.items():
        assert len(listed[folder]) == count
        assert names("landscapes", folder) == listed[folder]
        for path in (DATASETS / "landscapes" / folder).iterdir():
            with Image.open(path) as picture:
                width = 512 if folder.startswith("test") else 256
                assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (width, 256)), path
    photographs = [row["picture"] for row in table]
    assert len(set(photographs)) == len(photographs), "a photograph has one light and is on one side of the split"


def test_a_photograph_gives_its_left_and_its_right_square(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    prepare = runpy.run_path(str(DATASETS / "landscapes" / "prepare.py"))
    across = np.broadcast_to(np.linspace(0, 255, 720, dtype=np.uint8)[None, :, None], (360, 720, 3))
    Image.fromarray(np.ascontiguousarray(across)).save(tmp_path / "x.png")
    photograph = prepare["read_photograph"](tmp_path / "x.png")
    assert photograph.size == (512, 256)
    cut = {where: np.asarray(square)[128, :, 0] for where, square in prepare["squares"](photograph).items()}
    assert {where: len(row) for where, row in cut.items()} == {"left": 256, "right": 256}
    # The ramp goes on from one square to the other, at half of its height.
    assert cut["left"][0] == 0
    assert cut["left"][-1] in (127, 128)
    assert cut["right"][0] in (127, 128)
    assert cut["right"][-1] == 255


def test_landscapes_lie_in_small_files() -> None:
    files = [path for path in (DATASETS / "landscapes").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000


def test_a_package_of_other_photographs_is_refused(tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    (tmp_path / "other" / "DEBIAN").mkdir(parents=True)
    (tmp_path / "other" / "DEBIAN" / "control").write_text(
        "Package: other\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: nothing\n"
    )
    subprocess.run(["dpkg-deb", "-b", tmp_path / "other", tmp_path / "other.deb"], check=True, capture_output=True)
    done = script("landscapes/prepare.py", "--deb", tmp_path / "other.deb", "--out", tmp_path / "out")
    assert_refused(done, "another one than the script knows")
    assert not any((tmp_path / "out").iterdir())


def test_a_missing_package_file_is_refused(tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    assert_refused(script("landscapes/prepare.py", "--deb", tmp_path / "no.deb", "--out", tmp_path / "out"), "no.deb")


# ---------------------------------------------------------------- the scripts


def script(path: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", DATASETS / path, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def fill(folder: Path, count: int, side: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (side, side), (number, 0, 0)).save(folder / f"{number}.jpg")


@pytest.mark.parametrize("path", ["celebahq/check.py", "horse2zebra/check.py"])
def test_check_refuses_a_missing_folder(path: str, tmp_path: Path) -> None:
    assert_refused(script(path, tmp_path / "none"), "no folder")
    assert_refused(script(path, tmp_path, "--size", "big"), "--size")


def test_celebahq_check(tmp_path: Path) -> None:
    fill(tmp_path / "images" / "train" / "female", 2, 32)
    fill(tmp_path / "images" / "val", 1, 32)
    done = script("celebahq/check.py", tmp_path, "--count", 3, "--size", 32)
    assert done.returncode == 0, done
    assert "complete" in done.stdout
    assert_refused(script("celebahq/check.py", tmp_path), "3 pictures instead of 30000")
    assert_refused(script("celebahq/check.py", tmp_path, "--count", 3), "1024 x 1024")

    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for path in sorted((tmp_path / "images").rglob("*.jpg")):
            out.write(path, str(path.relative_to(tmp_path)))
    done = script("celebahq/check.py", archive, "--count", 3, "--size", 32)
    assert done.returncode == 0, done

    (tmp_path / "images" / "val" / "0.jpg").write_bytes(b"not a picture")
    assert_refused(script("celebahq/check.py", tmp_path, "--count", 3), "not a readable picture")
    archive.write_bytes(b"not an archive")
    assert_refused(script("celebahq/check.py", archive), "zip")


def test_horse2zebra_check(tmp_path: Path) -> None:
    for count, folder in enumerate(("trainA", "trainB", "testA"), 1):
        fill(tmp_path / folder, count, 16)
    assert_refused(script("horse2zebra/check.py", tmp_path), "has no testB")
    fill(tmp_path / "testB", 4, 16)
    options = ("--counts", 1, 2, 3, 4)
    done = script("horse2zebra/check.py", tmp_path, *options, "--size", 16)
    assert done.returncode == 0, done
    assert "complete" in done.stdout
    assert_refused(script("horse2zebra/check.py", tmp_path), "trainA holds 1 pictures")
    assert_refused(script("horse2zebra/check.py", tmp_path, *options), "256 x 256")


def test_prepare_refuses_bad_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    emoji = ("emoji/prepare.py", "--out", out, "--package-dir")
    assert_refused(script(*emoji, tmp_path / "none"), "no folder")
    assert_refused(script(*emoji, tmp_path), "holds no unpacked npm package")
    package = tmp_path / "emoji-datasource-google"
    package.mkdir()
    (package / "package.json").write_text('{"name": "emoji-datasource-google", "version": "15.0.0"}', encoding="utf-8")
    assert_refused(script(*emoji, tmp_path), "15.0.0", "16.0.0 is needed")
    assert not list(out.iterdir())


def test_the_demo_is_a_part_of_openmoji_split_by_split() -> None:
    """So training pictures of the demo are in no test of the whole set, and its own tests are in no training."""
    for split in ("trainA", "trainB", "testA", "testB"):
        for path in (DATASETS / "demo" / split).iterdir():
            assert path.read_bytes() == (DATASETS / "openmoji" / split / path.name).read_bytes()
    tests = [sorted(path.name for path in (DATASETS / "demo" / split).iterdir()) for split in ("testA", "testB")]
    assert tests[0] == tests[1]
