"""How a new stage begins, growing by layers: as a copy of the stage before, and alone for its first share."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import OPENINGS, STEPS, TASKS, WatchedRun, checkpoint_content, stats, tiny, tiny_content, train

from progcycle.engine.build import build
from progcycle.errors import UserError
from progcycle.recipe import RecipeError, merge, validate
from progcycle.runtime.checkpoint import checkpoints
from progcycle.schedule import Growth

# Batches of 4; 8 px opens at 16 pictures and is trained to 48, 16 px from there to 88.
EVEN = {"channels": {"base": 8, "max": 8, "decay": 0}}


def weights(training: WatchedRun) -> dict[str, torch.Tensor]:
    trainer = training.trainer
    networks = {**trainer.task.networks, **{f"ema_{name}": net for name, net in trainer.ema.networks.items()}}
    return {f"{n}.{key}": value.clone() for n, net in networks.items() for key, value in net.state_dict().items()}


def newest(key: str, stage: int) -> bool:
    """Whether a weight only counts from a stage on; written by hand."""
    return any(part in key for part in (f"blocks.{stage - 1}.", f"to_rgb.{stage}.", f"from_rgb.{stage}."))


def later(key: str, stage: int) -> bool:
    return any(newest(key, s) for s in range(stage + 1, 3))


# --- a copy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "rgb"), [*((task, "replace") for task in TASKS), (TASKS[-1], "features")])
def test_a_new_stage_is_a_copy_and_changes_nothing_that_is_seen(
    task: str, rgb: str, pictures: Path, tmp_path: Path
) -> None:
    known: dict[int, dict[str, torch.Tensor]] = {}
    shown: dict[tuple[int, str], torch.Tensor] = {}

    def look(training: WatchedRun, growth: Growth) -> None:
        known[growth.nimg] = weights(training)
        if growth.nimg != OPENINGS[1]:
            return
        trainer, side = training.trainer, 16
        x = torch.rand(2, 3, side, side) * 2 - 1
        x = torch.nn.functional.avg_pool2d(x, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
        inputs: dict[str, torch.Tensor] = dict.fromkeys(trainer.task.networks, x)
        if task == "pggan":
            inputs["generator"] = torch.randn(2, 8)
        with torch.no_grad():
            for when in ("before", "after"):
                for name, network in {**trainer.task.networks, **trainer.ema.networks}.items():
                    shown[growth.nimg, f"{name} {when}"] = network(inputs[name], 2, 0.0)
                trainer.new_stages.copy(
                    growth, trainer.ema.networks
                )  # the step that follows does it again, to no effect

    recipe = tiny(task, pictures, {"network": {**EVEN, "rgb": rgb}, "schedule": {"new_stage": "copy"}})
    # The rates are so small that a copy is still one after a step.
    slow = {player: {"lr": 1e-12} for player in ("generator", "discriminator")}
    recipe = recipe.model_copy(
        update={
            "optimizer": recipe.optimizer.model_copy(
                update={p: getattr(recipe.optimizer, p).model_copy(update=o) for p, o in slow.items()}
            )
        }
    )
    train(recipe, tmp_path / "run", on_step=look)
    before, after = known[OPENINGS[1]], known[OPENINGS[1] + 4]
    pairs = {key: key.replace("blocks.1.", "blocks.0.").replace("rgb.2.", "rgb.1.") for key in after if newest(key, 2)}
    assert len(pairs) > 8
    for key, source in pairs.items():
        assert not torch.equal(before[key], before[source]) or not before[key].any(), f"{key} was drawn like {source}"
        torch.testing.assert_close(after[key], after[source], atol=1e-9, rtol=0, msg=key)
    # At 8 px there is no block before; only what turns pictures to features, and back, can be copied.
    opened = known[OPENINGS[0] + 4]
    rgb = [key for key in opened if "rgb.1." in key]
    assert rgb
    for key in rgb:
        torch.testing.assert_close(opened[key], opened[key.replace("rgb.1.", "rgb.0.")], atol=1e-9, rtol=0, msg=key)
    assert shown
    for (nimg, name), made in shown.items():
        if name.endswith("before"):
            assert torch.equal(made, shown[nimg, name.replace("before", "after")]), name


def test_layers_of_other_shapes_are_refused_and_the_advice_works(pictures: Path) -> None:
    copy = {"schedule": {"new_stage": "copy"}}
    with pytest.raises(
        UserError, match=r"layers of 16 px cannot be a copy, since .*network.generator.channels.decay: 0"
    ):
        build(tiny("pggan", pictures, copy))
    build(tiny("pggan", pictures, merge(copy, {"network": {"channels": {"decay": 0}}})))
    build(tiny("pggan", pictures, {"schedule": {"new_stage": "random"}}))
    build(tiny("pggan", pictures, merge(copy, {"schedule": {"start_resolution": 16, "stable_kimg": 1}})))


# --- alone ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("lr_scale", [0.0, 0.1])
def test_old_layers_wait_for_the_first_share_of_a_stage(
    task: str, lr_scale: float, pictures: Path, tmp_path: Path
) -> None:
    known: dict[int, dict[str, torch.Tensor]] = {}
    rates: dict[int, set[float]] = {}

    def look(training: WatchedRun, growth: Growth) -> None:
        known[growth.nimg] = weights(training)
        groups = training.trainer.optimizers["generator"].optimizer.param_groups
        rates[growth.nimg] = {round(group["lr"] / 0.003, 9) for group in groups}

    # Half of the 32 pictures at 8 px: to 32. Half of the 40 at 16 px: to 68.
    options = {"old_layers": {"share": 0.5, "lr_scale": lr_scale}, "decay_kimg": 0}
    train(tiny(task, pictures, {"network": EVEN, "schedule": options}), tmp_path / "run", on_step=look)
    # What look sees is what the step before left.
    slowed = [n for n in known if len(rates[n]) > 1]
    assert slowed == [n + 4 for n in (*range(16, 32, 4), *range(48, 68, 4))]
    assert all(rates[n] == {1.0, lr_scale} for n in slowed)
    moved = {
        n: {k for k in known[n] if not k.startswith("ema") and not torch.equal(known[n][k], known[n - 4][k])}
        for n in known
        if n
    }
    for n in (20, 24, 28, 32):
        old = {key for key in moved[n] if not newest(key, 1)}
        assert bool(old) == bool(lr_scale), n
    assert any(newest(key, 1) for key in moved[24]), "the new layers learn"
    assert {key for key in moved[36] if not newest(key, 1)}, "all learn again"
    assert not any(later(key, 1) for n in moved for key in moved[n] if n <= 48)
    # At 16 px both of the stages before wait.
    assert bool({key for key in moved[56] if not newest(key, 2)}) == bool(lr_scale)
    assert any(newest(key, 2) for key in moved[56])
    assert {key for key in moved[72] if newest(key, 1)}


def test_a_tenth_of_the_rate_is_a_tenth_of_the_step(pictures: Path, tmp_path: Path) -> None:
    """With the moments cleared, the first step of Adam is the rate times the sign of the gradient."""
    steps = {}
    for scale in (1.0, 0.1):
        known: list[dict[str, torch.Tensor]] = []

        def look(training: WatchedRun, growth: Growth, known: list[dict[str, torch.Tensor]] = known) -> None:
            if growth.nimg in (16, 20):
                known.append(weights(training))

        options = {"old_layers": None if scale == 1 else {"share": 1, "lr_scale": scale}}
        train(
            tiny("cyclegan", pictures, {"network": EVEN, "schedule": options}), tmp_path / f"{scale}", 6, on_step=look
        )
        steps[scale] = {key: known[1][key] - known[0][key] for key in known[0] if key.startswith("gen_ab")}
    old = [key for key, step in steps[1.0].items() if step.any() and not newest(key, 1)]
    assert len(old) > 5
    for key in old:
        torch.testing.assert_close(10 * steps[0.1][key], steps[1.0][key], atol=1e-6, rtol=1e-3, msg=key)


def test_a_discriminator_of_halved_pictures_waits_where_it_gets_layers_itself(pictures: Path) -> None:
    """Halved once, it gets its layers of 8 px when the plan opens 16; at 8 px it has nothing to wait for."""
    changes = {
        "network": {**EVEN, "discriminator": {"reduce": 2}},
        "schedule": {"new_stage": "copy", "old_layers": {"share": 0.5, "lr_scale": 0.1}},
    }
    built = build(tiny("cyclegan", pictures, changes))
    stages, networks = built.new_stages, built.task.networks
    groups = {name: stages.groups(name, network.parameters()) for name, network in networks.items()}
    assert {group["stage"] for group in groups["gen_ab"]} == {0, 1, 2}
    assert {group["stage"] for group in groups["disc_a"]} == {0, 2}

    def slowed(name: str, nimg: int) -> set[int]:
        return {g["stage"] for g in groups[name] if stages.factor(g, built.schedule.at(nimg)) == 0.1}

    assert [slowed("gen_ab", nimg) for nimg in (0, 16, 32, 48, 68)] == [set(), {0}, set(), {0, 1}, set()]
    assert [slowed("disc_a", nimg) for nimg in (0, 16, 32, 48, 68)] == [set(), set(), set(), {0}, set()]
    newest_of_disc = {id(p) for module in networks["disc_a"].newest(1).values() for p in module.parameters()}
    (late,) = [group for group in groups["disc_a"] if group["stage"] == 2]
    assert {id(p) for p in late["params"]} == newest_of_disc
    before = {key: value.clone() for key, value in networks["disc_a"].state_dict().items()}
    stages.copy(built.schedule.at(16), {})
    assert all(torch.equal(before[key], value) for key, value in networks["disc_a"].state_dict().items())
    stages.copy(built.schedule.at(48), {})
    state = networks["disc_a"].state_dict()
    assert torch.equal(state["encoder.from_rgb.1.conv.weight"], state["encoder.from_rgb.0.conv.weight"])


def test_groups_of_their_own_change_nothing_by_themselves(pictures: Path, tmp_path: Path) -> None:
    """A share that ends before its first step leaves training as it is without the key, bit for bit."""
    runs = [
        train(tiny("cyclegan", pictures, {"network": EVEN, "schedule": options}), tmp_path / str(i))
        for i, options in enumerate(({}, {"old_layers": {"share": 1e-9, "lr_scale": 0.999999999999}}))
    ]
    first, second = map(weights, runs)
    differing = [key for key in first if not torch.equal(first[key], second[key])]
    # One step of each stage is slowed by a factor that is 1 in float32.
    assert differing == []


@pytest.mark.parametrize("stop", [5, 14], ids=["while 8 px is young", "while 16 px is young"])
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(stop: int, pictures: Path, tmp_path: Path) -> None:
    changes = {
        "network": EVEN,
        "schedule": {"new_stage": "copy", "old_layers": {"share": 0.5, "lr_scale": 0.1}},
        "training": {"checkpoint_kimg": 0.004, "keep_checkpoints": 99},
    }
    recipe = tiny("cyclegan", pictures, changes)
    whole = train(recipe, tmp_path / "straight")
    assert whole.trainer.step == STEPS
    train(recipe, tmp_path / "broken", stop_before=stop)
    torch.manual_seed(99)
    train(recipe, tmp_path / "broken")
    first, second = (checkpoints(tmp_path / name / "checkpoints") for name in ("straight", "broken"))
    assert [path.name for path in first] == [path.name for path in second]
    for one, other in zip(first, second, strict=True):
        assert checkpoint_content(one) == checkpoint_content(other)
    assert stats(tmp_path / "straight") == stats(tmp_path / "broken")


# --- what is refused --------------------------------------------------------------------------------------------------

WHERE: dict[str, Any] = {"new_stage": "copy", "old_layers": {"share": 0.5}}


@pytest.mark.parametrize("key", WHERE)
def test_without_layers_to_add_they_are_refused(key: str, pictures: Path) -> None:
    with pytest.raises(RecipeError, match=f"{key}: with growth: size no layers are added"):
        tiny("cyclegan", pictures, {"schedule": {"growth": "size", "start_resolution": 8, key: WHERE[key]}})
    content = tiny_content("cyclegan", pictures, {"schedule": {"start_resolution": 8, key: WHERE[key]}})
    content["network"] = {
        "base_resolution": 8,
        "filters": 4,
        "generator": {"name": "resnet", "residual_blocks": 1},
        "discriminator": {"name": "patchgan", "layers": 1},
    }
    with pytest.raises(UserError, match=rf"schedule.{key}: no network here grows"):
        build(validate(content))
