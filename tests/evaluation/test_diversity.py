"""Latents in evaluation: which a round trip gets, and diversity by hand."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from photos import folder
from torch import Tensor
from torch.nn.functional import cosine_similarity

from progcycle.evaluation import evaluate
from progcycle.evaluation.diversity import TestLatents, latents_of, measure_diversity
from progcycle.evaluation.round_trip import translate_as_training, translate_round_trip
from progcycle.evaluation.translation_metrics import measure_translation
from progcycle.evaluation.translation_table import as_text
from progcycle.export import Translator, load_as
from progcycle.rng import normal

A = torch.rand(5, 3, 4, 4) * 0.2
B = torch.rand(3, 3, 4, 4) * 0.2 - 0.5


def translate(x: Tensor, direction: str, latents: Tensor | None = None) -> Tensor:
    """To B, the first latent moves all colours; to A, there are none."""
    assert (latents is None) == (direction == "ba")
    return x if latents is None else x + 0.1 * latents[:, :1, None, None].tanh()


def estimate(pictures: Tensor, direction: str) -> Tensor:
    assert direction == "ab"
    return torch.stack([pictures.mean((1, 2, 3)), torch.ones(len(pictures))], dim=1)


LATENTS = TestLatents({"ab": 2}, estimate, seed=4)


def drawn(which: int, numbers: range = range(5)) -> Tensor:
    return normal(4, f"metric/latent/ab/{which}", numbers, 2)


@pytest.mark.parametrize("batch_size", [2, 64])
def test_diversity_by_hand(batch_size: int) -> None:
    found = measure_diversity(translate, A, "ab", LATENTS, batch_size=batch_size)
    shifts = torch.stack([0.1 * drawn(k)[:, 0].tanh() for k in range(4)]).double()  # [4, 5]
    pairs = [(shifts[i] - shifts[j]).abs().mean() for i, j in itertools.combinations(range(4), 2)]
    assert found["diversity/ab"] == pytest.approx(float(torch.stack(pairs).mean()), rel=1e-4)
    z = torch.cat([drawn(k) for k in range(4)]).double()
    told = torch.cat([estimate(translate(A, "ab", drawn(k)), "ab") for k in range(4)]).double()
    assert found["latent/ab"] == pytest.approx(float((1 - cosine_similarity(z, told)).mean()), rel=1e-5)
    assert found.keys() == {"diversity/ab", "latent/ab"}
    assert measure_diversity(translate, B, "ba", LATENTS) == {}


def test_many_pictures_are_thinned_out_evenly() -> None:
    seen: list[float] = []

    def remember(x: Tensor, direction: str, latents: Tensor) -> Tensor:
        seen.extend(x[:, 0, 0, 0].tolist())
        return x

    pictures = torch.arange(128.0)[:, None, None, None].expand(-1, 3, 4, 4)
    measure_diversity(remember, pictures, "ab", LATENTS)
    assert seen == [float(i) for i in range(0, 128, 2)] * 4


def test_a_round_trip_goes_back_with_the_latents_of_the_original() -> None:
    there = translate_round_trip(translate, A, "ab", latents=LATENTS, batch_size=2)
    torch.testing.assert_close(there.output, translate(A, "ab", drawn(0)))
    back = translate_round_trip(translate, B, "ba", latents=LATENTS, batch_size=2)
    torch.testing.assert_close(back.output, B)
    torch.testing.assert_close(back.cycle, 0.1 * estimate(B, "ab")[:, 0].tanh().abs())
    figures = measure_translation(translate, A, B, None, None, latents=LATENTS)
    assert {"diversity/ab", "latent/ab"} <= figures.keys()
    assert "diversity/ba" not in figures


def test_the_latents_of_a_snapshot(make_snapshot: Callable[..., Path]) -> None:
    model = load_as(Translator, make_snapshot(latents=4, predict="picture"))
    x = torch.rand(3, 3, 32, 32) * 2 - 1
    latents = latents_of(model, seed=5)
    trip = translate_round_trip(translate_as_training(model), x, "ab", latents=latents)
    z = normal(5, "metric/latent/ab/0", range(3), 4)
    torch.testing.assert_close(trip.output, model.translate(x, "ab", "native", latents=z))
    back = translate_as_training(model)(x, "ab", *latents.estimated("ab", x))
    torch.testing.assert_close(back, model.gen_ab(x, 2, 1.0, model.get_submodule("enc_b")(x, 2, 1.0)))
    assert latents_of(model).sizes == {"ab": 4, "ba": 0}


def test_a_table_of_its_own() -> None:
    text = as_text({"ab": {"translated": {"diversity": 0.125, "latent": 0.5}}, "ba": {"translated": {"cycle": 1.0}}})
    assert "between translations of a picture" in text
    assert "0.1250" in text
    assert "0.5000" in text


def test_evaluate_with_latents(make_snapshot: Callable[..., Path], tmp_path: Path) -> None:
    """The record of a whole evaluation: the seed chooses the latents; what has none is as before."""
    for name, first in (("testA", 0), ("testB", 9)):
        folder(tmp_path / name, 4, seed=first, size=(32, 32))
    found = {}
    for latents, seed in ((4, 0), (4, 1), (0, 0)):
        snapshot = make_snapshot(run=f"run{latents}", latents=latents, predict="picture")
        options: dict[str, Any] = {"a": str(tmp_path / "testA"), "b": str(tmp_path / "testB"), "metrics": ("swd",)}
        done = evaluate(snapshot, **options, seed=seed, resolution=None, paired=True)
        found[latents, seed] = done.record
    record = found[4, 0]
    own = record["results"]["ab"]["translated"]
    assert own["diversity"] > 0
    assert "diversity" not in record["results"]["ba"]["translated"]
    assert record["protocol"]["diversity"] == {"pictures_at_most": 64, "translations": 4}
    assert found[4, 1]["results"]["ab"]["translated"]["l1"] != own["l1"]
    assert "diversity" not in found[0, 0]["protocol"]
    assert "diversity" not in found[0, 0]["results"]["ab"]["translated"]
