"""Exported files, opened by the other runtime, against the model; and every refusal."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxscript
import pytest
import torch
from sentences import refused
from snapshots import edit_config
from torch import Tensor
from written_snapshots import write_snapshot

from progcycle.commands.cli import main
from progcycle.export import SnapshotModel, Translator, export_model, load, load_as, portable, read_metadata
from progcycle.networks import TRANSLATORS, LatentEncoder, Network

Make = Callable[..., Path]


def run(path: Path, **inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(["output"], inputs)
    return np.asarray(output)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).uniform(-1, 1, shape).astype(np.float32)


@pytest.fixture(scope="module")
def translators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_snapshot(
        tmp_path_factory.mktemp("translators") / "s", alpha=0.4, latents=3, stage=1, residual_blocks=1
    )


def test_translator_as_onnx(translators: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(translators), "--out", str(tmp_path), "--direction", "ab", "--license", "MIT"]) == 0
    path = tmp_path / "ab.onnx"
    assert f"wrote {path} (largest difference from the model: " in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["ab.onnx"]
    model = load(translators)
    for count, height, width in ((1, 16, 16), (4, 26, 40), (2, 6, 4)):
        x, z = noise(count, 3, height, width), noise(count, 3)
        with torch.no_grad():
            expected = model(torch.from_numpy(x), "ab", None, torch.from_numpy(z)).numpy()
        np.testing.assert_allclose(run(path, input=x, latents=z), expected, rtol=0, atol=1e-4)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.input}
    assert shapes == {"input": ["batch", 3, "2*height_2", "2*width_2"], "latents": ["batch", 3]}
    about = read_metadata(path)
    assert about["inputs"]["input"] == {
        "kind": "pictures", "domain": "a", "dtype": "float32", "layout": "NCHW", "shape": ["N", 3, "H", "W"],
        "range": [-1, 1], "normalization": {"mean": 127.5, "std": 127.5, "formula": "(level - mean) / std"},
        "bits": 8, "window": [0, 255], "background": "white", "trained_at": [16, 16], "multiple_of": 2, "smallest": 4,
    }  # fmt: skip
    assert about["inputs"]["latents"]["parts"] == [{"size": 3, "distribution": "normal"}]
    assert about["outputs"]["output"]["domain"] == "b"
    assert (about["license"], about["stage"], about["alpha"], about["resolution"]) == ("MIT", 1, 0.4, 16)
    assert len(about["recipe_sha256"]) == 64
    assert about["trained_on"] == {"data": ["nowhere"]}
    assert [size["batch"] for size in about["checked"]] == [1, 2, 3]
    assert 0 < max(size["difference"] for size in about["checked"]) <= 1e-4


@pytest.mark.parametrize("size", [0, 1e-5, 1e-3])
def test_epsilon_of_pixel_norm_is_in_the_file(deep: tuple[Path, SnapshotModel], size: float) -> None:
    """A grey picture of zeros is what pixel norm would divide by zero without it, and a faint one be another."""
    path, model = deep
    x = (size * noise(2, 1, 8, 12)).astype(np.float32)
    with torch.no_grad():
        expected = model.graphs("ab")[0].module(torch.from_numpy(x).double()).numpy()
    assert expected.dtype == np.float64
    np.testing.assert_allclose(run(path, input=x), expected, rtol=0, atol=2e-5)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SnapshotModel]:
    """A translator of one channel without biases, as one that has just begun, as ONNX; and in float64."""
    folder = tmp_path_factory.mktemp("deep")
    model = load(write_snapshot(folder / "s", alpha=0.4, stage=1, channels=(1, 1), residual_blocks=0))
    (file,) = export_model(model, folder, direction="ab")
    return file.path, model.to("cpu", torch.float64)


def test_a_file_that_divides_by_zero_on_grey_is_not_written(
    make_snapshot: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the optimizer of torch's exporter, which takes 1e-8 for 0."""
    model = load(make_snapshot(channels=(1, 1), stage=0, residual_blocks=0))
    monkeypatch.setattr(portable, "_simplify", onnxscript.optimizer.optimize)
    sentence = refused(lambda: export_model(model, tmp_path / "out", direction="ab"))
    assert "ab.onnx would give numbers that are not finite at 1 x " in sentence


def test_generator_with_classes_in_grey_levels(make_snapshot: Make, tmp_path: Path) -> None:
    model = load(make_snapshot(task="pggan", classes=("x", "y", "z")))
    (file,) = export_model(model, tmp_path, uint8=True)
    latents, labels = noise(5, 5), np.array([2, 0, 1, 1, 0])
    got = run(file.path, input=latents, labels=labels)
    with torch.no_grad():
        numbers = model(torch.from_numpy(latents), None, torch.from_numpy(labels)).clamp(-1, 1).numpy()
    expected = np.round((numbers.astype(np.float64) + 1) * 127.5).transpose(0, 2, 3, 1)
    assert (got.dtype, got.shape) == (np.uint8, (5, 16, 16, 3))
    assert np.abs(got - expected).max() <= 1
    assert file.path.name == "generator_uint8.onnx"
    assert file.metadata["inputs"]["labels"]["classes"] == ["x", "y", "z"]
    assert file.metadata["outputs"]["output"]["range"] == [0, 255]


def test_latents_of_real_pictures_are_in_the_metadata(make_snapshot: Make, tmp_path: Path) -> None:
    model = load_as(Translator, make_snapshot(latents=4))
    encoder = model.enc_b = LatentEncoder(8, 4, remembered=3)
    inputs = export_model(model, tmp_path / "0", direction="ab")[0].metadata["inputs"]
    assert "real" not in inputs["latents"]
    encoder.remember(torch.tensor([[0.0, 0, 3, 0], [1, 1, 1, 1]]), torch.zeros(2, 3, 8, 8))
    inputs = read_metadata(export_model(model, tmp_path / "1", direction="ab")[0].path)["inputs"]
    assert inputs["latents"]["real"] == [[0, 0, 2, 0], [1, 1, 1, 1]]  # with a mean square of 1


def test_torch_export_and_an_earlier_stage(make_snapshot: Make, tmp_path: Path) -> None:
    model = load(make_snapshot(task="pggan"))
    (file,) = export_model(model, tmp_path, "pt2", resolution=8)
    program = torch.export.load(file.path).module()
    z = torch.from_numpy(noise(5, 5))
    with torch.no_grad():
        torch.testing.assert_close(program(z), model(z, 8), rtol=0, atol=1e-5)
    assert read_metadata(file.path)["stage"] == 1
    assert b"networks/pggan.py" not in file.path.read_bytes(), "paths of this machine"


def test_half_precision_says_how_far_it_is(make_snapshot: Make, tmp_path: Path) -> None:
    model = load(make_snapshot(task="pggan", latent_size=300))
    (file,) = export_model(model, tmp_path, half=True)
    weights = {w.name: w.data_type for w in onnx.load(file.path).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in weights.values()
    assert file.metadata["precision"] == "float16"
    z = noise(3, 300)
    with torch.no_grad():
        apart = np.abs(run(file.path, input=z) - model(torch.from_numpy(z)).numpy()).max()
    assert 1e-5 < apart < 0.05
    assert 1e-5 < file.difference < 0.05
    assert file.grey_levels == pytest.approx(127.5 * file.difference)
    assert file.path.stat().st_size < 0.75 * 4 * sum(p.numel() for p in model.parameters())
    assert b"networks/pggan.py" not in file.path.read_bytes(), "paths of this machine"


class Averaged(Network):
    """A translator that computes with the size of its pictures, so that a trace at one size is wrong at another."""

    sizes = "any"

    def __init__(self, in_channels: int = 3, out_channels: int = 3, **_: Any) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, stage: int = 0, alpha: float = 1.0) -> Tensor:
        return x - self.weight * x.sum(dim=(2, 3), keepdim=True) / (x.shape[2] * x.shape[3])


def test_networks_that_compute_with_sizes(make_snapshot: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_snapshot(stage=0)
    content = json.loads((folder / "config.json").read_text())
    monkeypatch.setitem(TRANSLATORS, "averaged", Averaged)
    specs = {name: {"name": "averaged", "arguments": {}} for name in content["networks"]}
    edit_config(folder, networks=specs)
    from safetensors.torch import save_file

    save_file({f"{name}.weight": torch.ones(1) for name in specs}, folder / "model.safetensors")
    (file,) = export_model(load(folder), tmp_path / "out", direction="ba")
    x = noise(1, 3, 9, 11)
    np.testing.assert_allclose(run(file.path, input=x), x - x.mean(axis=(2, 3), keepdims=True), atol=1e-5)


def test_what_differs_is_not_written(make_snapshot: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, true = load(make_snapshot(task="pggan", stage=0)), portable.fold

    def wrong(*arguments: Any) -> torch.nn.Module:
        folded = true(*arguments)
        for parameter in folded.parameters():
            parameter.data += 0.01
        return folded

    monkeypatch.setattr(portable, "fold", wrong)
    sentence = refused(lambda: export_model(model, tmp_path / "out", "pt2"))
    assert "would differ from the model by" in sentence
    assert "at 1 x 4 x 4; nothing was written." in sentence
    assert not (tmp_path / "out").exists()


def test_refusals(make_snapshot: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(make_snapshot(task="pggan", run="a"))
    assert "direction" in refused(lambda: export_model(model, tmp_path, direction="ab"))
    assert "it can run at 4, 8, 16 px" in refused(lambda: export_model(model, tmp_path, resolution=32))
    (tmp_path / "generator.onnx").write_text("mine")
    assert "--overwrite" in refused(lambda: export_model(model, tmp_path))
    assert (tmp_path / "generator.onnx").read_text() == "mine"
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "pip install 'progcycle[export]'" in refused(lambda: export_model(model, tmp_path / "new"))
    data = {"root": "nowhere", "b": {"bits": 16, "window": [0, 4095]}}
    deep = load(make_snapshot(data=data, run="b", stage=0))
    sentence = refused(lambda: export_model(deep, tmp_path, "pt2", uint8=True))
    assert sentence.startswith("ab: pictures of b have 16 bits, values 0 to 4095, which uint8 cannot hold")


def test_pictures_of_16_bits_have_their_window_in_the_metadata(make_snapshot: Make, tmp_path: Path) -> None:
    data = {"root": "nowhere", "b": {"bits": 16, "window": [0, 4095]}}
    model = load(make_snapshot(data=data, stage=0, residual_blocks=0, channels=(5, 1)))
    (file,) = export_model(model, tmp_path, direction="ab")
    output = file.metadata["outputs"]["output"]
    assert (output["bits"], output["window"], output["shape"]) == (16, [0, 4095], ["N", 1, "H", "W"])
    assert output["normalization"] == {"mean": 2047.5, "std": 2047.5, "formula": "(value - mean) / std"}
    assert run(file.path, input=noise(1, 5, 9, 8)).shape == (1, 1, 9, 8)
