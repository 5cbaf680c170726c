"""The scripts that turn a downloaded set into pictures, on tiny sets in the same formats, written by hand."""

from __future__ import annotations

import gzip
import io
import pickle
import runpy
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_datasets import DATASETS, assert_refused

from progcycle.data.source import list_pictures

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """Run a script of datasets/ as if by path, in this process: much faster than one of its own."""

    def run(path: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(DATASETS / path), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(command[0], run_name="__main__")
        said = capsys.readouterr()
        return subprocess.CompletedProcess(command, int(stopped.value.code or 0), said.out, said.err)

    return run


def contents(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Every picture of a zip archive by name."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()}


# ---------------------------------------------------------------- CelebA


def aligned(folder: Path, count: int) -> None:
    """Pictures in which red is x and green is y."""
    folder.mkdir()
    y, x = np.mgrid[:218, :178]
    for number in range(count):
        pixels = np.stack([x, y, np.full_like(x, number)], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06}.png")


@pytest.mark.parametrize("archived", [False, True])
def test_celeba_is_cut_as_the_official_code_cuts_it(tmp_path: Path, archived: bool, script: Script) -> None:
    source = tmp_path / "img_align_celeba"
    aligned(source, 2)
    if archived:
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            for path in sorted(source.iterdir()):
                archive.write(path, f"img_align_celeba/{path.name}")
        source = tmp_path / "all.zip"
    done = script("celeba/prepare.py", source, "--count", 2, "--out", tmp_path / "out")
    assert done.returncode == 0, done
    found = contents(tmp_path / "out" / "images.zip")
    assert list(found) == ["000000.png", "000001.png"]
    for number, pixels in enumerate(found.values()):
        assert pixels.shape == (128, 128, 3)
        assert (pixels[0, 0] == [89 - 64, 121 - 64, number]).all()
        assert (pixels[-1, -1] == [89 + 63, 121 + 63, number]).all()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["images.zip"]


def test_celeba_refuses_other_sets(tmp_path: Path, script: Script) -> None:
    out = ("--out", tmp_path / "out")
    assert_refused(script("celeba/prepare.py", tmp_path / "none", *out), "no folder or archive")
    aligned(tmp_path / "three", 3)
    assert_refused(script("celeba/prepare.py", tmp_path / "three", *out), "3 pictures instead of 202599")
    Image.new("RGB", (128, 128)).save(tmp_path / "three" / "000001.png")
    options = (tmp_path / "three", *out, "--count", 3)
    assert_refused(script("celeba/prepare.py", *options), "000001.png is 128 x 128 px instead of 178 x 218")
    (tmp_path / "three" / "000001.png").write_bytes(b"no picture")
    assert_refused(script("celeba/prepare.py", *options), "000001.png is not a readable picture")
    assert list((tmp_path / "out").iterdir()) == [], "nothing half-written is left behind"


# ---------------------------------------------------------------- CIFAR-10


def text(content: bytes) -> bytes:
    """A string as Python 2 pickled it, which made the published files."""
    return b"T" + struct.pack("<i", len(content)) + content


def batch(pixels: np.ndarray[Any, Any], labels: list[int]) -> bytes:
    """A batch as the published files hold it: {data: uint8 [N, 3072], labels: list, ...}, opcode by opcode."""
    dtype = (
        b"cnumpy\ndtype\n("
        + text(b"u1")
        + b"K\x00K\x01tR(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
    state = b"(K\x01(K" + bytes([len(labels)]) + b"M\x00\x0ct" + dtype + b"\x89" + text(pixels.tobytes()) + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + state + text(b"labels") + listed + b"u."


def cifar(seed: int = 0, count: int = 3) -> tuple[dict[str, bytes], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The six files, their pictures [6, N, 3, 32, 32] and labels [6, N]."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (6, count, 3, 32, 32), np.uint8)
    labels = rng.integers(0, 10, (6, count))
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    batches = (batch(p.reshape(count, -1), [int(i) for i in c]) for p, c in zip(pixels, labels, strict=True))
    files = dict(zip(names, batches, strict=True))
    return files, pixels, labels


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_the_hand_written_batch_is_what_pickle_and_numpy_read() -> None:
    files, pixels, labels = cifar()
    read = pickle.loads(files["data_batch_2"], encoding="latin1")
    assert (read["data"] == pixels[1].reshape(3, -1)).all()
    assert read["labels"] == labels[1].tolist()


@pytest.mark.parametrize("kind", ["archive", "folder", "parent"])
def test_cifar10_becomes_pictures_by_class(tmp_path: Path, kind: str, script: Script) -> None:
    files, pixels, labels = cifar()
    source = tmp_path / "cifar-10-python.tar.gz"
    if kind == "archive":
        write_tar(source, files)
    else:
        inner = tmp_path / "cifar-10-batches-py"
        inner.mkdir()
        for name, content in files.items():
            (inner / name).write_bytes(content)
        source = inner if kind == "folder" else tmp_path
    done = script("cifar10/prepare.py", source, "--out", tmp_path / "out", "--count", 3)
    assert done.returncode == 0, done
    train, test = (contents(tmp_path / "out" / f"{name}.zip") for name in ("train", "test"))
    assert (len(train), len(test)) == (15, 3)
    for number in range(15):
        name = f"{CLASSES[labels[number // 3, number % 3]]}/{number:05}.png"
        assert (train[name] == pixels[number // 3, number % 3].transpose(1, 2, 0)).all()
    for number in range(3):
        assert (test[f"{CLASSES[labels[5, number]]}/{number:05}.png"] == pixels[5, number].transpose(1, 2, 0)).all()
    assert len(list_pictures([str(tmp_path / "out" / "train.zip")])) == 15


def test_a_hostile_pickle_runs_nothing(tmp_path: Path, script: Script) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "was_run",))

    files, _, _ = cifar()
    for name, content in {
        "path": pickle.dumps({"data": Hostile(), "labels": []}),
        "system": b"cposix\nsystem\n(S'touch " + str(tmp_path / "was_run").encode() + b"'\ntR.",
        "builtin": b"cbuiltins\neval\n(S'1+1'\ntR.",
        "numpy": b"cnumpy\nfromfile\n(S'/etc/hostname'\ntR.",
    }.items():
        source = write_tar(tmp_path / f"{name}.tar.gz", {**files, "data_batch_3": content})
        done = script("cifar10/prepare.py", source, "--out", tmp_path / "out", "--count", 3)
        assert_refused(done, "data_batch_3", "which no batch of CIFAR-10 needs; nothing was run")
    assert not (tmp_path / "was_run").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a batch of CIFAR-10"),
        (b"\x80\x02]q\x00.", "is not a batch of CIFAR-10"),
        (pickle.dumps({"data": [1, 2], "labels": [0]}), "is not a batch of CIFAR-10"),
        (batch(np.zeros((2, 3072), np.uint8), [1, 11]), "is not a batch of CIFAR-10"),
        (batch(np.zeros((1, 3000), np.uint8), [1]), "is not a batch of CIFAR-10"),
        (batch(np.zeros((2, 3072), np.uint8), [1, 2]), "holds 2 pictures instead of 3"),
    ],
)
def test_cifar10_refuses_what_is_no_batch(tmp_path: Path, content: bytes, words: str, script: Script) -> None:
    source = write_tar(tmp_path / "bad.tar.gz", {**cifar()[0], "test_batch": content})
    assert_refused(script("cifar10/prepare.py", source, "--out", tmp_path, "--count", 3), "test_batch", words)


def test_cifar10_refuses_other_archives(tmp_path: Path, script: Script) -> None:
    assert_refused(script("cifar10/prepare.py", tmp_path / "none"), "no archive or folder")
    assert_refused(script("cifar10/prepare.py", tmp_path), "has no data_batch_1")
    (tmp_path / "x.tar.gz").write_bytes(b"not an archive")
    assert_refused(script("cifar10/prepare.py", tmp_path / "x.tar.gz"), "not a whole tar archive")
    whole = write_tar(tmp_path / "y.tar.gz", cifar()[0]).read_bytes()
    (tmp_path / "y.tar.gz").write_bytes(whole[: len(whole) // 2])
    assert_refused(script("cifar10/prepare.py", tmp_path / "y.tar.gz"), "not a whole tar archive")


# ---------------------------------------------------------------- MNIST


def write_mnist(folder: Path, packed: bool = False) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """The four files; returns the digits [N, 28, 28] and their classes by part."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    made = {}
    for part, count in (("train", 20), ("t10k", 4)):
        digits, classes = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count).astype(np.uint8)
        for name, head, values in (
            ("images-idx3", struct.pack(">4I", 2051, count, 28, 28), digits),
            ("labels-idx1", struct.pack(">2I", 2049, count), classes),
        ):
            content = head + values.tobytes()
            path = folder / f"{part}-{name}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
        made[part] = digits, classes
    return made


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_rgb_is_drawn_in_the_official_order(tmp_path: Path, packed: bool, script: Script) -> None:
    made = write_mnist(tmp_path / "raw", packed)
    done = script("mnist/prepare.py", tmp_path / "raw", "--out", tmp_path / "out", "--count", 50)
    assert done.returncode == 0, done
    digits, classes = made["train"]
    framed = np.zeros((20, 32, 32), np.uint8)
    framed[:, 2:30, 2:30] = digits
    triples = contents(tmp_path / "out" / "rgb.zip")
    assert len(triples) == 50
    np.random.seed(123)  # the global stream, as the official code draws
    for number, (name, pixels) in enumerate(triples.items()):
        r, g, b = np.random.randint(20, size=3)
        assert name == f"{number:07}_{classes[r]}{classes[g]}{classes[b]}.png"
        assert (pixels == np.stack([framed[r], framed[g], framed[b]], axis=-1)).all()
    for archive, part in (("train", "train"), ("test", "t10k")):
        found = contents(tmp_path / "out" / f"{archive}.zip")
        digits, classes = made[part]
        for number, (digit, label) in enumerate(zip(digits, classes, strict=True)):
            assert (found[f"{label}/{number:05}.png"][2:30, 2:30] == digit).all()
        assert len(found) == len(digits)


def test_mnist_refuses_what_it_cannot_read(tmp_path: Path, script: Script) -> None:
    assert_refused(script("mnist/prepare.py", tmp_path), "neither train-images-idx3-ubyte nor")
    made = write_mnist(tmp_path)
    out = ("--out", tmp_path / "out")
    assert_refused(script("mnist/prepare.py", tmp_path, *out, "--count", 0), "--count is 1 or more")
    assert_refused(script("mnist/prepare.py", tmp_path, *out, "--seed", -1), "--seed")
    images = tmp_path / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    for content in (b"", whole[:-1], b"\0\0\x08\x01" + whole[4:], b"\0\0\x0d\x03" + whole[4:]):
        images.write_bytes(content)
        assert_refused(
            script("mnist/prepare.py", tmp_path, *out), "train-images-idx3-ubyte is not whole, or is another"
        )
    images.unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(whole)[:-9])
    assert_refused(script("mnist/prepare.py", tmp_path, *out), "train-images-idx3-ubyte.gz is not whole")
    images.write_bytes(struct.pack(">4I", 2051, 19, 28, 28) + made["train"][0][:19].tobytes())
    assert_refused(script("mnist/prepare.py", tmp_path, *out), "of train do not belong together")


# ---------------------------------------------------------------- LSUN


def test_lsun_check(tmp_path: Path, script: Script) -> None:
    assert_refused(script("lsun/check.py", tmp_path / "none"), "no folder")
    assert_refused(script("lsun/check.py", tmp_path), "holds no pictures")
    for name, size in {"a/b/1.webp": (300, 256), "a/2.jpg": (256, 400)}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(tmp_path / name)
    done = script("lsun/check.py", tmp_path, "--count", 2)
    assert done.returncode == 0, done
    assert "2 pictures, shorter side 256 to 256 px" in done.stdout
    assert_refused(script("lsun/check.py", tmp_path, "--count", 100000), "2 pictures instead of 100000")
    assert_refused(script("lsun/check.py", tmp_path, "--size", 300), "2 of 2 pictures", "smaller than 300 px")


# ---------------------------------------------------------------- digits


def test_digits_are_those_of_the_metrics(tmp_path: Path, script: Script) -> None:
    pytest.importorskip("sklearn")
    from progcycle.metrics.digits import digit_split, stack_digits, stack_labels

    out = ("--out", tmp_path, "--count", 30)
    done = script("digits/prepare.py", *out, "--seed", 4)
    assert done.returncode == 0, done
    stacked, labels, pixels = contents(tmp_path / "stacked.zip"), stack_labels(30, 4), stack_digits(30, 4)
    assert [name[7:10] for name in stacked] == ["".join(map(str, row)) for row in labels]
    assert all(
        (found.transpose(2, 0, 1) == wanted).all() for found, wanted in zip(stacked.values(), pixels, strict=True)
    )
    digits, classes = digit_split("train")
    singles = {path.name: path for path in (tmp_path / "single").rglob("*.png")}
    assert len(singles) == len(digits)
    for number, (digit, label) in enumerate(zip(digits, classes, strict=True)):
        path = singles[f"{number:04}.png"]
        assert path.parent.name == str(label)
        assert (np.asarray(Image.open(path)) == digit).all()
    assert script("digits/prepare.py", *out).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["single", "stacked.zip"]
    assert contents(tmp_path / "stacked.zip").keys() != stacked.keys(), "another seed makes other stacks"
    (tmp_path / "single" / "3" / "mine.png").touch()
    assert_refused(script("digits/prepare.py", *out), "mine.png, which this script does not make")
    assert (tmp_path / "single" / "3" / "mine.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["single", "stacked.zip"]


def test_digits_say_what_is_missing(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = pytest.importorskip("progcycle.metrics.digits")
    assert_refused(script("digits/prepare.py", "--out", tmp_path, "--count", 0), "--count is 1 or more")
    digits._digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert_refused(script("digits/prepare.py", "--out", tmp_path), "need scikit-learn", "pip install scikit-learn")
    assert not list(tmp_path.iterdir())
