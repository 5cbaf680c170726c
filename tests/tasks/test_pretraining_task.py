"""Pre-training: which squares are hidden, the loss by hand, and what is refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from fake_networks import GROWTH, FakeTranslator, batch, recipe
from torch import Tensor

from progcycle.engine.build import build
from progcycle.engine.train import build_pretraining
from progcycle.errors import UserError
from progcycle.schedule import Growth
from progcycle.tasks import PretrainingTask
from progcycle.tasks.pretraining import patch_masks

FAKES = {"network": {"generator": {"name": "fake", "predict": "picture"}, "discriminator": "fake"}}


def squares(
    positions: Sequence[int] = range(6), resolution: int = 16, masked: float = 0.4, patch: float = 0.125, seed: int = 3
) -> Tensor:
    return patch_masks(seed, "mask/a", positions, resolution, masked, patch)


def task(change: dict[str, Any]) -> PretrainingTask:
    built = build_pretraining(recipe("cyclegan", {"pretraining": {}, **change}))
    assert built is not None
    assert isinstance(built.task, PretrainingTask)
    return built.task


# --- hidden squares -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resolution", "patch", "masked", "side", "hidden"),
    [
        (16, 0.125, 0.4, 8, 26),  # 25.6 of 64 squares
        (256, 0.125, 0.4, 8, 26),
        (4, 0.125, 0.4, 4, 6),  # a square is a pixel: 6.4 of 16
        (16, 0.5, 0.25, 2, 1),
        (16, 0.5, 0.01, 2, 1),  # never none
        (16, 0.5, 0.99, 2, 3),  # never all
    ],
)
def test_the_share_is_exact_in_every_picture(
    resolution: int, patch: float, masked: float, side: int, hidden: int
) -> None:
    seen = squares(resolution=resolution, patch=patch, masked=masked)
    assert seen.shape == (6, 1, side, side)
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    assert (seen == 0).sum((1, 2, 3)).tolist() == [hidden] * 6


def test_squares_belong_to_positions_whatever_the_batch() -> None:
    whole = squares([4, 5, 6, 7])
    assert torch.equal(whole, torch.cat([squares([4, 5]), squares([6]), squares([7])]))
    assert torch.equal(whole.flip(0), squares([7, 6, 5, 4]))
    assert len({tuple(row.flatten().tolist()) for row in whole}) == 4
    assert not torch.equal(whole, squares([4, 5, 6, 7], seed=4))
    assert not torch.equal(whole, patch_masks(3, "mask/b", [4, 5, 6, 7], 16, 0.4, 0.125))
    assert torch.equal(whole, squares([4, 5, 6, 7], resolution=64)), "the same places at every stage"


def test_every_square_is_hidden_equally_often() -> None:
    seen = squares(range(2000), patch=0.25, masked=0.375).mean(0).flatten().numpy()  # 6 of 16
    deviation = np.sqrt(0.375 * 0.625 / 2000)
    assert np.abs(1 - seen - 0.375).max() < 5 * deviation


# --- the loss -------------------------------------------------------------------------------------------------------


def test_the_loss_is_what_is_missing_of_both_domains(fakes: None) -> None:
    """Translators that change nothing miss the hidden share: 0.25 * (|0.5| + |-0.8|) / 2 for each of the two."""
    subject = task({**FAKES, "pretraining": {"masked": 0.25, "patch": 0.25}})
    reals = {"a": batch(0.5), "b": batch(-0.8, first=4)}
    loss, stats = subject.loss("generator", reals, GROWTH, 0)
    expected = 0.25 * (0.5 + 0.8) / 2
    assert {name: value.item() for name, value in stats.items()} == pytest.approx(
        {"inpainting/gen_ab": expected, "inpainting/gen_ba": expected}
    )
    assert loss.item() == pytest.approx(2 * expected)
    for network in subject.networks.values():
        assert isinstance(network, FakeTranslator)
        (given,) = network.calls
        assert network.growths == [(1, 0.25)]
        for rows, value, domain, first in ((given[:4], 0.5, "a", 0), (given[4:], -0.8, "b", 4)):
            seen = patch_masks(3, f"mask/{domain}", range(first, first + 4), 8, 0.25, 0.25)
            enlarged = np.kron(seen.numpy(), np.ones((1, 1, 2, 2)))  # a square is 2x2 of 8x8 pixels
            np.testing.assert_allclose(rows.numpy(), np.broadcast_to(value * enlarged, rows.shape), rtol=1e-6)


def test_the_loss_is_the_mean_absolute_difference_to_the_whole_picture(fakes: None) -> None:
    subject = task({**FAKES, "pretraining": {"masked": 0.5}})
    network = subject.networks["gen_ba"]
    assert isinstance(network, FakeTranslator)
    network.shift = 0.3
    images = torch.randn(3, 3, 8, 8)
    reals = {"a": batch(images), "b": batch(images.flip(0), first=9)}
    loss, stats = subject.loss("generator", reals, GROWTH, 0)
    (given,) = network.calls
    truth = torch.cat([images, images.flip(0)]).double().numpy()
    expected = np.abs(given.double().numpy() + np.float64(np.float32(0.3)) - truth).mean()
    assert stats["inpainting/gen_ba"].item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    sign = np.sign(given.numpy() + np.float32(0.3) - truth)
    assert isinstance(network.weight.grad, Tensor)
    assert network.weight.grad.item() == pytest.approx((sign * given.numpy()).mean(), rel=1e-4, abs=1e-6)


def test_autoencoding_shows_the_whole_picture(fakes: None) -> None:
    change = {
        **FAKES,
        "pretraining": {"kind": "autoencoding"},
    }
    subject = task(change)
    loss, stats = subject.loss("generator", {"a": batch(0.5), "b": batch(-0.8)}, GROWTH, 0)
    assert loss.item() == 0
    assert stats.keys() == {"autoencoding/gen_ab", "autoencoding/gen_ba"}
    rows = subject.sample(subject.networks, subject.panel(2, lambda _: torch.ones(2, 3, 8, 8)), GROWTH)
    assert len(rows) == 6


def test_samples_show_pictures_what_is_seen_and_what_is_made_of_it(fakes: None) -> None:
    subject = task(FAKES)
    rows = subject.sample(subject.networks, subject.panel(2, lambda d: torch.full((2, 3, 8, 8), ord(d) / 100)), GROWTH)
    assert len(rows) == 8
    for (real, seen, by_ab, by_ba), value in ((rows[:4], 0.97), (rows[4:], 0.98)):
        assert real.unique().tolist() == pytest.approx([value])
        assert seen.unique().tolist() == pytest.approx([0, value])
        assert torch.equal(by_ab, seen)  # these networks change nothing
        assert torch.equal(by_ba, seen)


# --- networks and recipes -------------------------------------------------------------------------------------------


def test_networks_are_those_that_will_translate() -> None:
    content = recipe("cyclegan", {"pretraining": {}})
    built = build_pretraining(content)
    assert built is not None
    translating = build(content).task
    assert set(built.task.networks) == {"gen_ab", "gen_ba"} == set(built.task.specs)
    assert built.task.players == {"generator": ("gen_ab", "gen_ba")}
    for name, network in built.task.networks.items():
        assert built.task.specs[name] == translating.specs[name]
        for key, value in translating.networks[name].state_dict().items():
            assert torch.equal(network.state_dict()[key], value)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_real_networks_learn_at_every_stage(stage: int) -> None:
    subject = task({"network": {"rgb": "sum"}})
    side = 4 << stage
    pictures = {d: batch(torch.rand(2, 3, side, side), first=i) for i, d in enumerate("ab")}
    growth = Growth(stage, side, 0.5)
    subject.loss("generator", pictures, growth, 0)[0].backward()
    for network in subject.networks.values():
        touched = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert f"decoder.to_rgb.{stage}.weight" in touched


def test_without_the_section_there_is_nothing_to_build() -> None:
    assert build_pretraining(recipe("cyclegan")) is None
    assert build_pretraining(recipe("pggan")) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"data": {"b": {"channels": 1}}, "network": {"generator": {"predict": "picture"}}},
            r"pretraining: both translators .* \(data\.a\.channels is 3, data\.b\.channels is 1\); leave it out\.",
        ),
        (
            {"pretraining": {"kind": "autoencoding"}},
            r"pretraining\.kind: .* autoencoding has nothing to teach; use",
        ),
        (
            {"pretraining": {"schedule": {"start_resolution": 32}}},
            r"pretraining\.schedule\.start_resolution: 32 must be at most the resolution 16",
        ),
        ({"pretraining": {"share": 1e-9}}, r"pretraining\.schedule: every phase has a length of 0"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        task(change)


def test_latents_say_nothing_in_pretraining() -> None:
    """They are 0, which no modulation's weights change; the encoder is kept for the task, and learns nothing yet."""
    generator = {"residual_blocks": 1, "predict": "picture", "latents": {"ab": 3}}
    own = task({"network": {"generator": generator}})
    reals = {"a": batch(torch.rand(4, 3, 8, 8)), "b": batch(torch.rand(4, 3, 8, 8))}
    before, stats = own.loss("generator", reals, GROWTH, 0)
    assert set(stats) == {"inpainting/gen_ab", "inpainting/gen_ba"}
    torch.nn.init.normal_(own.networks["gen_ab"].get_submodule("modulations.0.dense").weight)  # type: ignore[arg-type]
    after, _ = own.loss("generator", reals, GROWTH, 0)
    assert torch.equal(before, after)
    assert own.ema_of == ("gen_ab", "gen_ba", "enc_b")
    rows = own.sample(own.networks, own.panel(4, lambda domain: reals[domain].images), GROWTH)
    assert len(rows) == len(own.row_names()) == 8
