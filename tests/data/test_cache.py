"""The cache: built once, equal to direct decoding, never half-written, never out of date."""

import json
import os
import pickle
import time

import numpy as np
import pytest
from picture_folders import picture, write_folder
from PIL import Image

import progcycle.data.cache as cache_module
import progcycle.data.reader as reader_module
from progcycle.data import cache_warning
from progcycle.data.cache import ArrayCache
from progcycle.errors import UserError


@pytest.fixture
def forbid_decoding(monkeypatch):
    def forbid():
        def fail(*_, **__):
            raise AssertionError("a picture was decoded")

        monkeypatch.setattr(reader_module, "decode_picture", fail)

    return forbid


@pytest.mark.parametrize("options", [{}, {"fit": "pad"}, {"channels": 1}, {"load_resolution": 36}, {"fit": "stretch"}])
def test_equal_to_direct_decoding(tmp_path, make_set, forbid_decoding, options):
    folder = write_folder(tmp_path / "pictures", 7, width=150, height=120)
    Image.fromarray(picture(9, 256, 256)).save(folder / "large.jpg")  # is decoded at a smaller scale
    direct = make_set(folder, mirror=True, **options)
    expected = [direct.training(p, r).image for p in range(16) for r in (4, 8, 16, 32)]
    cached = make_set(folder, mirror=True, cache_dir=tmp_path / "cache", **options)
    cached.prepare([4, 8, 16, 32])
    forbid_decoding()
    for pictures in (cached, pickle.loads(pickle.dumps(cached))):
        got = [pictures.training(p, r).image for p in range(16) for r in (4, 8, 16, 32)]
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def test_built_once_for_the_stages_that_are_read(folder, tmp_path, make_set, forbid_decoding):
    pictures = make_set(folder, cache_dir=tmp_path, cache_resolution=16)
    pictures.prepare([4, 8, 16, 32])
    assert sorted(f.name for f in pictures.cache.folder.iterdir()) == ["16.npy", "4.npy", "8.npy", "manifest.json"]
    array = np.load(pictures.cache.folder / "8.npy")
    assert array.shape == (7, 8, 8, 3)
    assert array.dtype == np.uint8
    pictures.training(0, 32)  # above the cache
    pictures.prepare([32])
    forbid_decoding()
    make_set(folder, cache_dir=tmp_path, cache_resolution=16).prepare([4, 8, 16, 32], progress=True)


@pytest.mark.parametrize(
    ("options", "resolutions", "side"),
    [
        ({"load_resolution": 65}, [4, 32], 65),
        ({"load_resolution": 64}, [4, 32], None),
        ({"cache_resolution": 16}, [32], 32),
        ({"cache_resolution": 16}, [16, 32], None),  # some of the stages
        ({"cache_resolution": 0, "load_resolution": 65}, [4, 32], None),  # as it is wanted
        ({"cache_dir": None, "load_resolution": 65}, [4, 32], None),
    ],
)
def test_where_no_stage_is_cached_it_is_said_with_what_to_do(folder, tmp_path, make_set, options, resolutions, side):
    def prepared(**changes):
        pictures = make_set(folder, **{"cache_dir": tmp_path / "cache", **options, **changes})
        pictures.prepare(resolutions)
        cached = pictures.cache is not None and any(pictures.cache.has(r) for r in (*resolutions, 65, 64))
        return cache_warning(pictures, resolutions), cached

    sentence, cached = prepared()
    if side is None:
        assert sentence is None
        return
    assert not cached
    assert f"pictures are read at {side} px" in sentence
    assert sentence.endswith(f"at every step; data.cache_resolution={side} caches them")
    assert prepared(cache_resolution=side) == (None, True)


def test_stages_can_be_added(folder, tmp_path, make_set):
    pictures = make_set(folder, cache_dir=tmp_path)
    pictures.prepare([4])
    before = (pictures.cache.folder / "4.npy").stat().st_mtime_ns
    pictures.prepare([4, 32])
    assert (pictures.cache.folder / "4.npy").stat().st_mtime_ns == before
    assert pictures.cache.has(32)


@pytest.mark.parametrize("options", [{"cache_dir": None}, {"cache_resolution": 0}, {"load_resolution": 65}])
def test_no_cache(folder, tmp_path, make_set, options):
    pictures = make_set(folder, **{"cache_dir": tmp_path / "cache", **options})
    pictures.prepare([4, 8, 16, 32])
    assert pictures.training(0, 4).image.shape == (4, 4, 3)
    assert not (tmp_path / "cache").exists()


def test_random_crops_read_the_loaded_size(folder, tmp_path, make_set, forbid_decoding):
    pictures = make_set(folder, cache_dir=tmp_path, load_resolution=40)
    pictures.prepare([4, 8, 16, 32])
    assert [f.name for f in pictures.cache.folder.glob("*.npy")] == ["40.npy"]
    forbid_decoding()
    pictures.training(0, 8)


def test_changes_build_anew(folder, tmp_path, make_set):
    def place(**options):
        pictures = make_set(folder, cache_dir=tmp_path / "cache", **options)
        pictures.prepare([8])
        return pictures.cache.folder

    first = place()
    assert place() == first == place(mirror=True, seed=9, cache_resolution=8)
    others = [place(fit="pad"), place(background="black"), place(channels=1), place(resolution=16)]
    image = Image.fromarray(picture(77))
    image.save(folder / "new.png")
    others.append(place())
    image.save(folder / "00.png")
    others.append(place())
    os.utime(folder / "00.png", ns=(1, 1))
    others.append(place())
    assert len({first, *others}) == 8


def test_domains_that_look_alike_do_not_share(tmp_path, make_set):
    sets = []
    for offset, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "0.bmp"  # same name, size and time
        Image.fromarray(picture(offset)).save(file)
        os.utime(file, ns=(1, 1))
        sets.append(make_set(tmp_path / name, domain=name, cache_dir=tmp_path / "cache"))
        sets[-1].prepare([32])
    assert not np.array_equal(sets[0].plain(0, 32).image, sets[1].plain(0, 32).image)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_build_leaves_nothing(folder, tmp_path, make_set, monkeypatch, error):
    pictures = make_set(folder, cache_dir=tmp_path / "cache")
    expected = [pictures.training(p, 8).image for p in range(7)]
    real, calls = reader_module.fit_to, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 5:
            raise error
        return real(*args)

    monkeypatch.setattr(reader_module, "fit_to", interrupted)
    with pytest.raises(error):
        pictures.prepare([4, 8])
    assert not list((tmp_path / "cache").rglob("*.*"))
    monkeypatch.undo()
    assert np.array_equal(pictures.training(0, 8).image, expected[0])
    pictures.prepare([4, 8])
    assert all(np.array_equal(pictures.training(p, 8).image, image) for p, image in enumerate(expected))


def test_what_a_killed_build_left_is_ignored_and_swept(folder, tmp_path, make_set):
    pictures = make_set(folder, cache_dir=tmp_path)
    pictures.cache.folder.mkdir(parents=True)
    old, young = (pictures.cache.folder / f"8.npy.{pid}.partial" for pid in (1, 2))
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    pictures.prepare([8])
    assert not old.exists()
    assert young.exists()
    assert pictures.training(0, 8).image.shape == (8, 8, 3)


def test_broken_pictures_are_remembered(folder, tmp_path, make_set):
    (folder / "02.png").write_bytes(b"")
    make_set(folder, cache_dir=tmp_path).prepare([8])
    later = make_set(folder, cache_dir=tmp_path)
    manifest = json.loads((later.cache.folder / "manifest.json").read_text())
    assert list(manifest["broken"]) == ["02.png"]
    assert manifest["count"] == 7
    samples = [later.training(p, 8) for p in range(7)]  # without prepare
    assert [s.broken for s in samples if s.broken] == [("02.png: this file is empty.",)]
    with pytest.raises(UserError, match="at least 1 of 7"):
        make_set(folder, cache_dir=tmp_path, max_broken=0.1).prepare([8])


def test_too_many_broken_pictures_leave_no_cache(folder, tmp_path, make_set):
    for name in ("00.png", "02.png", "04.png"):
        (folder / name).write_bytes(b"")
    pictures = make_set(folder, cache_dir=tmp_path / "cache", max_broken=0.3)
    with pytest.raises(UserError, match=r"at least 3 of 7 pictures are broken.*00\.png: this file is empty"):
        pictures.prepare([8])
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_damage_and_bad_places_are_named(folder, tmp_path, make_set):
    make_set(folder, cache_dir=tmp_path).prepare([8])
    again = make_set(folder, cache_dir=tmp_path)
    content = again.cache.path(8).read_bytes()
    again.cache.path(8).write_bytes(content[:-50])
    with pytest.raises(UserError, match=r"8\.npy is damaged; delete the folder"):
        again.training(0, 8)
    again.cache.path(8).write_bytes(content)
    (again.cache.folder / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        again.training(0, 8)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written .*set data\.cache_dir"):
        make_set(folder, cache_dir=tmp_path / "file" / "below").prepare([8])


def _arrays(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def _pictures(count=6, pause=None):
    for i in range(count):
        if pause is not None:
            pause(i)
        yield np.full((8, 8, 3), i, np.uint8)


def test_two_writers_with_one_process_number_both_succeed(tmp_path, monkeypatch):
    """As in two containers, where both are process 1: the second comes while the first is half-way."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    first, second = (ArrayCache(tmp_path / "cache", (6, 8, 8, 3)) for _ in range(2))

    def pause(i):
        if i == 3:
            second.build([4, 8], _pictures(), {}, {"paths": ["x"]})
            assert second.has(8)
            assert second.row(8, 5).tolist() == np.full((8, 8, 3), 5).tolist()

    first.build([4, 8], _pictures(pause=pause), {}, {"paths": ["x"]})
    assert sorted(_arrays(tmp_path / "cache")) == ["4.npy", "8.npy", "manifest.json"]
    assert [int(first.row(4, i).mean()) for i in range(6)] == [0, 1, 2, 3, 4, 5]
    assert [int(second.row(8, i).mean()) for i in range(6)] == [0, 1, 2, 3, 4, 5], "its file is another's now"
    alone = ArrayCache(tmp_path / "alone", (6, 8, 8, 3))
    alone.build([4, 8], _pictures(), {}, {"paths": ["x"]})
    assert _arrays(tmp_path / "alone") == _arrays(tmp_path / "cache")


def test_a_slow_writer_shows_that_it_is_alive_and_is_not_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "HEARTBEAT", 0.0)
    slow, other = (ArrayCache(tmp_path / "cache", (6, 8, 8, 3)) for _ in range(2))
    partial = []

    def pause(i):
        partial[:] = tmp_path.glob("cache/*.partial")
        if i == 2:  # since its last sign of life hours have gone by
            for file in partial:
                os.utime(file, (1000.0, 1000.0))
        elif i == 4:
            other.build([8], _pictures(), {}, {})
            assert all(file.exists() for file in partial)

    slow.build([4], _pictures(pause=pause), {}, {})
    assert len(partial) == 1
    assert slow.has(4)
    assert other.has(8)


def test_abandoned_files_are_told_by_the_clock_of_their_file_system(tmp_path, monkeypatch):
    """The clock of this machine may be wrong by hours."""
    cache = ArrayCache(tmp_path / "cache", (6, 8, 8, 3))
    cache.folder.mkdir()
    young = cache.folder / "8.npy.other.partial"
    young.write_bytes(b"half")
    monkeypatch.setattr(time, "time", lambda: 4e9)
    cache.build([8], _pictures(), {}, {})
    assert young.exists()
