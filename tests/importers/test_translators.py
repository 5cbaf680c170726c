"""Translators and PatchGANs of others compute here what they compute there, by references of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import references as ref
import torch
from imported_models import as_model
from references import filled
from safetensors.torch import load_file
from sentences import refused
from torch import Tensor

from progcycle.commands.cli import main
from progcycle.export import Translator, load
from progcycle.importers import import_weights
from progcycle.networks import DISCRIMINATORS

State = dict[str, Tensor]


def doubled(state: State) -> State:
    return {key: tensor.double() for key, tensor in state.items()}


def pictures(channels: int, height: int, width: int) -> Tensor:
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(9)).double() * 2 - 1


def close(got: Tensor, expected: Tensor) -> None:
    assert float((got - expected).abs().max() / expected.abs().max()) < 1e-9


def imported(tmp_path: Path, files: dict[str, Any], **options: Any) -> Translator:
    model = as_model(tmp_path, files, **options)
    assert isinstance(model, Translator)
    return model


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("second", [5, 6], ids=["plain", "dropout"])
def test_resnet(tmp_path: Path, batch: bool, second: int) -> None:
    state = filled(ref.resnet_shapes(5, 3, 2, second, batch))
    model = imported(tmp_path, {"latest_net_G_A.pth": state}, kind="pytorch-cyclegan", resolution=32)
    x = pictures(3, 20, 24)
    with torch.no_grad():
        close(model(x, "ab"), ref.resnet(doubled(state), x, second))
    assert model.directions == ("ab",)


def test_both_directions_with_what_wrappers_and_old_versions_leave(tmp_path: Path) -> None:
    there, back = (filled(ref.resnet_shapes(4, *channels), seed=i) for i, channels in enumerate([(3, 1), (1, 3)]))
    old = {f"module.{key}": tensor for key, tensor in there.items()}
    old |= {f"module.model.2.{key}": torch.ones(4) for key in ("running_mean", "running_var")}
    torch.save(old, tmp_path / "60_net_G_A.pth", _use_new_zipfile_serialization=False)
    torch.save({f"_orig_mod.module.{key}": tensor for key, tensor in back.items()}, tmp_path / "60_net_G_B.pth")
    done = import_weights([tmp_path / "60_net_G_B.pth", tmp_path / "60_net_G_A.pth"], tmp_path / "out")
    assert done.words == "gen_ab (resnet), gen_ba (resnet) of pytorch-cyclegan"
    model = load(tmp_path / "out").double()
    with torch.no_grad():
        close(model(pictures(3, 16, 16), "ab"), ref.resnet(doubled(there), pictures(3, 16, 16)))
        close(model(pictures(1, 16, 16), "ba"), ref.resnet(doubled(back), pictures(1, 16, 16)))
    assert (model.recipe.data.a.channels, model.recipe.data.b.channels) == (3, 1)


@pytest.mark.parametrize("batch", [False, True])
def test_unet(tmp_path: Path, batch: bool) -> None:
    state = filled(ref.unet_shapes(3, 5, batch))
    model = imported(tmp_path, {"facades_net_G.pth": state})
    x = pictures(3, 32, 64)
    with torch.no_grad():
        close(model(x, "ab"), ref.unet(doubled(state), x, 5))
    assert model.resolution == 32


def test_cut(tmp_path: Path) -> None:
    state, judge = filled(ref.cut_shapes(4)), filled(CUT_PATCHGAN)
    whole = state | ref.cut_kernels({7: (3, 8), 11: (3, 16), 14: (4, 16), 18: (4, 8)})
    whole_judge = judge | ref.cut_kernels({2: (3, 4), 6: (3, 8), 10: (3, 16)})
    model = imported(tmp_path, {"latest_net_G.pth": whole, "latest_net_D.pth": whole_judge}, kind="cut")
    x = pictures(3, 20, 24)
    with torch.no_grad():
        close(model(x, "ab"), ref.cut_resnet(doubled(state), x))
        close(judged(tmp_path / "out", "disc_b", filters=4, downsampling="blurred")(pictures(3, 40, 48)),
              ref.cut_patchgan(doubled(judge), pictures(3, 40, 48)))  # fmt: skip


CUT_PATCHGAN = ref.conv("model.0", 4, 3, 4) | ref.conv("model.3", 8, 4, 4) | ref.conv("model.7", 16, 8, 4)
CUT_PATCHGAN |= ref.conv("model.11", 32, 16, 4) | ref.conv("model.14", 1, 32, 4)
PATCHGAN = ref.conv("model.0", 4, 3, 4) | ref.conv("model.2", 8, 4, 4) | ref.conv("model.5", 16, 8, 4)
PATCHGAN |= ref.conv("model.8", 32, 16, 4) | ref.conv("model.11", 1, 32, 4)


def judged(out: Path, name: str, **arguments: Any) -> Callable[..., Tensor]:
    """A discriminator that was written beside the snapshot."""
    tensors = load_file(out / "snapshots" / "nimg-000000000000" / "discriminators.safetensors")
    network = DISCRIMINATORS["patchgan"](**{"normalize": "instance", **arguments}).double().eval()
    network.load_state_dict({k.removeprefix(f"{name}."): w for k, w in tensors.items() if k.startswith(f"{name}.")})
    return network


def test_d_a_judges_pictures_of_b(tmp_path: Path) -> None:
    states = {letter: filled(PATCHGAN, seed) for seed, letter in enumerate("AB")}
    files = {f"latest_net_D_{letter}.pth": state for letter, state in states.items()}
    imported(tmp_path, {"latest_net_G_A.pth": filled(ref.resnet_shapes(4, 3, 3)), **files})
    x = pictures(3, 40, 36)
    with torch.no_grad():
        close(judged(tmp_path / "out", "disc_b", filters=4)(x), ref.patchgan(doubled(states["A"]), x))
        close(judged(tmp_path / "out", "disc_a", filters=4)(x), ref.patchgan(doubled(states["B"]), x))


@pytest.mark.parametrize("batch", [False, True])
def test_pixelgan(tmp_path: Path, batch: bool) -> None:
    shapes = ref.conv("net.0", 4, 3, 1) | ref.conv("net.2", 8, 4, 1, not batch) | ref.conv("net.5", 1, 8, 1, not batch)
    state = filled(shapes | (ref.batch_norm("net.3", 8) if batch else {}))
    imported(tmp_path, {"latest_net_G_A.pth": filled(ref.resnet_shapes(4, 3, 3)), "latest_net_D_A.pth": state})
    norm = "batch" if batch else "instance"
    x = pictures(3, 6, 5)
    with torch.no_grad():
        logits = judged(tmp_path / "out", "disc_b", filters=4, layers=0, normalize=norm)(x)
        close(logits, ref.pixelgan(doubled(state), x))


def test_spectral_norm_of_joligen_is_folded(tmp_path: Path) -> None:
    plain, stored = filled(PATCHGAN), dict[str, Tensor]()
    for key, tensor in plain.items():
        if key.endswith("weight"):
            conv = torch.nn.utils.spectral_norm(torch.nn.Conv2d(tensor.shape[1], tensor.shape[0], 4))
            conv.weight_orig.data.copy_(tensor)
            with torch.no_grad():
                conv(torch.zeros(1, tensor.shape[1], 4, 4))
                conv.eval()(torch.zeros(1, tensor.shape[1], 4, 4))
            stored |= {key.removesuffix("weight") + k: w for k, w in conv.state_dict().items() if k != "bias"}
            plain[key] = conv.weight.detach()
        else:
            stored[key] = tensor
    shapes = ref.resnet_shapes(4, 3, 3)
    generator = filled(shapes)
    halves = {"encoder.model." + k.removeprefix("model."): w for k, w in generator.items() if int(k.split(".")[1]) < 12}
    for theirs, at in ((0, 12), (3, 15), (7, 19)):
        halves |= {f"decoder.model.{theirs}.{k}": generator[f"model.{at}.{k}"] for k in ("weight", "bias")}
    model = imported(tmp_path, {"latest_net_G_A.pth": halves, "latest_net_D_A.pth": stored})
    x = pictures(3, 40, 36)
    with torch.no_grad():
        close(model(x, "ab"), ref.resnet(doubled(generator), x))
        expected = ref.patchgan(doubled(plain), x)
        torch.testing.assert_close(judged(tmp_path / "out", "disc_b", filters=4)(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("kind", ["resnet", "unet"])
def test_there_and_back_again(tmp_path: Path, kind: str, batch: bool) -> None:
    state = filled(ref.resnet_shapes(4, 3, 3, 5, batch) if kind == "resnet" else ref.unet_shapes(3, 4, batch))
    torch.save(state, tmp_path / "latest_net_G_B.pth")
    import_weights([tmp_path / "latest_net_G_B.pth"], tmp_path / "out")
    arguments = ["export", str(tmp_path / "out"), "--format", "pytorch-cyclegan", "--out", str(tmp_path / "back")]
    assert main(arguments) == 0
    got = torch.load(tmp_path / "back" / "latest_net_G_B.pth", weights_only=True)
    assert got.keys() == state.keys()
    assert all(torch.equal(got[key], state[key]) for key in state)
    assert main(arguments) == 2, "it exists"


def test_growing_translators_have_no_such_names(make_snapshot: Callable[..., Path], tmp_path: Path) -> None:
    from progcycle.importers import write_pytorch_cyclegan

    model = load(make_snapshot())
    assert "has no such network (progressive" in refused(lambda: write_pytorch_cyclegan(model, tmp_path))


def test_other_direction_is_not_there(tmp_path: Path) -> None:
    model = imported(tmp_path, {"latest_net_G_A.pth": filled(ref.resnet_shapes(4, 3, 3))})
    sentence = refused(lambda: model.translate(pictures(3, 16, 16), "ba"))
    assert sentence == "This snapshot translates from A to B only; use the direction ab."
