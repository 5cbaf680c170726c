"""``progcycle progression``: which snapshots it shows, and that it shows their pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from progcycle.commands.cli import main
from progcycle.commands.progression import SHOWN
from progcycle.export import Generator, Translator, load, to_pil
from progcycle.export.timeline import Show

Make = Callable[..., Path]


MOMENTS = {16: (0, 1.0), 44: (1, 0.256), 3000: (1, 1.0), 12345: (2, 1.0)}  # nimg: stage and alpha


@pytest.fixture
def run(make_snapshot: Make) -> Path:
    """A run of four snapshots with weights of their own."""
    for i, (nimg, (stage, alpha)) in enumerate(MOMENTS.items()):
        folder = make_snapshot(task="pggan", nimg=nimg, stage=stage, alpha=alpha, seed=i)
    return folder.parent.parent


def expected_pictures(run: Path, nimg: int, count: int, seed: int = 0, side: int = 128) -> list[np.ndarray]:
    model = load(run / "snapshots" / f"nimg-{nimg:09d}")
    assert isinstance(model, Generator)
    factor = side // model.resolution
    images = [np.asarray(image) for image in to_pil(model.generate(count, seed))]
    return [image.repeat(factor, 0).repeat(factor, 1) for image in images]


def test_a_contact_sheet(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "sheet.png"
    assert main(["progression", str(run), "--out", str(out), "--count", "3", "--seed", "2"]) == 0
    assert capsys.readouterr().out == f"wrote 3 pictures of 4 snapshots (seed 2) to {out}\n"
    page = np.asarray(Image.open(out).convert("RGB"))
    left = page.shape[1] - (3 * 132 + 4)
    assert page.shape[0] == 4 * 132 + 4
    for row, nimg in enumerate(MOMENTS):
        y = 4 + 132 * row
        assert (page[y : y + 128, :left] < 120).any()  # words
        for column, image in enumerate(expected_pictures(run, nimg, 3, 2)):
            x = left + 4 + 132 * column
            assert np.array_equal(page[y : y + 128, x : x + 128], image)


def test_rows_say_when_they_were(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from progcycle.export import contact_sheet, timeline

    said: dict[str, list[str]] = {"side": [], "title": []}
    real = contact_sheet.sheet

    def watch(rows: object, header: object = None, tile: int = 128, **words: object) -> Image.Image:
        for name, some in words.items():
            said[name] += some if isinstance(some, list) else [some]
        return real(rows, header, tile, **words)  # type: ignore[arg-type]

    for module in (contact_sheet, timeline):
        monkeypatch.setattr(module, "sheet", watch)
    for name in ("x.png", "x.webp"):
        assert main(["progression", str(run), "--out", str(tmp_path / name), "--count", "1"]) == 0
    expected = ["0.016 kimg\n4 px", "0.044 kimg\n8 px\nfade 25%", "3 kimg\n8 px", "12.345 kimg\n16 px"]
    assert said == {"side": expected, "title": [words.replace("\n", ", ") for words in expected]}


def test_a_sheet_of_a_few_of_many(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def rows(*options: str) -> int:
        assert main(["progression", str(run), "--out", str(tmp_path / "x.png"), "--count", "1", *options]) == 0
        with Image.open(tmp_path / "x.png") as image:
            return (image.height - 4) // 36

    assert rows("--size", "32") == 4
    capsys.readouterr()
    assert rows("--size", "32", "--rows", "3") == 3
    assert "wrote 1 picture of 3 of 4 snapshots" in capsys.readouterr().out
    assert rows("--size", "32", "--every", "3") == 2
    assert rows("--size", "32", "--every", "2") == 3  # the first, the third, and the last
    page = np.asarray(Image.open(tmp_path / "x.png"))
    for row, nimg in enumerate((16, 3000, 12345)):
        y, x = 4 + 36 * row, page.shape[1] - 36
        assert np.array_equal(page[y : y + 32, x : x + 32], expected_pictures(run, nimg, 1, side=32)[0])


@pytest.mark.parametrize("kind", [".webp", ".gif"])
def test_a_video_has_a_frame_for_each_snapshot_and_rests_at_the_last(run: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"x{kind}"
    assert main(["progression", str(run), "--out", str(out), "--count", "4", "--fps", "5", "--size", "64"]) == 0
    with Image.open(out) as image:
        assert image.size == (2 * 68 + 4, 24 + 2 * 68 + 4)
        durations = []
        for i, nimg in enumerate(MOMENTS):
            image.seek(i)
            image.load()
            durations.append(image.info["duration"])
            page = np.asarray(image.convert("RGB")).astype(float)
            for j, expected in enumerate(expected_pictures(run, nimg, 4, side=64)):
                y, x = 24 + 4 + 68 * (j // 2), 4 + 68 * (j % 2)
                assert np.abs(page[y : y + 64, x : x + 64] - expected).mean() < 10  # WebP halves the colours
        rest = sum(durations[3:])
        for i in range(4, image.n_frames):
            image.seek(i)
            image.load()
            rest += image.info["duration"]
    assert (durations[:3], rest) == ([200] * 3, 2200)


def test_columns_of_a_model_with_classes(make_snapshot: Make, tmp_path: Path) -> None:
    folder = make_snapshot(task="pggan", classes=("cat", "dog"))
    model = load(folder)
    assert isinstance(model, Generator)
    for options, labels, top in (([], [0, 1, 0], 24), (["--class", "dog"], [1, 1, 1], 0)):
        out = tmp_path / "x.png"
        arguments = ["--count", "3", "--size", "16", "--out", str(out), *options]
        assert main(["progression", str(folder.parent.parent), *arguments]) == 0
        page = np.asarray(Image.open(out))
        assert page.shape[0] == top + 24
        for column, image in enumerate(to_pil(model.generate(3, labels=labels))):
            x = page.shape[1] - 64 + 4 + 20 * column
            assert np.array_equal(page[top + 4 : top + 20, x : x + 16], np.asarray(image))


def test_other_folders_are_refused(make_snapshot: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(run: Path, out: str = "x.png", *options: str) -> str:
        assert main(["progression", str(run), "--out", str(tmp_path / out), *options]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return err

    translators = make_snapshot(run="translators").parent.parent
    assert "--seed is no option for translators, which" in refused(translators, "x.png", "--seed", "0")
    assert "--class is no option for translators, which" in refused(translators, "x.png", "--class", "cat")
    sentence = refused(translators)  # its recipe names a folder that is not there
    assert "pictures are not here" in sentence
    assert "nowhere" in sentence
    assert "give a folder with --pictures" in sentence
    folder = make_snapshot(task="pggan")
    assert "is a single snapshot" in refused(folder)
    assert "does not exist" in refused(tmp_path / "nowhere")
    assert "has no snapshot yet" in refused(tmp_path)
    run = folder.parent.parent
    assert "ends in .png, .webp, .gif or .mp4" in refused(run, "x.jpg")
    assert "is a folder" in refused(run, "run")
    assert "--direction is no option for a PG-GAN, which" in refused(run, "x.png", "--direction", "ab")
    assert "--pictures is no option for a PG-GAN, which" in refused(run, "x.png", "--pictures", str(tmp_path))
    assert "1 to 50" in refused(run, "x.gif", "--fps", "51")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run", "translators"]


def test_the_command_offers_what_there_is_to_show() -> None:
    assert get_args(Show) == SHOWN


@pytest.mark.parametrize("show", ["stages", "network"])
def test_stages_side_by_side(run: Path, tmp_path: Path, show: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A column for each: the last snapshot of the stage, or what the newest one paints there."""
    out = tmp_path / "x.png"
    assert main(["progression", str(run), "--out", str(out), "--count", "2", "--show", show, "--size", "32"]) == 0
    assert capsys.readouterr().out == f"wrote 2 pictures of 3 stages (seed 0) to {out}\n"
    page = np.asarray(Image.open(out).convert("RGB"))
    top = page.shape[0] - (2 * 36 + 4)
    assert page.shape[1] == 3 * 36 + 4
    assert (page[:top] < 120).any()  # words
    newest = load(run)
    assert isinstance(newest, Generator)
    for column, (nimg, side) in enumerate(((16, 4), (3000, 8), (12345, 16))):
        made = to_pil(newest.generate(2, resolution=side))
        own = [np.asarray(picture).repeat(32 // side, 0).repeat(32 // side, 1) for picture in made]
        expected = expected_pictures(run, nimg, 2, side=32) if show == "stages" else own
        for row, picture in enumerate(expected):
            y, x = top + 4 + 36 * row, 4 + 36 * column
            assert np.array_equal(page[y : y + 32, x : x + 32], picture)


def test_a_snapshot_alone_has_stages(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.webp"
    newest = run / "snapshots" / "nimg-000012345"
    assert main(["progression", str(newest), "--out", str(out), "--show", "network", "--fps", "2"]) == 0
    with Image.open(out) as image:
        assert image.n_frames == 3  # the rest on the last one is its duration
    for options in (["--every", "2"], ["--rows", "2"]):
        assert main(["progression", str(run), "--out", str(tmp_path / "x.png"), "--show", "stages", *options]) == 2
        assert f"{options[0]} chooses among snapshots" in capsys.readouterr().err
    assert main(["progression", str(run), "--out", str(tmp_path / "x.gif"), "--rows", "2"]) == 2
    assert "--rows is for contact sheets" in capsys.readouterr().err


# --- translators ------------------------------------------------------------------------------------------------------


def write_sources(folder: Path, count: int, side: int = 40) -> list[np.ndarray]:
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(3).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    for i, levels in enumerate(pixels):
        Image.fromarray(levels).save(folder / f"{i}.png")
    return list(pixels)


@pytest.mark.parametrize("direction", ["ab", "ba"])
def test_a_row_of_test_pictures_and_what_each_snapshot_makes_of_them(
    make_snapshot: Make, tmp_path: Path, direction: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {name: write_sources(tmp_path / "data" / name, 4) for name in ("trainA", "trainB", "testA", "testB")}
    for i, nimg in enumerate((5, 12)):
        folder = make_snapshot(nimg=nimg, stage=i + 1, seed=i, data={"root": str(tmp_path / "data")})
    out = tmp_path / "x.png"
    options = ["--direction", direction, "--count", "3", "--size", "40"]
    assert main(["progression", str(folder.parent.parent), "--out", str(out), *options]) == 0
    words = {"ab": "A to B", "ba": "B to A"}[direction]
    assert capsys.readouterr().out == f"wrote 3 pictures of 2 snapshots ({words}) to {out}\n"
    with Image.open(out) as image:
        page = np.asarray(image.convert("RGB"))
    rows = [[page[4 + 44 * r :][:40, page.shape[1] - 44 * c :][:, :40] for c in (3, 2, 1)] for r in range(3)]
    sources = [data[f"test{direction[0].upper()}"][i] for i in (0, 1, 2)]  # spread over the four
    assert all(np.array_equal(got, expected) for got, expected in zip(rows[0], sources, strict=True))
    for row, nimg in zip(rows[1:], (5, 12), strict=True):
        model = load(folder.parent / f"nimg-{nimg:09d}")
        assert isinstance(model, Translator)
        expected = [model.translate(levels, direction) for levels in sources]  # type: ignore[call-overload]
        assert all(np.array_equal(got, some) for got, some in zip(row, expected, strict=True))
        assert not np.array_equal(row[0], sources[0])


def test_own_pictures_in_a_video(make_snapshot: Make, tmp_path: Path) -> None:
    write_sources(tmp_path / "mine", 2, 200)
    for i, nimg in enumerate((5, 12, 20)):
        run = make_snapshot(nimg=nimg, stage=i, predict="change").parent.parent
    out = tmp_path / "x.webp"
    options = ["--pictures", str(tmp_path / "mine"), "--size", "64", "--fps", "4"]
    assert main(["progression", str(run), "--out", str(out), *options]) == 0
    with Image.open(out) as image:
        assert image.n_frames >= 1  # fresh networks change nothing, so that equal frames may be one
        assert image.size == (2 * 68 + 4, 24 + 2 * 68 + 4)


def test_one_picture_at_all_stages(make_snapshot: Make, tmp_path: Path) -> None:
    """The picture, and what the networks make of it at each resolution, in a row."""
    (source,) = write_sources(tmp_path / "mine", 1, 32)
    snapshot, out = make_snapshot(), tmp_path / "x.png"
    options = ["--pictures", str(tmp_path / "mine" / "0.png"), "--show", "network", "--size", "32"]
    assert main(["progression", str(snapshot), "--out", str(out), *options]) == 0
    page = np.asarray(Image.open(out).convert("RGB"))
    top = page.shape[0] - 40
    shown = [page[top + 4 : top + 36, 4 + 36 * i :][:, :32] for i in range(4)]
    model = load(snapshot)
    assert isinstance(model, Translator)
    assert page.shape[1] == 4 * 36 + 4
    assert np.array_equal(shown[0], source)
    for got, side in zip(shown[1:], (8, 16, 32), strict=True):
        assert np.array_equal(got, model.translate(source, "ab", resolution=side))
