"""Generators of pytorch_GAN_zoo and pytorch/examples compute here what they compute there."""

import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import references as ref
import torch
from imported_models import as_model
from references import batch_norm, filled, norm, transposed
from sentences import refused
from torch import Tensor
from torch.nn import functional as F

from progcycle.export import Generator
from progcycle.importers import import_weights

State = dict[str, Tensor]
EXAMPLE = transposed("main.0", 6, 8, 4, False) | batch_norm("main.1", 8) | transposed("main.3", 8, 4, 4, False)
EXAMPLE |= batch_norm("main.4", 4) | transposed("main.6", 4, 3, 4, False)
ZOO_NAMES = {"main.0.": "formatLayer.", "main.1.": "main.batchNorm0.", "main.3.": "main.convTranspose1."}
ZOO_NAMES |= {"main.4.": "main.batchNorm1.", "main.6.": "main.outlayer."}
CRITIC = ref.conv("main.0", 4, 3, 4, False) | ref.conv("main.2", 8, 4, 4, False) | batch_norm("main.3", 8)
CRITIC |= ref.conv("main.5", 1, 8, 4, False)


def doubled(state: State) -> State:
    return {key: tensor.double() for key, tensor in state.items()}


def close(got: Tensor, expected: Tensor, most: float = 1e-9) -> None:
    assert float((got - expected).abs().max() / expected.abs().max()) < most


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def dcgan(s: State, z: Tensor) -> Tensor:
    """The generator at 16 px."""
    h = F.relu(norm(s, "main.1", F.conv_transpose2d(z[:, :, None, None], s["main.0.weight"])))
    h = F.relu(norm(s, "main.4", F.conv_transpose2d(h, s["main.3.weight"], stride=2, padding=1)))
    return F.conv_transpose2d(h, s["main.6.weight"], stride=2, padding=1).tanh()


def imported(files: dict[str, Any], tmp_path: Path, **options: Any) -> Generator:
    model = as_model(tmp_path, files, **options)
    assert isinstance(model, Generator)
    return model


def test_dcgan_of_pytorch_examples(tmp_path: Path) -> None:
    state = filled(EXAMPLE)
    old = {key: tensor for key, tensor in state.items() if not key.endswith("tracked")}
    files = {"netG_epoch_24.pth": old, "netD_epoch_24.pth": filled(CRITIC)}
    model = imported(files, tmp_path, kind="pytorch-dcgan")
    with torch.no_grad():
        close(model(random(3, 6)), dcgan(doubled(state), random(3, 6)))
    assert (model.resolution, model.generator.distribution) == (16, "normal")
    assert (tmp_path / "out" / "recipe.yaml").is_file()


class BaseConfig:
    """As pytorch_GAN_zoo has it."""

    def __init__(self, **settings: Any) -> None:
        self.__dict__.update(settings)


@pytest.fixture
def zoo_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("models.utils.config")
    module.BaseConfig = BaseConfig  # type: ignore[attr-defined]
    monkeypatch.setattr(BaseConfig, "__module__", "models.utils.config")
    for name in ("models", "models.utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "models.utils.config", module)


@pytest.mark.usefixtures("zoo_module")
def test_dcgan_of_the_zoo(tmp_path: Path) -> None:
    state = filled(EXAMPLE)
    theirs = {
        next(new + k.removeprefix(old) for old, new in ZOO_NAMES.items() if k.startswith(old)): w
        for k, w in state.items()
    }
    content = {"config": BaseConfig(lossCriterion="DCGAN"), "netG": theirs, "avgG": theirs, "netD": {}}
    model = imported({"a_s1_i10.pt": {k: v for k, v in content.items() if k != "netD"}}, tmp_path, kind="gan-zoo")
    with torch.no_grad():
        close(model(random(3, 6)), dcgan(doubled(state), random(3, 6)))
    torch.save({**content, "config": BaseConfig(lossCriterion="WGANGP")}, tmp_path / "b.pt")
    assert "not bounded by tanh" in refused(lambda: import_weights([tmp_path / "b.pt"], tmp_path / "b"))


F0 = 5
DEPTHS = (4, 3)  # of the stages behind the first
ZOO: dict[str, tuple[int, ...]] = {"formatLayer.weight": (16 * F0, 6), "formatLayer.bias": (16 * F0,)}
ZOO |= ref.conv("groupScale0.0", F0, F0, 3)
for _i, (_narrow, _before) in enumerate(zip(DEPTHS, (F0, *DEPTHS), strict=False)):
    ZOO |= ref.conv(f"scaleLayers.{_i}.0", _narrow, _before, 3) | ref.conv(f"scaleLayers.{_i}.1", _narrow, _narrow, 3)
for _i, _width in enumerate((F0, *DEPTHS)):
    ZOO |= ref.conv(f"toRGBLayers.{_i}", 3, _width, 1)


def zoo_generator(s: State, z: Tensor, alpha: float, equalized: bool = True, slope: float = 0.2) -> Tensor:
    """PG-GAN of the zoo: every layer, bias and all, times sqrt(2 / fan_in)."""

    def scale(name: str) -> float:
        return math.sqrt(2 / math.prod(s[f"{name}.weight"].shape[1:])) if equalized else 1.0

    def conv(name: str, x: Tensor) -> Tensor:
        w = s[f"{name}.weight"]
        return F.conv2d(x, w, s[f"{name}.bias"], padding=w.shape[2] // 2) * scale(name)

    def normed(x: Tensor) -> Tensor:
        return x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()

    h = F.leaky_relu((normed(z) @ s["formatLayer.weight"].T + s["formatLayer.bias"]) * scale("formatLayer"), slope)
    h = normed(h.reshape(len(z), -1, 4, 4))
    h = normed(F.leaky_relu(conv("groupScale0.0", h), slope))
    old = h
    for i in range(len(DEPTHS)):
        old, h = h, h.repeat_interleave(2, 2).repeat_interleave(2, 3)
        for j in (0, 1):
            h = normed(F.leaky_relu(conv(f"scaleLayers.{i}.{j}", h), slope))
    new = conv(f"toRGBLayers.{len(DEPTHS)}", h)
    if not alpha:
        return new
    before = conv(f"toRGBLayers.{len(DEPTHS) - 1}", old).repeat_interleave(2, 2).repeat_interleave(2, 3)
    return alpha * before + (1 - alpha) * new


@pytest.mark.usefixtures("zoo_module")
@pytest.mark.parametrize(
    ("alpha", "equalized", "wrapped"), [(0.0, True, True), (0.25, True, False), (0.0, False, True)]
)
def test_pggan_of_the_zoo(tmp_path: Path, alpha: float, equalized: bool, wrapped: bool) -> None:
    from progcycle.importers.generators import zoo_generator as importer
    from progcycle.importers.snapshot import _build, _generators, _recipe

    state = filled(ZOO)
    theirs = {
        (k.replace(".weight", ".module.weight").replace(".bias", ".module.bias") if wrapped else k): w
        for k, w in state.items()
    }
    settings = {"alpha": alpha, "equalizedlR": equalized, "leakyReluLeak": 0.1, "lossCriterion": "WGANGP"}
    players = _generators([(tmp_path, importer(theirs, settings))])
    network = _build("generator", players["generator"], _recipe(players, False, None))[0].double()
    expected = zoo_generator(doubled(state), random(3, 6), alpha, equalized, 0.1)
    with torch.no_grad():
        close(network(random(3, 6), 2, 1 - alpha), expected)
    content = {"config": BaseConfig(**settings), "netG": {}, "avgG": theirs}
    model = imported({"celebaHQ_s2_i80000.pt": content}, tmp_path)
    with torch.no_grad():
        close(model(random(3, 6)), expected, 1e-5)  # the file holds float32
    assert (model.resolution, model.config.alpha) == (16, 1 - alpha)
