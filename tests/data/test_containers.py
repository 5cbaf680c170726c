"""Containers of pictures that other tools made: every picture comes out of the store as it went in, to the bit."""

import contextlib
import gzip
import importlib.util
import io
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hostile import pickles
from picture_folders import picture, write_folder
from PIL import Image
from sentences import refused
from stores import prepare

from progcycle.data.containers import Options, open_container
from progcycle.data.containers.cifar import load_arrays
from progcycle.errors import UserError
from progcycle.pretrained import MissingExtra


def encoded(seed: int, kind: str = "png", **size: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(seed, **size)).save(stream, kind)
    return stream.getvalue()


def read(path: Path, **options):
    """What a container holds, by split, domain and name: bytes and class."""
    container = open_container(str(path), Options(**options))
    items = container.items()
    found = {(i.split, i.domain, i.name): (container.read(i), i.label) for i in items}
    assert len(found) == len(items)
    return found


def in_store(store: Path, part: str) -> dict[str, tuple[bytes, object]]:
    """The pictures of a store, read without our code."""
    rows = [json.loads(line) for line in (store / part / "pictures.jsonl").read_text().splitlines()]
    return {r["name"]: (zipfile.ZipFile(store / part / r["file"]).read(r["name"]), r["label"]) for r in rows}


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


# --- Parquet ----------------------------------------------------------------------------------------------------------

IMAGE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
NAMES = ["cat", "dog"]


def write_table(file: Path, columns: dict[str, list], features: dict | None = None, group: int = 4) -> Path:
    """A table as the hub has it: a struct for each picture, and what the columns are in the schema's metadata."""
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays, fields = [], []
    for name, values in columns.items():
        kind = IMAGE if values and isinstance(values[0], dict) else None
        arrays.append(pyarrow.array(values, kind))
        fields.append(pyarrow.field(name, arrays[-1].type))
    about = {"huggingface": json.dumps({"info": {"features": features}})} if features else None
    table = pyarrow.table(arrays, pyarrow.schema(fields, about))
    pyarrow.parquet.write_table(table, file, row_group_size=group)
    return file


def cells(seeds) -> list[dict]:
    return [{"bytes": encoded(seed), "path": None} for seed in seeds]


def test_parquet_of_the_hub(tmp_path):
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": NAMES}}
    data = tmp_path / "in" / "data"
    labels = [0, 1, -1, 1, 1, 0, 0, 1, 1]
    write_table(data / "train-00000-of-00002.parquet", {"image": cells(range(9)), "label": labels}, features)
    write_table(data / "train-00001-of-00002.parquet", {"image": cells(range(20, 22)), "label": [0, 1]}, features)
    write_table(data / "test-00000-of-00001.parquet", {"image": cells(range(30, 33)), "label": [0, 1, 1]}, features)
    assert prepare(tmp_path / "in", tmp_path / "store") == 0
    train, test = in_store(tmp_path / "store", "train"), in_store(tmp_path / "store", "test")
    expected = [encoded(seed) for seed in (*range(9), 20, 21)]
    assert [content for content, _ in train.values()] == expected
    assert [label for _, label in train.values()] == [
        "cat",
        "dog",
        None,
        "dog",
        "dog",
        *["cat"] * 2,
        "dog",
        "dog",
        *NAMES,
    ]
    assert next(iter(train)) == "train-00000-of-00002/0000000.png"
    assert [content for content, _ in test.values()] == [encoded(seed) for seed in range(30, 33)]


def test_parquet_of_two_domains(tmp_path):
    file = write_table(tmp_path / "x.parquet", {"imageA": cells(range(6)), "imageB": cells(range(50, 56))})
    sentence = refused(lambda: read(file))
    assert "the columns imageA, imageB hold pictures; choose one by --column, or two for A and B" in sentence
    assert prepare(file, tmp_path / "store", "--column", "imageA", "imageB") == 0
    prepare(file, tmp_path / "store", "--column", "imageA", "imageB", "--force")
    for part, first in (("trainA", 0), ("trainB", 50)):
        found = in_store(tmp_path / "store", part)
        assert [content for content, _ in found.values()] == [encoded(first + i) for i in range(6)]


def test_parquet_cells_are_read_in_any_order(tmp_path):
    file = write_table(tmp_path / "x.parquet", {"image": cells(range(40))}, group=33)
    container = open_container(str(file), Options())
    items = container.items()
    for i in (39, 0, 20, 21, 3, 38):
        assert container.read(items[i]) == encoded(i)
        container = pickle.loads(pickle.dumps(container))
    for i in (30, 2, 1, 35, 33):  # also backwards with what is open already
        assert container.read(items[i]) == encoded(i)


def test_parquet_of_plain_bytes_and_other_labels(tmp_path):
    plain = write_table(tmp_path / "x.parquet", {"img": [encoded(1), encoded(2)], "label": [7, 3], "sex": ["f", "m"]})
    assert [label for _, label in read(plain).values()] == [7, 3]
    assert [label for _, label in read(plain, label_column="sex").values()] == ["f", "m"]
    assert [label for _, label in read(plain, label_column="").values()] == [None, None]
    assert "there is no column x for --label-column; see img, label, sex" in refused(
        lambda: read(plain, label_column="x")
    )
    assert "there is no column x for --column" in refused(lambda: read(plain, columns=("x",)))
    assert "the column sex holds no pictures but string" in refused(lambda: read(plain, columns=("sex",)))
    other = write_table(tmp_path / "y.parquet", {"text": ["a"]})
    assert "no column holds pictures; there are text" in refused(lambda: read(other))


def test_parquet_without_the_bytes(tmp_path):
    """A table may name files on the disk of its author, or hold nothing in a cell."""
    rows = [*cells(range(2)), {"bytes": None, "path": "/home/x/1.png"}, None]
    file = write_table(tmp_path / "x.parquet", {"image": rows})
    assert prepare(file, tmp_path / "store", "--max-bad", 0.5) == 0
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "store/train/skipped.jsonl").read_text().splitlines()]
    assert "holds no picture but the name of a file, /home/x/1.png" in reasons[0]
    assert "the cell is empty" in reasons[1]


# --- tar --------------------------------------------------------------------------------------------------------------


def write_tar(file: Path, members: dict[str, bytes], **options) -> Path:
    with tarfile.open(file, "w", **options) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_webdataset(tmp_path, kind):
    (tmp_path / "in").mkdir()
    members, expected = {}, {}
    for i in range(6):
        key, end = f"some/folder.v1/{'long' * 20}{i:04}", ("jpg", "png", "webp")[i % 3]
        content = encoded(i, {"jpg": "jpeg"}.get(end, end))
        members |= {f"{key}.{end}": content, f"{key}.cls": str(i % 2).encode(), f"{key}.json": b"{}"}
        expected[f"x-train-00/{key}.{end}"] = content, i % 2
    write_tar(tmp_path / "in" / "x-train-00.tar", members, format=kind)
    write_tar(tmp_path / "in" / "x-test-00.tar", {"a.png": encoded(9), "a.txt": b"a cat"}, format=kind)
    assert prepare(tmp_path / "in", tmp_path / "store") == 0
    assert in_store(tmp_path / "store", "train") == expected
    assert in_store(tmp_path / "store", "test") == {"x-test-00/a.png": (encoded(9), None)}


def test_webdataset_of_pairs_and_of_plain_files(tmp_path):
    pairs = write_tar(tmp_path / "x.tar", {"1.a.png": encoded(1), "1.b.png": encoded(2)})
    assert "the sample 1 has several pictures, a.png, b.png; choose one by --column" in refused(lambda: read(pairs))
    assert set(read(pairs, columns=("a.png", "b.png"))) == {("train", "a", "1"), ("train", "b", "1")}
    plain = write_tar(tmp_path / "y.tar", {"./in/.hidden.png": b"", "./in/1.png": encoded(1), "./in/2.png": encoded(2)})
    assert [name for _, _, name in read(plain)] == ["in/1.png", "in/2.png"]
    twice = write_tar(tmp_path / "t.tar", {"1.png": encoded(1), "2.png": encoded(2)})
    with tarfile.open(twice, "a") as archive:  # as tar --append does with a file that has changed
        info = tarfile.TarInfo("1.png")
        info.size = len(encoded(3))
        archive.addfile(info, io.BytesIO(encoded(3)))
    assert prepare(twice, tmp_path / "store") == 0
    names = ["1-2.png", "1.png", "2.png"]
    assert in_store(tmp_path / "store", "train") == {
        name: (encoded(i), None) for name, i in zip(names, (3, 1, 2), strict=True)
    }
    empty = write_tar(tmp_path / "z.tar", {"a.txt": b"x"})
    assert "has no pictures in it; the names of its members must end in" in refused(lambda: read(empty))


# --- LMDB -------------------------------------------------------------------------------------------------------------


def write_lmdb(path: Path, values: dict[bytes, bytes], **options) -> Path:
    with lmdb.open(str(path), map_size=1 << 24, **options) as environment, environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    return path


def test_lsun(tmp_path):
    """20 values: as JPEG and WebP whatever the README says, and one that is no picture."""
    values = {f"{i * 7919:040x}".encode(): encoded(i, ("jpeg", "webp")[i % 2]) for i in range(19)}
    broken = b"f" * 40
    write_lmdb(tmp_path / "church_outdoor_train_lmdb", {**values, broken: b"RIFF\0\0\0\0WEBPnothing"})
    assert prepare(tmp_path / "church_outdoor_train_lmdb", tmp_path / "store", "--max-bad", 0.05) == 0
    found = in_store(tmp_path / "store", "train")
    assert {name.partition(".")[0].encode(): content for name, (content, _) in found.items()} == values
    assert {name.partition(".")[2] for name in found} == {"jpg", "webp"}
    skipped = (tmp_path / "store" / "train" / "skipped.jsonl").read_text()
    assert broken.decode() in skipped
    file = write_lmdb(tmp_path / "x.mdb", {b"\0\xff": encoded(1)}, subdir=False)
    assert list(read(file)) == [("train", "", "00ff")]


def test_lmdb_of_several_sizes(tmp_path):
    """That of stylegan2-pytorch, which is confused with LSUN's."""
    values = {f"{size}-{i:05}".encode(): encoded(i, width=size, height=size) for size in (16, 32) for i in range(3)}
    path = write_lmdb(tmp_path / "db", {**values, b"length": b"3"})
    for options, size in (({}, 32), ({"columns": ("16",)}, 16)):
        assert [content for content, _ in read(path, **options).values()] == [
            values[f"{size}-{i:05}".encode()] for i in range(3)
        ]
    assert "there are pictures of 16, 32 px; choose one by --column" in refused(lambda: read(path, columns=("64",)))


def test_lmdb_that_is_cut(tmp_path):
    values = {f"{i:040x}".encode(): encoded(i, width=64, height=64) for i in range(20)}
    file = write_lmdb(tmp_path / "x.mdb", values, subdir=False)
    whole = file.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 8192, 4096, 100):
        file.write_bytes(whole[:length])
        assert "an LMDB database of pictures that cannot be read" in refused(lambda: read(file))
    file.write_bytes(whole)
    assert len(read(file)) == 20


def test_lmdb_whose_pages_point_past_its_end(tmp_path):
    """Reading it would end the process by a signal; it ends another one, and this one says so."""
    values = {f"{i:040x}".encode(): encoded(i, width=64, height=64) for i in range(4)}
    file = write_lmdb(tmp_path / "x.mdb", values, subdir=False)
    content = bytearray(file.read_bytes())
    key = content.find(b"0" * 39 + b"1")
    size = len(values[b"0" * 39 + b"1"])
    # A node begins 8 bytes before its key: the size of its data in two halves, then flags and the key's size.
    assert struct.unpack_from("<HH", content, key - 8) == (size & 0xFFFF, size >> 16)
    while key >= 0:
        struct.pack_into("<HH", content, key - 8, 0xFFFF, 0x3FFF)
        key = content.find(b"0" * 39 + b"1", key + 1)
    file.write_bytes(content)
    assert "points to places outside of itself" in refused(lambda: read(file))


# --- HDF5 -------------------------------------------------------------------------------------------------------------


def write_hdf5(file: Path, **arrays: np.ndarray) -> Path:
    with h5py.File(file, "w") as stream:
        for name, array in arrays.items():
            stream.create_dataset(name, data=array, chunks=(1, *array.shape[1:]), compression="gzip")
    return file


def test_hdf5(tmp_path):
    """As TensorFlow's PG-GAN takes it: the largest array, and labels in one column for each class."""
    images = np.stack([picture(i, 16, 16) for i in range(5)]).transpose(0, 3, 1, 2)
    file = write_hdf5(tmp_path / "x.h5", data8x8=images[:, :, ::2, ::2], data16x16=images, other=np.zeros((2, 2)))
    np.save(tmp_path / "x-labels.npy", np.eye(3, dtype=np.float32)[[2, 0, 1, 1, 0]])
    assert prepare(file, tmp_path / "store") == 0
    found = in_store(tmp_path / "store", "train")
    assert all(np.array_equal(pixels(found[f"{i:07}.png"][0]), images[i].transpose(1, 2, 0)) for i in range(5))
    assert [label for _, label in found.values()] == [2, 0, 1, 1, 0]
    small = read(file, columns=("data8x8",))
    assert pixels(small["train", "", "0000000"][0]).shape == (8, 8, 3)
    assert len(read(file, columns=("data8x8", "data16x16"))) == 10
    grey = write_hdf5(tmp_path / "y.h5", data8x8=images[:, 0, ::2, ::2, None])
    assert np.array_equal(pixels(read(grey)["train", "", "0000001"][0]), images[1, 0, ::2, ::2])


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_hdf5_of_more_than_8_bits(tmp_path, kind):
    images = (np.arange(3 * 64).reshape(3, 1, 8, 8) * 21.5).astype(kind)
    assert prepare(write_hdf5(tmp_path / "x.h5", data8x8=images), tmp_path / "store") == 0
    for i, (name, (content, _)) in enumerate(in_store(tmp_path / "store", "train").items()):
        assert name == f"{i:07}.npy"
        assert np.array_equal(np.load(io.BytesIO(content)), images[i].transpose(1, 2, 0))


def test_hdf5_of_other_arrays(tmp_path):
    def of(**arrays):
        (tmp_path / "x.h5").unlink(missing_ok=True)
        return refused(lambda: read(write_hdf5(tmp_path / "x.h5", **arrays)))

    assert "no array is called data128x128 or so; choose by --column among x" in of(x=np.zeros((2, 3, 8, 8), np.uint8))
    assert "holds complex64, which are no numbers of pictures" in of(data8x8=np.zeros((2, 3, 8, 8), np.complex64))
    assert "has the shape (2, 8, 8, 9)" in of(data8x8=np.zeros((2, 8, 8, 9), np.uint8))
    assert "there is no array y for --column; see data8x8" in refused(lambda: read(tmp_path / "x.h5", columns=("y",)))
    np.save(tmp_path / "x-labels.npy", np.array([{}]), allow_pickle=True)
    assert "x-labels.npy: classes that cannot be read" in of(data8x8=np.zeros((2, 3, 8, 8), np.uint8))


def test_hdf5_that_leads_elsewhere(tmp_path):
    """A file may name other files, whose content a store must not take in."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(3 * 64))
    with h5py.File(tmp_path / "x.h5", "w") as stream:
        stream.create_dataset("data8x8", (1, 3, 8, 8), np.uint8, external=[(str(secret), 0, 192)])
    assert "the array data8x8 lies in other files" in refused(lambda: read(tmp_path / "x.h5"))
    write_hdf5(tmp_path / "y.h5", data8x8=np.zeros((2, 3, 8, 8), np.uint8))
    with h5py.File(tmp_path / "z.h5", "w") as stream:
        stream["data8x8"] = h5py.ExternalLink(str(tmp_path / "y.h5"), "data8x8")
    assert "no array is called" in refused(lambda: read(tmp_path / "z.h5"))


# --- MNIST ------------------------------------------------------------------------------------------------------------


def write_idx(file: Path, array: np.ndarray, pack=gzip.compress) -> np.ndarray:
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(pack(head + array.tobytes()))
    return array


def write_mnist(folder: Path, end: str = ".gz", pack=gzip.compress, side: int = 28) -> dict[str, np.ndarray]:
    arrays = {}
    for start, count in (("train", 6), ("t10k", 4)):
        images = np.stack([picture(count + i, side, side)[:, :, 0] for i in range(count)])
        arrays[start] = write_idx(folder / f"{start}-images-idx3-ubyte{end}", images, pack)
        write_idx(folder / f"{start}-labels-idx1-ubyte{end}", np.arange(count, dtype=np.uint8) % 3, pack)
    return arrays


@pytest.mark.parametrize(("end", "pack"), [(".gz", gzip.compress), ("", bytes)])
def test_mnist(tmp_path, end, pack):
    arrays = write_mnist(tmp_path / "in", end, pack)
    assert prepare(tmp_path / "in", tmp_path / "store") == 0
    for part, start in (("train", "train"), ("test", "t10k")):
        found = list(in_store(tmp_path / "store", part).values())
        assert all(np.array_equal(pixels(found[i][0]), np.pad(one, 2)) for i, one in enumerate(arrays[start]))
        assert [label for _, label in found] == [i % 3 for i in range(len(found))]
    assert {split for split, _, _ in read(tmp_path / "in" / f"t10k-images-idx3-ubyte{end}")} == {"test"}


def test_idx_files_of_another_size(tmp_path):
    arrays = write_mnist(tmp_path / "in", side=20)
    found = read(tmp_path / "in")
    assert np.array_equal(pixels(found["train", "", "train/000001"][0]), arrays["train"][1])


def test_idx_files_that_lie(tmp_path):
    folder = tmp_path / "in"
    write_mnist(folder)
    file = folder / "train-images-idx3-ubyte.gz"
    whole = gzip.decompress(file.read_bytes())
    bomb = struct.pack(">HBB3I", 0, 8, 3, 60000, 65535, 65535)
    cases = {
        "it has 4703 of the 4704 bytes that its header promises": gzip.compress(whole[:-1]),
        "it has more than the 4704 bytes that its header promises": gzip.compress(whole + b"x"),
        "more than 1073741824": gzip.compress(bomb),
        "does not begin as an array of bytes with 3 axes": gzip.compress(b"\0\0\x0d\3" + whole[4:]),
        "Compressed file ended": file.read_bytes()[:-20],
    }
    for words, content in cases.items():
        file.write_bytes(content)
        assert words in refused(lambda: read(folder)), words
    file.write_bytes(gzip.compress(whole))
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.zeros(5, np.uint8))
    assert "has 5 classes for the 6 pictures" in refused(lambda: read(folder))


# --- CIFAR ------------------------------------------------------------------------------------------------------------


def write_cifar(folder: Path, hundred: bool = False) -> dict[str, np.ndarray]:
    """As Python 2 pickled it: the array's bytes as text, and numpy's old name for its core."""
    folder.mkdir(parents=True)
    batches = ["train", "test"] if hundred else [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    key, names = ("fine_labels", "fine_label_names") if hundred else ("labels", "label_names")
    arrays = {}
    for b, batch in enumerate(batches):
        arrays[batch] = np.stack([picture(10 * b + i, 32, 32) for i in range(3)])
        data = arrays[batch].transpose(0, 3, 1, 2).reshape(3, 3072)
        content = pickle.dumps({"data": data, key: [0, 1, 0], "filenames": ["x.png"] * 3}, protocol=2)
        (folder / batch).write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    (folder / ("meta" if hundred else "batches.meta")).write_bytes(pickle.dumps({names: NAMES}, protocol=2))
    return arrays


@pytest.mark.parametrize("hundred", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_cifar(tmp_path, hundred, packed):
    folder = tmp_path / "batches"
    arrays = write_cifar(folder, hundred)
    source = folder
    if packed:
        source = tmp_path / f"cifar-{100 if hundred else 10}-python.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(folder, "cifar")
    assert prepare(source, tmp_path / "store") == 0
    for part in ("train", "test"):
        found = in_store(tmp_path / "store", part)
        wanted = [one for batch, some in arrays.items() if ("test" in batch) == (part == "test") for one in some]
        assert len(found) == len(wanted)
        for (name, (content, label)), one in zip(found.items(), wanted, strict=True):
            assert np.array_equal(pixels(content), one), name
            assert label == NAMES[int(name[-9:-4]) == 1]


def test_cifar_that_does_harm(tmp_path, capsys):
    """Nothing of the pickle is executed, and what it asks for is named."""
    mark = tmp_path / "mark"
    write_cifar(tmp_path / "in")
    whole = (tmp_path / "in" / "data_batch_2").read_bytes()
    for kind, content in pickles(tmp_path, mark).items():
        (tmp_path / "in" / "data_batch_2").write_bytes(content)
        sentence = refused(lambda: read(tmp_path / "in"))
        assert "data_batch_2" in sentence
        assert "posix.mkdir, which is no part of an array; refused" in sentence or kind in ("zip", "old")
        assert not mark.exists()
    (tmp_path / "in" / "data_batch_2").write_bytes(whole[:-1000])
    assert "data_batch_2: it is a damaged pickle" in refused(lambda: read(tmp_path / "in"))
    assert prepare(tmp_path / "in", tmp_path / "store") == 2
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nscalar\n.",
        pickle.dumps({"data": np.array([Path], object)}),
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # bytes of an enormous length
        b"r\xff\xff\xff\x7f.",  # a memo of an enormous length
        pickle.dumps([1]),
        b"",
    ],
)
def test_pickles_of_anything_else(content):
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        load_arrays(content)


def test_cifar_of_wrong_arrays(tmp_path):
    write_cifar(tmp_path / "in")
    file = tmp_path / "in" / "data_batch_1"
    data = np.zeros((2, 3072), np.uint8)
    cases = {
        "holds no array of pictures": {"data": data[:, :9], "labels": [0, 1]},
        "has no class for each of its 2 pictures": {"data": data, "labels": [0]},
        "has the class '-1'": {"data": data, "labels": [0, -1]},
    }
    for words, content in cases.items():
        file.write_bytes(pickle.dumps(content, protocol=2).replace(b"numpy._core.", b"numpy.core."))
        assert words in refused(lambda: read(tmp_path / "in"))
    file.unlink()
    container = open_container(str(tmp_path / "in"), Options())
    assert len(container.items()) == 15
    assert container.remarks == ["the batch data_batch_1 is not there"]


# --- all --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "magic"), [("x.parquet", b"PAR1"), ("x.h5", b"\x89HDF\r\n\x1a\n"), ("x.tar", None), ("x.zip", None)]
)
def test_truncated_files_get_one_sentence(tmp_path, kind, magic):
    """At many lengths, and with bytes of the header changed; pictures in it may be broken, but nothing else happens."""
    file = tmp_path / kind
    match kind:
        case "x.parquet":
            write_table(file, {"image": cells(range(4)), "label": [0, 1, 0, 1]})
        case "x.h5":
            write_hdf5(file, data16x16=np.stack([picture(i, 16, 16) for i in range(4)]))
        case "x.tar":
            write_tar(file, {f"{i}.png": encoded(i) for i in range(4)})
        case _:
            with zipfile.ZipFile(file, "w") as archive:
                for path in sorted(write_folder(tmp_path / "in", 4).rglob("*.png")):
                    archive.write(path, path.name)
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[: len(whole) * i // 12] for i in range(1, 12)] + [whole[:-1]]
    for place in (*rng.integers(0, 600, 8), *(len(whole) - rng.integers(1, 400, 8))):
        content = bytearray(whole)
        content[place % len(whole)] ^= 1 + int(place) % 255
        damaged.append(bytes(content))
    sentences = []
    for content in damaged:
        file.write_bytes(content)
        try:
            container = open_container(str(file), Options())
            for item in container.items():
                with contextlib.suppress(Exception):
                    container.read(item)
        except UserError as error:
            sentences.append(str(error))
    assert len(sentences) >= 11
    for sentence in sentences:
        assert sentence.endswith(".")
        assert "\n" not in sentence
        assert str(tmp_path) in sentence


@pytest.mark.parametrize(("module", "extra"), [("pyarrow", "parquet"), ("lmdb", "lmdb"), ("h5py", "hdf5")])
def test_a_missing_library_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch, module, extra):
    path = {
        "pyarrow": lambda: write_table(tmp_path / "x.parquet", {"image": cells(range(2))}),
        "lmdb": lambda: write_lmdb(tmp_path / "x", {b"1": b"2"}),
        "h5py": lambda: write_hdf5(tmp_path / "x.h5", data8x8=np.zeros((2, 3, 8, 8), np.uint8)),
    }[module]()
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == module else real(name, *a))
    with pytest.raises(MissingExtra, match=rf"reading it needs {module}; pip install 'progcycle\[{extra}\]'\."):
        read(path)


def test_a_folder_of_pictures_with_an_archive_in_it_is_a_folder_of_pictures(tmp_path):
    folder = write_folder(tmp_path / "in", 3)
    write_tar(folder / "backup.tar", {"1.png": encoded(1)})
    write_table(folder / "more" / "x.parquet", {"image": cells(range(2))})
    assert len(read(folder)) == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html><title>Quota exceeded</title>", "is a web page and not the file"),
        (b"version https://git-lfs.github.com/spec/v1", "is the stand-in of a file that Git LFS has not fetched"),
        (b"half of it", r"is no \.parquet file; download it again, or remove it\."),
    ],
)
def test_a_part_of_a_set_whose_download_failed_is_named_and_not_left_out(tmp_path, content, words):
    write_table(tmp_path / "in" / "train-00000.parquet", {"image": cells(range(2))})
    lost = tmp_path / "in" / "train-00001.parquet"
    lost.write_bytes(content)
    with pytest.raises(UserError, match=f"train-00001.parquet {words}"):
        read(tmp_path / "in")
    lost.unlink()
    assert len(read(tmp_path / "in")) == 2


def test_where_all_downloads_failed_the_first_is_named(tmp_path):
    for name in ("a.tar", "b.tar"):
        (tmp_path / name).write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(UserError, match=r"a\.tar is the stand-in of a file that Git LFS has not fetched; run git lfs"):
        read(tmp_path)


def test_what_is_all_test_pictures_is_what_was_meant(tmp_path):
    file = write_table(tmp_path / "test-00000-of-00001.parquet", {"image": cells(range(3))})
    assert prepare(file, tmp_path / "store") == 0
    assert len(in_store(tmp_path / "store", "train")) == 3
