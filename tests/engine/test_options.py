"""What recipes may ask of a run beside its losses: orders of updates, growth, labels, first weights, figures."""

import contextlib
import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import (
    CLASSES,
    STEPS,
    TASKS,
    TOTAL,
    ProcessKilledError,
    WatchedRun,
    checkpoint_content,
    full,
    measured_by,
    stats,
    tiny,
    train,
)
from torch import Tensor

from progcycle.data import as_reals, build_loader
from progcycle.engine.run import Run
from progcycle.engine.train import train_run
from progcycle.engine.trainer import _norm
from progcycle.errors import UserError
from progcycle.evaluation.sampler import Sampler
from progcycle.export import load
from progcycle.recipe import RecipeError, merge
from progcycle.schedule import Growth

# --- orders of updates --------------------------------------------------------------------------------------------


def _first_updates(task: str, pictures: Path, run: Path, objective: dict[str, Any]) -> tuple[dict[str, float], Any]:
    """By network: largest distance of the weights after one step from Adam's first step by hand, from the first state.

    Adam's first step moves a weight by lr * g / (|g| + eps), whatever the betas.
    """
    training = Run(tiny(task, pictures, {"objective": objective}), run)
    where: dict[str, Any] = {"rank": 0, "processes": 1, "start_nimg": 0}
    loader = build_loader(training.context.sets, training.schedule, **where, workers=0, pin_memory=False)
    _, growth, batches = next(loader)
    twin: Any = copy.deepcopy(training.trainer.task)
    reals = {domain: replace(b, images=as_reals(b.images, growth)) for domain, b in batches.items()}
    training.train_step(batches, growth)
    distances = {}
    for player in [player for update in training.trainer.task.update_order[0] for player in update]:
        for name, network in twin.networks.items():
            network.requires_grad_(name in twin.players[player])
        loss, _ = twin.loss(player, reals, growth, 0)
        for name in twin.players[player]:
            before = dict(twin.networks[name].named_parameters())
            gradients = torch.autograd.grad(loss, before.values(), retain_graph=True, allow_unused=True)
            worst = 0.0
            for (key, old), g in zip(before.items(), gradients, strict=True):
                new = dict(training.trainer.task.networks[name].named_parameters())[key]
                moved = torch.zeros_like(old) if g is None else 0.003 * g / (g.abs() + 1e-8)
                worst = max(worst, (new - (old - moved)).abs().max().item())
            distances[name] = worst
    return distances, training.trainer.task.update_order


@pytest.mark.parametrize("task", TASKS)
def test_simultaneous_updates_are_made_from_the_same_state(task: str, pictures: Path, tmp_path: Path) -> None:
    in_turn, _ = _first_updates(task, pictures, tmp_path / "turn", {})
    if task == "cyclegan":  # the fakes of the round are kept, so that simultaneous would change nothing
        assert all(distance < 1e-5 for distance in in_turn.values()), in_turn
        with pytest.raises(RecipeError, match=r"objective: simultaneous changes nothing here, since discriminators"):
            tiny(task, pictures, {"objective": {"simultaneous": True}})
        return
    both, order = _first_updates(task, pictures, tmp_path / "both", {"simultaneous": True})
    assert [[len(players) for players in updates] for updates in order] == [[2]]
    assert all(distance < 1e-5 for distance in both.values()), both
    assert in_turn["discriminator"] < 1e-5
    assert in_turn["generator"] > 1e-4


@pytest.mark.parametrize("task", TASKS)
def test_critics_are_updated_more_often_each_time_on_new_pictures(
    task: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = WatchedRun(tiny(task, pictures, {"objective": {"n_critic": 3}}), tmp_path / "run")
    updates: list[tuple[str, tuple[int, ...]]] = []
    honest = training.trainer.task.loss

    def loss(player: str, reals: Any, growth: Growth, step: int) -> Any:
        updates.append((player, next(iter(reals.values())).positions))
        return honest(player, reals, growth, step)

    monkeypatch.setattr(training.trainer.task, "loss", loss)
    training.stop_before = 7
    with pytest.raises(ProcessKilledError):
        train_run(training)
    pair = ["discriminator", "generator"] if task == "pggan" else ["generator", "discriminator"]
    order = ["discriminator", "discriminator", *pair]
    assert [player for player, _ in updates] == [*order, *order, "discriminator"]
    judged = [positions for player, positions in updates if player == "discriminator"]
    assert judged == [tuple(range(4 * i, 4 * i + 4)) for i in range(7)]
    assert getattr(training.trainer.task, "_fakes", {}) == {}


# --- growth -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_growth_that_holds_ends_below_what_the_networks_could(task: str, pictures: Path, tmp_path: Path) -> None:
    recipe = tiny(task, pictures, {"schedule": {"hold_resolution": 8}})
    training = train(recipe, tmp_path / "run")
    assert training.trainer.nimg == 48
    assert [line["resolution"] for line in stats(tmp_path / "run")] == [4, 8, 8, 8]
    model = load(tmp_path / "run")
    assert (model.config.stage, model.config.resolution, model.config.alpha) == (1, 8, 1.0)
    name = training.trainer.task.ema_of[0]
    assert len(training.trainer.task.specs[name]["arguments"]["channels"]) == 3, "with the stage of 16 px"


@pytest.mark.parametrize("fade_reals", [True, False])
def test_real_pictures_fade_as_the_schedule_says(
    fade_reals: bool, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("pggan", pictures, {"schedule": {"fade_reals": fade_reals}})
    training = WatchedRun(recipe, tmp_path / "run")
    smooth = []
    honest = training.trainer.task.loss

    def loss(player: str, reals: Any, growth: Growth, step: int) -> Any:
        images = reals["real"].images
        if growth.fading:
            blocks = images.unfold(2, 2, 2).unfold(3, 2, 2)  # neighbours are alike at alpha 0
            smooth.append((growth.alpha, blocks.var(dim=(4, 5)).mean().item()))
        return honest(player, reals, growth, step)

    monkeypatch.setattr(training.trainer.task, "loss", loss)
    training.stop_before = 8
    with pytest.raises(ProcessKilledError):
        train_run(training)
    assert smooth[0][0] == 0.0
    assert (smooth[0][1] < 1e-8) == fade_reals


# --- labels -------------------------------------------------------------------------------------------------------


def test_labels_of_the_pictures_reach_the_networks_and_the_snapshot(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"data": {"labels": str(pictures / "labels.json")}, "training": {"sample_count": 5}}
    training = WatchedRun(tiny("pggan", pictures, changes), tmp_path / "run")
    honest = training.trainer.task.loss

    def loss(player: str, reals: Any, growth: Growth, step: int) -> Any:
        assert reals["real"].labels.tolist() == [int(Path(name).stem) % 3 for name in reals["real"].names]
        return honest(player, reals, growth, step)

    monkeypatch.setattr(training.trainer.task, "loss", loss)
    panels: list[Mapping[str, Tensor]] = []
    sample = training.trainer.task.sample
    monkeypatch.setattr(
        training.trainer.task, "sample", lambda n, panel, g: (panels.append(panel), sample(n, panel, g))[1]
    )
    train_run(training)
    shown = [panel for panel in panels if len(panel["labels"]) == 5]  # the others time the stages
    assert len(shown) >= 2
    assert all(panel["labels"].argmax(1).tolist() == [0, 1, 2, 0, 1] for panel in shown)
    for line in stats(tmp_path / "run"):
        assert {"class/real", "class/fake", "class/gen"} <= line.keys()
    assert load(tmp_path / "run").config.classes == list(CLASSES)


# --- first weights ------------------------------------------------------------------------------------------------

DISCRIMINATION = {
    "discriminator": {
        "minibatch_stddev": 0,
        "minibatch_discrimination": {"kernels": 3, "dimensions": 2, "init_pictures": 7},
    }
}


def test_the_task_is_initialised_once_and_never_on_resuming(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("pggan", pictures, {"network": DISCRIMINATION})
    calls: list[tuple[int, int, int]] = []

    class Initialised(WatchedRun):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            honest = self.trainer.task.initialize

            def initialize(given: Any, growth: Growth) -> None:
                assert not torch.is_grad_enabled()
                calls.append((self.trainer.nimg, len(given("real", 7)), len(given("real", 99))))
                assert given("real", 7).shape[1:] == (3, 4, 4)
                assert torch.equal(given("real", 7), given("real", 7))
                honest(given, growth)

            self.trainer.task.initialize = initialize  # type: ignore[method-assign]

    def run(stop_before: int | None) -> Initialised:
        training = Initialised(recipe, tmp_path / "run")
        training.stop_before = stop_before
        with contextlib.suppress(ProcessKilledError):
            train_run(training)
        return training

    run(7)
    assert calls == [(0, 7, 11)], "as many as were asked for, or all"
    run(9)
    run(None)
    run(None)
    assert len(calls) == 1
    resumed = Initialised(recipe, tmp_path / "other")
    resumed.stop_before = 0
    with pytest.raises(ProcessKilledError):
        train_run(resumed)
    assert len(calls) == 2


def test_real_pictures_set_the_scales_of_minibatch_discrimination(pictures: Path, tmp_path: Path) -> None:
    """Before the first step a kernel's feature is 0 on average over the pictures that set it."""
    recipe = tiny(
        "cyclegan", pictures, {"network": {"discriminator": {**DISCRIMINATION["discriminator"], "head": "dense"}}}
    )
    training = WatchedRun(recipe, tmp_path / "run")
    before = {key: value.clone() for key, value in training.trainer.task.networks["disc_a"].state_dict().items()}
    training.stop_before = 0
    with pytest.raises(ProcessKilledError):
        train_run(training)
    scales = {}
    for domain in ("a", "b"):
        disc: Any = training.trainer.task.networks[f"disc_{domain}"]
        pictures_of = training.context.sets[domain]
        count = min(7, len(pictures_of))
        chosen = [pictures_of.plain(i * len(pictures_of) // count, 4).image for i in range(count)]
        x = torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image in chosen]).float() / 127.5 - 1
        with torch.no_grad():
            features = disc.head.features(disc.encoder(x, 0, 1.0)[0])
            found = disc.head.discrimination(features)[:, -3:]
        torch.testing.assert_close(found.mean(0), torch.zeros(3), rtol=0, atol=1e-4)
        scales[domain] = disc.head.discrimination.log_scale
    assert not torch.equal(scales["a"], scales["b"])
    changed = {
        k for k, v in training.trainer.task.networks["disc_a"].state_dict().items() if not torch.equal(v, before[k])
    }
    assert changed == {"head.discrimination.log_scale", "head.discrimination.bias"}


# --- figures of quality while a run trains ------------------------------------------------------------------------

EVALUATION = {"training": {"evaluation": {"every_kimg": 0.028}}}


def test_evaluation_sees_the_averages_at_its_moments_and_its_figures_are_logged(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[int, Growth]] = []
    trainers: list[WatchedRun] = []

    def evaluate(sample: Sampler, nimg: int) -> dict[str, float]:
        training = trainers[0]
        assert nimg == training.trainer.nimg == sample.growth.nimg
        seen.append((nimg, sample.growth))
        latents = torch.randn(6, 8, generator=torch.Generator().manual_seed(nimg))
        (rows,) = sample({"latents": latents})
        assert rows.shape == (6, 3, sample.growth.resolution, sample.growth.resolution)
        assert rows.dtype == torch.float32
        assert not rows.requires_grad
        average = training.trainer.ema.networks["generator"]
        assert torch.equal(rows, average(latents, sample.growth.stage, sample.growth.alpha))
        return {"swd": nimg / 10, "odd": math.nan}

    with measured_by(evaluate):
        training = WatchedRun(tiny("pggan", pictures, EVALUATION), tmp_path / "run")
    trainers.append(training)
    train_run(training)
    assert [nimg for nimg, _ in seen] == [28, 56, 84, TOTAL]
    # Growth is that of the step just done, which began 4 pictures earlier.
    assert [(g.stage, g.alpha) for _, g in seen] == [(1, 0.5), (2, 0.25), (2, 1.0), (2, 1.0)]
    lines = [line for line in stats(tmp_path / "run") if "metric/swd" in line]
    assert [line["nimg"] for line in lines] == [28, 56, 84, TOTAL]
    for line, (_, growth) in zip(lines, seen, strict=True):
        place = {"stage": growth.stage, "resolution": growth.resolution, "alpha": growth.alpha}
        assert line == {"nimg": growth.nimg, **place, "metric/swd": growth.nimg / 10}
    assert "swd 2.8  odd nan" in capsys.readouterr().out


@pytest.mark.parametrize("task", TASKS)
def test_evaluation_changes_nothing_of_the_training(task: str, pictures: Path, tmp_path: Path) -> None:
    def evaluate(sample: Sampler, nimg: int) -> dict[str, float]:
        inputs = {"latents": torch.ones(2, 8), "labels": torch.eye(3)[:2], "latents_ab_0": torch.ones(2, 3)}
        side = sample.growth.resolution
        inputs |= {domain: torch.full((2, 3, side, side), 0.5) for domain in ("a", "b")}
        return {"mean": sample(inputs)[-1].mean().item()}

    torch.manual_seed(0)
    options = full(task, pictures)
    with_figures = train(tiny(task, pictures, merge(options, EVALUATION)), tmp_path / "with", evaluate=evaluate)
    torch.manual_seed(0)
    without = train(tiny(task, pictures, options), tmp_path / "without")
    assert with_figures.trainer.step == without.trainer.step == STEPS
    one, other = (checkpoint_content(tmp_path / run / f"checkpoints/nimg-{TOTAL:012d}") for run in ("with", "without"))
    for file in ("networks.safetensors", "ema.safetensors", "optimizers.safetensors"):
        assert one[file] == other[file]
    lines = [line for line in stats(tmp_path / "with") if "step" in line]
    assert lines == stats(tmp_path / "without")


def test_the_rate_leaves_out_the_time_of_evaluation(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("progcycle.engine.run.time.perf_counter", lambda: clock[0])

    def evaluate(sample: Sampler, nimg: int) -> dict[str, float]:
        clock[0] += 1000.0
        return {}

    def tick(training: WatchedRun, growth: Growth) -> None:
        clock[0] += 1.0

    train(tiny("pggan", pictures, EVALUATION), tmp_path / "run", on_step=tick, evaluate=evaluate)
    lines = [line for line in stats(tmp_path / "run", times=True) if "seconds" in line]
    assert [line["seconds"] for line in lines] == [3.0] * 7 + [1.0]
    assert {line["images_per_s"] for line in lines} == {4.0}


def test_a_run_of_ones_own_measures_what_the_recipe_asks_for(pictures: Path, tmp_path: Path) -> None:
    """Nothing has to be handed to it, and nothing is left out in silence."""
    asked = {"training": {"evaluation": {"every_kimg": 0.044, "metrics": ["swd"], "count": 4}}}
    recipe = tiny("pggan", pictures, asked)
    train_run(Run(recipe, tmp_path / "run"))
    lines = [line for line in stats(tmp_path / "run") if "metric/swd" in line]
    assert [line["nimg"] for line in lines] == [88], "at 44 pictures these have 8 px, which swd cannot measure"
    missing = tiny("pggan", pictures, merge(asked, {"training": {"evaluation": {"metrics": ["fid"]}}}))
    with pytest.raises(UserError, match=r"^training\.evaluation\.metrics: there is no metric 'fid'"):
        Run(missing, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_recipe_without_evaluation_never_evaluates(pictures: Path, tmp_path: Path) -> None:
    train(tiny("pggan", pictures), tmp_path / "run", evaluate=lambda sample, nimg: pytest.fail("not asked for"))


# --- batch norm ---------------------------------------------------------------------------------------------------


def test_running_statistics_are_learnt_in_training_and_used_in_samples(pictures: Path, tmp_path: Path) -> None:
    recipe = tiny("pggan", pictures, {"network": {"generator": {"normalization": "batch"}}})

    def watch(training: WatchedRun, growth: Growth) -> None:
        assert all(
            module.training for network in training.trainer.task.networks.values() for module in network.modules()
        )
        assert not any(
            module.training for network in training.trainer.ema.networks.values() for module in network.modules()
        )

    training = train(recipe, tmp_path / "run", on_step=watch)
    own, average = training.trainer.task.networks["generator"], training.trainer.ema.networks["generator"]
    buffers = dict(own.named_buffers())
    assert len(buffers) > 3
    for name, buffer in average.named_buffers():  # running statistics are averaged as weights are
        averaged = name.endswith(("running_mean", "running_var"))
        assert torch.equal(buffer, buffers[name]) != averaged, name
    assert not torch.equal(buffers[next(n for n in buffers if "running_mean" in n)], torch.zeros(8))
    latents = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(average(latents[:1], 2, 1.0), average(latents, 2, 1.0)[:1])


def test_a_network_without_gradients_has_a_norm_of_0() -> None:
    layer = torch.nn.Linear(2, 3)
    parameters, device = list(layer.parameters()), torch.device("cpu")
    assert _norm(parameters, device).item() == _norm([], device).item() == 0
    layer.weight.grad = torch.full((3, 2), 2.0)
    assert _norm(parameters, device).item() == pytest.approx(24**0.5)


def test_discriminators_of_several_scales_train_through_all_stages(pictures: Path, tmp_path: Path) -> None:
    changes = {"network": {"discriminator": {"scales": 2}}, "objective": {"loss": "non_saturating", "r1": {"every": 2}}}
    seen: dict[str, dict[int, set[int]]] = {"disc_a": {}, "disc_b": {}}

    def watch(training: WatchedRun, growth: Growth) -> None:
        if training.trainer.step:
            return
        for name, stages in seen.items():

            def note(_: Any, args: Any, logits: Tensor, stages: dict[int, set[int]] = stages) -> None:
                stages.setdefault(args[1], set()).add(logits.shape[1])

            training.trainer.task.networks[name].register_forward_hook(note)

    training = train(tiny("cyclegan", pictures, changes), tmp_path / "run", on_step=watch)
    assert training.trainer.nimg == TOTAL
    assert seen == {name: {0: {1}, 1: {2}, 2: {2}} for name in seen}, "logits of each stage, by stage"
    lines = stats(tmp_path / "run")
    assert all(math.isfinite(line["adversarial/disc_b"]) for line in lines)
    assert any("penalty/r1_a" in line for line in lines)
