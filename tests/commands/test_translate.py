"""``translate`` on folders as people have them."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor
from translating import translate

from progcycle.commands.cli import main
from progcycle.data import PictureSet
from progcycle.export import Translator, load, translate_files
from progcycle.export.jobs import WRITERS
from progcycle.export.translate_files import _Work
from progcycle.recipe import Pictures

Make = Callable[..., Path]
Read = pytest.CaptureFixture[str]


def paint(path: Path, width: int = 20, height: int = 16, mode: str = "RGB", seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(path)
    return path


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def run(make_snapshot: Make) -> Path:
    return make_snapshot(stage=1).parent.parent


def test_a_messy_folder(run: Path, tmp_path: Path, capsys: Read) -> None:
    given, out = tmp_path / "in", tmp_path / "out"
    paint(given / "a.png", 37, 53)
    paint(given / "sub" / "déjà vu ✈.jpg", 64, 20)
    paint(given / "sub" / "deeper" / "UPPER.PNG", mode="L")
    paint(given / "clear.webp", mode="RGBA")
    paint(given / "moving.gif")
    paint(given / ".hidden.png")
    (given / "notes.txt").write_text("not a picture")
    (given / "broken.png").write_bytes((given / "a.png").read_bytes()[:60])
    (given / "empty.jpg").write_bytes(b"")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(given / "deep.tif")
    assert translate(run, given, out) == 1
    assert files(out) == [
        "a.png",
        "clear.webp",
        "moving.gif.png",
        "sub/deeper/UPPER.PNG",
        "sub/déjà vu ✈.jpg",
    ]
    for name in ("a.png", "clear.webp", "sub/deeper/UPPER.PNG", "sub/déjà vu ✈.jpg"):
        with Image.open(given / name) as before, Image.open(out / name) as after:
            assert (after.size, after.format, after.mode) == (before.size, before.format, "RGB")
    text, errors = capsys.readouterr()
    assert text == f"wrote 5 translated pictures to {out}\n"
    news, *lines = errors.splitlines()
    assert news.startswith("a.png is 37x53 px, larger than the 16 px of training: ")
    assert lines[0] == "3 of 8 pictures were not translated:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["broken.png", "deep.tif", "empty.jpg"]


def test_pixels_are_those_of_the_model(run: Path, tmp_path: Path) -> None:
    source = paint(tmp_path / "in" / "a.png", 30, 20)
    model = load(run)
    assert isinstance(model, Translator)
    for suffix in (".png", ".webp", ".tif", ".bmp", ".ppm"):
        out = tmp_path / f"b{suffix}"
        assert translate(run, source, out, "--scale", "native") == 0
        with Image.open(source) as before, Image.open(out) as after:
            assert after.tobytes() == model.translate(before, "ab", "native").tobytes(), suffix
    assert main(["translate", str(run), str(source), str(tmp_path / "c.png"), "--direction", "ba"]) == 0
    with Image.open(source) as before, Image.open(tmp_path / "c.png") as after:
        assert after.tobytes() == model.translate(before, "ba").tobytes()


def test_a_single_picture_goes_to_a_file_or_into_a_folder(run: Path, tmp_path: Path, capsys: Read) -> None:
    source = paint(tmp_path / "a.png")
    (tmp_path / "there.d").mkdir()
    for output, written in (("b.jpg", "b.jpg"), ("new", "new/a.png"), ("there.d", "there.d/a.png")):
        assert translate(run, source, tmp_path / output) == 0
        assert (tmp_path / written).is_file()
    assert "wrote 1 translated picture to" in capsys.readouterr().out
    assert translate(run, source, tmp_path / "b.xcf") == 2
    assert "not as xcf" in capsys.readouterr().err


def test_grey_domains_come_out_grey_or_in_colour(make_snapshot: Make, tmp_path: Path) -> None:
    run = make_snapshot(channels=(1, 3))
    source = paint(tmp_path / "a.png")
    for direction, mode in (("ab", "RGB"), ("ba", "L")):
        for suffix in WRITERS:
            out = tmp_path / f"{direction}{suffix}"
            assert main(["translate", str(run), str(source), str(out), "--direction", direction]) == 0
            with Image.open(out) as image:
                assert image.mode == ("RGB" if suffix == ".webp" else mode)


def test_originals_are_never_overwritten(run: Path, tmp_path: Path, capsys: Read) -> None:
    given = tmp_path / "in"
    source = paint(given / "in" / "a.png")
    before = source.read_bytes()
    paint(given / "a.png")
    (tmp_path / "link").symlink_to(given)
    for output in (given, tmp_path / "link", given / "in" / ".."):
        assert translate(run, given, output) == 2
        assert "would be overwritten" in capsys.readouterr().err
    assert translate(run, source, source) == 2
    assert translate(run, source, source.parent) == 2
    assert translate(run, given, tmp_path) == 2  # in/in/a.png would become in/a.png, which is read too
    assert source.read_bytes() == before
    assert translate(run, given, paint(tmp_path / "file.png")) == 2
    assert "is a file" in capsys.readouterr().err.splitlines()[-1]


def test_two_pictures_for_one_target(run: Path, tmp_path: Path, capsys: Read) -> None:
    paint(tmp_path / "in" / "a.gif")
    paint(tmp_path / "in" / "a.gif.png")
    assert translate(run, tmp_path / "in", tmp_path / "out") == 2
    assert "would both be written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_output_around_input(run: Path, tmp_path: Path) -> None:
    paint(tmp_path / "photos" / "a.png")
    assert translate(run, tmp_path / "photos", tmp_path) == 0
    assert (tmp_path / "a.png").is_file()


def test_output_inside_of_input_is_not_read_again(run: Path, tmp_path: Path, capsys: Read) -> None:
    paint(tmp_path / "a.png")
    for _ in range(2):
        assert translate(run, tmp_path, tmp_path / "translated") == 0
        assert files(tmp_path / "translated") == ["a.png"]
    (tmp_path / "a.png").unlink()
    assert translate(run, tmp_path, tmp_path / "translated") == 2
    assert "no pictures in it but those of" in capsys.readouterr().err


def test_skip_existing(run: Path, tmp_path: Path, capsys: Read) -> None:
    for name in ("a.png", "b.png"):
        paint(tmp_path / "in" / name)
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_bytes(b"kept")
    assert translate(run, tmp_path / "in", out, "--skip-existing") == 0
    assert (out / "a.png").read_bytes() == b"kept"
    assert "wrote 1 translated picture (1 existed already)" in capsys.readouterr().out
    assert translate(run, tmp_path / "in", out) == 0
    assert (out / "a.png").read_bytes() != b"kept"


def test_pictures_that_are_too_large_are_translated_in_tiles(
    run: Path, tmp_path: Path, capsys: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(tmp_path / "in" / "large.png", 80, 40)
    paint(tmp_path / "in" / "small.png", 20, 20)
    at_once, tiled = list[str](), list[str]()
    kinds = {"_large": tiled, "_translate": at_once}
    for name, seen in kinds.items():
        monkeypatch.setattr(_Work, name, recording(getattr(_Work, name), seen))
    for options in (("--scale", "native"), ()):
        for limit, in_tiles in (("3199", True), ("3200", False)):
            out = tmp_path / f"{len(options)}{limit}"
            assert translate(run, tmp_path / "in", out, *options, "--max-pixels", limit) == 0
            assert (len(tiled), len(at_once)) == ((1, 1) if in_tiles else (0, 2))
            tiled.clear()
            at_once.clear()
        one, other = (tmp_path / f"{len(options)}{limit}" / "large.png" for limit in ("3199", "3200"))
        difference = np.asarray(Image.open(one)).astype(int) - np.asarray(Image.open(other))
        assert np.abs(difference).max() <= 1
    capsys.readouterr()
    monkeypatch.setattr(translate_files, "MOST_TILED", 3199)
    assert translate(run, tmp_path / "in", tmp_path / "out", "--max-pixels", "1000") == 1
    assert "large.png: this picture has 3,200 pixels, above the limit for pictures in tiles, which --tiles lifts" in (
        capsys.readouterr().err
    )
    assert translate(run, tmp_path / "in", tmp_path / "out", "--tiles") == 0


def recording(method: Callable[..., Any], seen: list[str]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        seen.append(method.__name__)
        return method(*arguments)

    return call


def test_transparency_is_kept_of_pictures_in_memory_only(run: Path, tmp_path: Path, capsys: Read) -> None:
    paint(tmp_path / "a.png", 80, 40, "RGBA")
    given, out = tmp_path / "a.png", tmp_path / "out.png"
    assert translate(run, given, out, "--alpha", "keep", "--max-pixels", "3199") == 1
    assert "a.png: this picture has 3,200 pixels, above --max-pixels = 3199; raise that" in capsys.readouterr().err
    assert translate(run, given, out, "--alpha", "keep", "--scale", "native", "--max-pixels", "3199") == 1
    assert "leave --alpha keep out, use another --scale, or raise --max-pixels" in capsys.readouterr().err
    assert translate(run, given, out, "--alpha", "keep", "--max-pixels", "3200") == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--overlap", "8"], "--overlap is one of tiles; give --tiles too, or leave it out."),
        (["--tiles", "64"], "At the scale 'train' the network sees the whole picture at once"),
        (["--tiles", "--overlap", "8"], "use the scale 'native', or a larger side for the network."),
        (["--tiles", "--alpha", "keep"], "--alpha keep holds the transparency of a whole picture in memory"),
        (["--scale", "native", "--side", "64"], "The scale 'native' works on every pixel as it is; leave the side out"),
        (["--side", "8"], "A side of 8 px is below the 16 px of training; give 16 or more"),
        (["--scale", "native", "--tiles", "8"], "Tiles of 8 px are too small for this network; give 16 px or more."),
        (
            ["--scale", "native", "--tiles", "64", "--overlap", "64"],
            "leaves nothing of tiles of 64 px; give --tiles 66",
        ),
        (["--scale", "detail", "--tiles"], "paint whole pictures"),
    ],
)
def test_options_that_do_not_go_with_tiles(
    run: Path, tmp_path: Path, capsys: Read, options: list[str], sentence: str
) -> None:
    source = paint(tmp_path / "a.png", 80, 70)
    code = translate(run, source, tmp_path / "out.png", *options)
    assert code in (1, 2)
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_a_strip_that_training_would_enlarge_beyond_all_measure_is_refused(
    run: Path, tmp_path: Path, capsys: Read
) -> None:
    paint(tmp_path / "strip.png", 1, 20_000)
    assert translate(run, tmp_path / "strip.png", tmp_path / "out.png") == 1
    assert "16x320000 px for the network are more than --max-pixels 4194304; cut it up" in capsys.readouterr().err


@pytest.mark.parametrize(("side", "warns"), [(8, True), (9, False), (31, False), (32, True)])
def test_one_warning_about_another_scale(run: Path, tmp_path: Path, side: int, warns: bool, capsys: Read) -> None:
    for name in ("a.png", "b.png"):
        paint(tmp_path / "in" / name, side + 40, side)
    assert translate(run, tmp_path / "in", tmp_path / "out", "--scale", "native") == 0
    assert capsys.readouterr().err.count("warning: ") == warns
    assert translate(run, tmp_path / "in", tmp_path / "out", "--scale", "train") == 0
    assert capsys.readouterr().err == ""


def test_detail_is_kept_by_default_where_a_change_is_predicted(
    make_snapshot: Make, tmp_path: Path, capsys: Read
) -> None:
    """Fresh networks change nothing, so that every pixel must come back; reduced and enlarged it could not."""
    run = make_snapshot(stage=1, predict="change").parent.parent
    source = paint(tmp_path / "in" / "a.png", 150, 90)
    assert translate(run, tmp_path / "in", tmp_path / "out") == 0
    assert translate(run, tmp_path / "in", tmp_path / "detail", "--scale", "detail") == 0
    assert translate(run, tmp_path / "in", tmp_path / "train", "--scale", "train") == 0
    assert capsys.readouterr().err == ""
    before, *after = (
        np.asarray(Image.open(path)).astype(int)
        for path in (source, tmp_path / "out/a.png", tmp_path / "detail/a.png", tmp_path / "train/a.png")
    )
    assert np.array_equal(after[0], before)
    assert np.array_equal(after[1], before)
    assert np.abs(after[2] - before).mean() > 20


def test_whole_pictures_lose_detail_and_it_is_said_once(run: Path, tmp_path: Path, capsys: Read) -> None:
    for name, side in (("a.png", 16), ("b.png", 40), ("c.png", 40)):
        paint(tmp_path / "in" / name, side, side)
    assert translate(run, tmp_path / "in", tmp_path / "out") == 0
    said = capsys.readouterr().err
    assert said.startswith("b.png is 40x40 px, larger than the 16 px of training")
    assert said.count("detail is lost") == 1
    assert translate(run, tmp_path / "in", tmp_path / "new", "--scale", "detail") == 2
    assert "paint whole pictures (network.generator.predict: picture)" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_grid(run: Path, tmp_path: Path, capsys: Read) -> None:
    for i in range(6):
        paint(tmp_path / "in" / f"{i}.png", seed=i)
    assert translate(run, tmp_path / "in", tmp_path / "out", "--grid") == 0
    sheet = tmp_path / "out" / "before_after.png"
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {sheet}"
    with Image.open(sheet) as image:
        assert image.width == 4 * 260 + 4
        assert image.height > 3 * 192
    assert translate(run, tmp_path / "in" / "1.png", tmp_path / "one.png", "--grid") == 0
    assert (tmp_path / "one_before_after.png").is_file()
    paint(tmp_path / "in" / "before_after.png")
    assert translate(run, tmp_path / "in", tmp_path / "out", "--grid") == 0
    assert (tmp_path / "out" / "_before_after.png").is_file()


def test_zip_files(run: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(paint(tmp_path / "a.png"), "sub/a.png")
    assert translate(run, tmp_path / "in.zip", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["sub/a.png"]


@pytest.mark.parametrize(
    ("options", "words"), [(["--resolution", "32"], "it can run at 8, 16 px"), (["--device", "toaster"], "toaster")]
)
def test_wrong_options_write_nothing(run: Path, tmp_path: Path, options: list[str], words: str, capsys: Read) -> None:
    source = paint(tmp_path / "a.png")
    assert translate(run, source, tmp_path / "out", *options) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_to_read(run: Path, tmp_path: Path, capsys: Read) -> None:
    assert translate(run, tmp_path / "nowhere", tmp_path / "out") == 2
    assert "There is no picture, folder or zip file" in capsys.readouterr().err
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("text")
    assert translate(run, tmp_path / "in", tmp_path / "out") == 2
    assert "no pictures" in capsys.readouterr().err


def network_inputs(run: Path, given: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What the network of the command is shown, as grey levels.  # [h, w, 3] each"""
    shown: list[np.ndarray] = []
    real = Translator._input_and_output

    def spy(self: Translator, x: Tensor, *arguments: Any) -> Any:
        shown.append((x[0].permute(1, 2, 0).double().numpy() + 1) * 127.5)
        return real(self, x, *arguments)

    monkeypatch.setattr(Translator, "_input_and_output", spy)
    assert translate(run, given, output) == 0
    return shown


@pytest.mark.parametrize("packed", [False, True])
def test_the_network_is_shown_what_training_reads(
    run: Path, tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "in"
    paint(given / "a.png", 90, 90, seed=1)
    paint(given / "b.png", 12, 12, seed=2)
    paint(given / "large.jpg", 512, 512, seed=3)  # training decodes it at a part of its size
    paint(given / "odd.jpg", 333, 333, seed=4)
    trained_on = PictureSet("a", Pictures(), [str(given)], resolution=32, seed=0)
    expected = [trained_on.plain(i, 16).image for i in range(4)]
    if packed:
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            for file in given.iterdir():
                archive.write(file, file.name)
        given = tmp_path / "in.zip"
    shown = network_inputs(run, given, tmp_path / "out", monkeypatch)
    assert len(shown) == 4
    for got, wanted in zip(shown, expected, strict=True):
        assert np.abs(got - wanted).max() < 0.5


def test_other_files_are_named(run: Path, tmp_path: Path, capsys: Read) -> None:
    paint(tmp_path / "in" / "a.png")
    for name in ("b.MOV", "c.cr2", "notes.txt", "@eaDir/a.png", "Thumbs.db"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    assert translate(run, tmp_path / "in", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["a.png"]
    assert "2 files with other extensions are left out: CR2 1, MOV 1" in capsys.readouterr().err
