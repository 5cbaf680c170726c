"""Data sets that are known by their files or counts."""

import hashlib
import os

import pytest
from picture_folders import write_folder

import progcycle.data.known as known_module
from progcycle.data.containers import Options, open_container
from progcycle.data.known import ARCHIVES, Archive, recognize
from progcycle.data.scan import Found, Part


def part(folder, name: str, count: int, size: tuple[int, int], mode: str = "RGB") -> Part:
    container = open_container(str(folder), Options())
    found = [Found(f"{i}.png", width=size[0], height=size[1], mode=mode) for i in range(count)]
    return Part(name, str(folder), container, [], found)


def test_bytes_and_hashes_of_the_list():
    """Of the list that the data come with: spot checks, and that no two are confused."""
    assert ARCHIVES["horse2zebra.zip"] == Archive(
        "horse2zebra", 116_867_962, "a74d9d39", "no licence comes with it (pictures from ImageNet)"
    )
    assert len({archive.bytes for archive in ARCHIVES.values()}) == len(ARCHIVES) == 11
    assert len({archive.sha256 for archive in ARCHIVES.values()}) == 11
    assert len(ARCHIVES["celeba_hq.zip"].sha256) == 64


def test_files_are_known_by_bytes_and_hash(tmp_path, monkeypatch):
    content = b"PK a zip file"
    digest = hashlib.sha256(content).hexdigest()
    archive = Archive("horse2zebra", len(content), digest[:8], "none")
    monkeypatch.setattr(known_module, "ARCHIVES", {"horse2zebra.zip": archive})
    file = tmp_path / "renamed.zip"
    file.write_bytes(content)
    assert recognize([str(file)], []) == ("horse2zebra", "none", ["this is horse2zebra; licence: none"])
    file.write_bytes(content[:-1] + b"x")
    assert "has the size of horse2zebra.zip and has other bytes in it" in recognize([str(file)], [])[2][0]
    os.rename(file, tmp_path / "horse2zebra.zip")
    (tmp_path / "horse2zebra.zip").write_bytes(content[:5])
    (sentence,) = recognize([str(tmp_path / "horse2zebra.zip")], [])[2]
    assert sentence.endswith("a file of 13 bytes and has 5: an incomplete download, or another version")
    assert recognize([str(write_folder(tmp_path / "in", 1))], []) == ("", "", [])


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("CIFAR-10 or CIFAR-100", [("train", 50_000, (32, 32), "RGB"), ("test", 10_000, (32, 32), "RGB")]),
        ("MNIST or a set of its form", [("train", 60_000, (32, 32), "L"), ("test", 10_000, (32, 32), "L")]),
        ("CelebA, aligned", [("train", 202_599, (178, 218), "RGB")]),
        ("", [("train", 202_599, (128, 128), "RGB")]),
        ("", [("train", 49_999, (32, 32), "RGB"), ("test", 10_000, (32, 32), "RGB")]),
    ],
)
def test_sets_are_known_by_counts_and_sizes(tmp_path, name, parts):
    folder = write_folder(tmp_path / "in", 1)
    found = recognize([str(folder)], [part(folder, *arguments) for arguments in parts])
    assert found[0] == name
    assert bool(found[1]) == bool(name) == bool(found[2])


def test_names_that_lie(tmp_path):
    """Two sets of the hub are called CelebA-HQ and are not."""
    folder = write_folder(tmp_path / "celebA-HQ", 1)
    sentences = recognize([str(folder)], [part(folder, "train", 270_000, (256, 256))])[2]
    assert (
        "is called like CelebA-HQ, which has 30,000 pictures of 1024x1024 px, and has 270,000 of up to 256"
        in sentences[0]
    )
    assert recognize([str(folder)], [part(folder, "train", 30_000, (1024, 1024))])[0] == "CelebA-HQ"
