"""Snapshots: what is written is what is read, and anything else is refused with one sentence."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sentences import refused
from snapshots import edit_config

import progcycle
from progcycle.export import Generator, Translator, find_snapshot, list_snapshots, load, save_snapshot
from progcycle.networks import GENERATORS, TRANSLATORS
from progcycle.recipe import validate
from progcycle.schedule import Growth

Make = Callable[..., Path]


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_files_are_as_documented(make_snapshot: Make, task: str) -> None:
    folder = make_snapshot(task=task, alpha=0.25)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    base = 4 if task == "pggan" else 8
    assert {k: v for k, v in config.items() if k not in ("networks", "recipe")} == {
        "format": 1,
        "library_name": "progcycle",
        "progcycle_version": progcycle.__version__,
        "task": task,
        "stage": 2,
        "alpha": 0.25,
        "resolution": 4 * base,
        "base_resolution": base,
        "final_resolution": 4 * base,
        "nimg": 12000,
        "seed": 7,
        "classes": [],
    }
    header = (folder / "model.safetensors").read_bytes()[8:]
    recipe_sha256 = hashlib.sha256(json.dumps(config["recipe"], sort_keys=True).encode()).hexdigest()
    metadata = {
        "alpha": "0.25",
        "format": "pt",
        "library": "progcycle",
        "nimg": "12000",
        "progcycle_version": progcycle.__version__,
        "recipe_sha256": recipe_sha256,
        "resolution": str(4 * base),
        "stage": "2",
        "task": task,
    }
    assert header.startswith(f'{{"__metadata__":{json.dumps(metadata, separators=(",", ":"))},'.encode()), "in order"
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == metadata
        names = list(file.keys())
        assert {file.get_tensor(name).dtype for name in names} == {torch.float32}
    assert {name.split(".")[0] for name in names} == set(config["networks"])
    registry = GENERATORS if task == "pggan" else TRANSLATORS
    expected = {
        f"{name}.{key}"
        for name, spec in config["networks"].items()
        for key in registry[spec["name"]](**spec["arguments"]).state_dict()
    }
    assert set(names) == expected


@pytest.mark.parametrize(
    ("a", "b", "written", "sides"),
    [
        ({}, {"load_resolution": 32}, None, (32, 32)),
        ({"load_resolution": 36}, {}, {"a": 32}, (32, 32)),
        ({"load_resolution": "native"}, {"load_resolution": 64}, {"a": "native", "b": 64}, (None, 64)),
    ],
)
def test_the_scale_of_tests_is_in_the_config(
    make_snapshot: Make, a: dict[str, Any], b: dict[str, Any], written: dict[str, Any] | None, sides: tuple[Any, Any]
) -> None:
    folder = make_snapshot(data={"root": "nowhere", "a": a, "b": b})
    assert json.loads((folder / "config.json").read_text()).get("test_resolution") == written
    model = load(folder)
    assert (model.config.test_side("a"), model.config.test_side("b")) == sides
    edit_config(folder, test_resolution={"a": "huge"})
    assert "test_resolution" in refused(lambda: load(folder))


def test_generators_have_no_test_pictures(make_snapshot: Make) -> None:
    folder = make_snapshot(task="pggan", data={"path": "nowhere", "load_resolution": "native"})
    assert "test_resolution" not in json.loads((folder / "config.json").read_text())


def test_whoever_may_read_the_config_may_read_the_weights(make_snapshot: Make, tmp_path: Path) -> None:
    snapshot = make_snapshot()
    load(snapshot).save_pretrained(tmp_path / "saved")
    for folder in (snapshot, tmp_path / "saved"):
        modes = {file: (folder / file).stat().st_mode for file in ("config.json", "model.safetensors")}
        assert modes["model.safetensors"] == modes["config.json"]


def test_recipe_comes_back_equal(make_snapshot: Make) -> None:
    model = load(make_snapshot())
    assert model.recipe.schedule.batch_size == {"default": 4, 16: 2}  # JSON makes text of number keys
    assert model.recipe == validate(model.config.recipe)


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_weights_come_back_to_the_bit(make_snapshot: Make, task: str, tmp_path: Path) -> None:
    model = load(make_snapshot(task=task))
    assert isinstance(model, Generator if task == "pggan" else Translator)
    assert not model.training
    written = load_file(make_snapshot(task=task) / "model.safetensors")
    read = model.state_dict()
    assert read.keys() == written.keys()
    assert all(torch.equal(read[name], written[name]) for name in written)
    model.save_pretrained(tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["config.json", "model.safetensors"]
    again = type(model).from_pretrained(tmp_path / "copy")
    assert again.config == model.config
    assert all(torch.equal(again.state_dict()[name], w) for name, w in read.items())
    assert (tmp_path / "copy" / "model.safetensors").read_bytes() == (model.snapshot / "model.safetensors").read_bytes()


def test_half_precision_weights_are_written_as_float32(tmp_path: Path, make_snapshot: Make) -> None:
    config = load(make_snapshot(task="pggan")).config
    spec = config.networks["generator"].model_dump()
    network = GENERATORS["pggan"](**spec["arguments"]).half()
    folder = save_snapshot(
        tmp_path / "half",
        task="pggan",
        networks={"generator": network},
        specs={"generator": spec},
        growth=Growth(2, 16, 1.0),
        base_resolution=4,
        nimg=1,
        recipe=validate(config.recipe),
    )
    weights = load(folder).state_dict()
    assert all(torch.equal(weights[f"generator.{k}"], w.float()) for k, w in network.state_dict().items())


def test_loading_leaves_the_random_state_alone(make_snapshot: Make) -> None:
    folder = make_snapshot()
    before = torch.get_rng_state()
    load(folder)
    assert torch.equal(before, torch.get_rng_state())


def test_a_run_folder_means_its_newest_snapshot(make_snapshot: Make) -> None:
    for nimg in (2_000, 1_000_000_000_0, 30_000):  # more digits than the names have room for
        folder = make_snapshot(nimg=nimg)
    run = folder.parent.parent
    (run / "snapshots" / ".nimg-99999999999999.tmp").mkdir()
    (run / "snapshots" / "nimg-notes").mkdir()
    assert find_snapshot(run).name == "nimg-10000000000"
    assert find_snapshot(run / "snapshots").name == "nimg-10000000000"
    assert load(run).config.nimg == 10_000_000_000
    assert find_snapshot(folder) == folder


def test_snapshots_are_listed_oldest_first(make_snapshot: Make, tmp_path: Path) -> None:
    for nimg in (2_000, 1_000_000_000_0, 30_000):
        folder = make_snapshot(nimg=nimg)
    run = folder.parent.parent
    names = ["nimg-000002000", "nimg-000030000", "nimg-10000000000"]
    assert [path.name for path in list_snapshots(run)] == names
    assert [path.name for path in list_snapshots(run / "snapshots")] == names
    assert "is a single snapshot" in refused(lambda: list_snapshots(folder))
    assert "does not exist" in refused(lambda: list_snapshots(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert "has no snapshot yet" in refused(lambda: list_snapshots(tmp_path / "empty"))


def test_running_statistics_come_back(make_snapshot: Make, tmp_path: Path) -> None:
    """Batch norm's buffers, a whole number among them, are part of a snapshot; a loaded model uses them."""
    model = load(make_snapshot(task="pggan", normalize="batch"))
    assert isinstance(model, Generator)
    statistics = {name: w for name, w in model.state_dict().items() if "running" in name}
    assert statistics
    for name, w in statistics.items():
        w.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(len(name)))
    model.save_pretrained(tmp_path / "copy")
    again = load(tmp_path / "copy")
    assert isinstance(again, Generator)
    assert all(torch.equal(again.state_dict()[name], w) for name, w in statistics.items())
    torch.testing.assert_close(again.generate(3), model.generate(3))
    alone = torch.cat([again.generate(1, start=i) for i in range(3)])
    torch.testing.assert_close(alone, again.generate(3))  # a picture does not depend on its batch


def test_no_snapshot_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "run" / "snapshots").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    assert "has no snapshot yet" in refused(lambda: load(tmp_path / "run"))
    assert "does not exist" in refused(lambda: load(tmp_path / "nowhere"))
    assert "is a file" in refused(lambda: load(tmp_path / "file"))


CONFIG_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"library_name": "diffusers"}, "not a snapshot of progcycle"),
    ({"library_name": ...}, "not a snapshot of progcycle"),
    ({"format": 2, "progcycle_version": "9.0"}, "format 2, written by progcycle 9.0"),
    ({"task": "pix2pix"}, "task"),
    ({"task": "pggan"}, "networks of the task pggan are generator"),
    ({"stage": 1}, "resolution 32 is not base_resolution 8 doubled 1 times"),
    ({"stage": -1}, "stage"),
    ({"stage": 10**9}, "doubled 1000000000 times"),
    ({"alpha": 1.5}, "alpha"),
    ({"alpha": "1"}, "alpha"),
    ({"nimg": ...}, "nimg"),
    ({"final_resolution": 16}, "above final_resolution"),
    ({"extra": 1}, "extra"),
]


@pytest.mark.parametrize(("changes", "words"), CONFIG_FAULTS)
def test_wrong_configs_are_refused(make_snapshot: Make, changes: dict[str, Any], words: str) -> None:
    folder = make_snapshot()
    edit_config(folder, **changes)
    assert words in refused(lambda: load(folder))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "stylegan"}, "there is no network 'stylegan'; the known ones are progressive, resnet, unet"),
        ({"arguments": {"depth": 3}}, "cannot be built"),
        ({"arguments": {"channels": 3}}, "cannot be built"),
        ({"arguments": {"channels": []}}, "cannot be built"),
        ({"arguments": {"channels": [8, -6]}}, "cannot be built"),
        ({"arguments": [1]}, "arguments"),
    ],
)
def test_wrong_networks_are_refused(make_snapshot: Make, spec: dict[str, Any], words: str) -> None:
    folder = make_snapshot()
    networks = json.loads((folder / "config.json").read_text())["networks"]
    networks["gen_ba"] |= spec
    edit_config(folder, networks=networks)
    assert words in refused(lambda: load(folder))


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "nan", '{"a": "\\ud8', "[" * 100_000])
def test_unreadable_configs_are_refused(make_snapshot: Make, text: str) -> None:
    folder = make_snapshot()
    (folder / "config.json").write_text(text)
    assert "config.json" in refused(lambda: load(folder))


NAME = "gen_ab.bottleneck.0.layers.0.conv.weight"
WEIGHT_FAULTS: list[tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = [
    (lambda t: t.pop(NAME), f"has no weight {NAME}."),
    (lambda t: [t.pop(k) for k in list(t) if k.startswith("gen_ba")], "has no weight gen_ba"),
    (lambda t: t.update(module=torch.zeros(1)), "has an unknown weight module."),
    (lambda t: t.update({NAME: torch.zeros(8, 8, 3, 1)}), f"{NAME} has the shape [8, 8, 3, 1]"),
    (lambda t: t.update({NAME: t[NAME].half()}), f"{NAME} is of type F16"),
    (lambda t: t[NAME].view(-1)[3].fill_(float("nan")), f"{NAME} holds numbers that are not finite"),
    (lambda t: t[NAME].view(-1)[3].fill_(float("inf")), f"{NAME} holds numbers that are not finite"),
]


@pytest.mark.parametrize(("change", "words"), WEIGHT_FAULTS)
def test_tampered_weights_are_refused(
    make_snapshot: Make, change: Callable[[dict[str, torch.Tensor]], Any], words: str
) -> None:
    folder = make_snapshot()
    edit_weights(folder, change)
    assert words in refused(lambda: load(folder))
    assert words in refused(lambda: Translator.from_pretrained(folder))


def test_torn_and_missing_weights_are_refused(make_snapshot: Make) -> None:
    folder = make_snapshot()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    assert "cannot be read as safetensors" in refused(lambda: load(folder))
    path.unlink()
    assert "has no model.safetensors" in refused(lambda: load(folder))
    make_snapshot()
    (folder / "config.json").unlink()
    assert "has no config.json" in refused(lambda: load(folder))


def test_writing_refuses_weights_that_are_not_finite_and_leaves_nothing(make_snapshot: Make, tmp_path: Path) -> None:
    model = load(make_snapshot(task="pggan"))
    with torch.no_grad():
        model.generator.bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    words = refused(
        lambda: save_snapshot(
            tmp_path / "out" / "nimg-000000001",
            task="pggan",
            networks={"generator": model.generator},  # type: ignore[dict-item]
            specs={"generator": model.config.networks["generator"].model_dump()},
            growth=Growth(2, 16, 1.0),
            base_resolution=4,
            nimg=1,
            recipe=model.recipe,
        )
    )
    assert "not finite" in words
    assert list((tmp_path / "out").iterdir()) == []


def test_from_pretrained_tells_tasks_and_places_apart(make_snapshot: Make, tmp_path: Path) -> None:
    folder = make_snapshot(task="pggan")
    assert "holds networks of the task cyclegan, not pggan" in refused(lambda: Translator.from_pretrained(folder))
    for place in (tmp_path / "nowhere", "runs/a/snapshots", "../x"):
        assert re.search("no snapshot folder", refused(lambda place=place: Generator.from_pretrained(place)))  # type: ignore[misc]
    sentence = refused(lambda: Generator.from_pretrained("someone/some-model", local_files_only=True))
    assert sentence.startswith("someone/some-model is neither a folder nor")
    with pytest.raises(TypeError):
        Generator.from_pretrained(folder, strict=False)  # type: ignore[call-arg]


def test_an_impossible_device_is_refused(make_snapshot: Make) -> None:
    folder = make_snapshot(task="pggan")
    assert "device 'toaster'" in refused(lambda: load(folder, "toaster"))


def test_importing_the_package_is_light() -> None:
    import subprocess
    import sys

    code = "import sys, progcycle; print(progcycle.__version__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [progcycle.__version__, "False"]
    assert progcycle.load is load
    with pytest.raises(AttributeError, match="nonsense"):
        _ = progcycle.nonsense
