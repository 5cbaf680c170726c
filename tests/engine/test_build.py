from pathlib import Path

import pytest
import torch
from tiny_runs import TASKS, gradients_at, tiny

from progcycle.engine.build import build, check_batches, parts
from progcycle.engine.loop import Trainer
from progcycle.errors import UserError
from progcycle.export import save_snapshot

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
    recipe = tiny("pggan", NOWHERE, {"schedule": {"batch_size": {"default": 12, 8: 24}}})
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
    assert parts(recipe, resolution, batch) == expected


def test_parts_of_one_picture_are_refused_where_the_stddev_would_see_nothing() -> None:
    change = {"schedule": {"batch_size": 7}, "training": {"max_batch_per_device": 4}}
    recipe = tiny("pggan", NOWHERE, change)
    with pytest.raises(UserError, match=r"max_batch_per_device: at 4 px a device's 7 pictures .* one by one"):
        check_batches(recipe, build(recipe).schedule, 1)
    without = tiny("pggan", NOWHERE, {**change, "network": {"minibatch_stddev": 0}})
    check_batches(without, build(without).schedule, 1)


@pytest.mark.parametrize(
    ("network", "processes", "key"),
    [
        ({}, 2, "minibatch_stddev"),
        ({"minibatch_stddev": {"group": "batch"}}, 2, "minibatch_stddev"),
        ({"minibatch_stddev": {"gather": True}}, 2, None),
        ({"minibatch_stddev": {"gather": True}}, 1, "minibatch_stddev"),
        ({"minibatch_stddev": {"group": "batch", "queue": 1}}, 1, None),
        ({"minibatch_stddev": 0}, 2, None),
        ({"minibatch_stddev": {"group": 0, "gather": True}}, 1, None),
        ({"minibatch_stddev": 0, "minibatch_discrimination": {}}, 2, "minibatch_discrimination"),
        ({"minibatch_stddev": 0, "minibatch_discrimination": {"gather": True}}, 2, None),
        ({"minibatch_stddev": 0, "minibatch_discrimination": {"gather": True}}, 1, "minibatch_discrimination"),
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
    with pytest.raises(UserError, match=rf"one by one, which leaves nothing for network\.{key} to see"):
        check_batches(recipe, schedule, processes)


@pytest.mark.parametrize("task", TASKS)
def test_parts_give_the_gradients_of_the_whole_batch(task: str, pictures: Path, tmp_path: Path) -> None:
    change = {"network": {"minibatch_stddev": 0}, "objective": {"pool_size": 0} if task == "cyclegan" else {}}
    moments = (0, 24, 56)  # stable at 4 px; in mid-fade at 8 and 16 px
    gradients = []
    for name, table in (("whole", None), ("parts", {4: 1, 8: 2, 16: 3})):
        recipe = tiny(task, pictures, {**change, "training": {"max_batch_per_device": table}})
        trainer = Trainer(recipe, tmp_path / name, save_snapshot)
        sizes: list[int] = []
        loss = trainer.task.loss

        def counted(*args, sizes=sizes, loss=loss):  # type: ignore[no-untyped-def]
            sizes.append(len(next(iter(args[1].values()))))
            return loss(*args)

        trainer.task.loss = counted  # type: ignore[method-assign]
        gradients.append(gradients_at(trainer, moments))
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
            {"network": {"minibatch_stddev": {"group": "batch", "queue": 2}}},
            r"discriminator_scales: several do not go with network\.minibatch_stddev\.queue",
        ),
        (
            {"objective": {"loss": "lsgan", "noise": {}}},
            r"discriminator_scales: several do not go with objective\.noise",
        ),
        (
            {"network": {"discriminator": "pggan", "head": "dense"}},
            r"discriminator_scales: the network 'pggan' .* no such option",
        ),
        (
            {"network": {"discriminator_scales": 4}},
            r"discriminator_scales: from 4 to 16 px there are 3 resolutions to judge at, not 4",
        ),
    ],
)
def test_several_scales_of_discriminators_are_refused_where_they_cannot_be(
    change: dict[str, dict[str, object]], sentence: str
) -> None:
    network = {"discriminator_scales": 2, **change.get("network", {})}
    with pytest.raises(UserError, match=sentence):
        build(tiny("cyclegan", NOWHERE, {**change, "network": network}))
    build(tiny("cyclegan", NOWHERE, {**change, "network": {**network, "discriminator_scales": 1}}))
