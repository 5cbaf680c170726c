"""Snapshots that a stranger hands over: nothing is executed, no memory is taken for what a header merely claims."""

import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import harmful, pickles, safetensors
from safetensors.torch import load_file

import progcycle
from progcycle.commands.cli import main
from progcycle.errors import UserError
from progcycle.export import Generator

Make = Callable[..., Path]
MIB = 1024  # kB


def refused(folder: Path) -> str:
    """The sentence of the error that all ways of loading raise."""
    sentences = []
    for read in (lambda: progcycle.load(folder), lambda: Generator.from_pretrained(folder)):
        with pytest.raises(UserError) as caught:
            read()
        sentences.append(str(caught.value))
        assert sentences[-1].isprintable()
        assert len(sentences[-1]) < 1000
    return sentences[0]


@pytest.fixture
def snapshot(make_snapshot: Make) -> Path:
    return make_snapshot(task="pggan")


@pytest.fixture(autouse=True)
def little_memory(snapshot: Path) -> Iterator[None]:
    progcycle.load(snapshot)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * MIB


def test_pickles_are_never_executed(snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = tmp_path / "executed"
    for name, content in pickles(tmp_path, mark).items():
        (tmp_path / "x").write_bytes(content)
        assert harmful(tmp_path / "x", mark), name
        for file, words in (("model.safetensors", "cannot be read as safetensors"), ("config.json", "read as JSON")):
            before = (snapshot / file).read_bytes()
            (snapshot / file).write_bytes(content)
            assert words in refused(snapshot), (name, file)
            assert main(["generate", str(snapshot), "--count", "1", "--out", str(tmp_path / "out.png")]) == 2
            assert len(capsys.readouterr().err.splitlines()) == 1
            (snapshot / file).write_bytes(before)
        for other in ("pytorch_model.bin", "model.pt", "model.pkl"):
            (snapshot / other).write_bytes(content)
    progcycle.load(snapshot)
    (snapshot / "model.safetensors").unlink()
    assert "has no model.safetensors" in refused(snapshot), "no other file is read in its place"
    assert not mark.exists()


HUGE = {"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, 4 << 40]}
HEADERS: dict[str, bytes] = {
    "a header of 4 EiB": safetensors({}, length=1 << 62),
    "a header of 90 MB": safetensors({}, length=90_000_000),
    "a header longer than the file": safetensors({}, length=1000),
    "4 TiB of weights": safetensors({"generator.bias": HUGE}),
    "a size that overflows": safetensors({"x": {**HUGE, "shape": [1 << 40, 1 << 40], "data_offsets": [0, 1 << 63]}}),
    "offsets that overlap": safetensors(
        {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in "ab"}, bytes(8)
    ),
    "negative sizes": safetensors({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
    "an unknown type": safetensors({"x": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)),
    "deep JSON": safetensors(b"[" * 100_000),
    "nothing": b"",
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_are_not_believed(snapshot: Path, name: str) -> None:
    (snapshot / "model.safetensors").write_bytes(HEADERS[name])
    assert "model.safetensors: this file cannot be read as safetensors" in refused(snapshot)


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_really_is_huge_is_refused_by_its_header(snapshot: Path, known: bool) -> None:
    path = snapshot / "model.safetensors"
    header = {
        name: {"dtype": "F32", "shape": list(w.shape), "data_offsets": [0, 0]} for name, w in load_file(path).items()
    }
    name = "generator.bias" if known else "generator.more"
    header[name] = {"dtype": "F32", "shape": [1 << 31], "data_offsets": [0, 4 << 31]}
    end = 4 << 31
    for other, about in header.items():
        if other != name:
            size = 4
            for side in about["shape"]:
                size *= side
            about["data_offsets"] = [end, end + size]
            end += size
    content = safetensors(header)
    path.write_bytes(content)
    os.truncate(path, len(content) + end)  # 8 GiB that take no place on the disk
    assert ("has the shape [2147483648]" if known else "has an unknown weight generator.more") in refused(snapshot)


CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"arguments": {"channels": [10**9, 10**9, 10**9]}}, "channels holds a number above 65536"),
    ({"arguments": {"channels": [8] * 10**6}}, "channels has 1000000 entries, above 16"),
    ({"arguments": {"latent_size": 10**9}}, "latent_size holds a number above 65536"),
    ({"arguments": {"latent_size": 65536}}, "has the shape"),
    ({"arguments": {"base_resolution": 2**40}}, "base_resolution holds a number above 65536"),
    ({"arguments": {"base_resolution": 65536}}, "has the shape"),
    ({"arguments": {"channels": [65536] * 16}}, "has no weight"),
    ({"arguments": {"channels": [65536] * 16, "base_resolution": 65536, "latent_size": 65536}}, "cannot be built"),
    ({"arguments": {"image_channels": 10**400}}, "image_channels holds a number above 65536"),
    ({"arguments": {"epsilon": float("nan")}}, "epsilon holds a number above 65536"),
    ({"arguments": {"residual_blocks": 10**9}}, "residual_blocks holds a number above 1000"),
    ({"arguments": {"normalize": "eval"}}, "cannot be built"),
    ({"arguments": {"convs": {"a": [1]}}}, "cannot be built"),
    ({"arguments": {"__class__": 1}}, "cannot be built"),
    ({"name": "os.system"}, "there is no network 'os.system'"),
    ({"name": "__import__('os').mkdir('x')"}, "there is no network"),
]


@pytest.mark.parametrize(("change", "words"), CONFIGS, ids=lambda value: str(value)[:40])
def test_networks_of_absurd_sizes_are_refused(snapshot: Path, change: dict[str, Any], words: str) -> None:
    path = snapshot / "config.json"
    content = json.loads(path.read_text())
    own = content["networks"]["generator"]
    content["networks"]["generator"] = {**own, **change, "arguments": own["arguments"] | change.get("arguments", {})}
    path.write_text(json.dumps(content))
    assert words in refused(snapshot)


FAULTS: list[tuple[dict[str, Any], str]] = [
    (
        {"resolution": 2**40, "final_resolution": 2**40, "base_resolution": 2**38},
        "a resolution has 1 to 1024 pixels",
    ),
    ({"stage": 10**9}, "is not base_resolution"),
    ({"stage": 10**400}, "is not base_resolution"),
    ({"nimg": -1}, "nimg: Input should be greater"),
    ({"alpha": float("inf")}, "alpha"),
    ({"classes": ["cat"] * 10**5}, "classes must be the different names of 0 classes"),
    ({"seed": "1"}, "seed: Input should be a valid integer"),
    ({"\x1b[2J": 1}, r"\x1b[2J: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("change", "words"), FAULTS, ids=lambda value: str(value)[:40])
def test_absurd_configs_are_refused(snapshot: Path, change: dict[str, Any], words: str) -> None:
    path = snapshot / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert words in refused(snapshot)


def test_configs_are_not_read_beyond_any_size(snapshot: Path) -> None:
    os.truncate(snapshot / "config.json", 1 << 40)
    assert "it has 1099511627776 bytes, more than 16777216" in refused(snapshot)
