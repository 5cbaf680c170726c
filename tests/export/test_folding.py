"""Folding: plain layers that compute what the networks of a model compute, for every network and task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import began, tiny_content, tiny_pyramid
from torch import Tensor, nn
from written_snapshots import write_snapshot

from progcycle.blocks import EqualizedConv2d, EqualizedLinear, normalize_spectrally
from progcycle.export import SnapshotModel, load, save_snapshot
from progcycle.export.folding import fold
from progcycle.export.graph import Graph
from progcycle.recipe import Recipe, validate
from progcycle.schedule import Growth
from progcycle.tasks import TASKS


def model_of(recipe: Recipe, folder: Path, stage: int = 0, resolution: int | None = None) -> SnapshotModel:
    """A model of a recipe, with weights that leave nothing at 0 or 1."""
    task = TASKS[recipe.task](recipe)
    torch.manual_seed(1)
    networks = {name: task.networks[name] for name in task.ema_of}
    for network in networks.values():
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    base = getattr(recipe.network, "base_resolution", recipe.resolution)
    growth = Growth(stage, resolution or recipe.resolution, 1.0, nimg=50)
    save_snapshot(
        folder, task=recipe.task, networks=networks, specs=task.specs, growth=growth, base_resolution=base, nimg=50,
        recipe=recipe,
    )  # fmt: skip
    return load(folder)


def at_one_size(task: str, generator: Mapping[str, Any], data: Path, resolution: int = 16) -> Recipe:
    small: dict[str, Any] = {"name": "patchgan", "filters": 4, "layers": 1}
    return validate(
        {
            "task": task,
            "resolution": resolution,
            "data": {"root": str(data)} if task == "cyclegan" else {"path": str(data / "trainA")},
            "network": {
                "generator": {"filters": 4, **generator},
                "discriminator": small if task == "cyclegan" else {"name": "dcgan", "filters": 4},
            },
            "schedule": {"stable_kimg": 0.1, "batch_size": 4},
        }
    )


NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("cyclegan", {"name": "resnet", "residual_blocks": 1}),
    "resnet of layer norm": (
        "cyclegan",
        {"name": "resnet", "residual_blocks": 1, "normalization": "layer", "upsampling": "resize"},
    ),
    "unet": ("cyclegan", {"name": "unet", "normalization": "batch"}),
    "dcgan": ("pggan", {"name": "dcgan"}),
    "virtual batch norm": ("pggan", {"name": "dcgan", "normalization": "virtual"}),
    "reference batch": ("pggan", {"name": "dcgan_theano"}),
    "wgan_gp_residual": ("pggan", {"name": "wgan_gp_residual"}),
}


def agree(graph: Graph, half: bool = False) -> nn.Module:
    """The folded module, after it gave what the model gives, in double precision unless ``half``."""
    graph.module.eval()
    for count, sides in graph.sizes:
        examples = tuple(x.double() if x.is_floating_point() and not half else x for x in graph.examples(count, sides))
        folded = fold(graph.module if half else graph.module.double(), graph.examples(2, graph.sizes[1][1]) if half
                      else tuple(x.double() if x.is_floating_point() else x
                                 for x in graph.examples(2, graph.sizes[1][1])), half)  # fmt: skip
        with torch.no_grad():
            expected, got = graph.reference(*examples), folded(*examples)
        assert got.shape == expected.shape
        torch.testing.assert_close(got, expected, rtol=0, atol=0.05 if half else 1e-9)
    assert not [layer for layer in folded.modules() if isinstance(layer, EqualizedConv2d | EqualizedLinear)]
    return folded


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_at_one_size(name: str, pictures: Path, tmp_path: Path) -> None:
    task, generator = NETWORKS[name]
    if task == "pggan":
        generator = {"latent_size": 5, **generator}
    model = model_of(at_one_size(task, generator, pictures, 32 if "residual" in name else 16), tmp_path / "s")
    graphs = model.graphs("ab" if task == "cyclegan" else None)
    half = [weight for weight in agree(graphs[0], half=True).state_dict().values() if weight.dtype == torch.float16]
    assert half
    agree(graphs[0])


@pytest.mark.parametrize("task", ["began", "autoencoder", "lapgan"])
def test_other_tasks(task: str, pictures: Path, tmp_path: Path) -> None:
    if task == "began":
        model = model_of(began(pictures), tmp_path / "s", stage=2)
    elif task == "lapgan":
        model = model_of(validate(tiny_pyramid(pictures)), tmp_path / "s", stage=2)
    else:
        content = tiny_content("pggan", pictures)
        content |= {
            "task": "autoencoder",
            "objective": {},
            "optimizer": {},
            "network": {"base_resolution": 4, "channels": {"max": 8}},
        }
        model = model_of(validate(content), tmp_path / "s", stage=2)
    agree(model.graphs()[0])


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("pggan", {"fused": True, "classes": ("x", "y", "z")}),
        ("pggan", {"rgb": "sum", "normalize": "batch"}),
        ("cyclegan", {"latents": 3, "smooth": "mean_preserving", "alpha": 0.4}),
        ("cyclegan", {"alpha": 0.4, "rgb": "sum", "bounded": "inward", "predict": "change"}),
    ],
)
def test_growing_networks(task: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = load(write_snapshot(tmp_path / "s", task, **options))
    for graph in model.graphs():
        agree(graph)
    model = load(tmp_path / "s")
    agree(model.graphs(None, model.resolution // 2)[0])


def test_weights_of_other_stages_are_gone(tmp_path: Path) -> None:
    model = load(write_snapshot(tmp_path / "s", "pggan"))
    names = {r: set(agree(model.graphs(None, r)[0]).state_dict()) for r in (4, 16)}
    assert {name for name in names[4] if "to_rgb" in name} == {
        f"network.decoder.to_rgb.0.{k}" for k in ("weight", "bias")
    }
    assert {name for name in names[16] if "to_rgb" in name} == {
        f"network.decoder.to_rgb.2.{k}" for k in ("weight", "bias")
    }
    assert not any("blocks" in name for name in names[4])
    fading = load(write_snapshot(tmp_path / "t", "pggan", alpha=0.5)).graphs()[0]
    assert any("to_rgb.1" in name for name in agree(fading).state_dict())


class Normalized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = EqualizedConv2d(3, 4, 3)
        normalize_spectrally(self)

    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = self.conv(input)
        return y


def test_spectral_norm_becomes_a_weight() -> None:
    network = Normalized().double().eval()
    folded = fold(network, (torch.randn(1, 3, 8, 8, dtype=torch.float64),))
    assert set(folded.state_dict()) == {"conv.weight", "conv.bias"}
    # W / sigma by numpy: the estimate of 15 steps of power iteration is near the largest singular value.
    stored = network.state_dict()["conv.parametrizations.weight.original"].flatten(1).numpy()
    sigma = torch.linalg.svdvals(torch.from_numpy(stored))[0]
    torch.testing.assert_close(
        folded.state_dict()["conv.weight"].flatten(1) * sigma, torch.from_numpy(stored), rtol=0.02, atol=0
    )
    x = torch.randn(2, 3, 9, 7, dtype=torch.float64)
    torch.testing.assert_close(folded(x), network(x), rtol=0, atol=1e-12)


def test_half_precision_is_kept_from_what_it_hurts(tmp_path: Path) -> None:
    graph = load(write_snapshot(tmp_path / "s", "cyclegan")).graphs("ab")[0]
    types = {name: weight.dtype for name, weight in agree(graph, half=True).state_dict().items()}
    assert types["network.decoder.to_rgb.2.weight"] == torch.float32
    assert types["network.encoder.from_rgb.2.conv.weight"] == torch.float16
    assert sum(t == torch.float16 for t in types.values()) > len(types) / 2
