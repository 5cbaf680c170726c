"""Runs of DCGAN, WGAN and WGAN-GP: their recipes, stopping and resuming, and the commands that use them."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import ProcessKilledError, WatchedRun, checkpoint_content, stats, train
from torch import Tensor

from progcycle.commands.evaluate import main as evaluate
from progcycle.commands.generate import main as generate
from progcycle.commands.interpolate import main as interpolate
from progcycle.engine.build import build, check_batches
from progcycle.engine.train import train_run
from progcycle.errors import UserError
from progcycle.export import load
from progcycle.recipe import RecipeError, load_recipe, merge, override, validate
from progcycle.runtime.checkpoint import checkpoints

FOLDER = Path(__file__).parents[2] / "recipes"
GAN = {"loss": "non_saturating"}
WGAN_GP = {"loss": "wgan", "gradient_penalty": {"weight": 10}, "drift": 0, "n_critic": 2}
RMSPROP = {"name": "rmsprop", "lr": 0.001}
KINDS: dict[str, dict[str, Any]] = {
    "dcgan": {
        "network": {"generator": "dcgan", "discriminator": "dcgan"},
        "objective": {**GAN, "label_smoothing": {"real": 0.75, "generator": 0.375}},
        "optimizer": {"generator": {"historical_averaging": 0.1}},
    },
    "virtual": {
        "network": {
            "generator": {"name": "dcgan", "normalization": "virtual", "reference_batch": 4},
            "discriminator": "dcgan",
        },
        "objective": {**GAN, "feature_matching": {}},
    },
    "theano": {
        "network": {"generator": {"name": "dcgan_theano", "reference_batch": 4}, "discriminator": "dcgan_theano"},
        "objective": GAN,
        "optimizer": {"generator": {"weight_decay": 1e-5}, "discriminator": {"weight_decay": 1e-5}},
    },
    "wgan": {
        "network": {"generator": "dcgan", "discriminator": "dcgan"},
        "objective": {
            "loss": "wgan",
            "weight_clipping": 0.01,
            "n_critic": 2,
            "critic_boost": {"n_critic": 3, "first": 2, "every": 4},
        },
        "optimizer": {"generator": RMSPROP, "discriminator": RMSPROP},
    },
    "wgan_gp": {"network": {"generator": "wgan_gp", "discriminator": "wgan_gp"}, "objective": WGAN_GP},
    "residual": {
        "network": {"generator": "wgan_gp_residual", "discriminator": "wgan_gp_residual"},
        "objective": WGAN_GP,
    },
    "mlp": {"network": {"generator": "mlp", "discriminator": "mlp"}, "objective": WGAN_GP},
}


def content(kind: str, pictures: Path, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A recipe of 12 steps at 16 px, before validation."""
    small = {
        "task": "pggan",
        "seed": 3,
        "resolution": 16,
        "data": {"path": str(pictures / "trainA"), "workers": 0},
        "schedule": {"stable_kimg": 0.048, "batch_size": 4},
        "training": {
            "precision": "no",
            "ema": {"per_step": 0.5},
            "status_kimg": 0.012,
            "sample_kimg": 0.024,
            "checkpoint_kimg": 0.012,
            "snapshot_kimg": 0.048,
            "keep_checkpoints": 99,
            "sample_count": 4,
        },
    }
    sizes = {"network": {"generator": {"latent_size": 6, "filters": 4}, "discriminator": {"filters": 4}}}
    return merge(merge(merge(small, KINDS[kind]), sizes), changes or {})


@pytest.mark.parametrize("kind", KINDS)
def test_each_resumes_bit_for_bit_and_is_used_by_the_commands(
    kind: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = validate(content(kind, pictures))
    whole = train(recipe, tmp_path / "whole")
    assert whole.trainer.step == 12
    train(recipe, tmp_path / "broken", stop_before=7)
    train(recipe, tmp_path / "broken")
    names = [path.name for path in checkpoints(tmp_path / "whole" / "checkpoints")]
    assert len(names) == 4
    for name in names:
        ours, theirs = (checkpoint_content(tmp_path / run / "checkpoints" / name) for run in ("broken", "whole"))
        assert ours == theirs
    assert stats(tmp_path / "broken") == stats(tmp_path / "whole")
    run = str(tmp_path / "whole")
    assert generate([run, "--out", str(tmp_path / "out"), "--count", "3"]) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) >= 3
    assert interpolate([run, "--out", str(tmp_path / "walk.gif"), "--keyframes", "2", "--seconds", "0.1"]) == 0
    assert evaluate([run, "--metrics", "swd", "--count", "4"]) == 0
    model: Any = load(tmp_path / "whole")
    torch.testing.assert_close(model.generate(3, seed=1)[2:], model.generate(1, seed=1, start=2), rtol=1e-4, atol=1e-5)
    capsys.readouterr()


def test_a_critic_is_clipped_before_each_of_its_updates_and_more_often_updated_at_first(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its weights, those of batch norm too; after the update they may lie outside. Then the generator's turn."""
    training = WatchedRun(validate(content("wgan", pictures)), tmp_path / "run")
    task, updates, largest = training.trainer.task, [], {"discriminator": [], "generator": []}  # type: ignore[var-annotated]
    honest = task.loss

    def loss(player: str, *arguments: Any) -> Any:
        updates.append(player[0])
        weights = {name: p.detach().abs().max().item() for name, p in task.networks["discriminator"].named_parameters()}
        largest[player].append(max(weights.values()))
        assert any("body.3" in name for name in weights), "batch norm's"
        return honest(player, *arguments)

    monkeypatch.setattr(task, "loss", loss)
    training.stop_before = 11
    with pytest.raises(ProcessKilledError):
        train_run(training)
    # Generator updates 0, 1 and 4 have 3 updates of the critic before them, the others 2; then the run was stopped.
    assert "".join(updates) == "dddgdddgddgddgd"
    assert all(value == pytest.approx(0.01) for value in largest["discriminator"])
    assert all(value > 0.0101 for value in largest["generator"]), "as the critic's update left it"


def test_the_losses_are_those_of_the_objective(pictures: Path, tmp_path: Path) -> None:
    """Smoothed targets, and matched features, from the networks and pictures of the first step."""
    for kind in ("dcgan", "virtual"):
        training = WatchedRun(validate(content(kind, pictures)), tmp_path / kind)
        task: Any = copy.deepcopy(training.trainer.task)
        seen: dict[str, Tensor] = {}
        images = torch.randn(4, 3, 16, 16).clamp(-1, 1)
        batch = replace(next(iter(_first_batch(training).values())), images=images)
        growth = training.schedule.at(0)
        loss, figures = task.loss("generator", {"real": batch}, growth, 0)
        disc = task.networks["discriminator"]
        disc.logit.register_forward_hook(
            lambda _, inputs, out, seen=seen: seen.update(features=inputs[0].detach(), logits=out.detach())
        )
        fake = task._fake("generator", batch, growth)
        disc(fake)
        of_fake, logits = seen["features"].double(), seen["logits"].flatten().double()
        disc(images)
        if kind == "dcgan":
            p = logits.sigmoid()
            expected = -(0.375 * p.log() + 0.625 * (1 - p).log()).mean()
            assert "adversarial/gen" in figures
        else:
            expected = (seen["features"].double().mean(0) - of_fake.mean(0)).abs().mean()
            assert "features/gen" in figures
        assert loss.item() == pytest.approx(expected.item(), rel=1e-3)


def _first_batch(training: WatchedRun) -> Any:
    from progcycle.data import build_loader

    where: dict[str, Any] = {"rank": 0, "processes": 1, "start_nimg": 0, "workers": 0, "pin_memory": False}
    return next(build_loader(training.context.sets, training.schedule, **where))[2]


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("wgan", ["objective.critic_boost.n_critic=2"], "critic_boost.n_critic: it must be above n_critic, which is 2"),
        ("wgan", ["objective.critic_boost={first: 0, every: null}"], "first: 0 without every boosts nothing"),
        ("wgan", ["objective.weight_clipping=0"], "weight_clipping: input should be greater than 0"),
        ("dcgan", ["objective.label_smoothing={real: 1}"], "targets of 1 smooth nothing"),
        (
            "dcgan",
            ["objective.label_smoothing.real=1.5"],
            "label_smoothing.real: input should be less than or equal to 1",
        ),
        (
            "virtual",
            ["network.generator.statistics=batch"],
            "statistics belongs to normalization: batch, not to virtual",
        ),
        (
            "dcgan",
            ["network.generator.reference_batch=8"],
            "reference_batch belongs to normalization: virtual, and to st",
        ),
        ("dcgan", ["network.generator.distribution=cauchy"], "distribution: input should be 'normal' or 'uniform'"),
        (
            "dcgan",
            ["network.discriminator.normalization=virtual"],
            "normalization: input should be 'batch', 'layer' or",
        ),
        ("virtual", ["objective.feature_matching.distance=l3"], "distance: input should be 'l1' or 'l2'"),
        ("wgan", ["objective.critic_boost.every=1"], "every: input should be greater than or equal to 2"),
    ],
)
def test_hostile_recipes_are_answered_in_one_sentence(
    kind: str, changes: list[str], words: str, pictures: Path
) -> None:
    with pytest.raises(RecipeError) as error:
        validate(override(content(kind, pictures), changes))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("theano", ["schedule.batch_size=1"], "network.generator.normalization: batch has a single number a channel"),
        ("dcgan", ["resolution=4"], "4 px are too small for the network 'dcgan' of network.generator, which needs 8"),
        (
            "dcgan",
            ["data.labels=PICTURES/labels.json"],
            "the network 'dcgan' of network.generator knows no classes",
        ),
        ("dcgan", ["network.base_resolution=8"], "the network 'dcgan' of network.generator works at one size"),
        ("wgan", ["objective.gradient_penalty={}", "objective.weight_clipping=0.1"], "it stands for the gradient pen"),
        (
            "dcgan",
            ["objective.loss=hinge", "objective.label_smoothing={}"],
            "it belongs to non_saturating, not to",
        ),
        (
            "virtual",
            [
                "network.discriminator=progressive",
                "network.discriminator.scales=2",
                "network.base_resolution=8",
                "schedule.start_resolution=16",
            ],
            "objective.feature_matching: the network of network.discriminator, with its options, shows no features",
        ),
    ],
)
def test_what_networks_cannot_do_is_said_in_one_sentence(
    kind: str, changes: list[str], words: str, pictures: Path
) -> None:
    changes = [change.replace("PICTURES", str(pictures)) for change in changes]
    recipe = validate(override(content(kind, pictures), changes))
    with pytest.raises(UserError) as error:
        check_batches(recipe, build(recipe).schedule, processes=1)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_discriminator_of_its_own_is_clipped_in_place_of_the_penalty_of_all(pictures: Path) -> None:
    clipped = override(content("wgan_gp", pictures), ["network.discriminator.weight_clipping=0.01"])
    task: Any = build(validate(clipped)).task
    (member,) = task.adversarial[""].members
    assert (member.loss.options.weight_clipping, member.loss.options.gradient_penalty) == (0.01, None)
    other = override(content("wgan", pictures), ["network.discriminator.gradient_penalty={}"])
    with pytest.raises(UserError, match=r"^objective\.weight_clipping: no discriminator here takes it, since each has"):
        build(validate(other))


def test_published_settings() -> None:
    for name in ("dcgan_emoji", "dcgan_celeba", "dcgan_celeba_theano"):
        recipe = load_recipe(FOLDER / f"{name}.yaml")
        theano = name.endswith("theano")
        for player in (recipe.optimizer.generator, recipe.optimizer.discriminator):  # type: ignore[attr-defined]
            assert (player.name, player.lr, player.betas) == ("adam", 2e-4, (0.5, 0.999))
            assert player.weight_decay == (1e-5 if theano else 0)
        assert recipe.schedule.batch_size == {"default": 128 if theano else 64}
        assert recipe.network.generator.latent_size == 100  # type: ignore[attr-defined]
        assert recipe.network.generator.distribution == ("uniform" if theano else "normal")  # type: ignore[attr-defined]
        assert recipe.objective.loss == "non_saturating"  # type: ignore[attr-defined]
    wgan: Any = load_recipe(FOLDER / "wgan_emoji.yaml")
    assert (wgan.optimizer.generator.name, wgan.optimizer.discriminator.lr) == ("rmsprop", 5e-5)
    assert (wgan.objective.weight_clipping, wgan.objective.n_critic, wgan.objective.gradient_penalty) == (0.01, 5, None)
    assert wgan.objective.critic_boost.model_dump() == {"n_critic": 100, "first": 25, "every": 500}
    gp: Any = load_recipe(FOLDER / "wgan_gp_cifar10.yaml")
    assert (gp.optimizer.generator.lr, gp.optimizer.discriminator.betas) == (1e-4, (0.5, 0.9))
    assert (gp.objective.gradient_penalty.weight, gp.objective.drift, gp.objective.n_critic) == (10, 0, 5)
    assert gp.schedule.stable_kimg["default"] * 1000 == 200_000 * 5 * 64
