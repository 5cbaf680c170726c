"""Videos come back from other readers with the same frames and the same times."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progcycle.errors import UserError
from progcycle.export.video import check_video, write_video

needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="MP4 needs av")
KINDS = [".webp", ".gif", pytest.param(".mp4", marks=needs_av)]


def make_frames(count: int, width: int = 48, height: int = 32) -> list[Image.Image]:
    """A red square that wanders over a gradient of greens."""
    frames = []
    for i in range(count):
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[:, :, 1] = np.linspace(40, 220, width)
        pixels[8:24, 2 * i : 2 * i + 16] = (230, 30, 30)
        frames.append(Image.fromarray(pixels))
    return frames


def read(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """All frames as floats, and when each of them ends, in seconds."""
    if path.suffix.lower() == ".mp4":
        import av

        with av.open(str(path)) as container:
            found = [(frame.to_ndarray(format="rgb24"), frame.time) for frame in container.decode(video=0)]
            length = float(container.streams.video[0].duration * container.streams.video[0].time_base)
        times = [time for _, time in found]
        assert times[0] == 0
        return [pixels.astype(float) for pixels, _ in found], [*times[1:], length]
    frames, ends, end = [], [], 0.0
    with Image.open(path) as image:
        for i in range(image.n_frames):
            image.seek(i)
            image.load()
            end += image.info["duration"] / 1000
            frames.append(np.asarray(image.convert("RGB")).astype(float))
            ends.append(end)
        assert image.info["loop"] == 0  # for ever
    return frames, ends


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fps", [4, 30])
def test_frames_and_times_come_back(tmp_path: Path, kind: str, fps: int) -> None:
    given = make_frames(14)
    write_video(tmp_path / "new" / f"x{kind}", iter(given), fps)
    frames, ends = read(tmp_path / "new" / f"x{kind}")
    assert len(frames) == 14
    np.testing.assert_allclose(ends, np.arange(1, 15) / fps, atol=0.0051)  # a GIF counts in hundredths
    for i, (got, image) in enumerate(zip(frames, given, strict=True)):
        expected = np.asarray(image).astype(float)
        assert got.shape == expected.shape
        assert np.abs(got - expected).mean() < 4
        assert np.abs(got[12:20, 2 * i + 4 : 2 * i + 12].mean((0, 1)) - [230, 30, 30]).max() < 6  # no cast of colour
    assert [p.name for p in (tmp_path / "new").iterdir()] == [f"x{kind}"]


@needs_av
@pytest.mark.parametrize("size", [(33, 31), (33, 32), (48, 31)])
def test_odd_sides_grow_by_a_repeated_pixel(tmp_path: Path, size: tuple[int, int]) -> None:
    given = make_frames(3, *size)
    write_video(tmp_path / "x.mp4", given, 10)
    frames, _ = read(tmp_path / "x.mp4")
    width, height = size
    assert frames[0].shape == (height + height % 2, width + width % 2, 3)
    expected = np.asarray(given[0]).astype(float)
    assert np.abs(frames[0][:height, :width] - expected).mean() < 4
    assert np.abs(frames[0][-1, :-1] - frames[0][-2, :-1]).mean() < 4
    assert np.abs(frames[0][:-1, -1] - frames[0][:-1, -2]).mean() < 8


@needs_av
def test_mp4_plays_everywhere_and_frames_are_taken_one_by_one(tmp_path: Path) -> None:
    import av

    taken = []

    def frames():  # type: ignore[no-untyped-def]
        for i, image in enumerate(make_frames(3)):
            taken.append(i)
            yield image

    write_video(tmp_path / "x.mp4", frames(), 10)
    assert taken == [0, 1, 2]
    with av.open(str(tmp_path / "x.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.colorspace) == ("h264", "yuv420p", 6)
    content = (tmp_path / "x.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # so that a browser can start before the end has come


def test_equal_frames_keep_their_time(tmp_path: Path) -> None:
    one, two = make_frames(2)
    for kind in (".gif", ".webp"):
        write_video(tmp_path / f"x{kind}", [one, one, one, two, two], 10)
        assert read(tmp_path / f"x{kind}")[1][-1] == pytest.approx(0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_frame(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x{kind.upper()}"
    write_video(path, make_frames(1), 10)
    if kind == ".mp4":
        assert len(read(path)[0]) == 1
    else:
        with Image.open(path) as image:
            assert image.size == (48, 32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_on_the_way_leaves_the_old_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x{kind}"
    path.write_text("old")

    def frames():  # type: ignore[no-untyped-def]
        yield from make_frames(2)
        raise RuntimeError("out of paint")

    with pytest.raises(RuntimeError, match="out of paint"):
        write_video(path, frames(), 10)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("name", "fps", "words"),
    [
        ("x.avi", 10, r"x\.avi: a video ends in \.webp, \.gif or \.mp4\."),
        ("x", 10, "a video ends in"),
        ("x.gif", 51, r"\.gif takes 1 to 50 frames a second, not 51\."),
        ("x.webp", 61, "1 to 60"),
        ("x.webp", 0, "1 to 60"),
    ],
)
def test_impossible_videos_are_refused(tmp_path: Path, name: str, fps: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_video(tmp_path / name, fps)
    with pytest.raises(UserError, match=words):
        write_video(tmp_path / name, make_frames(1), fps)
    assert list(tmp_path.iterdir()) == []


def test_mp4_without_av_tells_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        write_video(tmp_path / "x.mp4", make_frames(1), 10)
    assert "pip install 'progcycle[video]'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@needs_av
def test_an_av_without_encoder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    monkeypatch.setattr(av, "codecs_available", {"png"})
    with pytest.raises(UserError, match="no encoder of"):
        write_video(tmp_path / "x.mp4", make_frames(1), 10)
    assert list(tmp_path.iterdir()) == []
