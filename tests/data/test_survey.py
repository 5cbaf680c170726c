"""What is seen of pictures before anything is trained."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from photos import folder, photo
from PIL import Image

from progcycle.data.survey import Survey, survey_folder


def test_sizes_modes_and_what_is_small(tmp_path: Path) -> None:
    folder(tmp_path / "p", 3)
    photo(tmp_path / "p" / "deep" / "er" / "small.png", 7, (40, 20))
    photo(tmp_path / "p" / "grey.png", 8, grey=True)
    survey = survey_folder(str(tmp_path / "p"), 32)
    assert (survey.count, survey.read, survey.broken, survey.refused) == (5, 5, [], [])
    assert sorted(survey.sizes) == [(40, 20), (80, 60), (80, 60), (80, 60), (80, 60)]
    assert survey.modes == {"RGB": 4, "L": 1}
    assert (survey.smaller_than(32), survey.grey) == (0.2, 0.2)
    lines = survey.lines(32)
    assert lines[0] == "5 pictures: 40x20 to 80x60 px, colour 4, grey 1"
    assert "20% are smaller than 32 px and are enlarged, which blurs them" in lines
    assert "photographs, or similar" in lines


def test_a_picture_on_its_side_has_the_size_that_training_sees(tmp_path: Path) -> None:
    path = tmp_path / "p" / "0.jpg"
    path.parent.mkdir()
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (80, 60)).save(path, exif=exif)
    assert survey_folder(str(path.parent), 32).sizes == [(60, 80)]


def test_drawings_are_told_from_photographs(tmp_path: Path) -> None:
    """Flat areas by hand: one vertical edge in a row of 60 pixels leaves 58 of 59 pairs of neighbours equal."""
    for i in range(4):
        pixels = np.full((60, 60, 3), 255, np.uint8)
        pixels[:, 30:] = 10 * i
        (tmp_path / "d").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "d" / f"{i}.png")
    survey = survey_folder(str(tmp_path / "d"), 16)
    assert survey.flat == pytest.approx(58 / 59)
    assert survey.is_drawn
    assert survey.grey == 1
    assert not survey_folder(str(folder(tmp_path / "p", 2)), 16).is_drawn


def test_what_cannot_be_read_and_what_would_stop_a_training(tmp_path: Path) -> None:
    folder(tmp_path / "p", 3)
    (tmp_path / "p" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "p" / "float.tif")
    survey = survey_folder(str(tmp_path / "p"), 32)
    assert (survey.count, len(survey.sizes)) == (5, 4)
    assert [sentence.split(":")[0].split(" ")[0] for sentence in survey.broken + survey.refused] == [
        "broken.png",
        "float.tif",
    ]
    lines = survey.lines(32)
    assert any(line.startswith("1 cannot be read and are skipped: broken.png") for line in lines)
    assert any(line.startswith("1 would stop the training; convert or remove them: float.tif") for line in lines)


def test_scans_of_16_bits_can_be_trained_on(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for i in range(9):
        values = np.random.default_rng(i).integers(0, 4096, (20, 20)).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / "p" / f"{i}.png")
    survey = survey_folder(str(tmp_path / "p"), 16)
    assert (survey.refused, survey.broken, survey.grey) == ([], [], 1)
    assert survey.lines(16)[0] == "9 pictures: 20x20 px, grey of 16 bits 9"


def test_a_zip_file_is_looked_into(tmp_path: Path) -> None:
    folder(tmp_path / "p", 3)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for path in (tmp_path / "p").iterdir():
            archive.write(path, f"inside/{path.name}")
    survey = survey_folder(str(tmp_path / "p.zip"), 32)
    assert (survey.count, survey.modes, survey.stems) == (3, {"RGB": 3}, {"inside/000", "inside/001", "inside/002"})


def test_lines_are_at_most_100_columns_wide() -> None:
    seen = Survey("a", 500, read=500, stems=frozenset(), sizes=[(4000, 3000), (40, 30)], flat=0.9, grey=1.0)
    assert max(map(len, seen.lines(64))) <= 100


def test_depth_and_channels_of_arrays_and_tiffs_are_told_from_their_headers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        for name, values in (
            ("five.tif", rng.integers(0, 4000, (20, 24, 5)).astype(np.uint16)),
            ("bytes.tif", rng.integers(0, 255, (20, 24, 6)).astype(np.uint8)),
            ("rgb.tif", rng.integers(0, 4000, (20, 24, 3)).astype(np.uint16)),
            ("float.npy", rng.random((20, 24, 3)).astype(np.float32)),
            ("grey.npy", rng.integers(0, 4000, (20, 24)).astype(np.uint16)),
        ):
            kind, _, ending = name.partition(".")
            (tmp_path / kind).mkdir(exist_ok=True)
            path = tmp_path / kind / f"{i}.{ending}"
            if ending == "npy":
                np.save(path, values)
            else:
                plain = "rgb" if kind == "rgb" else "minisblack"
                tifffile.imwrite(path, values, photometric=plain, planarconfig="contig")
    for kind, words, channels in (
        ("five", "5 channels of 16 bits 3", 5),
        ("bytes", "6 channels 3", 6),
        ("rgb", "colour of 16 bits 3", 0),
        ("float", "colour, floating point 3", 0),
        ("grey", "grey of 16 bits 3", 0),
    ):
        survey = survey_folder(str(tmp_path / kind), 16)
        assert survey.lines(16)[0] == f"3 pictures: 24x20 px, {words}"
        assert (survey.channels, survey.refused, survey.broken) == (channels, [], [])
    (tmp_path / "five" / "damaged.tif").write_bytes(b"II*\0\xff\xff\xff\x7f")
    (tmp_path / "five" / "damaged.npy").write_bytes(b"\x93NUMPY\x01\0\xff\xff{")
    assert survey_folder(str(tmp_path / "five"), 16).count >= 4


def test_the_finest_detail_is_measured_at_the_pictures_own_size(tmp_path: Path) -> None:
    """By hand: in a chequerboard of 100 and 120 every 2x2 square deviates by 10; enlarged it has less."""
    board = np.where(np.indices((300, 400)).sum(axis=0) % 2, 120, 100).astype(np.uint8)
    for name, picture in (
        ("sharp", Image.fromarray(board)),
        ("enlarged", Image.fromarray(board[:75, :100]).resize((400, 300), Image.Resampling.BICUBIC)),
    ):
        (tmp_path / name).mkdir()
        for i in range(2):
            picture.convert("RGB").save(tmp_path / name / f"{i}.png")
    sharp, enlarged = (survey_folder(str(tmp_path / name), 32) for name in ("sharp", "enlarged"))
    assert sharp.fine == pytest.approx(10)
    assert 0 < enlarged.fine < 5
    assert sharp.times_larger(32) == 300 / 32
    assert sharp.times_larger((64, 32)) == 300 / 32
    assert survey_folder(str(tmp_path / "sharp"), 128).fine == 0, "it is not looked at where crops are out of question"
