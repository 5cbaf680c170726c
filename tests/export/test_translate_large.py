"""Large pictures from file to file: as without tiles, and never all in memory."""

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from torch import Tensor

from progcycle.data import bands, decode, fit
from progcycle.data.decode import decode_picture
from progcycle.data.levels import DEEP, PLAIN
from progcycle.errors import UserError
from progcycle.export import Translator, detail, spool, translate_large
from progcycle.export.spool import Spool
from progcycle.export.tiles import Tiling
from progcycle.export.translate_files import translate_files

Make = Callable[..., Path]
HEIGHT, WIDTH = 150, 210


def colours(dtype: Any = np.uint8) -> np.ndarray:
    i, j = np.mgrid[:HEIGHT, :WIDTH]
    waves = np.stack([np.sin(i / 9 + j / 17), np.cos(i / 5), np.sin(j / 7)], axis=2) * 120 + 128
    return (waves * 257).astype(np.uint16) if dtype == np.uint16 else waves.astype(dtype)


@pytest.fixture
def model(make_snapshot: Make) -> Translator:
    import torch

    model = Translator.from_pretrained(make_snapshot(predict="change"))
    for i, parameter in enumerate(model.parameters()):
        random = torch.rand(parameter.shape, generator=torch.Generator().manual_seed(i)) * 2 - 1
        parameter.data += 0.2 * random
    return model


@pytest.fixture
def given(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    exif = Image.Exif()
    exif[274], exif[0x10E] = 6, "what"
    for ending in ("png", "jpg"):
        Image.fromarray(colours()).save(folder / f"turned.{ending}", exif=exif, dpi=(200, 200), quality=95)
    cv2.imwrite(str(folder / "deep.png"), colours(np.uint16))
    tifffile.imwrite(folder / "deep.tif", colours(np.uint16), photometric="rgb", tile=(64, 64), compression="zlib")
    Image.fromarray(colours()).save(folder / "plain.webp", lossless=True)
    Image.fromarray(colours()[..., 0]).save(folder / "grey.tif")
    return folder


def values_of(file: Path) -> np.ndarray:
    levels = DEEP if file.name.startswith("deep") else PLAIN
    return decode_picture(file, channels=3, background="white", levels=levels, values=True).astype(float)


@pytest.mark.parametrize("scale", ["detail", "train", "native"])
def test_files_are_those_without_tiles(
    model: Translator, given: Path, tmp_path: Path, scale: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = translate_files(model, given, tmp_path / "one", "ab", scale=scale)
    monkeypatch.setattr(bands, "BAND", 3000)
    monkeypatch.setattr(detail, "BAND", 5000)
    monkeypatch.setattr(fit, "AT_ONCE", 4000)
    tiles = 72 if scale == "native" else True
    other = translate_files(model, given, tmp_path / "other", "ab", scale=scale, tiles=tiles, grid=True)
    assert (one.written, one.faults, other.written, other.faults) == (6, (), 6, ())
    for file in sorted((tmp_path / "one").iterdir()):
        before, after = values_of(file), values_of(tmp_path / "other" / file.name)
        unit = 257 if file.name.startswith("deep") else 1
        loss = 6 if file.suffix == ".jpg" else 0.01 * unit if unit > 1 else 1
        assert np.abs(before - after).max() <= loss, file.name
        assert np.abs(before - after).mean() < 0.02 * unit, file.name
        if file.suffix in (".png", ".jpg", ".tif"):
            with Image.open(file) as a, Image.open(tmp_path / "other" / file.name) as b:
                assert (a.size, a.info.get("dpi")) == (b.size, b.info.get("dpi"))
                assert a.getexif().get(0x10E) == b.getexif().get(0x10E)
    assert other.sheet is not None
    assert np.asarray(Image.open(other.sheet)).std() > 20


@pytest.mark.parametrize("scale", ["detail", "native"])
def test_no_more_than_a_tile_or_a_band_is_ever_held(
    model: Translator, tmp_path: Path, scale: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a tall picture: what is read and what the network sees at a time are the same at any height."""
    monkeypatch.setattr(bands, "BAND", 2000)
    monkeypatch.setattr(detail, "BAND", 2000)
    monkeypatch.setattr(fit, "AT_ONCE", 2000)
    asked = list[int]()
    read, both = Spool.read, Translator._both

    def watched(self: Spool, *place: Any) -> np.ndarray:
        pixels = read(self, *place)
        asked.append(pixels.shape[0] * pixels.shape[1])
        return pixels

    def seen(self: Translator, x: Tensor, way: Any) -> tuple[Tensor, Tensor]:
        asked.append(x.shape[2] * x.shape[3])
        return both(self, x, way)

    monkeypatch.setattr(Spool, "read", watched)
    monkeypatch.setattr(Translator, "_both", seen)
    Image.fromarray(np.tile(colours(), (4, 1, 1))).save(tmp_path / "tall.png")
    tiles = 64 if scale == "native" else True
    done = translate_files(model, tmp_path / "tall.png", tmp_path / "out.png", "ab", scale=scale, tiles=tiles)
    assert done.faults == ()
    small = 32 * round(32 * 4 * HEIGHT / WIDTH)  # what the network sees of it at the scale of training
    assert max(asked) <= max(64 * 64, 2000, small if scale == "detail" else 0)
    assert len(asked) > 30


def test_a_row_of_tiles_is_gone_before_the_next_is_made(
    model: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a wide picture a row of tiles is large."""
    monkeypatch.setattr(detail, "BAND", 2000)
    made: list[weakref.ref[Tensor]] = []
    band = Tiling._band

    def watched(self: Tiling, *arguments: Any) -> Tensor:
        assert all(one() is None for one in made)
        found = band(self, *arguments)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(Tiling, "_band", watched)
    Image.fromarray(np.tile(colours(), (2, 1, 1))).save(tmp_path / "tall.png")
    done = translate_files(model, tmp_path / "tall.png", tmp_path / "out.png", "ab", scale="native", tiles=64)
    assert done.faults == ()
    assert len(made) > 3


def test_values_that_8_bits_would_lose_are_refused_as_without_tiles(model: Translator, tmp_path: Path) -> None:
    for name, values in (("dark", colours(np.uint16) // 257), ("signed", colours(np.int16) - 200)):
        tifffile.imwrite(tmp_path / f"{name}.tif", values, photometric="rgb")
        options: Any = {"source": tmp_path / f"{name}.tif", "output": tmp_path / "out.tif", "direction": "ab"}
        plain, tiled = (translate_files(model, **options, tiles=tiles) for tiles in (False, True))
        assert len(plain.faults) == 1
        assert plain.faults == tiled.faults
        assert not (tmp_path / "out.tif").exists()


def test_a_disk_without_room_is_said_before_anything_is_read(
    model: Translator, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(spool.shutil, "disk_usage", lambda _: usage)
    done = translate_files(model, given / "turned.png", tmp_path / "out.png", "ab", tiles=True)
    assert len(done.faults) == 1
    assert "turned.png: in tiles it needs 0.0 GB in" in done.faults[0]
    assert "make room, or write to another disk" in done.faults[0]
    assert not (tmp_path / "out.png").exists()


def test_a_picture_that_breaks_off_leaves_nothing(model: Translator, given: Path, tmp_path: Path) -> None:
    content = (given / "turned.png").read_bytes()
    place = content.index(b"IDAT") + 500
    out = tmp_path / "out"
    for damaged in (content[:-300], content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]):
        (tmp_path / "cut.png").write_bytes(damaged)
        done = translate_files(model, tmp_path / "cut.png", out / "cut.png", "ab", tiles=True)
        assert len(done.faults) == 1
        assert done.faults[0].startswith("cut.png: this picture cannot be read (")
        assert not list(out.glob("*"))
        assert not list(out.glob(".*"))


def test_a_large_file_is_not_read_into_memory(
    model: Translator, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "LARGEST", 1000)  # bytes of a file that is
    done = translate_files(model, given, tmp_path / "out", "ab", tiles=True)
    assert [fault.partition(":")[0] for fault in done.faults] == ["turned.jpg"], "whose reduced size training reads"
    assert done.written == 5


def test_nothing_that_has_been_written_is_kept(
    model: Translator, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detail, "BAND", 2000)
    write, alive = translate_large.write_bands, list[int]()

    def watched(values: Iterator[np.ndarray], *options: Any) -> None:
        def bands() -> Iterator[np.ndarray]:
            written = list[weakref.ref[np.ndarray]]()
            for part in values:
                written.append(weakref.ref(part))
                yield part
                alive.append(sum(ref() is not None for ref in written))

        write(bands(), *options)

    monkeypatch.setattr(translate_large, "write_bands", watched)
    assert translate_files(model, given / "turned.png", tmp_path / "out.png", "ab", tiles=True).faults == ()
    assert len(alive) > 10
    assert max(alive) <= 2


def test_a_spool_gives_back_every_rectangle(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 1 << 16, (20, 31, 3), dtype=np.uint16)
    with Spool.beside(tmp_path / "x", "x", values.shape, values.dtype) as made:
        made.write(0, 0, values[:, :9])
        made.write(0, 9, values[:, 9:])
        assert np.array_equal(made.read(0, 20), values)
        made.write(5, 0, values[7:9])
        assert np.array_equal(made.read(5, 7, 3, 20), values[7:9, 3:20])
    with Spool.beside(tmp_path / "x", "x", values.shape, values.dtype) as made, pytest.raises(OSError, match="cut off"):
        made.read(0, 20)
    with pytest.raises(UserError, match="needs"):
        Spool.beside(tmp_path / "x", "x", (1 << 30, 1 << 30, 3), values.dtype).__enter__()
