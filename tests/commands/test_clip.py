"""Animations and videos through ``translate``: fresh translators that predict a change give every frame back."""

import struct
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from translating import translate

from progcycle.export import clips

Make = Callable[..., Path]
Read = pytest.CaptureFixture[str]
COLOURS = [(255, 0, 0), (0, 160, 0), (0, 0, 255), (250, 240, 20), (20, 20, 20)]
LENGTHS = [100, 40, 250, 70, 500]  # milliseconds


def frames(width: int = 60, height: int = 44, mode: str = "RGB") -> list[Image.Image]:
    """A square that walks over a ground, all in plain colours, which a GIF holds exactly."""
    made = []
    for i, colour in enumerate(COLOURS):
        image = Image.new(mode, (width, height), (0, 0, 0, 0) if mode == "RGBA" else (255, 255, 255))
        image.paste((*colour, 255)[: len(mode)], (5 + 8 * i, 10, 20 + 8 * i, 30))
        made.append(image)
    return made


def animate(path: Path, mode: str = "RGB") -> Path:
    first, *others = frames(mode=mode)
    options = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(
        path, save_all=True, append_images=others, duration=LENGTHS, loop=0, disposal=2 * (mode == "RGBA"), **options
    )
    return path


def film(path: Path, times: list[int], rate: int = 25) -> Path:
    """A video whose frames begin at those milliseconds."""
    shown = [
        clips.Frame(image, Fraction(start, 1000), Fraction(40, 1000))
        for image, start in zip(frames(), times, strict=True)
    ]
    clips.write_video(path, shown, Fraction(rate), Fraction(1, 1000))
    return path


def read(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Pixels, and milliseconds at which the frames begin."""
    if clips.is_video(path):
        with clips.Video(path, path.name) as video:
            shown = list(video.frames())
    else:
        shown = list(clips.read_animation(path, path.name, 1 << 20))
    return [np.asarray(f.image.convert("RGB")).astype(int) for f in shown], [round(1000 * f.start) for f in shown]


STARTS = [0, 100, 140, 390, 460]


@pytest.fixture
def run(make_snapshot: Make) -> Path:
    return make_snapshot(stage=1, predict="change").parent.parent


@pytest.mark.parametrize(
    ("source", "target"),
    [
        *((".gif", target) for target in (".gif", ".webp", ".png", ".mp4", ".webm")),
        *((source, target) for source in (".webp", ".png") for target in (source, ".gif")),
    ],
)
def test_every_frame_at_its_time(run: Path, tmp_path: Path, source: str, target: str) -> None:
    out = tmp_path / f"b{target}"
    assert translate(run, animate(tmp_path / f"a{source}"), out) == 0
    pixels, starts = read(out)
    assert starts == STARTS
    tolerance = 0 if target in clips.ANIMATIONS else 6  # a video's are rounded, and its colours half as sharp
    for got, expected in zip(pixels, frames(), strict=True):
        assert np.abs(got[:44] - np.asarray(expected)).mean() <= tolerance


@pytest.mark.parametrize(
    ("source", "target"),
    [
        *((".mp4", target) for target in (".mp4", ".mov", ".mkv", ".webm", ".gif", ".webp")),
        (".mov", ".mp4"),
        (".webm", ".mp4"),
        (".webm", ".webm"),
    ],
)
def test_videos_keep_uneven_times(run: Path, tmp_path: Path, source: str, target: str) -> None:
    times = [0, 40, 200, 240, 320]
    given = film(tmp_path / f"a{source}", times)
    assert read(given)[1] == times
    assert translate(run, given, tmp_path / f"b{target}") == 0
    pixels, starts = read(tmp_path / f"b{target}")
    assert starts == times
    for got, expected in zip(pixels, frames(), strict=True):
        assert np.abs(got - np.asarray(expected)).mean() < 8


def test_sound_is_copied_where_the_kind_stays(run: Path, tmp_path: Path, capsys: Read) -> None:
    av = pytest.importorskip("av")
    silent, given = film(tmp_path / "silent.mp4", [0, 40, 80, 120, 160]), tmp_path / "a.mp4"
    with clips.Video(silent, "silent.mp4") as video, av.open(str(given), "w") as container:
        stream, sound = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=16_000)
        stream.width, stream.height, stream.pix_fmt = 60, 44, "yuv420p"
        for frame in video.frames():
            container.mux(stream.encode(clips.av_frame(av, frame.image)))
        for i in range(4):
            wave = (0.3 * np.sin(np.arange(1024) * 0.2)).astype(np.float32)[None]
            tone = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            tone.sample_rate, tone.pts = 16_000, 1024 * i
            container.mux(sound.encode(tone))
        container.mux(sound.encode())
        container.mux(stream.encode())

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(audio=0) if packet.dts is not None]

    assert translate(run, given, tmp_path / "b.mp4") == 0
    assert len(packets(given)) > 3
    assert packets(tmp_path / "b.mp4") == packets(given)
    assert len(read(tmp_path / "b.mp4")[0]) == 5
    assert "sound" not in capsys.readouterr().err
    for target in ("b.mov", "b.webp"):
        assert translate(run, given, tmp_path / target) == 0
        assert "a.mp4: its sound is left out" in capsys.readouterr().err
    assert translate(run, silent, tmp_path / "c.mov") == 0
    assert "sound" not in capsys.readouterr().err


@pytest.mark.parametrize("length", [0, 10])
def test_an_animation_without_times_becomes_a_video_as_browsers_play_it(run: Path, tmp_path: Path, length: int) -> None:
    first, *others = frames()
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=length)
    assert translate(run, tmp_path / "a.gif", tmp_path / "b.mp4") == 0
    assert read(tmp_path / "b.mp4")[1] == [0, 100, 200, 300, 400]
    assert translate(run, tmp_path / "a.gif", tmp_path / "b.gif") == 0
    assert read(tmp_path / "b.gif")[1] == [i * length for i in range(5)]


def moved(path: Path, x: int, y: int, width: int = 60, height: int = 44) -> Path:
    """An animated GIF whose last frame lies elsewhere, or says that it is larger."""
    raw = bytearray(animate(path).read_bytes())
    place = raw.rindex(struct.pack("<cHH", b",", 29, 10))  # the part that differs from the frame before
    raw[place + 1 : place + 5] = struct.pack("<HH", x, y)
    if (width, height) != (60, 44):
        raw[place + 5 : place + 9] = struct.pack("<HH", width, height)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("target", [".gif", ".webp", ".png", ".mp4"])
def test_a_frame_beyond_the_edge_is_cut(run: Path, tmp_path: Path, target: str) -> None:
    given, out = moved(tmp_path / "a.gif", 50, 40), tmp_path / f"b{target}"
    with Image.open(given) as image:
        image.seek(4)
        assert image.size != (60, 44), "Pillow lets the picture grow"
    assert translate(run, given, out) == 0
    assert {pixels.shape for pixels in read(out)[0]} == {(44, 60, 3)}


@pytest.mark.filterwarnings("error")
def test_a_frame_that_says_it_is_huge_is_refused_before_it_is_made(run: Path, tmp_path: Path, capsys: Read) -> None:
    given = moved(tmp_path / "a.gif", 0, 0, 12_000, 12_000)  # of 5 frames of 60x44
    assert translate(run, given, tmp_path / "b.gif", "--max-pixels", "1000000") == 1
    assert "Image size (144000000 pixels) exceeds limit of 1000000 pixels" in capsys.readouterr().err


def test_what_a_format_cannot_hold_is_a_fault_of_one_picture(run: Path, tmp_path: Path, capsys: Read) -> None:
    given = tmp_path / "in"
    given.mkdir()
    long = [Image.new("RGB", (16_400, 8), colour) for colour in ("red", "blue")]
    long[0].save(given / "a.png", save_all=True, append_images=long[1:])
    assert translate(run, given / "a.png", tmp_path / "b.webp") == 1
    assert "b.webp: .webp cannot hold this animation" in capsys.readouterr().err


def test_videos_of_a_folder_are_named(run: Path, tmp_path: Path, capsys: Read) -> None:
    given = tmp_path / "in"
    given.mkdir()
    frames()[0].save(given / "a.png")
    assert translate(run, given, tmp_path / "out") == 0
    assert "videos" not in capsys.readouterr().err
    (given / "b.MP4").write_bytes(b"")
    assert translate(run, given, tmp_path / "out") == 0
    errors = capsys.readouterr().err
    assert "1 file with another extension is left out: MP4 1" in errors
    assert "videos of a folder or zip file are not translated; give each by itself" in errors


def test_a_folder_keeps_moving_pictures_moving(run: Path, tmp_path: Path, capsys: Read) -> None:
    given = tmp_path / "in"
    given.mkdir()
    for suffix in (".gif", ".webp", ".png"):
        animate(given / f"moving{suffix}")
        frames()[0].save(given / f"still{suffix}")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in given.iterdir():
            archive.write(path, path.name)
    for source, out in ((given, tmp_path / "a"), (tmp_path / "in.zip", tmp_path / "b")):
        assert translate(run, source, out, "--grid") == 0
        counts = {path.name: len(read(path)[0]) for path in out.iterdir()}
        moving = {f"moving{suffix}": 5 for suffix in (".gif", ".webp", ".png")}
        assert counts == {**moving, "still.gif.png": 1, "still.webp": 1, "still.png": 1, "before_after.png": 1}


@pytest.mark.parametrize("suffix", [".webp", ".png", ".gif"])
def test_transparent_animations(run: Path, tmp_path: Path, suffix: str) -> None:
    given = animate(tmp_path / f"a{suffix}", "RGBA")
    assert translate(run, given, tmp_path / f"b{suffix}", "--alpha", "keep") == 0
    kept = list(clips.read_animation(tmp_path / f"b{suffix}", "b", 1 << 20))
    for frame, expected in zip(kept, frames(mode="RGBA"), strict=True):
        assert np.array_equal(np.asarray(frame.image.convert("RGBA"))[:, :, 3], np.asarray(expected)[:, :, 3])
    assert translate(run, given, tmp_path / f"c{suffix}") == 0
    pixels, _ = read(tmp_path / f"c{suffix}")
    assert (pixels[0][:5] == 255).all()  # on the white of training


def test_what_cannot_be_done_is_said(run: Path, tmp_path: Path, capsys: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    given = animate(tmp_path / "a.gif")
    assert translate(run, given, tmp_path / "b.jpg") == 2
    assert "clips can be written as gif webp png mp4 m4v mov mkv webm, not as jpg" in capsys.readouterr().err
    assert translate(run, given, tmp_path / "b.gif", "--max-pixels", "13199") == 1
    assert "a.gif: 5 frames of 60x44 px are more than --max-pixels 13199" in capsys.readouterr().err
    video = film(tmp_path / "a.mp4", STARTS)
    assert translate(run, video, tmp_path / "b.webp", "--max-pixels", "13199") == 1
    assert "a.mp4: its frames have more pixels than --max-pixels 13199" in capsys.readouterr().err
    assert translate(run, video, tmp_path / "b.mp4", "--max-pixels", "13199") == 0
    (tmp_path / "broken.mp4").write_bytes(given.read_bytes()[100:])
    assert translate(run, tmp_path / "broken.mp4", tmp_path / "c.mp4") == 1
    assert "broken.mp4: this video cannot be read" in capsys.readouterr().err
    (tmp_path / "broken.gif").write_bytes(given.read_bytes()[:500])
    assert translate(run, tmp_path / "broken.gif", tmp_path / "d.gif") in (1, 2)
    monkeypatch.setattr(clips.importlib.util, "find_spec", lambda _: None)
    assert translate(run, video, tmp_path / "e.mp4") == 2
    assert "a.mp4: videos need the extra 'video' (pip install 'progcycle[video]')" in capsys.readouterr().err
    written = {path.name for path in tmp_path.iterdir()}
    assert written.isdisjoint({"b.jpg", "b.gif", "b.webp", "c.mp4", "d.gif", "e.mp4"})
    assert not [name for name in written if name.startswith(".")]
