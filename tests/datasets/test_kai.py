"""The Kai set: its characters are those of the standard, its pictures those of the fonts, its licence is with it."""

from __future__ import annotations

import runpy
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_datasets import DATASETS, assert_refused, names, script

KAI = DATASETS / "kai"
FOLDERS = ("trainA", "trainB", "testA", "testB")
# Where Debian installs the fonts; a machine without them skips what needs them.
INSTALLED = Path("/usr/share/fonts/truetype/arphic")


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return runpy.run_path(str(KAI / "prepare.py"))


def test_every_character_of_level_1_is_in_one_split() -> None:
    # Rows 16 to 55 of the standard, 94 cells each; the last five of row 55 are empty.
    wanted = set()
    for row in range(16, 56):
        for cell in range(1, 90 if row == 55 else 95):
            wanted.add(f"{ord(bytes([0xA0 + row, 0xA0 + cell]).decode('gb2312')):x}")
    assert len(wanted) == 3755
    train_a, train_b, test = names("kai", "trainA"), names("kai", "trainB"), names("kai", "testA")
    assert (len(train_a), len(train_b), len(test)) == (1727, 1728, 300)
    assert train_a | train_b | test == wanted
    # The first of the standard, and its last.
    assert {"554a", "5ea7"} <= wanted


def test_levels_of_grey_on_white() -> None:
    """The ground is white, strokes are black, and edges have the levels of an average over 64 dots."""
    levels: set[int] = set()
    for name in sorted(names("kai", "testA"))[::10]:
        for folder in ("testA", "testB"):
            with Image.open(KAI / folder / f"{name}.png") as picture:
                pixels = np.asarray(picture)
            assert pixels.max() == 255
            assert pixels.min() < 30
            assert (pixels == 255).mean() > 0.4
            levels |= set(pixels.ravel().tolist())
    assert len(levels) > 64


def test_the_two_styles_lie_alike_and_differ_in_their_strokes() -> None:
    """Centred in the same box: the ink's middle moves by less than a pixel, on average. Copying is far off."""
    middles = {}
    for folder in ("testA", "testB"):
        ink = [255 - np.asarray(Image.open(KAI / folder / f"{name}.png"), np.float64) for name in names("kai", "testA")]
        boxes = [(np.flatnonzero(i.sum(0) > 0)[[0, -1]], np.flatnonzero(i.sum(1) > 0)[[0, -1]]) for i in ink]
        middles[folder] = np.array([[across.mean(), down.mean()] for across, down in boxes]).mean(0)
        assert np.abs(middles[folder] - 31.5).max() < 1
    assert np.abs(middles["testA"] - middles["testB"]).max() < 1
    order = sorted(names("kai", "testA"))
    pictures = {
        folder: np.stack([np.asarray(Image.open(KAI / folder / f"{name}.png"), np.float64) for name in order])
        for folder in ("testA", "testB")
    }
    apart = np.abs(pictures["testA"] - pictures["testB"]).mean()
    random = np.abs(pictures["testA"] - np.roll(pictures["testB"], 1, 0)).mean()
    assert 0.9 * random < apart < random, "a pair shows one character, whose strokes lie elsewhere"


def test_the_licence_is_unaltered() -> None:
    """The text of the packages: /usr/share/doc/fonts-arphic-ukai/license/english/ARPHICPL.TXT.gz."""
    text = (KAI / "ARPHICPL.TXT").read_bytes()
    assert sha256(text).hexdigest() == "3a5e90c0957524a89e48203febcd4492ca4393678abaa7e5b4d70f3ff32b386d"
    readme = (KAI / "README.md").read_text("utf-8")
    for said in ("ARPHICPL.TXT", "Arphic Technology", "Changes were made"):
        assert said in readme


def test_small_files() -> None:
    assert sum(path.stat().st_size for path in KAI.rglob("*") if path.is_file()) < 6_000_000
    assert (KAI / "preview.png").stat().st_size < 150_000


def test_the_readme_names_the_fonts_that_are_drawn(prepare: dict[str, Any]) -> None:
    readme = (KAI / "README.md").read_text("utf-8")
    for font in (prepare["UMING"], prepare["UKAI"]):
        for fact in (font.package, font.version, font.sha256):
            assert fact in readme


def test_the_split_is_that_of_the_script(prepare: dict[str, Any]) -> None:
    common = runpy.run_path(str(DATASETS / "_common.py"))
    place = common["split"]((f"{ord(char):x}" for char in prepare["characters"]()), prepare["TEST"])
    for where, folder in {"A": "trainA", "B": "trainB", "test": "testB"}.items():
        assert {name for name in place if place[name] == where} == names("kai", folder)


@pytest.mark.parametrize("style", ["uming", "ukai"])
def test_pictures_are_those_of_the_fonts(style: str, prepare: dict[str, Any], tmp_path: Path) -> None:
    path = INSTALLED / f"{style}.ttc"
    if not path.exists():
        pytest.skip(f"{path} is not installed (apt-get install fonts-arphic-{style})")
    prepare["find_font"](prepare[style.upper()], path, tmp_path)
    drawn, large = prepare["draw"](path), prepare["draw"](path, 128)
    folder = {"uming": "testA", "ukai": "testB"}[style]
    for name in sorted(names("kai", folder))[::30]:
        stored = np.asarray(Image.open(KAI / folder / f"{name}.png"), int)
        # Another FreeType may set a dot of 64 elsewhere.
        assert np.abs(np.asarray(drawn[name], int) - stored).max() <= 8
        assert large[name].size == (128, 128)
        # A picture of 128 px, averaged, is that of 64 px, but for the rounding of outlines to dots.
        assert np.abs(np.asarray(large[name].reduce(2), int) - stored).mean() < 2


def test_a_character_fills_the_em_box_of_the_font(prepare: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Baseline and size, with a font that draws a box from 124 under the baseline to 900 above it."""
    asked: list[Any] = []

    class Pen:
        def __init__(self, picture: Image.Image) -> None:
            self.picture = picture

        def text(self, at: tuple[int, int], text: str, **how: Any) -> None:
            asked.append((self.picture.size, at, text, how["font"], how["anchor"]))

    globals_of = prepare["draw"].__globals__
    monkeypatch.setattr(globals_of["ImageFont"], "truetype", lambda path, size, **how: (size, how["index"]))
    monkeypatch.setattr(globals_of["ImageDraw"], "Draw", Pen)
    assert prepare["draw"](Path("x.ttc"), 128)["4e00"].size == (128, 128)
    # 128 px times 8; 900 of 1024 units above the baseline; the first face, CN.
    assert asked == [((1024, 1024), (0, 900), "一", (1024, 0), "ls")]


def test_other_fonts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "uming.ttc").write_bytes(b"another font")
    out = tmp_path / "out"
    run = ("kai/prepare.py", "--out", out, "--uming")
    assert_refused(script(*run, tmp_path / "uming.ttc"), "another font", "fonts-arphic-uming 0.2.20080216.2-11")
    assert_refused(script(*run, tmp_path / "none.ttc"), "there is no font")
    assert list(out.iterdir()) == []
    if shutil.which("dpkg-deb") is not None:
        assert_refused(script(*run, tmp_path / "none.deb"), "there is no file")
