"""Networks hold no growth: no buffers, nothing changed by forward; and which layers learn at a stage."""

import re

import pytest
import torch
from growing_networks import STAGES, Case, of_kind

KINDS = ("generator", "translator", "discriminator")
# What a network can remember stands in its norms and in what compares pictures.
REMEMBERS = of_kind(*KINDS, reads=["head", "normalize", "spectral_norm", "kernels", "gather"])


def memory(case: Case) -> str:
    """Which names of a state may be other than parameters, as a pattern: only these norms remember anything."""
    if case.options.get("spectral_norm"):
        return r"parametrizations\.weight\.0\.inner\._[uv]$"
    batch_norm = r"norm\.(running_mean|running_var|num_batches_tracked)$"
    return batch_norm if case.options.get("normalize") == "batch" else "(?!)"


@pytest.mark.parametrize("case", REMEMBERS)
def test_networks_have_no_growth_in_their_state(case: Case) -> None:
    network = case.build()
    buffers = {name for name, _ in network.named_buffers()}
    assert all(re.search(memory(case), name) for name in buffers)
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()} | buffers
    assert not [name for name in network.state_dict() if re.search("alpha|stage", name)]


@pytest.mark.parametrize("case", REMEMBERS)
@torch.no_grad()
def test_forward_changes_nothing(case: Case) -> None:
    network = case.build()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = case.run(network, case.inputs(1), 1, 0.5)
    for stage in range(STAGES):
        case.run(network, case.inputs(stage), stage, 0.3)
    assert torch.equal(case.run(network, case.inputs(1), 1, 0.5), first)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert all(re.search(memory(case), name) for name in changed)
    if not changed:
        assert torch.equal(case.run(network.eval(), case.inputs(1), 1, 0.5), first)


def learns(name: str, stage: int, alpha: float, rgb: str) -> bool:
    """Whether a parameter takes part at a moment of growth, told from its name."""
    if block := re.search(r"(?:encoder|decoder)\.blocks\.(\d+)\.", name):
        return int(block[1]) < stage
    if layer := re.search(r"(?:to_rgb|from_rgb)\.(\d+)\.", name):
        oldest = 0 if rgb == "sum" else stage - (alpha < 1)
        return oldest <= int(layer[1]) <= stage
    return True


def cancelled(name: str, case: Case) -> bool:
    """Whether a parameter makes no difference: a bias whose mean a norm takes out again."""
    return name.endswith("bias") and "norm" not in name and case.options.get("normalize") in ("batch", "instance")


TRUNKS = of_kind(*KINDS, reads=["rgb", "skips"])
LAYERS = of_kind(
    *KINDS,
    reads=["rgb", "skips", "predict", "head", "convs", "fused", "classes", "kernels", "normalize", "spectral_norm"],
)


@pytest.mark.parametrize(
    ("case", "stage", "alpha"),
    [
        *(
            pytest.param(*case.values, s, a, id=f"{case.id}-{s}-{a}")
            for case in TRUNKS
            for s, a in ((0, 1.0), (2, 1.0))
        ),
        *(pytest.param(*case.values, 2, 0.5, id=f"{case.id}-2-0.5") for case in LAYERS),
    ],
)
def test_only_grown_and_unreplaced_layers_get_gradients(case: Case, stage: int, alpha: float) -> None:
    network = case.build()
    case.run(network, case.inputs(stage), stage, alpha).square().sum().backward()
    for name, parameter in network.named_parameters():
        expected = learns(name, stage, alpha, case.options["rgb"])
        assert (parameter.grad is not None) == expected, name
        if expected and not cancelled(name, case):
            assert parameter.grad.any(), name


@pytest.mark.parametrize(
    "case",
    of_kind(*KINDS, reads=["rgb", "predict", "head", "tanh", "bounded", "classes", "kernels", "spectral_norm"]),
)
@pytest.mark.parametrize("alpha", [0.5, 1.0])
@torch.no_grad()
def test_pictures_and_logits_stay_float32_under_autocast(case: Case, alpha: float) -> None:
    network, x = case.build(), case.inputs(2)
    types: dict[str, torch.dtype] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(
            lambda _, inputs, output, name=name: types.update({name: output.dtype} if hasattr(output, "dtype") else {})
        )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = case.run(network, x, 2, alpha)
    assert out.dtype == torch.float32
    last = {name: kind for name, kind in types.items() if re.search(r"to_rgb\.\d+$|logit$", name)}
    assert last
    assert set(last.values()) == {torch.float32}
    assert torch.bfloat16 in types.values(), "the rest is in half precision"


@pytest.mark.parametrize(
    "case", [case for rgb in ("replace", "sum") for case in of_kind("generator", rgb=rgb, reads=["rgb", "tanh"])]
)
@torch.no_grad()
def test_blends_are_float32_under_autocast(case: Case) -> None:
    network, x = case.build(), case.inputs(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        old, half, new = (case.run(network, x, 1, alpha) for alpha in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half, (old + new) / 2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", of_kind("generator", "translator", rgb="features", reads=["rgb"]))
@torch.no_grad()
def test_decoders_blend_features_in_float32_under_autocast(case: Case) -> None:
    network, x = case.build(), case.inputs(1)
    seen: list[torch.Tensor] = []
    network.growing_decoder().to_rgb[1].register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for alpha in (0.3, 1.0):
            case.run(network, x, 1, alpha)
    blended, newest = seen
    assert not torch.equal(blended, blended.bfloat16().float()), "more digits than either of the two has"
    assert torch.equal(newest, newest.bfloat16().float())


@pytest.mark.parametrize("case", of_kind("discriminator", "translator", reads=["rgb"]))
@torch.no_grad()
def test_blends_of_features_are_float32_under_autocast(case: Case) -> None:
    network, x = case.build(), case.inputs(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        blended, newest = network.encoder(x, 1, 0.5)
    assert (blended.dtype, newest.dtype) == (torch.float32, torch.bfloat16)
