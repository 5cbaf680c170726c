"""What one look at every picture finds out."""

import io
import json
import zipfile

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from deep_pictures import scan as scan_values
from deep_pictures import write_values
from picture_folders import picture, write_folder
from PIL import Image
from sentences import refused

from progcycle.data.containers import Options
from progcycle.data.parts import Choice, check_left, collect, drop_twice, leave_out
from progcycle.data.scan import (
    REFUSED,
    as_bytes,
    describe,
    find_twice,
    mixed_depths,
    refuse_offenders,
    scan,
    summary,
    unbalanced,
)
from progcycle.recipe import MAX_PIXELS


def scanned(*sources, tests=(), choice=None, max_pixels=MAX_PIXELS, memory=None, labels=None):
    choice = choice or Choice()
    parts = collect([str(s) for s in sources], [str(t) for t in tests], Options(labels=labels), choice)
    scan(parts, max_pixels=max_pixels, processes=1, memory=memory)
    leave_out(parts, choice)
    return parts


def save(folder, name, image, **options):
    folder.mkdir(exist_ok=True)
    image.save(folder / name, **options)


def test_all_offenders_at_once(tmp_path):
    """Truncated, empty, another format, a lie about the size, and of too many pixels: each has its sentence."""
    folder = write_folder(tmp_path / "in", 20)
    whole = (folder / "00.png").read_bytes()
    (folder / "a.png").write_bytes(whole[: len(whole) // 2])
    (folder / "b.png").write_bytes(b"")
    (folder / "c.jpg").write_bytes(b"%!PS-Adobe")
    stretched = bytearray(whole)
    stretched[16:20] = (1000).to_bytes(4, "big")  # the header's width, whose checksum is then wrong
    (folder / "d.png").write_bytes(stretched)
    save(folder, "e.png", Image.new("RGB", (400, 400)))
    save(folder, "f.tif", Image.fromarray(np.zeros((9, 9), np.float32)))
    (part,) = scanned(folder, max_pixels=9999)
    assert {f.name: f.fault for f in part.offenders} == {
        **dict.fromkeys(("a.png", "b.png", "c.jpg", "d.png", "e.png"), "broken"),
        "f.tif": "refused",
    }
    assert all(f.problem.startswith(f.name) and f.problem.endswith(".") for f in part.offenders)
    assert "6 of 26 pictures cannot be used, above the allowed share --max-bad 0.01 (see x)" in refused(
        lambda: refuse_offenders([part], 0.01, "see x")
    )
    refuse_offenders([part], 0.25, "")
    assert len(part.kept()) == 20
    assert "6 left out: cannot be used" in list(describe(part))


def test_what_is_found_about_a_picture(tmp_path):
    pixels = picture(1)
    save(
        tmp_path / "in",
        "turned.jpg",
        Image.fromarray(pixels),
        exif=bytes.fromhex("4578696600004d4d002a00000008000101120003000000010006000000000000"),
    )
    save(tmp_path / "in", "grey.png", Image.fromarray(pixels[:, :, 0]))
    save(tmp_path / "in", "deep.png", Image.fromarray((np.arange(40 * 36, dtype=np.uint16) * 45).reshape(36, 40)))
    (part,) = scanned(tmp_path / "in")
    found = {f.name: f for f in part.found}
    assert (found["turned.jpg"].width, found["turned.jpg"].height) == (36, 40), "upright"
    assert found["grey.png"].mode == "L"
    assert found["deep.png"].mode.startswith("I;16")
    assert found["deep.png"].is_deep
    assert mixed_depths(part).startswith("train mixes 2 pictures of 8 bits (such as grey.png) and 1 of 16 bits")
    assert mixed_depths(part) == refused(lambda: refuse_offenders([part], 0.5, ""))
    (part,) = scanned(tmp_path / "in", choice=Choice(exclude=("deep*",)))
    assert mixed_depths(part) is None
    assert part.skipped == {"deep.png": "in --exclude"}


def test_what_occurs_twice_is_found_across_formats_and_parts(tmp_path):
    """By pixels: the same picture as PNG and as BMP."""
    for name, seeds in {"a": (1, 2, 3, 4), "b": (5, 6, 3), "ta": (7, 2), "tb": (8, 9)}.items():
        for i, seed in enumerate(seeds):
            save(tmp_path / name, f"{i}.png", Image.fromarray(picture(seed)))
    save(tmp_path / "a", "again.bmp", Image.fromarray(picture(1)))
    parts = scanned(tmp_path / "a", tmp_path / "b", tests=(tmp_path / "ta", tmp_path / "tb"))
    found = {(t.first, t.second): t for t in find_twice(parts)}
    assert {pair: t.pairs for pair, t in found.items()} == {
        ("trainA", "trainA"): (("0.png", "again.bmp"),),
        ("trainA", "trainB"): (("2.png", "2.png"),),
        ("trainA", "testA"): (("1.png", "1.png"),),
    }
    assert [pair for pair, t in found.items() if t.leaks] == [("trainA", "testA")]
    assert str(found["trainA", "trainB"]) == "1 picture of trainA is also in trainB, such as 2.png = 2.png"
    drop_twice(parts)
    names = {part.name: [f.name for _, f in part.kept()] for part in parts}
    assert names == {
        "trainA": ["0.png", "2.png", "3.png"],
        "trainB": ["0.png", "1.png", "2.png"],
        "testA": ["0.png", "1.png"],
        "testB": ["0.png", "1.png"],
    }


@pytest.mark.parametrize(("low", "high", "channels"), [(0, 65535, 1), (0, 65535, 3), (0, 200, 1)])
def test_deep_pictures_are_compared_by_their_values_too(tmp_path, low, high, channels):
    for seed in (1, 2):
        write_values(tmp_path / "in" / f"{seed}.png", scan_values(seed, low, high, channels=channels))
    write_values(tmp_path / "in" / "again.tif", scan_values(1, low, high, channels=channels))
    ((twice,),) = [find_twice(scanned(tmp_path / "in"))]
    assert twice.pairs == (("1.png", "again.tif"),)


def test_unbalanced_domains_are_reported(tmp_path):
    write_folder(tmp_path / "a", 3)
    write_folder(tmp_path / "b", 9, 30)
    sentence = unbalanced(scanned(tmp_path / "a", tmp_path / "b"))
    assert sentence.startswith("B has 9 pictures and A 3: in an epoch of B every picture of A is shown 3.0 times")
    write_folder(tmp_path / "a", 5)
    assert unbalanced(scanned(tmp_path / "a", tmp_path / "b")) is None


def test_filters(tmp_path):
    folder = write_folder(tmp_path / "in", 6)
    save(folder, "small.png", Image.fromarray(picture(90, 20, 30)))
    (part,) = scanned(folder, choice=Choice(include=("more/*", "s*"), exclude=("*3.png",), min_side=25))
    assert [f.name for _, f in part.kept()] == ["more/01.png", "more/05.png"]
    assert part.skipped == {
        "00.png": "not in --include", "02.png": "not in --include", "04.png": "not in --include",
        "more/03.png": "in --exclude", "small.png": "a side of less than 25 px",
    }  # fmt: skip
    (part,) = scanned(folder, choice=Choice(include=("more/*",), first=2))
    assert [f.name for _, f in part.kept()] == ["more/01.png", "more/03.png"]
    assert part.skipped["more/05.png"] == "beyond the first 2"
    assert "has no picture for train; check --include" in refused(
        lambda: scanned(folder, choice=Choice(include=("x",)))
    )
    parts = scanned(folder, choice=Choice(min_side=99))
    assert "no picture is left for train" in refused(lambda: check_left(parts))


def test_two_classes_become_two_domains(tmp_path):
    for i, name in enumerate(("cat", "dog", "fox")):
        write_folder(tmp_path / "in" / name, 3 + i, 20 * i)
    parts = scanned(tmp_path / "in", labels="folders", choice=Choice(classes=("dog", "cat")))
    assert {part.name: len(part.kept()) for part in parts} == {"trainA": 4, "trainB": 3}
    assert "has no class cow for --classes; its classes are cat, dog, fox" in refused(
        lambda: scanned(tmp_path / "in", labels="folders", choice=Choice(classes=("cow", "cat")))
    )


def test_classes_in_a_layout_of_domains_are_classes_if_they_are_asked_for(tmp_path):
    for i, name in enumerate(("cat", "dog")):
        write_folder(tmp_path / "in" / "train" / name, 3, 20 * i)
    assert [part.name for part in scanned(tmp_path / "in")] == ["trainA", "trainB"]
    (part,) = scanned(tmp_path / "in" / "train", labels="folders")
    assert [f.label for f in part.found] == ["cat"] * 3 + ["dog"] * 3
    (tmp_path / "in" / "labels.json").write_text(json.dumps({f"train/{f.name}": f.label for f in part.found}))
    (part,) = scanned(tmp_path / "in", labels=str(tmp_path / "in" / "labels.json"))
    assert part.name == "train"


def test_a_scan_remembers_what_it_found(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "in", 6)
    first = scanned(folder, memory=tmp_path / "memory")
    monkeypatch.setattr("progcycle.data.scan.decode_picture", None)
    assert scanned(folder, memory=tmp_path / "memory")[0].found == first[0].found
    (tmp_path / "memory").joinpath(next((tmp_path / "memory").iterdir())).write_text("{")  # damaged
    monkeypatch.undo()
    assert scanned(folder, memory=tmp_path / "memory")[0].found == first[0].found
    Image.fromarray(picture(50)).save(folder / "00.png")
    assert scanned(folder, memory=tmp_path / "memory")[0].found[0] != first[0].found[0]


def test_a_scan_remembers_columns_apart(tmp_path):
    """Those of one row have one name."""
    for name in "ab":
        save(tmp_path / "in", f"{name}.png", Image.fromarray(picture(ord(name))))
    cells = [[{"bytes": (tmp_path / "in" / f"{name}.png").read_bytes(), "path": None}] for name in "ab"]
    pyarrow.parquet.write_table(pyarrow.table({"x": cells[0], "y": cells[1]}), tmp_path / "x.parquet")
    for _ in range(2):
        parts = collect([str(tmp_path / "x.parquet")], [], Options(columns=("x", "y")), Choice())
        scan(parts, max_pixels=MAX_PIXELS, processes=1, memory=tmp_path / "memory")
        assert parts[0].found[0].pixels != parts[1].found[0].pixels
    assert len(list((tmp_path / "memory").iterdir())) == 2


@pytest.mark.parametrize(("labels", "found"), [("null", None), ('[["top/0.png", 3], ["top/1.png", 1]]', [3, 1])])
def test_dataset_json_is_found_where_an_enclosing_folder_hides_it(tmp_path, labels, found):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for i in range(2):
            stream = io.BytesIO()
            Image.fromarray(picture(i)).save(stream, "png")
            archive.writestr(f"top/{i}.png", stream.getvalue())
        archive.writestr("top/dataset.json", f'{{"labels": {labels}}}'.replace("top/", ""))
    (part,) = scanned(tmp_path / "x.zip")
    assert [f.label for f in part.found] == (found or [None, None])
    assert any("top/dataset.json, where StyleGAN's tools do not find it" in line for line in describe(part))


def test_labels_that_are_no_classes_are_left_out_with_a_line(tmp_path):
    """StyleGAN's tools allow vectors, such as poses of a camera."""
    folder = write_folder(tmp_path / "in", 2)
    (folder / "dataset.json").write_text(json.dumps({"labels": [["00.png", [0.5, 1.0]], ["more/01.png", [0.1, 0.2]]]}))
    (part,) = scanned(folder)
    assert {f.label for f in part.found} == {None}
    assert any("no classes are kept" in line and "[0.5, 1.0]" in line for line in describe(part))
    sentence = refused(lambda: scanned(folder, labels=str(folder / "dataset.json")))
    assert "it must be a number or a name" in sentence


def test_bytes_for_people():
    assert [as_bytes(n) for n in (0, 999, 1000, 116_867_962, 9.4e10, 2e15)] == [
        "0 bytes", "999 bytes", "1.0 kB", "116.9 MB", "94.0 GB", "2000.0 TB",
    ]  # fmt: skip


def test_sets_of_more_than_8_bits_are_kept_and_files_of_patients_refused(tmp_path):
    for i, ending in enumerate((".png", ".tif", ".npy")):
        write_values(tmp_path / "in" / f"{i}{ending}", scan_values(i))
    write_values(tmp_path / "in" / "3.tif", scan_values(3, channels=5))
    (tmp_path / "in" / "2.npy").rename(tmp_path / "2.npy")  # beside pictures it is none
    (part,) = scanned(tmp_path / "in")
    assert [(f.name, f.mode, f.width, f.height, f.fault) for f in part.found] == [
        ("0.png", "I;16", 40, 36, ""),
        ("1.tif", "I;16", 40, 36, ""),
        ("3.tif", "5 channels;16", 40, 36, ""),
    ]
    assert "grey of 16 bits 2, 5 channels of 16 bits 1" in summary(part.found)
    Image.fromarray(picture(1)).save(tmp_path / "in" / "4.png")
    (part,) = scanned(tmp_path / "in")
    assert [f.fault for f in part.found] == [REFUSED, REFUSED, REFUSED, ""]
    (tmp_path / "medical").mkdir()
    (tmp_path / "medical" / "x.nii.gz").write_bytes(b"not looked into")
    (tmp_path / "medical" / "y.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (part,) = scanned(tmp_path / "medical")
    assert [f.fault for f in part.found] == [REFUSED, REFUSED]
    assert all("what its header tells of a patient" in f.problem for f in part.found)
