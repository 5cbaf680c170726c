"""The pictures of ``torture.py`` through decoding, folders and zip files."""

import io
import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
from torture import (
    BLUE,
    GREEN,
    GREY,
    RED,
    SIDE,
    STRANGE_NAMES,
    broken,
    declaring,
    encrypted,
    sound,
    write_links,
    write_set,
    zipped,
)

from progcycle.data import BrokenPicture, build_loader, decode_picture
from progcycle.data.source import list_pictures
from progcycle.data.split import select_part
from progcycle.errors import UserError
from progcycle.recipe import Schedule
from progcycle.schedule import GrowthSchedule

SOUND, BROKEN = sound(), broken()
LOSSY = {"cmyk.jpg": 8, "jpeg.png": 3, "turned.jpg": 3}  # levels that JPEG may be off, within a quarter


def middles(pixels: np.ndarray) -> np.ndarray:
    """Colours in the middle of the four quarters.  # [2, 2, 3]"""
    height, width = pixels.shape[:2]
    return pixels[height // 4 :: max(height // 2, 1), width // 4 :: max(width // 2, 1)].astype(int)


@pytest.mark.parametrize("name", SOUND)
def test_sound_pictures_have_their_pixels(name: str) -> None:
    raw, expected = SOUND[name]
    got = decode_picture(io.BytesIO(raw), channels=3, background="white", name=name)
    assert got.shape == expected.shape
    off = np.abs(middles(got) - middles(expected)) if name in LOSSY else np.abs(got.astype(int) - expected)
    assert off.max() <= LOSSY.get(name, 0)


def test_the_set_shows_what_it_says() -> None:
    assert middles(SOUND["plain.png"][1]).tolist() == [[list(RED), list(GREEN)], [list(BLUE), list(GREY)]]
    assert middles(SOUND["turned.jpg"][1]).tolist() == [[list(BLUE), list(RED)], [list(GREY), list(GREEN)]]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_pictures_are_refused_in_one_line_before_much_memory_is_taken(name: str) -> None:
    raw, problem = BROKEN[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BrokenPicture, match=f"^{name}: .*{problem}") as caught:
        decode_picture(io.BytesIO(raw), channels=3, background="white", name=name)
    assert str(caught.value).isprintable()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB; the bomb claims 10 GB"


@pytest.fixture
def torture(tmp_path: Path) -> Path:
    """Every sound and every broken picture, and links that lead nowhere."""
    content = {name: raw for name, (raw, _) in {**SOUND, **BROKEN}.items()}
    folder = write_set(tmp_path / "torture", content)
    write_links(folder)
    return folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_a_folder_and_a_zip_of_them(torture: Path, tmp_path: Path, make_set, packed: bool, cached: bool) -> None:
    if packed:
        names = sorted(file.name for file in torture.iterdir() if file.is_file() and not file.is_symlink())
        (tmp_path / "x.zip").write_bytes(zipped({name: (torture / name).read_bytes() for name in names}))
        torture = tmp_path / "x.zip"
    caches = {"cache_dir": tmp_path / "cache"} if cached else {}
    pictures = make_set(torture, max_broken=0.9, **caches)
    assert set(pictures.names) == {*SOUND, *BROKEN}, "links that lead nowhere, and what is no file, are no pictures"
    pictures.prepare([8, 32])
    named: set[str] = set()
    for index, name in enumerate(pictures.names):
        sample = pictures.plain(index, 32)
        named.update(sentence.partition(":")[0] for sentence in sample.broken)
        assert (sample.name == name) == (name in SOUND)
        assert sample.name in SOUND
        if SOUND[sample.name][1].shape == (SIDE, SIDE, 3) and sample.name not in LOSSY:
            assert np.array_equal(sample.image, SOUND[sample.name][1]), name
    assert named == set(BROKEN)


def test_one_too_many_stops_with_one_sentence(torture: Path, make_set) -> None:
    total = len(SOUND) + len(BROKEN)
    make_set(torture, max_broken=len(BROKEN) / total).check_broken([""] * len(BROKEN))
    few = make_set(torture, max_broken=(len(BROKEN) - 0.5) / total)
    with pytest.raises(UserError, match=rf"at least {len(BROKEN)} of {total} pictures are broken") as caught:
        [few.plain(index, 8) for index in range(total)]
    assert str(caught.value).isprintable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_pictures_are_broken(torture: Path, make_set) -> None:
    (torture / "plain.png").chmod(0)
    pictures = make_set(torture, max_broken=0.9)
    assert "Permission denied" in pictures.plain(pictures.names.index("plain.png"), 8).broken[0]


def test_names_in_any_script_can_be_listed_read_and_told(tmp_path: Path, make_set) -> None:
    folder = write_set(tmp_path / "in", dict.fromkeys(STRANGE_NAMES, SOUND["plain.png"][0]))
    strange = os.fsdecode(b"latin-\xe9.png")  # no UTF-8, as old discs have it
    (folder / strange).write_bytes(b"")
    pictures = make_set(folder, cache_dir=tmp_path / "cache")
    assert set(pictures.names) == {*STRANGE_NAMES, r"latin-\udce9.png"}
    pictures.prepare([32])
    again = make_set(folder, cache_dir=tmp_path / "cache")
    sample = again.plain(pictures.names.index(r"latin-\udce9.png"), 32)
    assert sample.broken == (r"latin-\udce9.png: this file is empty.",)
    assert np.array_equal(sample.image, SOUND["plain.png"][1])
    (folder / "new\nline.png").write_bytes(b"")
    sample = make_set(folder, max_broken=0.5).plain(pictures.names.index("new\nline.png"), 32)
    assert sample.broken == (r"new\nline.png: this file is empty.",)
    parts = [select_part(pictures.entries, False, 0.5, held_out) for held_out in (False, True)]
    assert sorted(entry.name for part in parts for entry in part) == sorted(pictures.names)


def test_pictures_deleted_while_training_are_replaced_and_named_once(torture: Path, make_set) -> None:
    pictures = make_set(torture, max_broken=0.9)
    schedule = GrowthSchedule(Schedule.model_validate({"stable_kimg": {"default": 0.2}, "batch_size": 8}), 32, 32)
    gone = pictures.names[next(i for i in map(pictures.index_at, range(20, 99)) if pictures.names[i] in SOUND)]
    reported: list[str] = []
    options = {"rank": 0, "processes": 1, "start_nimg": 0, "workers": 0, "pin_memory": False}
    for nimg, _, batches in build_loader({"real": pictures}, schedule, **options):
        reported += batches["real"].broken
        assert batches["real"].images.shape == (8, 3, 32, 32)
        if nimg == 8:
            (torture / gone).unlink(missing_ok=True)
    about = [sentence for sentence in reported if sentence.startswith(f"{gone}: ")]
    assert len(about) == 1
    assert "No such file or directory" in about[0]
    assert len(reported) == len(set(reported)) == len(BROKEN) + 1


# --- zip files ----------------------------------------------------------------------------------------------------


def test_what_a_zip_holds_beside_pictures(tmp_path: Path, make_set, monkeypatch: pytest.MonkeyPatch) -> None:
    good = SOUND["plain.png"][0]
    inner = zipped({"inner.png": good})
    outside = ("../up.png", "/abs.png", "a/../../../b.png", "C:\\win.png", "up\\..\\back.png")
    raw = zipped({"good.png": good, "more.zip": inner, "locked.png": good, "bomb.png": bytes(30_000_000),
                  **dict.fromkeys(outside, good), "link.png": b"/etc/passwd"})  # fmt: skip
    raw = declaring(encrypted(raw, "locked.png"), "bomb.png", 1000)
    (tmp_path / "x.zip").write_bytes(raw)
    monkeypatch.chdir(tmp_path)
    files = sorted(tmp_path.rglob("*"))
    pictures = make_set(tmp_path / "x.zip", max_broken=0.9)
    outside = tuple(name.replace("\\", "/") for name in outside)
    assert set(pictures.names) == {"good.png", "locked.png", "bomb.png", "link.png", *outside}
    reported: dict[str, str] = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index, name in enumerate(pictures.names):
        sample = pictures.plain(index, 32)
        reported.update(sentence.partition(": ")[::2] for sentence in sample.broken)
        assert (sample.name == name) == (name == "good.png" or name in outside)
        assert np.array_equal(sample.image, SOUND["plain.png"][1])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 25_000, "kB; no more than is declared"
    assert set(reported) == {"locked.png", "bomb.png", "link.png"}
    assert "is encrypted, password required" in reported["locked.png"]
    assert "Bad CRC-32" in reported["bomb.png"]
    assert sorted(tmp_path.rglob("*")) == files, "nothing is ever unpacked"
    damaged = bytearray(raw)
    damaged[raw.index(b"good.png") + len("good.png") + 40] ^= 255  # in the middle of its data
    (tmp_path / "y.zip").write_bytes(damaged)
    pictures = make_set(tmp_path / "y.zip", max_broken=0.9)
    assert "good.png" in pictures.plain(pictures.names.index("good.png"), 32).broken[0]


def test_sizes_beyond_any_picture_are_not_believed(tmp_path: Path, make_set, monkeypatch: pytest.MonkeyPatch) -> None:
    good = SOUND["plain.png"][0]
    (tmp_path / "x.zip").write_bytes(declaring(zipped({"a.png": good, "b.png": good}), "b.png", 2**32 - 2))
    pictures = make_set(tmp_path / "x.zip", max_broken=0.9)
    assert "it has 4294967294 bytes, more than 1073741824" in pictures.plain(1, 32).broken[0]
    folder = write_set(tmp_path / "in", {"a.png": good, "sparse.png": b""})
    os.truncate(folder / "sparse.png", 2**40)  # takes no place on the disk
    assert "it has 1099511627776 bytes" in make_set(folder, max_broken=0.9).plain(1, 32).broken[0]


def test_entries_survive_being_sent_to_workers(tmp_path: Path, make_set) -> None:
    folder = write_set(tmp_path / "in", {"a.png": SOUND["plain.png"][0], "new\nline.png": b""})
    sent = pickle.loads(pickle.dumps(make_set(folder, max_broken=0.9)))
    error = pickle.loads(pickle.dumps(UserError("new\nline")))
    assert (str(error), sent.plain(1, 8).broken) == (r"new\nline", (r"new\nline.png: this file is empty.",))
    assert [entry.name for entry in list_pictures([str(folder)])] == ["a.png", "new\nline.png"]
