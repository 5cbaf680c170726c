"""What is seen of pictures before anything is trained."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
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
