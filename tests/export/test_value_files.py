"""Translating pictures of more than 8 bits and of n channels: depth, format and metadata of what is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

from progcycle.errors import UserError
from progcycle.export import Translator
from progcycle.export.translate_files import Translated, translate_files

Make = Callable[..., Path]
TWELVE: dict[str, Any] = {"bits": 16, "window": [0, 4095], "channels": 1}


def values(seed: int, low: int, high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high + 1, shape or (30, 20)).astype(np.uint16)


@pytest.fixture
def identity(make_snapshot: Make) -> Callable[..., Translator]:
    """Translators that change nothing, between domains with these options."""

    def make(a: dict[str, Any], b: dict[str, Any]) -> Translator:
        channels = a.get("channels", 3), b.get("channels", 3)
        model = Translator.from_pretrained(make_snapshot(channels=channels, data={"root": "nowhere", "a": a, "b": b}))
        for network in (model.gen_ab, model.gen_ba):
            network.forward = lambda x, *_: x  # type: ignore[method-assign]
        return model

    return make


def translated(model: Translator, source: Path, output: Path, **options: Any) -> Translated:
    return translate_files(model, source, output, "ab", scale="native", **options)


def stored(file: Path) -> np.ndarray:
    if file.suffix == ".npy":
        return np.load(file)
    if file.suffix == ".tif":
        return tifffile.imread(file)
    found = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    return found[..., ::-1] if found.ndim == 3 else found


def write(file: Path, array: np.ndarray) -> None:
    file.parent.mkdir(exist_ok=True)
    if file.suffix == ".npy":
        np.save(file, array)
    elif file.suffix == ".tif":
        tifffile.imwrite(file, array, photometric="rgb" if array.shape[2:] == (3,) else "minisblack")
    else:
        cv2.imwrite(str(file), array[..., ::-1] if array.ndim == 3 else array)


@pytest.mark.parametrize("ending", [".png", ".tif", ".npy"])
@pytest.mark.parametrize(("low", "high"), [(0, 4095), (1000, 1255), (0, 65535)])
def test_a_round_trip_of_16_bits_is_exact(
    identity: Callable[..., Translator], tmp_path: Path, ending: str, low: int, high: int
) -> None:
    """Within half a level of the window, so that every whole number comes back."""
    window = {**TWELVE, "window": [low, high]}
    array = values(0, low, high)
    write(tmp_path / "in" / f"x{ending}", array)
    done = translated(identity(window, window), tmp_path / "in", tmp_path / "out")
    assert (done.written, done.faults) == (1, ())
    made = stored(tmp_path / "out" / f"x{ending}")
    assert made.dtype == np.uint16
    assert np.array_equal(made, array)


def test_colour_of_16_bits(identity: Callable[..., Translator], tmp_path: Path) -> None:
    options = {"bits": 16, "window": [0, 65535]}
    array = values(1, 0, 65535, 30, 20, 3)
    for ending in (".png", ".tif", ".npy"):
        write(tmp_path / "in" / f"x{ending}", array)
        translated(identity(options, options), tmp_path / "in" / f"x{ending}", tmp_path / f"out{ending}")
        assert np.array_equal(stored(tmp_path / f"out{ending}"), array)


def test_the_other_domain_has_a_window_of_its_own(identity: Callable[..., Translator], tmp_path: Path) -> None:
    array = values(2, 0, 4095)
    write(tmp_path / "x.png", array)
    translated(identity(TWELVE, {**TWELVE, "window": [-1000, 1000]}), tmp_path / "x.png", tmp_path / "y.tif")
    made = stored(tmp_path / "y.tif")
    assert made.dtype == np.int16  # which PNG cannot hold
    assert np.abs(made - (array / 4095 * 2000 - 1000)).max() < 0.52  # half a level, and the rounding to 65536
    done = translated(identity(TWELVE, {**TWELVE, "window": [-1000, 1000]}), tmp_path / "x.png", tmp_path / "out")
    assert not done.faults
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["x.png.tif"]
    model = identity(TWELVE, {**TWELVE, "bits": "float", "window": [0, 1]})
    translated(model, tmp_path / "x.png", tmp_path / "z.tif")
    assert stored(tmp_path / "z.tif").dtype == np.float32
    assert np.abs(stored(tmp_path / "z.tif") - array / 4095).max() < 1e-5
    with pytest.raises(UserError, match="can be written as tif tiff npy, not as png"):
        translated(model, tmp_path / "x.png", tmp_path / "z.png")


def test_between_8_and_16_bits(identity: Callable[..., Translator], tmp_path: Path) -> None:
    model = identity({"channels": 1}, TWELVE)
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "x.png")
    translated(model, tmp_path / "x.png", tmp_path / "y.png")
    assert np.abs(stored(tmp_path / "y.png") - levels / 255 * 4095).max() < 0.52
    translate_files(model, tmp_path / "y.png", tmp_path / "z.jpg.png", "ba", scale="native")
    with Image.open(tmp_path / "z.jpg.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), levels)


def test_n_channels(identity: Callable[..., Translator], tmp_path: Path) -> None:
    options = {"bits": 16, "window": [0, 9999], "channels": 6}
    array = values(3, 0, 9999, 30, 20, 6)
    tifffile.imwrite(tmp_path / "x.tif", array, photometric="minisblack", planarconfig="contig")
    translated(identity(options, options), tmp_path / "x.tif", tmp_path / "y.tif", grid=True)
    assert np.array_equal(stored(tmp_path / "y.tif"), array)
    assert (tmp_path / "y_before_after.png").exists()


def test_rgba_as_four_channels(identity: Callable[..., Translator], tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (30, 20, 4)).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "x.png")
    translated(identity({"channels": 4}, {"channels": 4}), tmp_path / "x.png", tmp_path / "y.webp")
    with Image.open(tmp_path / "y.webp") as image:
        assert image.mode == "RGBA"
        seen = array[..., 3] > 0  # WebP forgets the colours of what cannot be seen
        assert np.array_equal(np.asarray(image)[seen], array[seen])


def test_clips_have_8_bits(identity: Callable[..., Translator], tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((20, 20), 90 * i, np.uint8)) for i in range(2)]
    frames[0].save(tmp_path / "x.png", save_all=True, append_images=frames[1:], duration=100)
    done = translated(identity({"channels": 1}, TWELVE), tmp_path / "x.png", tmp_path / "y.png")
    assert "clips have 8 bits" in done.faults[0]


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_translators_of_8_bits_keep_the_depth_of_16(
    identity: Callable[..., Translator], tmp_path: Path, ending: str
) -> None:
    array = values(4, 0, 65535, 30, 20, 3)
    write(tmp_path / f"x{ending}", array)
    model = identity({}, {})
    translated(model, tmp_path / f"x{ending}", tmp_path / f"y{ending}")
    assert np.array_equal(stored(tmp_path / f"y{ending}"), array)
    grey = identity({"channels": 1}, {"channels": 1})
    translated(grey, tmp_path / f"x{ending}", tmp_path / f"grey{ending}")
    assert np.abs(stored(tmp_path / f"grey{ending}") - array @ [0.299, 0.587, 0.114]).max() <= 1
    signed = (values(7, 0, 65535).astype(np.int32) - 32768).astype(np.int16)
    tifffile.imwrite(tmp_path / "signed.tif", signed)
    done = translated(grey, tmp_path / "signed.tif", tmp_path / "s.tif")
    assert "numbers with a sign" in done.faults[0]
    model = identity({}, {})
    write(tmp_path / f"dark{ending}", array // 32)
    done = translated(model, tmp_path / f"dark{ending}", tmp_path / f"z{ending}")
    assert "its 16-bit values run from" in done.faults[0]


def test_profile_exif_and_dots_are_kept_and_pictures_turned(
    identity: Callable[..., Translator], tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Scanner"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey = icc[:16] + b"GRAY" + icc[20:]
    array = values(5, 0, 4095)
    Image.fromarray(array).save(tmp_path / "x.png", exif=exif, icc_profile=grey, dpi=(300, 200))
    model = identity(TWELVE, TWELVE)
    translated(model, tmp_path / "x.png", tmp_path / "y.png")
    with Image.open(tmp_path / "y.png") as image:
        assert np.array_equal(np.asarray(image), np.rot90(array, -1))
        assert image.info["icc_profile"] == grey
        assert image.info["dpi"] == pytest.approx((300, 200), abs=0.1)
        assert image.getexif()[271] == "Scanner"
        assert image.getexif().get(274, 1) == 1
    translated(model, tmp_path / "x.png", tmp_path / "y.tif")
    with tifffile.TiffFile(tmp_path / "y.tif") as file:
        page = file.pages[0]
        assert np.array_equal(page.asarray(), np.rot90(array, -1))
        assert bytes(page.tags[34675].value) == grey
        assert page.tags[271].value == "Scanner"
        assert page.tags[282].value[0] / page.tags[282].value[1] == pytest.approx(300, abs=0.1)


@pytest.mark.parametrize("options", [{}, {"tiles": True}])
def test_values_outside_of_the_window_are_told_once(
    identity: Callable[..., Translator], tmp_path: Path, caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    unit = {"bits": "float", "window": [0, 1], "channels": 1}
    model = identity(unit, unit)
    array = np.linspace(0, 1, 600, dtype=np.float32).reshape(30, 20)
    for name, values in (("a", array), ("b", np.where(array < 0.005, -1, array)), ("c", array * 4), ("d", array * 5)):
        write(tmp_path / "in" / f"{name}.tif", values.astype(np.float32))
    done = translated(model, tmp_path / "in", tmp_path / "out", **options)
    assert (done.written, done.faults) == (4, ())
    (told,) = [record.message for record in caplog.records if "outside" in record.message]
    assert told.startswith("c.tif: 75% of its values lie outside of 0 to 1, the window of A in training")
    assert stored(tmp_path / "out" / "c.tif").max() == 1


def test_a_volume_tells_of_the_values_of_all_its_slices(
    identity: Callable[..., Translator], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = np.random.default_rng(0).integers(0, 200, (8, 8, 10)).astype(np.int16)
    values[..., 3] = 500
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "x.nii.gz")
    options = {"bits": 16, "window": [-160, 240], "channels": 1, "volumes": {"axis": 2}}
    translated(identity(options, options), tmp_path / "x.nii.gz", tmp_path / "y.nii.gz")
    assert [r.message[:14] for r in caplog.records if "outside" in r.message] == ["x.nii.gz: 10% "]


def test_arrays_of_values_in_python(identity: Callable[..., Translator]) -> None:
    model = identity(TWELVE, {**TWELVE, "window": [0, 8190]})
    array = values(6, 0, 4095)
    assert np.array_equal(model.translate(array, scale="native")[..., 0], array * 2)
    assert np.array_equal(model.translate(array.astype(np.int16), scale="native")[..., 0], array * 2)
    with pytest.raises(UserError, match="floating point numbers"):
        model.translate(array.astype(np.float32), scale="native")
    made = model.translate(Image.fromarray(array), scale="native")
    assert np.array_equal(made[..., 0], array * 2)  # type: ignore[call-overload]
    x = model.translate(torch.zeros(1, 1, 20, 30), scale="train")
    assert x.abs().max() < 1e-6


@pytest.mark.parametrize("scale", ["train", "native"])
def test_the_training_scale_sees_all_levels(identity: Callable[..., Translator], scale: Any) -> None:
    """A smooth ramp of 200 of 4096 levels is not broken into the 13 that 8 bits would have."""
    model = identity(TWELVE, TWELVE)
    ramp = np.tile(np.linspace(1000, 1199, 64).round().astype(np.uint16), (64, 1))
    made = model.translate(ramp, scale=scale)[..., 0]
    assert np.abs(made.astype(int) - ramp).max() <= 4
    assert len(np.unique(made)) > 60


def test_a_damaged_window_in_a_snapshot(make_snapshot: Make) -> None:
    folder = make_snapshot(channels=(1, 1), data={"root": "nowhere", "a": TWELVE, "b": TWELVE})
    path = folder / "config.json"
    path.write_text(path.read_text().replace("4095.0", '"wide"'))
    with pytest.raises(UserError, match=r"config.json: data\.a: bits or window or .* is damaged"):
        Translator.from_pretrained(folder).levels("ab")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_comes_back_voxel_by_voxel(identity: Callable[..., Translator], tmp_path: Path, axis: int) -> None:
    values = np.random.default_rng(0).integers(-160, 241, (20, 24, 18)).astype(np.int16)
    np.moveaxis(values, axis, 0)[3] = -160  # an empty slice
    (tmp_path / "in").mkdir()
    affine = np.diag([0.5, 0.7, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "in" / "x.nii.gz")
    options = {"bits": 16, "window": [-160, 240], "channels": 1, "volumes": {"axis": axis}}
    done = translated(identity(options, options), tmp_path / "in", tmp_path / "out")
    assert done.faults == ()
    made = nibabel.load(tmp_path / "out" / "x.nii.gz")
    assert np.array_equal(np.asarray(made.dataobj), values)
    assert np.array_equal(made.affine, nibabel.load(tmp_path / "in" / "x.nii.gz").affine)
    assert np.allclose(made.affine, affine)
