"""The official pickles: read without executing anything, and the same function by a reference of its own."""

import io
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_reference as tf
import torch
from pickled import WIDTHS, discriminator_variables, generator_variables, official, tensorflow
from sentences import refused
from torch import Tensor, nn

from progcycle.export import Generator, load
from progcycle.importers import import_weights
from progcycle.importers.generators import official_network
from progcycle.importers.part import Part
from progcycle.importers.pickles import read_networks
from progcycle.importers.snapshot import _build, _generators, _recipe


def network_of(*parts: Part) -> list[nn.Module]:
    """The networks of parts in double precision, as they would be written."""
    players = _generators([(Path("file"), part) for part in parts])
    recipe = _recipe(players, False, None)
    return [_build(name, part, recipe)[0].double().eval() for name, part in players.items()]


def close(got: Tensor, expected: Tensor) -> None:
    assert float((got - expected).abs().max() / expected.abs().max()) < 1e-9


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("classes", "lod"), [(0, 0.0), (3, 0.3), (0, 1.6), (0, 1.0)])
def test_generator_and_discriminator(fused: bool, classes: int, lod: float) -> None:
    g, d = (
        generator_variables(fused, classes=classes, lod=lod),
        discriminator_variables(fused, classes=classes, lod=lod),
    )
    parts = [
        official_network(tensorflow(g, "Gs", label_size=classes)),
        official_network(tensorflow(d, "D", label_size=classes, mbstd_group_size=2)),
    ]
    painter, judge = network_of(*parts)
    stage = 2 - math.floor(lod)
    assert parts[0].resolution == 4 << stage
    assert parts[0].alpha == pytest.approx(1 - (lod - math.floor(lod)), abs=1e-7)
    z, labels = random(4, 6), torch.eye(3, dtype=torch.float64)[[0, 2, 1, 1]] if classes else torch.zeros(4, 0).double()
    exact = float(np.float32(lod))
    with torch.no_grad():
        pictures = tf.generator(g, z, labels, exact)
        alpha = 1 - (exact - math.floor(exact))
        more = {"labels": labels} if classes else {}
        close(painter(z, stage, alpha, **more), pictures)
        scores = judge(pictures, stage, alpha)
        got = torch.cat([scores[0][:, None], scores[1]], dim=1) if classes else scores[:, None]
        close(got, tf.discriminator(d, pictures, exact, 2))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_all_protocols(protocol: int, tmp_path: Path) -> None:
    g = generator_variables(True)
    source = f"open({str(tmp_path / 'executed')!r}, 'w')"
    states = [tensorflow(g, "G", source), tensorflow(discriminator_variables(True), "D", source)]
    path = tmp_path / "network-final.pkl"
    content = official([*states, tensorflow({k: 2 * v for k, v in g.items()}, "Gs", source)], protocol)
    if protocol < 4:  # as of numpy 1
        content = content.replace(b"cnumpy._core.", b"cnumpy.core.")
    path.write_bytes(content)
    read = read_networks(path)
    assert [network["name"] for network in read] == ["G", "D", "Gs"]
    for name, value in read[2]["variables"]:
        np.testing.assert_array_equal(value, 2 * g[name])
    done = import_weights([path], tmp_path / "out", "official-pggan")
    assert not (tmp_path / "executed").exists()
    assert done.words == "generator (pggan), discriminator (pggan) of official-pggan"
    assert any("cannot be fine-tuned" in remark for remark in done.remarks), WIDTHS
    model = load(tmp_path / "out")
    assert isinstance(model, Generator)
    z = random(3, 6).float()
    with torch.no_grad():
        expected = tf.generator({k: 2 * v for k, v in g.items()}, z.double(), torch.zeros(3, 0).double())
        torch.testing.assert_close(model(z).double(), expected, rtol=1e-4, atol=1e-4)


def test_one_network_alone_and_big_endian_numbers(tmp_path: Path) -> None:
    g = {name: value.astype(">f4") for name, value in generator_variables(False).items()}
    g["4x4/Conv/weight"] = np.asfortranarray(g["4x4/Conv/weight"])
    (tmp_path / "a.pkl").write_bytes(official([tensorflow(g, "Gs")], several=False))
    (state,) = read_networks(tmp_path / "a.pkl")
    for name, value in state["variables"]:
        np.testing.assert_array_equal(value, g[name].astype("<f4"))


def test_theano(tmp_path: Path) -> None:
    """A network of the TensorFlow code, written as the Theano code would have, comes back."""
    for variables, kind in ((generator_variables(False), "G"), (discriminator_variables(False), "D")):
        names, values = theano_order(kind), []
        for name in names:
            w, gain = (
                variables[f"{name}/weight"].astype(np.float64),
                1.0 if "ToRGB" in name or "Dense1" in name else math.sqrt(2),
            )
            gain = math.sqrt(2) / 4 if name == "4x4/Dense" else gain
            used, scale = w * gain / math.sqrt(math.prod(w.shape[:-1])), 0.37
            values += [as_theano(name, used / scale), np.float64(scale), variables[f"{name}/bias"]]
        state = {
            "build_func_spec": {"func": f"{kind}_paper"}, "build_module_src": "", "param_values": values,
            "toplevel_params": {"cur_lod": np.array(0.3)},
        }  # fmt: skip
        path = tmp_path / f"{kind}.pkl"
        path.write_bytes(official([state], 2, "network", several=False))
        part = official_network(read_networks(path)[0])
        same = official_network(tensorflow(variables, kind, mbstd_group_size=16))
        assert part.options == same.options
        assert part.alpha == pytest.approx(0.7)
        for name, tensor in same.weights.items():
            torch.testing.assert_close(part.weights[name], tensor, rtol=1e-12, atol=1e-12)


def theano_order(kind: str) -> list[str]:
    if kind == "G":
        inner = [f"{side}x{side}/Conv{i}" for side in (8, 16) for i in (0, 1)]
        return ["4x4/Dense", "4x4/Conv", *inner, "ToRGB_lod0", "ToRGB_lod1", "ToRGB_lod2"]
    return [
        "FromRGB_lod0", "16x16/Conv0", "16x16/Conv1", "FromRGB_lod1", "8x8/Conv0", "8x8/Conv1", "FromRGB_lod2",
        "4x4/Conv", "4x4/Dense0", "4x4/Dense1",
    ]  # fmt: skip


def as_theano(name: str, w: np.ndarray) -> np.ndarray:
    if "RGB" in name:
        return w[0, 0]
    if name == "4x4/Dense":
        return w.reshape(len(w), -1, 4, 4).transpose(1, 0, 2, 3)
    if name == "4x4/Dense0":
        return np.ascontiguousarray(w.T.reshape(w.shape[1], -1, 4, 4)[:, :, ::-1, ::-1])
    return w if w.ndim == 2 else np.ascontiguousarray(w[::-1, ::-1].transpose(3, 2, 0, 1))


class Runs:
    """Executes a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def renamed(content: bytes, before: bytes, after: bytes) -> bytes:
    assert before in content
    return content.replace(before, after)


HOSTILE: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "a command": (lambda p: pickle.dumps(Runs(f"touch {p / 'executed'}"), 2), "posix.system"),
    "a dotted name": (
        lambda p: renamed(pickle.dumps((np.ndarray,), 2), b"ndarray", b"ndarray.tofile"),
        "ndarray.tofile",
    ),
    "objects": (lambda p: pickle.dumps((np.array([None]),), 4), "numbers of the type"),
    "StyleGAN": (
        lambda p: renamed(official([{}], 2, several=False), b"ctfutil\n", b"cdnnlib.tflib.network\n"),
        "pickle of StyleGAN",
    ),
    "a web page": (lambda p: b"<!doctype html><title>Quota exceeded</title>", "web page"),
    "nothing": (lambda p: b"", "is empty"),
    "a part": (lambda p: official([tensorflow(generator_variables(True), "Gs")])[:500], "is damaged"),
    "another version": (lambda p: official([{**tensorflow({}, "Gs"), "version": 3}], several=False), "of version 3"),
    "numbers": (lambda p: pickle.dumps((1, 2, 3), 2), "does not hold the networks"),
    "two networks": (lambda p: official([tensorflow({}, "G"), tensorflow({}, "D")]), "does not hold the networks"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_damaged_pickles(name: str, tmp_path: Path) -> None:
    make, words = HOSTILE[name]
    path = tmp_path / "network.pkl"
    path.write_bytes(make(tmp_path))
    sentence = refused(lambda: import_weights([path], tmp_path / "out"))
    assert words in sentence
    assert sentence.startswith(str(path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["network.pkl"]


def test_sizes_that_are_only_claimed(tmp_path: Path) -> None:
    """An array of a terabyte in 16 bytes takes no memory."""
    buffer = io.BytesIO()

    class Pickler(pickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            if not isinstance(value, np.ndarray):
                return NotImplemented
            made, arguments, (version, _, kind, fortran, raw) = value.__reduce__()
            return made, arguments, (version, (1 << 20, 1 << 20), kind, fortran, raw)

    Pickler(buffer, 2).dump((np.zeros(4, np.float32),) * 3)
    (tmp_path / "a.pkl").write_bytes(buffer.getvalue())
    assert "in 16 bytes" in refused(lambda: read_networks(tmp_path / "a.pkl"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"16x16/Conv2/weight": np.zeros((3, 3, 2, 2), np.float32)}, "variable '16x16/Conv2/weight'"),
        ({"ToRGB_lod1/bias": None}, "variable ToRGB_lod1/bias is missing"),
        ({"32x32/Conv1/bias": np.zeros(2, np.float32)}, "32x32/Conv1/bias that does not belong"),
        ({"4x4/Conv/bias": np.full(7, np.nan, np.float32)}, "4x4/Conv/bias holds numbers that are not finite"),
        ({"lod": np.array(9.0, np.float32)}, "lod is 9"),
        ({"8x8/Conv1/weight": np.zeros((3, 3, 4, 5), np.float32)}, "do not fit a pggan"),
    ],
)
def test_variables_that_do_not_fit(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    variables = {key: value for key, value in {**generator_variables(False), **change}.items() if value is not None}
    path = tmp_path / "network.pkl"
    path.write_bytes(official([tensorflow(variables, "Gs")], several=False))
    assert words in refused(lambda: import_weights([path], tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_settings_of_another_function(tmp_path: Path) -> None:
    state = tensorflow(generator_variables(False), "Gs", normalize_latents=False)
    assert "normalize_latents" in refused(lambda: official_network(state))
    part = official_network(tensorflow(generator_variables(False), "Gs", use_wscale=False, use_pixelnorm=False))
    assert (part.options["equalized"], part.options["normalization"]) == (False, "none")
