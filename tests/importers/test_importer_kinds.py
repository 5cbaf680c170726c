"""How files are told, what is refused by name, and fine-tuning from what was imported."""

from pathlib import Path
from typing import Any

import pytest
import references as ref
import torch
from references import filled
from sentences import refused

from progcycle.commands.cli import COMMANDS, main
from progcycle.commands.import_ import DESCRIPTION
from progcycle.commands.import_ import KINDS as CHOICES
from progcycle.engine.fine_tuning import start_from
from progcycle.export import load
from progcycle.importers import KINDS, import_weights
from progcycle.recipe import load_recipe, validate
from progcycle.tasks import TASKS

PATCHGAN = ref.conv("model.0", 4, 3, 4) | ref.conv("model.2", 8, 4, 4) | ref.conv("model.5", 16, 8, 4)
PATCHGAN |= ref.conv("model.8", 32, 16, 4) | ref.conv("model.11", 1, 32, 4)


def small(*names: str, shape: tuple[int, ...] = (2, 2, 3, 3)) -> dict[str, torch.Tensor]:
    return {name: torch.ones(shape) for name in names}


OTHERS: dict[str, tuple[Any, str]] = {
    "turbo": ({"sd_vae_enc": {}, "rank_unet": 8}, "CycleGAN-Turbo"),
    "attention": (small("conv1.weight", "resnet_blocks.0.conv1.weight"), "attention"),
    "mobile": (small("model.1.weight", "model.10.conv_block.1.conv.0.weight"), "mobile_resnet"),
    "pix2pixHD": (small("model.1.weight", "model.10.weight", "model.13.weight"), "pix2pixHD"),
    "pix2pixHD D": (small("scale0_layer0.0.weight"), "pix2pixHD"),
    "PixelGAN without its last layer": (small("net.0.weight", "net.2.weight", shape=(2, 2, 1, 1)), "net.0.bias is"),
    "wgan": (small("main.initial:100-512:convt.weight"), "WassersteinGAN"),
    "pro_gan": ({"generator": {}, "gen_optim": {}}, "pro_gan_pytorch"),
    "mmagic": ({"meta": {}, "state_dict": {}}, "mmagic"),
    "unknown": (small("a.weight", "b.weight"), "holds no network that is known (a.weight, b.weight, ...)"),
    "list": ([1, 2], "holds no tensors by name"),
    "whole": (torch.nn.Linear(2, 2), "holds Python objects"),
    "not finite": ({**filled(ref.resnet_shapes(2, 3, 3)), "model.19.bias": torch.full((3,), torch.nan)}, "not finite"),
    "missing": (
        {k: w for k, w in filled(ref.resnet_shapes(2, 3, 3)).items() if k != "model.4.bias"},
        "model.4.bias is",
    ),
    "left over": (
        {**filled(ref.resnet_shapes(2, 3, 3)), "model.23.weight": torch.ones(2)},
        "model.23.weight that does",
    ),
    "spectral": ({**filled(PATCHGAN), "model.2.weight_orig": torch.ones(8, 4, 4, 4)}, "has no model.2.weight_u"),
    "a judge alone": (filled(PATCHGAN), "is a discriminator; give the file of its translator too"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_taken_is_named(name: str, tmp_path: Path) -> None:
    content, words = OTHERS[name]
    path = tmp_path / "latest_net_G_A.pth"
    torch.save(content, path)
    sentence = refused(lambda: import_weights([path], tmp_path / "out"))
    assert words in sentence
    assert sentence.startswith(str(path))
    assert not (tmp_path / "out").exists()


def test_refusals_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "latest_net_G_A.pth"
    torch.save(filled(ref.resnet_shapes(2, 3, 3)), path)
    (tmp_path / "page.pth").write_text("\n<html>too many downloads</html>")
    (tmp_path / "notes.pth").write_text("not weights at all")
    (tmp_path / "cut.pth").write_bytes(path.read_bytes()[:300])
    for arguments, words in (
        ([str(path), "--from", "cut"], "is not of cut but of pytorch-cyclegan; give --from pytorch-cyclegan"),
        ([str(tmp_path / "none.pth")], "does not exist"),
        ([str(tmp_path / "page.pth")], "is a web page"),
        ([str(tmp_path / "notes.pth")], "was not written by torch.save; give a file of weights"),
        ([str(tmp_path / "cut.pth")], "is damaged"),
        ([str(path), str(path)], "is a second gen_ab"),
    ):
        assert main(["import", *arguments, "--out", str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err
    assert main(["import", str(path), "--out", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_command_names_all_importers() -> None:
    assert tuple(KINDS) == CHOICES
    assert all(f"  {kind:17} {words}" in DESCRIPTION for kind, words in KINDS.items())
    assert "import" in COMMANDS


def test_fine_tuning_begins_with_the_discriminators_too(tmp_path: Path) -> None:
    names = ("latest_net_G_A.pth", "latest_net_G_B.pth", "latest_net_D_A.pth")
    shapes = (ref.resnet_shapes(4, 3, 3), ref.resnet_shapes(4, 3, 3), PATCHGAN)
    for seed, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        torch.save(filled(shape, seed), tmp_path / name)
    out = tmp_path / "out"
    import_weights([tmp_path / name for name in names], out, resolution=64)
    recipe = load_recipe(out / "recipe.yaml")
    content = recipe.model_dump(mode="json") | {"start_from": {"run": str(out), "networks": "all"}}
    recipe = validate(content)
    networks = TASKS["cyclegan"](recipe).networks
    before = networks["disc_a"].state_dict()["logit.weight"].clone()
    (line,) = start_from(recipe, networks)
    assert "discriminators.safetensors" in line
    model = load(out)
    for name in ("gen_ab", "gen_ba"):
        for key, weight in networks[name].state_dict().items():
            assert torch.equal(weight, model.state_dict()[f"{name}.{key}"])
    assert torch.equal(networks["disc_b"].state_dict()["logit.weight"], filled(PATCHGAN, 2)["model.11.weight"])
    assert torch.equal(networks["disc_a"].state_dict()["logit.weight"], before), "it was not given"
