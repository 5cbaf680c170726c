"""The optimizers against numpy in float64, and their state in checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import STEPS, checkpoint_content, tiny_content, train

from progcycle.engine.optimizers import OptimizerStates, make_optimizer, set_momentum
from progcycle.recipe import PlayerOptimizer, RecipeError, load_recipe, override, validate
from progcycle.runtime.checkpoint import checkpoints

RATE, DECAY = 0.1, 0.02
MOMENTUM = [[0, 0.0], [1, 0.0], [3, 0.8]]  # 0, 0, 0.4 and 0.8 in steps of 1 kimg
Array = np.ndarray[Any, Any]


def _adam(gradients: Callable[[Array], Array], w: Array) -> Array:
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, 5):
        g = gradients(w) + DECAY * w
        m, v = 0.5 * m + 0.5 * g, 0.9 * v + 0.1 * g**2
        w = w - RATE * (m / (1 - 0.5**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-4)
    return w


def _rmsprop(gradients: Callable[[Array], Array], w: Array) -> Array:
    s = np.zeros_like(w)
    for _ in range(4):
        g = gradients(w) + DECAY * w
        s = 0.7 * s + 0.3 * g**2
        w = w - RATE * g / (np.sqrt(s) + 1e-4)
    return w


def _sgd(gradients: Callable[[Array], Array], w: Array) -> Array:
    velocity = np.zeros_like(w)
    for momentum in (0.0, 0.0, 0.4, 0.8):
        g = gradients(w) + DECAY * w
        # Without momentum there is no velocity yet: the first one is the gradient of the third step.
        velocity = momentum * velocity + g if momentum else np.zeros_like(w)
        w = w - RATE * (velocity if momentum else g)
    return w


def _dampened(gradients: Callable[[Array], Array], w: Array) -> Array:
    """Of Torch7, whose first velocity is the gradient alone."""
    velocity = None
    for momentum in (0.0, 0.0, 0.4, 0.8):
        g = gradients(w) + DECAY * w
        if momentum:
            velocity = g if velocity is None else momentum * velocity + (1 - momentum) * g
        w = w - RATE * (g if velocity is None else velocity)
    return w


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({"betas": [0.5, 0.9], "eps": 1e-4}, _adam),
        ({"name": "rmsprop", "smoothing": 0.7, "eps": 1e-4}, _rmsprop),
        ({"name": "sgd", "momentum": MOMENTUM}, _sgd),
        ({"name": "sgd", "momentum": MOMENTUM, "dampened": True}, _dampened),
    ],
    ids=["adam", "rmsprop", "sgd", "dampened"],
)
def test_four_steps_are_those_of_the_formula(options: dict[str, Any], reference: Any) -> None:
    settings = PlayerOptimizer.model_validate({"weight_decay": DECAY, **options})
    scale, start = np.array([3.0, -0.2, 0.0]), np.array([1.0, 2.0, -0.5])
    w = torch.nn.Parameter(torch.tensor(start))
    optimizer = make_optimizer(settings, [{"params": [w], "lr": RATE}])
    for step in range(4):
        set_momentum(optimizer, settings, float(step))
        optimizer.zero_grad()
        (0.5 * torch.tensor(scale) * w**2).sum().backward()
        optimizer.step()
    expected = reference(lambda v: scale * v, start)
    assert np.abs(expected - start).min() > 1e-3, "L2 alone moves the last"
    np.testing.assert_allclose(w.detach().numpy(), expected, rtol=1e-10)


def test_adam_moves_weights_with_channels_last_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scale, start = rng.standard_normal((4, 3, 2, 2)), rng.standard_normal((4, 3, 2, 2))
    w = torch.nn.Parameter(torch.tensor(start).contiguous(memory_format=torch.channels_last))
    settings = PlayerOptimizer.model_validate({"betas": [0.5, 0.9], "eps": 1e-4, "weight_decay": DECAY})
    optimizer, fused, copied = make_optimizer(settings, [{"params": [w], "lr": RATE}]), torch._fused_adam_, []

    def watched(*lists: Any, **options: Any) -> None:
        copied.extend(not tensor.is_contiguous() for tensors in lists[:4] for tensor in tensors)
        fused(*lists, **options)

    monkeypatch.setattr(torch, "_fused_adam_", watched)
    for step in range(4):
        if step == 3:
            assert not any(copied)
        layout = torch.contiguous_format if step == 3 else torch.channels_last  # another one is right too
        w.grad = (torch.tensor(scale) * w.detach()).contiguous(memory_format=layout)
        optimizer.step()
    assert len(copied) == 16
    np.testing.assert_allclose(w.detach().numpy(), _adam(lambda v: scale * v, start), rtol=1e-10)
    assert w.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "options",
    [{"name": "rmsprop", "smoothing": 0.9}, {"name": "sgd", "momentum": 0.9}, {"name": "sgd"}],
    ids=["rmsprop", "momentum", "sgd"],
)
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(
    options: dict[str, Any], pictures: Path, tmp_path: Path
) -> None:
    """New layers get their first gradients while others have moments: 'never' keeps these."""
    both = {player: {"lr": 0.003, **options} for player in ("generator", "discriminator")}
    content = tiny_content("pggan", pictures, {"training": {"keep_checkpoints": 99}})
    recipe = validate({**content, "optimizer": {**both, "reset": "never"}})
    whole = train(recipe, tmp_path / "whole")
    assert whole.trainer.step == STEPS
    train(recipe, tmp_path / "broken", stop_before=12)
    train(recipe, tmp_path / "broken")
    names = [path.name for path in checkpoints(tmp_path / "whole" / "checkpoints")]
    assert names
    for name in names:
        ours, theirs = (checkpoint_content(tmp_path / run / "checkpoints" / name) for run in ("broken", "whole"))
        assert ours == theirs
    assert bool(theirs["optimizers.safetensors"]) or options == {"name": "sgd"}


def test_a_state_of_another_optimizer_is_not_taken() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    sgd = make_optimizer(PlayerOptimizer(name="sgd"), [{"params": [weight], "lr": 1.0}])
    states = OptimizerStates({"generator": sgd}, {"generator": {"weight": weight}})
    with pytest.raises(ValueError, match=r"^unknown optimizer state generator\|weight\|max_exp_avg_sq$"):
        states.load_state_dict({"generator|weight|max_exp_avg_sq": torch.ones(2)})


PGGAN = {"task": "pggan", "resolution": 16, "data": {"path": "pictures"}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "sgd", "betas": [0.5, 0.9]}, "betas belongs to adam, not to sgd; leave it out"),
        ({"name": "sgd", "eps": 0.1}, "eps belongs to adam and rmsprop, not to sgd; leave it out"),
        ({"smoothing": 0.9}, "smoothing belongs to rmsprop, not to adam; leave it out"),
        ({"name": "rmsprop", "momentum": 0.9}, "momentum belongs to sgd, not to rmsprop; leave it out"),
        ({"name": "sgd", "momentum": 1}, "momentum: a momentum is below 1"),
        ({"name": "adamw"}, "name: input should be 'adam', 'rmsprop' or 'sgd'"),
        ({"weight_decay": -1}, "weight_decay: input should be greater than or equal to 0"),
        ("sgd", "this is a section of keys and values, got text"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_an_optimizer_does_not_have_is_refused(options: Any, words: str) -> None:
    with pytest.raises(RecipeError) as error:
        validate({**PGGAN, "optimizer": {"generator": options}})
    assert words in str(error.value)


def test_another_optimizer_drops_the_inherited_keys_of_the_one_before() -> None:
    content = {**PGGAN, "optimizer": {"generator": {"betas": [0.5, 0.9], "eps": 1e-3, "lr": 0.25}}}
    generator = validate(override(content, ["optimizer.generator.name=sgd"])).optimizer.generator
    assert generator == PlayerOptimizer(name="sgd", lr=0.25)
    generator = validate(override(content, ["optimizer.generator.name=rmsprop"])).optimizer.generator
    assert generator == PlayerOptimizer(name="rmsprop", lr=0.25, eps=1e-3)


def test_pre_training_inherits_what_its_optimizer_has() -> None:
    generator = {"lr": 0.25, "betas": [0.5, 0.9]}
    content = {"task": "cyclegan", "resolution": 16, "data": {"root": "x"}, "optimizer": {"generator": generator}}
    recipe: Any = validate({**content, "pretraining": {"optimizer": {"name": "sgd", "momentum": 0.5}}})
    assert recipe.pretraining.optimizer == PlayerOptimizer(name="sgd", lr=0.25, momentum=((0.0, 0.5),))
    assert load_recipe("cyclegan_emoji").optimizer.generator.name == "adam"
