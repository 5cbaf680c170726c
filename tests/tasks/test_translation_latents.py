"""Latents of translators in training: which z each pass gets, told by grey levels, and what learns from their loss."""

from typing import Any

import pytest
import torch
from fake_networks import GROWTH, FakeTranslator, batch, recipe
from torch import Tensor, nn

from progcycle.engine.build import build
from progcycle.networks import ENCODERS, TRANSLATORS, LatentEncoder, Network, drawn_latents
from progcycle.objectives import latent_loss, prior_loss
from progcycle.recipe import RecipeError
from progcycle.rng import normal

A, B = batch(1.0), batch(2.0)
AB = {"ab": 2}


class WithLatents(FakeTranslator):
    """x + shift + the first latent."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.latent_size = arguments.get("latents", 0)

    def forward(self, x: Tensor, stage: int, alpha: float, latents: Tensor | None = None) -> Tensor:
        assert (latents is None) == (self.latent_size == 0)
        y = super().forward(x, stage, alpha)
        return y if latents is None else y + latents[:, :1, None, None]


class Mean(Network):
    """Estimates (mean of the picture, 5)."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.latent_size = arguments["latents"]
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, stage: int, alpha: float) -> Tensor:
        mean = self.weight * x.mean((1, 2, 3))
        return torch.stack([mean, torch.full_like(mean, 5)], dim=1)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, fakes: None) -> None:
    monkeypatch.setitem(TRANSLATORS, "fake", WithLatents)
    monkeypatch.setitem(ENCODERS, "latents", Mean)


def make(latents: dict[str, int], **objective: Any) -> Any:
    networks = {"generator": {"name": "fake", "latents": latents}, "discriminator": "fake"}
    task: Any = build(recipe("cyclegan", {"network": networks, "objective": {"pool_size": 0, **objective}})).task
    task.gen_ab.shift, task.gen_ba.shift = 100.0, 1000.0
    return task


def z_of(direction: str, purpose: str = "generator") -> Tensor:
    return normal(3, f"latent/{direction}/{purpose}", range(4), 2).double()


def error(z: Tensor, mean: Tensor) -> float:
    told = torch.stack([mean, torch.full_like(mean, 5)], dim=1)
    return float((1 - (z * told).sum(1) / (z.norm(dim=1) * told.norm(dim=1))).mean())


@pytest.mark.usefixtures("counted")
def test_losses_by_hand_with_latents_one_way() -> None:
    """Back to B goes with the latents that are estimated from B, 2; back to A with none."""
    task = make(AB, cycle={"aba": 3, "bab": 5}, identity={"a": 0, "b": 0.5}, latent={"weight": 7})
    loss, stats = task.loss("generator", {"a": A, "b": B}, GROWTH, 0)
    z = z_of("ab")
    fake_b = 1 + 100 + z[:, 0]
    expected = {
        "adversarial/gen_ab": float(((fake_b - 1) ** 2).mean()),
        "adversarial/gen_ba": (2 + 1000 - 1) ** 2,
        "cycle/aba": float((fake_b + 1000 - 1).abs().mean()),
        "cycle/bab": 1000 + 100 + 2,
        "identity/b": 100 + 2,
        "latent/ab": error(z, fake_b),
    }
    assert {name: value.item() for name, value in stats.items()} == pytest.approx(expected, rel=1e-5)
    weights = {"cycle/aba": 3, "cycle/bab": 5, "identity/b": 2.5, "latent/ab": 7}
    assert loss.item() == pytest.approx(sum(weights.get(name, 1) * value for name, value in expected.items()), rel=1e-5)
    task.loss("discriminator", {"a": A, "b": B}, GROWTH, 0)
    assert task.networks["disc_b"].seen() >= {round(x, 3) for x in fake_b.tolist()}


@pytest.mark.usefixtures("counted")
def test_losses_by_hand_with_latents_both_ways() -> None:
    stats = make({"ab": 2, "ba": 2}).loss("generator", {"a": A, "b": B}, GROWTH, 0)[1]
    ab, ba = z_of("ab"), z_of("ba")
    assert stats["cycle/aba"].item() == pytest.approx(float((1100 + ab[:, 0] + 1).abs().mean()), rel=1e-6)
    assert stats["cycle/bab"].item() == pytest.approx(float((1100 + ba[:, 0] + 2).abs().mean()), rel=1e-6)
    assert stats["latent/ab"].item() == pytest.approx(error(ab, 101 + ab[:, 0]), rel=1e-5)
    assert stats["latent/ba"].item() == pytest.approx(error(ba, 1002 + ba[:, 0]), rel=1e-5)


@pytest.mark.usefixtures("counted")
def test_a_discriminators_own_round_has_other_latents() -> None:
    task = make(AB)
    task.loss("discriminator", {"a": A, "b": B}, GROWTH, 0)
    other = {round(101 + x, 3) for x in z_of("ab", "discriminator")[:, 0].tolist()}
    assert task.networks["disc_b"].seen() == {2.0} | other
    assert other.isdisjoint({round(101 + x, 3) for x in z_of("ab")[:, 0].tolist()})


@pytest.mark.usefixtures("counted")
def test_a_picture_has_its_latents_in_whichever_batch_it_lies() -> None:
    whole = make(AB)
    whole.loss("generator", {"a": batch(1.0, count=4), "b": batch(2.0, count=4)}, GROWTH, 0)
    parts = make(AB)
    for first in (0, 2):
        pictures = {"a": batch(1.0, first, 2), "b": batch(2.0, first, 2)}
        parts.loss("generator", pictures, GROWTH, 0)
    assert len(whole.networks["disc_b"].seen()) == 4
    assert parts.networks["disc_b"].seen() == whole.networks["disc_b"].seen()


@pytest.mark.usefixtures("counted")
def test_a_sheet_has_several_translations_and_goes_back_with_the_pictures_own_latents() -> None:
    task = make(AB)
    panel = task.panel(4, lambda domain: {"a": A, "b": B}[domain].images)
    rows = task.sample(task.networks, panel, GROWTH)
    assert task.row_names() == ("A", "A to B", "A to B", "A to B", "back to A", "B", "B to A", "back to B")
    greys = [[x.mean().item() for x in row] for row in rows]
    drawn = [normal(3, f"latent/ab/panel/{i}", range(4), 2)[:, 0].tolist() for i in range(3)]
    for i in range(3):
        assert greys[1 + i] == pytest.approx([101 + z for z in drawn[i]], rel=1e-6)
    assert greys[4] == pytest.approx([1101 + z for z in drawn[0]], rel=1e-6)
    assert (greys[6], greys[7]) == ([1002] * 4, [1104] * 4)
    shown = task.shown(rows, lambda domain: panel[domain])
    assert [x is y for x, y in zip(shown["gen_ab"], (rows[1], rows[5], rows[0]), strict=True)] == [True] * 3
    assert [x is y for x, y in zip(shown["gen_ba"], (rows[6], rows[0], rows[5]), strict=True)] == [True] * 3


def real_task(**objective: Any) -> Any:
    generator = {"residual_blocks": 1, "latents": {"ab": 3}, "predict": "picture"}
    return build(recipe("cyclegan", {"network": {"generator": generator}, "objective": objective})).task


def gradients(task: Any, figure: str) -> set[str]:
    """Parameters of the translators' player that a term alone moves."""
    task.loss("generator", {"a": batch(torch.rand(4, 3, 8, 8)), "b": batch(torch.rand(4, 3, 8, 8))}, GROWTH, 0)[1][
        figure
    ].backward()
    return {
        f"{name}.{key.partition('.')[0]}"
        for name in task.players["generator"]
        for key, p in task.networks[name].named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }


def test_what_each_term_teaches() -> None:
    """The latent loss reaches the translator of its direction and the encoder; so does the cycle of B."""
    parts = {f"gen_ab.{part}" for part in ("encoder", "bottleneck", "decoder", "modulations")}
    encoder = {"enc_b.layers", "enc_b.dense"}
    assert gradients(real_task(), "latent/ab") == parts | encoder
    back = {f"gen_ba.{part}" for part in ("encoder", "bottleneck", "decoder")}
    assert gradients(real_task(), "cycle/bab") == parts | encoder | back
    assert gradients(real_task(), "cycle/aba") == parts | back


def test_the_prior_compares_latents_of_real_pictures_with_random_ones_and_teaches_the_encoder_alone() -> None:
    assert gradients(real_task(latent={"prior": 2}), "prior/ab") == {"enc_b.layers", "enc_b.dense"}
    task, plain = real_task(latent={"weight": 0, "prior": 2, "queue": 6}), real_task(latent={"weight": 0})
    for network, other in zip(task.networks.values(), plain.networks.values(), strict=True):
        network.load_state_dict(other.state_dict())
    encoder, seen = task.networks["enc_b"], []
    for i in range(3):
        pictures = torch.rand(4, 3, 8, 8)
        reals = {"a": batch(torch.rand(4, 3, 8, 8)), "b": batch(pictures, first=4 * i)}
        loss, stats = task.loss("generator", reals, GROWTH, 0)
        without = plain.loss("generator", reals, GROWTH, 0)[0]
        seen.append(encoder(pictures, GROWTH.stage, GROWTH.alpha).detach())
        earlier = torch.cat([seen[0][:0], *seen[:-1]])[-6:]
        rows = normal(3, "latent/ab/prior", [4 * i], (4 + len(earlier) + 16) * 3).reshape(-1, 3)
        along = torch.nn.functional.normalize(rows[-16:], dim=1)
        expected = prior_loss(seen[-1], earlier, rows[:-16], along)
        torch.testing.assert_close(stats["prior/ab"], expected)
        assert loss.item() - without.item() == pytest.approx(2 * expected.item(), rel=1e-3)
    assert list(task.state_dict()) == ["prior_ab.real"]
    resumed = real_task(latent={"weight": 0, "prior": 2, "queue": 6})
    resumed.load_state_dict(task.state_dict())
    assert torch.equal(resumed.state_dict()["prior_ab.real"], task.state_dict()["prior_ab.real"])


def test_without_a_weight_no_latents_are_compared_or_remembered() -> None:
    task = real_task(latent={"prior": [[5, 1], [6, 0]]})  # GROWTH stands at 5 kimg
    stats = task.loss("generator", {"a": A, "b": B}, GROWTH, 0)[1]
    assert "prior/ab" in stats
    stats = real_task().loss("generator", {"a": A, "b": B}, GROWTH, 0)[1]
    assert not [name for name in stats if name.startswith("prior")]
    assert not real_task().state_dict()


def with_real_latents(**objective: Any) -> Any:
    generator = {"residual_blocks": 1, "latents": {"ab": 3, "drawn": "real"}, "predict": "picture"}
    return build(recipe("cyclegan", {"network": {"generator": generator}, "objective": objective})).task


def test_real_latents_are_those_of_the_batchs_real_pictures_and_are_remembered() -> None:
    task = with_real_latents()
    encoder, translator = task.networks["enc_b"], task.networks["gen_ab"]
    reals = {"a": batch(torch.rand(4, 3, 8, 8)), "b": batch(torch.rand(4, 3, 8, 8))}
    at = (GROWTH.stage, GROWTH.alpha)
    told = encoder(reals["b"].images, *at).detach()
    expected = latent_loss(told, encoder(translator(reals["a"].images, *at, told), *at))
    stats = task.loss("generator", reals, GROWTH, 0)[1]
    torch.testing.assert_close(stats["latent/ab"], expected)
    assert int(encoder.known) == 4
    unit = torch.nn.functional.normalize(told, dim=1) * 3**0.5
    torch.testing.assert_close(encoder.real[-4:], unit)
    normals = torch.tensor([[-3.0, 0, 0], [-0.1, 0, 0], [0.1, 9, 9], [3.0, 0, 0]])
    torch.testing.assert_close(drawn_latents(task.networks["enc_b"], normals), unit)
    panel = task.panel(4, lambda domain: reals[domain].images)
    row = task.sample(task.networks, panel, GROWTH)[1]
    z = drawn_latents(task.networks["enc_b"], panel["latents_ab_0"])
    torch.testing.assert_close(row, translator(reals["a"].images, *at, z))


def test_the_newest_latents_of_real_pictures_stay_and_normal_numbers_serve_until_there_are_some() -> None:
    encoder = LatentEncoder(4, 2, remembered=3)
    normals = torch.tensor([[-2.0, 1], [0, 1], [2, 1]])
    assert torch.equal(encoder.drawn(normals), normals)
    for i in range(2):
        encoder.remember(torch.tensor([[2.0 * i, 1], [2.0 * i + 1, 1]]), torch.zeros(2, 3, 8, 8))
    assert int(encoder.known) == 3
    kept = torch.tensor([[1.0, 1], [2, 1], [3, 1]])
    torch.testing.assert_close(encoder.drawn(normals), torch.nn.functional.normalize(kept, dim=1) * 2**0.5)
    again = LatentEncoder(4, 2, remembered=3)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.drawn(normals), encoder.drawn(normals))
    assert LatentEncoder(4, 2).state_dict().keys() == encoder.state_dict().keys() - {"real", "known"}


def plain(*levels: float, side: int = 8) -> Tensor:
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, side, side)


def test_neighbours_are_those_whose_sources_differ_least_at_8_px() -> None:
    encoder = LatentEncoder(4, 2, remembered=5, neighbours=2, source_channels=3)
    normals = torch.tensor([[-1.0, 0], [1, 0]])  # below and above the middle: the nearest, and the second
    assert torch.equal(encoder.drawn(normals, plain(0, 0)), normals)
    encoder.remember(torch.tensor([[9.0, 9]]), plain(9))
    assert torch.equal(encoder.drawn(normals, plain(0, 0)), torch.ones(2, 2))  # one is all there is
    angles = torch.tensor([0.0, 1, 2, 3, 4])
    latents = 2**0.5 * torch.stack([angles.cos(), angles.sin()], dim=1)
    encoder.remember(5 * latents, plain(-0.9, -0.5, 0, 0.3, 0.9, side=24))  # 9 is forgotten
    torch.testing.assert_close(encoder.drawn(normals, plain(0.1, -0.6, side=16)), latents[[2, 0]])
    torch.testing.assert_close(encoder.drawn(normals, plain(-0.6)), latents[[1, 0]])
    torch.testing.assert_close(encoder.drawn(normals[:1], plain(0.1, -0.6, 1)), latents[[2, 1, 4]])
    torch.testing.assert_close(encoder.drawn(normals), latents[[0, 4]])  # the first and the last sixth of all
    # The place counts, not only the mean: halves of black and white
    halves = torch.cat([torch.cat([plain(x, side=4), plain(y, side=4)], dim=3) for x, y in ((-1, 1), (1, -1))])
    halves = halves.repeat_interleave(2, dim=2)
    encoder.remember(latents[:2], halves)
    torch.testing.assert_close(encoder.drawn(normals[:1], halves), latents[:2])
    again = LatentEncoder(4, 2, remembered=5, neighbours=2, source_channels=3)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.drawn(normals, plain(0.1)), encoder.drawn(normals, plain(0.1)))


def test_training_paints_from_neighbours_of_earlier_steps_and_remembers_what_the_way_back_made() -> None:
    generator = {"residual_blocks": 1, "latents": {"ab": 3, "drawn": "real", "neighbours": 1}, "predict": "picture"}
    task = build(recipe("cyclegan", {"network": {"generator": generator}})).task
    encoder, there, back = (task.networks[name] for name in ("enc_b", "gen_ab", "gen_ba"))
    at = (GROWTH.stage, GROWTH.alpha)
    reals = [{"a": batch(torch.rand(4, 3, 8, 8)), "b": batch(torch.rand(4, 3, 8, 8))} for _ in range(2)]
    told = encoder(reals[0]["b"].images, *at).detach()
    task.loss("generator", reals[0], GROWTH, 0)
    made = back(reals[0]["b"].images, *at).detach()
    torch.testing.assert_close(encoder.kept_sources, made)
    a = reals[1]["a"].images
    nearest = ((a[:, None] - made[None]) ** 2).sum(dim=(2, 3, 4)).argmin(dim=1)
    z = told[nearest]
    stats = task.loss("generator", reals[1], GROWTH, 1)[1]
    torch.testing.assert_close(stats["latent/ab"], latent_loss(z, encoder(there(a, *at, z), *at)))
    assert int(encoder.known) == 8


def test_latents_add_networks_and_weights_of_their_direction_only() -> None:
    with_latents, without = (
        real_task(),
        build(recipe("cyclegan", {"network": {"generator": {"residual_blocks": 1}}})).task,
    )
    assert with_latents.ema_of == ("gen_ab", "gen_ba", "enc_b")
    assert without.ema_of == without.players["generator"] == ("gen_ab", "gen_ba")
    keys = {name: set(network.state_dict()) for name, network in without.networks.items()}
    more = {name: set(network.state_dict()) for name, network in with_latents.networks.items()}
    assert more.pop("gen_ab") - keys["gen_ab"] == {f"modulations.0.dense.{key}" for key in ("weight", "bias")}
    assert more.pop("enc_b")
    assert more == {name: own for name, own in keys.items() if name != "gen_ab"}
    assert all("latents" not in spec["arguments"] for spec in without.specs.values())


@pytest.mark.parametrize(
    ("network", "objective", "sentence"),
    [
        ({"generator": {"latents": {}}}, {}, "network.generator.latents: give ab, ba or both a number of latents"),
        ({"generator": {"latents": {"ab": 1}}}, {}, "network.generator.latents.ab: .* greater than or equal to 2"),
        ({"generator": {"latents": {"ab": 2, "neighbours": 9}}}, {}, "neighbours are real pictures, whose latents"),
        ({"generator": {"latents": {"ab": 2}, "residual_blocks": 0}}, {}, "latents modulate the residual blocks"),
        ({}, {"latent": {"weight": 3}}, "objective.latent weighs latents, of which the translators have none"),
        (
            {"generator": {"latents": {"ab": 2}}},
            {"latent": {"queue": 3}},
            "objective.latent: queue is of prior",
        ),
        ({"generator": "resnet"}, {"latent": {"weight": 3}}, "objective.latent weighs latents"),
    ],
)
def test_refusals(network: dict[str, Any], objective: dict[str, Any], sentence: str) -> None:
    changes = {"network": {**network}, "objective": objective}
    if network.get("generator") == "resnet":
        changes |= {"schedule": {"start_resolution": 16}}
    with pytest.raises(RecipeError, match=sentence):
        recipe("cyclegan", changes)
