"""The pictures of ``torture.py`` through training and through ``translate``."""

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_runs import WatchedRun, stats, tiny, train
from torture import STRANGE_NAMES, broken, encrypted, sound, write_links, write_set, zipped
from translating import translate

from progcycle.commands.cli import main
from progcycle.recipe import dump

SOUND = {name: raw for name, (raw, _) in sound().items()}
BROKEN = {name: raw for name, (raw, _) in broken().items()}
WIDE = {"wide.png", "tall.png"}
Read = pytest.CaptureFixture[str]


def files(folder: Path) -> set[str]:
    """Everything in a folder that is no folder, hidden and half-written files too."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


# --- training -----------------------------------------------------------------------------------------------------


def changes(folder: Path, max_broken: float) -> Mapping[Any, Any]:
    options = {"path": str(folder), "max_broken": max_broken, "cache_resolution": 0, "augment": []}
    return {"data": options, "training": {"evaluation": None}}


def test_training_names_what_is_broken_once_and_goes_on(tmp_path: Path, capsys: Read) -> None:
    folder = write_set(tmp_path / "in", {**SOUND, **BROKEN, "new\nline.png": b""})
    write_links(folder)
    gone: list[str] = []

    def delete(training: WatchedRun, _: object) -> None:
        pictures = training.context.sets["real"]
        if training.trainer.step == 1:  # read by no step before it
            gone.append(next(n for p in range(20, 40) if (n := pictures.names[pictures.index_at(p)]) in SOUND))
            (folder / gone[0]).unlink()

    training = train(tiny("pggan", tmp_path, changes(folder, 0.9)), tmp_path / "run", on_step=delete)
    assert training.trainer.nimg == 88
    assert len(training.context.sets["real"]) < 88, "every picture is read"
    lines = [line for line in capsys.readouterr().out.splitlines() if "replaced by the next one" in line]
    told = [line.partition("domain real: ")[2].partition(":")[0] for line in lines]
    assert sorted(told) == sorted([*BROKEN, r"new\nline.png", gone[0]])
    used = {name for step in training.seen.values() for _, _, names, _ in step for name in names}
    assert used <= set(SOUND)
    assert used >= set(SOUND) - set(gone)
    assert stats(tmp_path / "run")[-1]["nimg"] == 88


def test_too_many_stop_training_with_one_sentence(tmp_path: Path, capsys: Read) -> None:
    folder = write_set(tmp_path / "in", {**SOUND, **BROKEN})
    (tmp_path / "tiny.yaml").write_text(dump(tiny("pggan", tmp_path, changes(folder, 0.05))))
    assert main(["train", str(tmp_path / "tiny.yaml"), "--run-dir", str(tmp_path / "run")]) == 2
    errors = capsys.readouterr().err.splitlines()
    (error,) = [line for line in errors if line.startswith("error: ")]
    assert "pictures are broken, above the allowed share data.max_broken = 0.05" in error
    assert not any("Traceback" in line for line in errors)


# --- translate ----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(make_snapshot: Callable[..., Path]) -> Path:
    return make_snapshot(stage=1).parent.parent


def faults(errors: str) -> dict[str, str]:
    """What is listed at the end, by name."""
    words = errors.splitlines()
    first = next(i for i, line in enumerate(words) if "were not translated" in line)  # warnings may stand before it
    head, *lines = words[first:]
    assert f"{len(lines)} of" in head
    return dict(line.strip().partition(": ")[::2] for line in lines)


@pytest.mark.parametrize("packed", [False, True])
def test_translate_does_the_sound_ones_and_lists_the_others(
    run: Path, tmp_path: Path, capsys: Read, packed: bool
) -> None:
    content = {**SOUND, **BROKEN}
    given = write_set(tmp_path / "in", content)
    write_links(given)
    if packed:
        given = tmp_path / "in.zip"
        given.write_bytes(encrypted(zipped({**content, "locked.png": SOUND["plain.png"]}), "locked.png"))
    assert translate(run, given, tmp_path / "out", "--max-pixels", "50000") == 1
    listed = faults(capsys.readouterr().err)
    assert set(listed) == {*BROKEN, *(["locked.png"] if packed else [])}
    assert not packed or "is encrypted" in listed["locked.png"]
    assert files(tmp_path / "out") == set(SOUND), "and nothing half-written; an animation stays one"
    sizes = {"one.png": (1, 1), "deep-grey.png": (2, 2), "deep-colour.png": (2, 2)}
    for name in SOUND:
        with Image.open(tmp_path / "out" / name) as image:
            with Image.open(io.BytesIO(SOUND[name])) as before:
                wide = before.size if name in WIDE else (32, 32)  # in tiles, as they have more than 50,000 pixels
            assert image.size == sizes.get(name, wide)
            image.load()


@pytest.mark.parametrize("size", [(30_000, 2), (2, 3_000)])
def test_thin_pictures_come_back_from_the_scale_of_training(run: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "in.png")
    assert translate(run, tmp_path / "in.png", tmp_path / "out.png", "--scale", "train") == 0
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == size


def test_translate_keeps_names_of_any_script(run: Path, tmp_path: Path, capsys: Read) -> None:
    given = write_set(tmp_path / "in", dict.fromkeys(STRANGE_NAMES, SOUND["one.png"]))
    strange = os.fsdecode(b"latin-\xe9.png")
    (given / strange).write_bytes(SOUND["one.png"])
    (given / "bad\x1b[31m\nname.png").write_bytes(b"")
    assert translate(run, given, tmp_path / "out") == 1
    assert set(os.listdir(tmp_path / "out")) == {*STRANGE_NAMES, strange}
    errors = capsys.readouterr().err
    assert errors.splitlines()[1:] == [r"  bad\x1b[31m\nname.png: this file is empty."]


def test_names_in_a_zip_never_lead_out_of_the_folder(run: Path, tmp_path: Path, capsys: Read) -> None:
    one = SOUND["one.png"]
    names = [
        "../up.png",
        "../../far/up2.png",
        "/abs.png",
        f"{tmp_path}/direct.png",
        "a/../../b.png",
        "./c.png",
        "//d.png",
    ]
    tower = "x" * 300 + ".png"
    content = dict.fromkeys([*names, "e.png", "e.png/below.png", tower], one)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    given, out = tmp_path / "deep" / "in.zip", tmp_path / "deep" / "er" / "out"
    given.write_bytes(zipped(content))
    before = files(tmp_path)
    assert translate(run, given, out) == 1
    direct = f"{tmp_path}/direct.png".lstrip("/")
    expected = {"up.png", "far/up2.png", "abs.png", direct, "a/b.png", "c.png", "d.png", "e.png"}
    assert files(out) == expected
    assert files(tmp_path) - {f"deep/er/out/{name}" for name in expected} == before
    assert set(faults(capsys.readouterr().err)) == {"e.png/below.png", tower}
    given.write_bytes(zipped(dict.fromkeys(["../same.png", "same.png"], one)))
    assert translate(run, given, tmp_path / "other") == 2
    assert "would both be written to" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_broken_single_picture(run: Path, tmp_path: Path, capsys: Read) -> None:
    given = write_set(tmp_path / "in", {"text.png": b"text"}) / "text.png"
    assert translate(run, given, tmp_path / "out.png") == 1
    assert faults(capsys.readouterr().err) == {"text.png": "this is not a picture in a known format."}
    assert not (tmp_path / "out.png").exists()
