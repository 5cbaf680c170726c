"""Depths are found out from headers, windows measured over all training pictures, and windows too wide refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deep_pictures import scan, write_scans, write_values
from PIL import Image

from progcycle.data import PictureSet
from progcycle.data.measure import find_bits, measure_values, same_levels, with_levels
from progcycle.errors import UserError
from progcycle.recipe import MAX_PIXELS, Pictures


def found(folder: Path, notes: list[str] | None = None, **options: Any) -> Pictures:
    """The options of a folder's pictures after they are measured."""
    where: dict[str, Any] = {"resolution": 32, "seed": 5, "max_pixels": MAX_PIXELS}
    asked = Pictures.model_validate(options)
    note = (notes if notes is not None else []).append
    return with_levels(asked, "data.a", lambda one: PictureSet("a", one, [str(folder)], **where), note)


def write_plain(folder: Path, count: int, low: int = 0, high: int = 255) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(scan(i, low, high)[..., 0].astype(np.uint8)).save(folder / f"plain{i}.png")
    return folder


def test_8_bits_stay_as_they_are(tmp_path: Path) -> None:
    folder = write_plain(tmp_path / "a", 3)
    assert found(folder) == Pictures()
    assert found(folder, bits=8) == Pictures(bits=8)


@pytest.mark.parametrize("ending", [".png", ".tif", ".npy"])
def test_16_bits_get_the_least_and_the_greatest_value_of_all(tmp_path: Path, ending: str) -> None:
    folder = write_scans(tmp_path / "a", 5, 100, 3000, ending)
    write_values(folder / f"99{ending}", scan(99, 50, 2000))
    options = found(folder, channels=1)
    assert (options.bits, options.window and options.window.range) == (16, (50, 3000))


def test_floating_point(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1, (30, 40, 1)).astype(np.float32)
    write_values(tmp_path / "a" / "0.tif", values)
    options = found(tmp_path / "a", channels=1, window={"percentiles": [5, 100]})
    assert options.bits == "float"
    assert options.window is not None
    assert options.window.percentiles == (5, 100)
    assert options.window.range == pytest.approx((np.percentile(values, 5), values.max()), abs=1e-6)


def test_percentiles_are_those_of_numpy_over_all_pictures(tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "a", 4, 0, 40000)
    everything = np.concatenate([scan(i, 0, 40000).reshape(-1) for i in range(4)])
    options = found(folder, channels=1, window={"percentiles": [1, 99]})
    assert options.window is not None
    expected = np.percentile(everything, [1, 99], method="inverted_cdf")
    assert options.window.range == pytest.approx(tuple(expected))


def test_values_with_a_sign(tmp_path: Path) -> None:
    values = (scan(0).astype(np.int32) - 1024).astype(np.int16)
    write_values(tmp_path / "a" / "0.tif", values)
    options = found(tmp_path / "a", channels=1)
    assert (options.bits, options.window and options.window.range) == (16, (-1024, 3071))


def test_a_window_that_is_given_stays(tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "a", 3, 100, 3000)
    options = found(folder, channels=1, window=[0, 4095])
    assert (options.bits, options.window and options.window.range) == (16, (0, 4095))


def test_a_window_that_is_hardly_used_is_refused_with_the_one_that_fits(tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "a", 3, 1000, 1500)
    with pytest.raises(
        UserError, match=r"use 0\.8% of the window 0 to 65535, .*; set data\.a\.window=\[(.*)\]"
    ) as error:
        found(folder, channels=1, bits=16, window=[0, 65535])
    low, high = map(float, str(error.value).rpartition("[")[2].rstrip("].").split(","))
    assert 1000 <= low < 1010
    assert 1490 < high <= 1500
    assert found(folder, channels=1, bits=16, window=[low, high]).window is not None
    single = write_scans(
        tmp_path / "b", 3, 1000, 1100
    )  # but for one outlier, which a measured window would have to hold
    outlier = scan(0, 1000, 1100)
    outlier.flat[7] = 65535
    write_values(single / "99.png", outlier)
    with pytest.raises(UserError, match=r"use 0\.2% of the window 1000 to 65535"):
        found(single, channels=1)
    assert found(single, channels=1, window={"percentiles": [0, 99.9]}).window is not None


def test_8_bits_that_use_few_levels_are_refused_too(tmp_path: Path) -> None:
    folder = write_plain(tmp_path / "a", 3, 0, 3)  # such as maps of classes
    with pytest.raises(UserError, match=r"from 0 to 3 and use 1\.2% of the window 0 to 255, .*window=\[0,3\]"):
        found(folder, channels=1)
    options = found(folder, channels=1, window=[0, 3])
    assert (options.bits, options.window and options.window.range) == (8, (0, 3))


def test_pictures_that_are_all_of_one_value_are_refused(tmp_path: Path) -> None:
    write_values(tmp_path / "a" / "0.png", np.full((4, 4, 1), 7, np.uint16))
    with pytest.raises(UserError, match="are 7, so that there is nothing to learn"):
        found(tmp_path / "a", channels=1)


def test_mixed_depths(tmp_path: Path) -> None:
    folder = write_plain(tmp_path / "a", 2)
    write_values(folder / "deep.png", scan(0, 0, 65535))
    notes: list[str] = []
    assert found(folder, notes) == Pictures()
    assert notes == [
        "data.a: its pictures have different depths, 8 bits (plain0.png) and 16 bits (deep.png); all are read as 8 "
        "bits, the upper 8 of 16"
    ]
    write_values(folder / "deep.png", scan(0))  # 12 bits would become 16 grey levels
    with pytest.raises(
        UserError, match=r"data\.a: its pictures have different depths, 8 bits \(plain0\.png\) and 16 bits"
    ):
        found(folder)
    with pytest.raises(UserError, match=r"plain0\.png: this picture has 8 bits a channel, .* read as 16 bits"):
        found(folder, bits=16, channels=1)
    write_values(tmp_path / "b" / "0.tif", scan(0))
    write_values(tmp_path / "b" / "1.tif", scan(0).astype(np.float32))
    with pytest.raises(UserError, match=r"different depths, 16 bits \(0\.tif\) and floating point \(1\.tif\)"):
        found(tmp_path / "b")


def test_a_picture_of_8_bits_does_not_take_the_depth_of_the_others(tmp_path: Path) -> None:
    folder = write_plain(tmp_path / "a", 1)
    for i in range(3):
        write_values(folder / f"deep{i}.png", scan(i, 0, 65535))
    with pytest.raises(UserError, match=r"8 bits \(plain0\.png\) and 16 bits .*; data\.a\.bits=8 reads the upper"):
        found(folder)
    assert found(folder, bits=8) == Pictures(bits=8)  # the advice
    (folder / "plain0.png").unlink()
    assert found(folder, channels=1).bits == 16


def test_broken_pictures_do_not_stop_the_measuring(tmp_path: Path, make_set: Any) -> None:
    folder = write_scans(tmp_path / "a", 3, 100, 3000)
    (folder / "99.png").write_bytes((folder / "00.png").read_bytes()[:200])
    (folder / "98.tif").write_bytes(b"II*\0")
    pictures = make_set(folder, bits=16, channels=1)
    assert find_bits(pictures)[0] == 16
    assert (measure_values(pictures).low, measure_values(pictures).high) == (100, 3000)


def test_what_is_asked_for_is_compared_with_what_was_found() -> None:
    before = Pictures.model_validate({"bits": 16, "window": {"range": [0, 9], "percentiles": [1, 99]}})
    same: list[Any] = [
        {"window": {"percentiles": [1, 99]}},
        {"bits": 16, "window": {"percentiles": [1, 99], "range": [0, 9]}},
    ]
    other: list[Any] = [{}, {"window": [0, 9]}, {"bits": 8, "window": {"percentiles": [1, 99]}}]
    assert all(same_levels(Pictures.model_validate(one), before) for one in same)
    assert not any(same_levels(Pictures.model_validate(one), before) for one in other)
    assert same_levels(Pictures(), Pictures())
    assert same_levels(Pictures(bits=8), Pictures())
