"""``schedule.growth: size``: whole networks whose pictures grow; the same as other plans where it must be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import WatchedRun, checkpoint_content, stats, tiny, tiny_content, train

from progcycle.commands.cli import main
from progcycle.engine.build import build
from progcycle.errors import UserError
from progcycle.export import Translator, list_snapshots, load
from progcycle.recipe import Recipe, RecipeError, merge, validate
from progcycle.runtime.checkpoint import checkpoints
from progcycle.schedule import Growth

# Batches of 4 from 8 to 16 px: stable to 16 pictures, fade to 32, stable to 56.
PLAN: dict[str, Any] = {"growth": "size", "start_resolution": 8}
STEPS = 14


def by_size(data: Path, **changes: Any) -> Recipe:
    return tiny("cyclegan", data, merge({"schedule": PLAN}, changes))


def weights(training: WatchedRun) -> dict[str, torch.Tensor]:
    trainer = training.trainer
    networks = {**trainer.task.networks, **{f"ema {name}": net for name, net in trainer.ema.networks.items()}}
    return {f"{n}.{key}": value.clone() for n, net in networks.items() for key, value in net.state_dict().items()}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


# --- what it is the same as ---------------------------------------------------------------------------------------


def test_without_growth_it_is_the_plan_of_layers_bit_for_bit(pictures: Path, tmp_path: Path) -> None:
    plans = [{"start_resolution": 16, "growth": growth, "stable_kimg": 0.024} for growth in ("layers", "size")]
    runs = [
        train(tiny("cyclegan", pictures, {"schedule": plan}), tmp_path / plan["growth"])  # type: ignore[operator]
        for plan in plans
    ]
    assert_same(*map(weights, runs))
    assert stats(tmp_path / "layers") == stats(tmp_path / "size")


def test_networks_without_stages_grow_in_the_same_way_by_layers_and_by_size(pictures: Path, tmp_path: Path) -> None:
    """They have always been shown smaller pictures first, faded, with pools and moments cleared at a new size."""
    content = tiny_content("cyclegan", pictures)
    content["network"] = {
        "base_resolution": 8,
        "filters": 4,
        "generator": {"name": "resnet", "residual_blocks": 1},
        "discriminator": {"name": "patchgan", "layers": 1},
    }
    content["schedule"]["start_resolution"] = 8
    runs = [
        train(validate(merge(content, {"schedule": {"growth": growth}})), tmp_path / growth)
        for growth in ("layers", "size")
    ]
    assert runs[0].trainer.step == STEPS
    assert_same(*map(weights, runs))
    assert stats(tmp_path / "layers") == stats(tmp_path / "size")


# --- what it is ---------------------------------------------------------------------------------------------------


def test_the_whole_network_is_trained_on_small_pictures_and_goes_on(pictures: Path, tmp_path: Path) -> None:
    before = weights(train(by_size(pictures), tmp_path / "none", stop_before=0))
    known: dict[int, dict[str, torch.Tensor]] = {}
    sizes: dict[int, tuple[int, ...]] = {}
    moments: dict[int, set[int]] = {}

    def look(training: WatchedRun, growth: Growth) -> None:
        step = training.trainer.step
        known[step] = weights(training)
        sizes[step] = (
            tuple(training.trainer.task.pools["a"].state_dict()["pictures"].shape[-2:]) if step in (3, 7) else ()
        )
        adam = training.trainer.optimizers["generator"]
        moments[step] = {int(state["step"]) for state in adam.state.values() if "step" in state}

    recipe = by_size(pictures, optimizer={"reset": "never"})
    train(recipe, tmp_path / "run", on_step=look)
    small = [key for key in known[4] if key.startswith("gen_ab") and not torch.equal(before[key], known[4][key])]
    # All stages, from the first picture on: those of 16 px learn on pictures of 8.
    for part in ("encoder.blocks.1", "encoder.from_rgb.2", "decoder.blocks.1", "decoder.to_rgb.2", "bottleneck.0"):
        assert any(part in key for key in small), part
    assert moments[4] == {4}
    assert moments[5] == {5}, "moments are kept at the new size"
    assert sizes == {**dict.fromkeys(range(STEPS), ()), 3: (8, 8), 7: (16, 16)}

    cleared: dict[int, set[int]] = {}

    def look_again(training: WatchedRun, growth: Growth) -> None:
        adam = training.trainer.optimizers["generator"]
        cleared[training.trainer.step] = {int(state["step"]) for state in adam.state.values() if "step" in state}

    train(by_size(pictures, optimizer={"reset": "stage"}), tmp_path / "cleared", on_step=look_again)
    assert cleared[4] == {4}
    assert cleared[5] == {1}, "as optimizer.reset says, at a new size"
    assert cleared[13] == {9}


def test_the_networks_see_faded_pictures_at_their_last_stage(pictures: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, float]] = []

    def look(training: WatchedRun, growth: Growth) -> None:
        network = training.trainer.task.networks["disc_a"]
        if not seen:
            forward = network.forward

            def told(x: torch.Tensor, stage: int, alpha: float, **more: Any) -> Any:
                seen.append((x.shape[-1], stage, alpha))
                return forward(x, stage, alpha, **more)

            network.forward = told  # type: ignore[method-assign]

    train(by_size(pictures), tmp_path / "run", on_step=look)
    assert set(seen) == {(8, 2, 1.0), (16, 2, 1.0)}
    lines = stats(tmp_path / "run")
    # 12 pictures a line, of the step that ends there: 8 px, then the fade at 20 and 28 of 16 to 32, then whole.
    assert [(line["resolution"], line["stage"], line["alpha"]) for line in lines] == [
        (8, 1, 1.0),
        (16, 2, 0.25),
        (16, 2, 1.0),
        (16, 2, 1.0),
        (16, 2, 1.0),
    ]


@pytest.mark.parametrize("stop", [6, 4], ids=["mid-fade", "boundary"])
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(stop: int, pictures: Path, tmp_path: Path) -> None:
    recipe = by_size(pictures, training={"checkpoint_kimg": 0.004, "keep_checkpoints": 99})
    train(recipe, tmp_path / "straight")
    train(recipe, tmp_path / "broken", stop_before=stop)
    torch.manual_seed(99)
    train(recipe, tmp_path / "broken")
    first, second = (checkpoints(tmp_path / name / "checkpoints") for name in ("straight", "broken"))
    assert [path.name for path in first] == [path.name for path in second]
    for one, other in zip(first, second, strict=True):
        assert checkpoint_content(one) == checkpoint_content(other)
    assert stats(tmp_path / "straight") == stats(tmp_path / "broken")


# --- what comes after -----------------------------------------------------------------------------------------------


def test_snapshots_know_at_which_size_they_were_trained(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = by_size(pictures, training={"snapshot_kimg": 0.012})
    training = train(recipe, tmp_path / "run")
    small, fading, *_, last = (load(path) for path in list_snapshots(tmp_path / "run"))
    assert isinstance(small, Translator)
    assert isinstance(fading, Translator)
    assert isinstance(last, Translator)
    assert [(m.resolution, m.config.stage, m.config.alpha) for m in (small, fading, last)] == [
        (8, 2, 1.0), (16, 2, 0.25), (16, 2, 1.0),
    ]  # fmt: skip
    growth = training.schedule.at(20)
    assert fading.config.growth == Growth(2, 16, 1.0, nimg=24, fade=0.25, doublings=growth.doublings)
    network = training.trainer.ema.networks["gen_ab"]
    x = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)
    painted = network(x, 2, 1.0)
    assert torch.allclose(last(x, "ab", resolution=8), painted, atol=1e-6), "whole, on smaller pictures"
    assert last.config.growth_at(8).resolution == 8
    with pytest.raises(UserError, match="it can run at 8, 16 px"):
        last.config.growth_at(4)
    picture = np.zeros((20, 30, 3), np.uint8)
    for model in (small, fading, last):
        assert model.translate(picture, "ab").shape == picture.shape
    half = (x.reshape(1, 3, 4, 2, 4, 2).mean((3, 5))).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(fading(x, "ab"), fading.gen_ab(0.25 * x + 0.75 * half, 2, 1.0), atol=1e-6)

    out = tmp_path / "progression.png"
    assert main(["progression", str(tmp_path / "run"), "--count", "2", "--out", str(out)]) == 0
    assert out.exists()
    capsys.readouterr()


def test_pretraining_may_grow_by_size_too(pictures: Path, tmp_path: Path) -> None:
    recipe = by_size(pictures, pretraining={"share": 0.5}, network={"generator": {"predict": "picture"}})
    before = recipe.preparation_recipe
    assert before is not None
    built = build(before, "pretraining")
    assert [p.resolution for p in built.schedule.phases] == [8, 16, 16]
    assert {built.schedule.at(n).stage for n in (0, 9, 20)} == {2}


# --- what is refused --------------------------------------------------------------------------------------------------


def test_networks_of_one_size_are_refused(pictures: Path) -> None:
    with pytest.raises(UserError, match=r"schedule.growth: size .* 'pggan' of network.generator .* use growth: layers"):
        build(tiny("pggan", pictures, {"schedule": PLAN}))
    dense = {"discriminator": {"head": "dense"}}
    with pytest.raises(
        UserError, match=r"'progressive' of network.discriminator .* use network.discriminator.head: patch"
    ):
        build(by_size(pictures, network=dense))
    with pytest.raises(UserError, match=r"start_resolution: 4 px are too small .* needs 8 with schedule.growth: size"):
        build(by_size(pictures, schedule={"start_resolution": 4}))
    reduced = {"discriminator": {"reduce": 2}}
    build(by_size(pictures, network=reduced))
    with pytest.raises(UserError, match=r"4 px are too small .* 'progressive' of network.generator, which needs 8 "):
        build(by_size(pictures, schedule={"start_resolution": 4}, network=reduced))
    build(by_size(pictures, schedule={"start_resolution": 16}, network=dense))  # where nothing grows


def test_what_the_sentences_advise_works(pictures: Path) -> None:
    build(tiny("pggan", pictures, {"schedule": {**PLAN, "growth": "layers"}}))
    build(by_size(pictures, network={"discriminator": {"head": "patch"}}))
    build(by_size(pictures, schedule={"start_resolution": 8}))
    with pytest.raises(RecipeError, match="set fade_kimg: 0"):
        by_size(pictures, schedule={"fade_reals": False})
    build(by_size(pictures, schedule={"fade_kimg": 0}))
