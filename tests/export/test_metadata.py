"""What stays of a picture besides its pixels: read back by Pillow, and put on a background."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from progcycle.commands.cli import main
from progcycle.export import Translator

Make = Callable[..., Path]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# A header is all that says which family a profile is of.
GREY, CMYK = (SRGB[:16] + family + SRGB[20:] for family in (b"GRAY", b"CMYK"))
DESCRIPTION, MAKE, ORIENTATION, EXIF, GPS = 0x010E, 0x010F, 0x0112, 0x8769, 0x8825
WHEN, SIDE, NOTE, STRIPS = 0x9003, 0xA002, 0x927C, 0x0111


def picture(mode: str = "RGB", height: int = 40, width: int = 56) -> Image.Image:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8)))
    return image.convert(mode)


def exif() -> Image.Exif:
    block = Image.Exif()
    block[MAKE], block[ORIENTATION] = "Camera", 6
    block.get_ifd(EXIF).update({WHEN: "2020:01:01 00:00:00", SIDE: 56, NOTE: b"x" * 70_000})
    block.get_ifd(GPS)[1] = "N"
    return block


def model(make_snapshot: Make, **options: object) -> Translator:
    return Translator.from_pretrained(make_snapshot(predict="change", **options))


@pytest.mark.parametrize(
    ("source", "suffix", "options"),
    [
        (".png", ".png", []),
        (".png", ".jpg", []),
        (".png", ".webp", []),
        (".png", ".tif", []),
        (".tif", ".tif", []),
        (".tif", ".png", []),
        (".tif", ".tif", ["--tiles"]),
    ],
)
def test_a_photograph_keeps_what_it_says(
    make_snapshot: Make, tmp_path: Path, source: str, suffix: str, options: list[str]
) -> None:
    run = make_snapshot(predict="change").parent.parent
    block, taken = exif(), tmp_path / f"a{source}"
    picture().save(taken, exif=block.tobytes(), icc_profile=SRGB, dpi=(300, 300))
    out = tmp_path / f"b{suffix}"
    assert main(["translate", str(run), str(taken), str(out), "--direction", "ab", *options]) == 0
    with Image.open(out) as image:
        assert image.size == (40, 56)  # upright
        assert image.info["icc_profile"] == SRGB
        if suffix != ".webp":
            assert [round(float(number)) for number in image.info["dpi"]] == [300, 300]
        kept = image.getexif()
        assert ORIENTATION not in kept or kept[ORIENTATION] == 1
        assert kept[MAKE] == "Camera"
        assert kept.get_ifd(GPS)[1] == "N"
        inner = kept.get_ifd(EXIF)
        assert (inner[WHEN], inner[SIDE], NOTE in inner) == ("2020:01:01 00:00:00", 40, False)


def test_tags_of_a_files_layout_are_not_of_the_picture(make_snapshot: Make, tmp_path: Path) -> None:
    picture().save(tmp_path / "a.tif", description="A boat")
    image = model(make_snapshot).translate(tmp_path / "a.tif")
    kept = Image.Exif()
    kept.load(image.info["exif"])
    assert dict(kept) == {DESCRIPTION: "A boat"}
    picture().save(tmp_path / "b.tif")
    assert "exif" not in model(make_snapshot).translate(tmp_path / "b.tif").info
    image = picture()
    image.getexif().update({STRIPS: 8, MAKE: "Camera"})
    image.info["exif"] = image.getexif().tobytes()
    kept = Image.Exif()
    kept.load(model(make_snapshot).translate(image).info["exif"])
    assert kept.get(MAKE) == "Camera"
    assert STRIPS not in kept


@pytest.mark.parametrize(
    ("channels", "profile", "kept"),
    [
        ((3, 3), SRGB, True),
        ((1, 1), GREY, True),
        ((3, 3), GREY, False),
        ((1, 1), SRGB, False),
        ((3, 3), CMYK, False),
        ((3, 3), b"short", False),
    ],
)
def test_a_profile_stays_where_it_is_for_such_numbers(
    make_snapshot: Make, tmp_path: Path, channels: tuple[int, int], profile: bytes, kept: bool
) -> None:
    image = picture("RGB" if channels[0] == 3 else "L")
    image.info["icc_profile"] = profile
    out = model(make_snapshot, channels=channels).translate(image)
    assert out.info.get("icc_profile") == (profile if kept else None)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("background", ["white", "#204080"])
def test_on_its_ground_a_transparent_picture_looks_like_the_opaque_one(
    make_snapshot: Make, tmp_path: Path, mode: str, background: str
) -> None:
    data = {"root": "nowhere", "a": {"background": background}}
    channels = (3, 3) if mode == "RGBA" else (1, 1)
    translator = model(make_snapshot, data=data, channels=channels, nimg=5 if mode == "LA" else 6)
    image = picture(mode)
    opaque, clear = (translator.translate(image, alpha=alpha) for alpha in ("drop", "keep"))  # type: ignore[arg-type]
    assert (opaque.mode, clear.mode) == (mode[:-1], mode)
    assert np.array_equal(np.asarray(clear)[:, :, -1], np.asarray(image)[:, :, -1])
    ground = Image.new("RGBA", clear.size, Image.new("RGB", (1, 1), background).convert(mode[:-1]).getpixel((0, 0)))
    if mode == "LA":
        ground = Image.new("L", (1, 1), background).resize(clear.size).convert("RGBA")
    shown = Image.alpha_composite(ground, clear.convert("RGBA")).convert(mode[:-1])
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(opaque)).max() <= 1
    # Nothing was changed, so that no trace of the ground may be left in what can be seen.
    visible = np.asarray(image)[:, :, -1] > 100
    assert np.abs(np.asarray(clear).astype(int) - np.asarray(image))[visible].max() <= 2


def test_opaque_pictures_stay_opaque_and_files_without_transparency_are_refused(
    make_snapshot: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_snapshot(predict="change").parent.parent
    (tmp_path / "in").mkdir()
    picture("RGBA").save(tmp_path / "in" / "a.png")
    picture().save(tmp_path / "in" / "b.jpg")
    picture("L").save(tmp_path / "in" / "c.png", transparency=128)
    arguments = ["--direction", "ab", "--alpha", "keep"]
    assert main(["translate", str(run), str(tmp_path / "in"), str(tmp_path / "out"), *arguments, "--grid"]) == 0
    modes = {}
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as image:
            modes[path.name] = image.mode
    assert modes == {"a.png": "RGBA", "b.jpg": "RGB", "c.png": "RGBA", "before_after.png": "RGB"}
    assert main(["translate", str(run), str(tmp_path / "in" / "a.png"), str(tmp_path / "a.jpg"), *arguments]) == 1
    assert "a.jpg: .jpg holds no transparency; give a name that ends in .png .webp" in capsys.readouterr().err
    assert not (tmp_path / "a.jpg").exists()
    translator = model(make_snapshot)
    assert translator.translate(picture(), alpha="keep").mode == "RGB"
    with pytest.raises(ValueError, match="alpha is 'drop' or 'keep'"):
        translator.translate(picture(), alpha="maybe")  # type: ignore[call-overload]
