from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import TASKS, gradients_at, tiny

from progcycle.blocks import minibatch_stddev
from progcycle.engine.build import build, check_batches, count_parts
from progcycle.engine.run import Run
from progcycle.errors import UserError
from progcycle.recipe import RecipeError, load_recipe, merge

NOWHERE = Path("nowhere")


def test_the_seed_decides_the_weights_and_the_callers_stream_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (build(tiny("pggan", NOWHERE, {"seed": s})).task for s in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    for name, network in first.networks.items():
        weights = [w for k, w in network.state_dict().items() if k.endswith("weight")]
        same = [w for k, w in second.networks[name].state_dict().items() if k.endswith("weight")]
        unlike = [w for k, w in other.networks[name].state_dict().items() if k.endswith("weight")]
        assert all(map(torch.equal, weights, same))
        assert not any(map(torch.equal, weights, unlike))


@pytest.mark.parametrize(("batch", "processes"), [(5, 2), (7, 3), (1, 4), (9, 8), (16, 3), (2, 16)])
def test_a_batch_that_cannot_be_divided_is_refused_with_the_nearest_that_can(batch: int, processes: int) -> None:
    recipe = tiny("pggan", NOWHERE, {"schedule": {"batch_size": {"default": 48, 8: batch}}})
    with pytest.raises(UserError) as error:
        check_batches(recipe, build(recipe).schedule, processes)
    words = str(error.value)
    assert f"schedule.batch_size: {batch} pictures at 8 px cannot be divided over {processes} processes" in words
    nearest = int(words.rstrip(".").split()[-1])
    distances = {n: abs(n - batch) for n in range(1, 100) if n % processes == 0}
    assert distances[nearest] == min(distances.values())


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 6, 12])
def test_a_batch_that_can_be_divided_is_taken(processes: int) -> None:
    change = {"network": {"discriminator": {"minibatch_stddev": 0}}, "schedule": {"batch_size": {"default": 12, 8: 24}}}
    recipe = tiny("pggan", NOWHERE, change)
    check_batches(recipe, build(recipe).schedule, processes)


@pytest.mark.parametrize(
    ("table", "resolution", "batch", "expected"),
    [
        (None, 8, 16, 1),
        (4, 8, 16, 4),
        (16, 8, 16, 1),
        (5, 8, 16, 4),  # 4 parts of 4
        (3, 8, 7, 7),
        ({"default": 8, 16: 2}, 8, 16, 2),
        ({"default": 8, 16: 2}, 16, 16, 8),
        ({16: 2}, 8, 16, 1),
    ],
)
def test_parts_of_a_batch(table: object, resolution: int, batch: int, expected: int) -> None:
    recipe = tiny("pggan", NOWHERE, {"training": {"max_batch_per_device": table}})
    assert count_parts(recipe, resolution, batch) == expected


def test_parts_of_one_picture_are_refused_where_the_stddev_would_see_nothing() -> None:
    change = {"schedule": {"batch_size": 7}, "training": {"max_batch_per_device": 4}}
    recipe = tiny("pggan", NOWHERE, change)
    with pytest.raises(UserError, match=r"max_batch_per_device: at 4 px a device's 7 pictures .* one by one"):
        check_batches(recipe, build(recipe).schedule, 1)
    without = tiny("pggan", NOWHERE, {**change, "network": {"discriminator": {"minibatch_stddev": 0}}})
    check_batches(without, build(without).schedule, 1)


@pytest.mark.parametrize(
    ("network", "processes", "key"),
    [
        ({}, 2, "minibatch_stddev"),
        ({"discriminator": {"minibatch_stddev": {"group": "batch"}}}, 2, "minibatch_stddev"),
        ({"discriminator": {"minibatch_stddev": {"gather": True}}}, 2, None),
        ({"discriminator": {"minibatch_stddev": {"gather": True}}}, 1, "minibatch_stddev"),
        ({"discriminator": {"minibatch_stddev": {"group": "batch", "queue": 1}}}, 1, None),
        ({"discriminator": {"minibatch_stddev": 0}}, 2, None),
        ({"discriminator": {"minibatch_stddev": 0, "minibatch_discrimination": {}}}, 2, "minibatch_discrimination"),
        ({"discriminator": {"minibatch_stddev": 0, "minibatch_discrimination": {"gather": True}}}, 2, None),
        (
            {"discriminator": {"minibatch_stddev": 0, "minibatch_discrimination": {"gather": True}}},
            1,
            "minibatch_discrimination",
        ),
    ],
)
def test_what_compares_pictures_needs_two_of_them(network: dict[str, object], processes: int, key: str | None) -> None:
    """All processes' pictures count where they are gathered."""
    change = {"schedule": {"batch_size": 14}, "training": {"max_batch_per_device": 1}, "network": network}
    recipe = tiny("pggan", NOWHERE, change)
    schedule = build(recipe).schedule
    if key is None:
        check_batches(recipe, schedule, processes)
        return
    with pytest.raises(UserError, match=rf"one by one, but network\.discriminator\.{key} compares at least two"):
        check_batches(recipe, schedule, processes)


SINGLE = r"^schedule\.batch_size: at 4 px a device has a single picture, but network\.discriminator\."


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("batch", "processes"), [(1, 1), (4, 4)])
def test_a_single_picture_a_device_is_refused_where_it_would_be_compared(task: str, batch: int, processes: int) -> None:
    """The statistic of one picture is sqrt(1e-8) everywhere, whatever the picture; each remedy named works."""
    alone = {"schedule": {"batch_size": batch}}
    recipe = tiny(task, NOWHERE, alone)
    with pytest.raises(UserError, match=SINGLE + r"minibatch_stddev compares at least two; ") as caught:
        check_batches(recipe, build(recipe).schedule, processes)
    words = str(caught.value)
    assert f"choose at least {2 * processes}, " in words
    assert "(network.discriminator.minibatch_stddev: {group: batch, queue: 8})" in words
    assert words.endswith("or set network.discriminator.minibatch_stddev to off.")
    assert ("(network.discriminator.minibatch_stddev.gather: true)" in words) == (processes > 1)
    remedies: list[dict[str, object]] = [{"group": "batch", "queue": 8}, {"group": 0}, {"averaging": "flat"}]
    remedies += [{"gather": True}] if processes > 1 else []
    for remedy in remedies:
        mended = tiny(task, NOWHERE, {**alone, "network": {"discriminator": {"minibatch_stddev": remedy}}})
        check_batches(mended, build(mended).schedule, processes)
    enough = tiny(task, NOWHERE, {"schedule": {"batch_size": 2 * processes}})
    check_batches(enough, build(enough).schedule, processes)


def test_what_a_single_picture_leaves_of_the_statistic() -> None:
    """Why modes flat and gpool are taken with one picture and a group of one, and the others are not."""
    x = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    for averaging in ("all", "spatial", "none", "group2", "flat", "gpool"):
        statistic = minibatch_stddev(x, 4, averaging)[:, 4:]
        nothing = torch.allclose(statistic, torch.tensor(1e-4), rtol=1e-5, atol=0)
        assert nothing == (averaging not in ("flat", "gpool"))
        recipe = {"network": {"discriminator": {"minibatch_stddev": {"group": 1, "averaging": averaging}}}}
        if nothing:
            with pytest.raises(RecipeError, match=r"minibatch_stddev: group: 1 compares a picture with itself alone"):
                tiny("pggan", NOWHERE, recipe)
        else:
            tiny("pggan", NOWHERE, recipe)


def test_a_single_picture_is_refused_with_minibatch_discrimination_too() -> None:
    network = {"discriminator": {"minibatch_stddev": 0, "minibatch_discrimination": {}}}
    recipe = tiny("pggan", NOWHERE, {"schedule": {"batch_size": 4}, "network": network})
    with pytest.raises(
        UserError, match=SINGLE + r"minibatch_discrimination compares at least two; choose at least 8, compare the"
    ):
        check_batches(recipe, build(recipe).schedule, 4)


@pytest.mark.parametrize(
    ("task", "network", "refused"),
    [
        ("pggan", {}, True),
        ("cyclegan", {"discriminator": {"head": "dense"}}, True),
        ("cyclegan", {"discriminator": {"name": "pggan", "minibatch_stddev": 0, "normalization": "batch"}}, True),
        ("cyclegan", {}, False),  # a patch head has a grid of 4 x 4
    ],
)
@pytest.mark.parametrize("limited", [False, True])
def test_batch_norm_of_a_dense_layer_needs_two_pictures(
    task: str, network: dict[str, object], refused: bool, limited: bool
) -> None:
    norm = {"generator": {"normalization": "batch"}, "discriminator": {"minibatch_stddev": 0, "normalization": "batch"}}
    own = {player: {**options, **network.get(player, {})} for player, options in norm.items()}  # type: ignore[dict-item]
    change = {"network": own, "schedule": {"batch_size": 4 if limited else 1}}
    change["training"] = {"max_batch_per_device": {8: 1}} if limited else {}
    recipe = tiny(task, NOWHERE, change)
    built = build(recipe)
    name = built.task.players["discriminator"][0]
    pictures = torch.zeros(1, 3, 8, 8)
    if not refused:
        check_batches(recipe, built.schedule, 1)
        built.task.networks[name](pictures, 1, 1.0)
        return
    key, place = ("training.max_batch_per_device", 8) if limited else ("schedule.batch_size", 4)
    words = (
        rf"^{key}: at {place} px pictures are computed one by one, of which network\.discriminator\.normalization: b"
    )
    with pytest.raises(UserError, match=words):
        check_batches(recipe, built.schedule, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        built.task.networks[name](pictures, 1, 1.0)
    two = tiny(task, NOWHERE, {**change, "schedule": {"batch_size": 2}, "training": {}})
    check_batches(two, build(two).schedule, 1)


@pytest.mark.parametrize("task", TASKS)
def test_parts_give_the_gradients_of_the_whole_batch(task: str, pictures: Path, tmp_path: Path) -> None:
    change = {
        "network": {"discriminator": {"minibatch_stddev": 0}},
        "objective": {"pool_size": 0} if task == "cyclegan" else {},
    }
    moments = (0, 24, 56)  # stable at 4 px; in mid-fade at 8 and 16 px
    gradients = []
    for name, table in (("whole", None), ("parts", {4: 1, 8: 2, 16: 3})):
        recipe = tiny(task, pictures, {**change, "training": {"max_batch_per_device": table}})
        training = Run(recipe, tmp_path / name)
        sizes: list[int] = []
        loss = training.trainer.task.loss

        def counted(*args, sizes=sizes, loss=loss):  # type: ignore[no-untyped-def]
            sizes.append(len(next(iter(args[1].values()))))
            return loss(*args)

        training.trainer.task.loss = counted  # type: ignore[method-assign]
        gradients.append(gradients_at(training, moments))
        expected = [4] * 6 if table is None else [1] * 8 + [2] * 4 + [2] * 4
        assert sizes == expected
    whole, in_parts = gradients
    assert whole.keys() == in_parts.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(in_parts[name], gradient, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"network": {"discriminator": {"minibatch_stddev": {"group": "batch", "queue": 2}}}},
            r"network\.discriminator: scales: several do not go with minibatch_stddev\.queue",
        ),
        (
            {"objective": {"loss": "lsgan", "noise": {}}},
            r"objective\.noise: the network of network\.discriminator, with its options, has no place for it",
        ),
        (
            {"network": {"discriminator": "pggan"}},
            r"network\.discriminator\.scales: unknown key",
        ),
        (
            {"network": {"discriminator": {"scales": 4}}},
            r"network\.discriminator\.scales: from 4 to 16 px, where growth ends, there are 3 "
            r"resolutions to judge at, not 4",
        ),
    ],
)
def test_several_scales_of_discriminators_are_refused_where_they_cannot_be(
    change: dict[str, dict[str, object]], sentence: str
) -> None:
    several = merge({"network": {"discriminator": {"scales": 2}}}, change)
    if change.get("network", {}).get("discriminator") == "pggan":
        several = merge(change, {"network": {"discriminator": {"scales": 2}}})
    with pytest.raises((UserError, RecipeError), match=sentence):
        build(tiny("cyclegan", NOWHERE, several))
    if "pggan" not in str(change):
        build(tiny("cyclegan", NOWHERE, merge(several, {"network": {"discriminator": {"scales": 1}}})))


@pytest.mark.parametrize(
    ("task", "change", "sentence"),
    [
        ("pggan", {}, "checkpoint_activations: pictures have 16 px at most, so that 32 changes nothing; lower it"),
        ("pggan", {"schedule": {"hold_resolution": 8}}, "checkpoint_activations: pictures have 8 px at most, so that"),
        (
            "pggan",
            {"network": {"generator": {"normalization": "batch"}}},
            "checkpoint_activations: generator has batch norm or spectral_norm, whose memory would move twice",
        ),
        (
            "cyclegan",
            {"network": {"discriminator": {"spectral_norm": True}}},
            "checkpoint_activations: disc_a has batch norm or spectral_norm",
        ),
    ],
)
def test_activations_that_cannot_be_computed_again(task: str, change: dict[str, Any], sentence: str) -> None:
    side = 16 if "8 px at most" in sentence else 32 if "at most" in sentence else 8
    recipe = tiny(task, NOWHERE, merge(change, {"training": {"checkpoint_activations": side}}))
    with torch.device("meta"), pytest.raises(UserError, match=sentence):
        build(recipe)


def test_networks_without_stages_compute_nothing_again() -> None:
    recipe = load_recipe("cyclegan_classic_emoji", ["training.checkpoint_activations=32"])
    with torch.device("meta"), pytest.raises(UserError, match="checkpoint_activations: none of the networks grows"):
        build(recipe)
    with pytest.raises(RecipeError, match="checkpoint_activations: the levels of a pyramid do not grow"):
        load_recipe("lapgan_emoji", ["training.checkpoint_activations=16"])
