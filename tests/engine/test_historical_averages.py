"""Historical averaging against numpy in float64, by itself and in a run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import STEPS, checkpoint_content, stats, tiny_content, train

from progcycle.engine.historical_averages import HistoricalAverages
from progcycle.recipe import validate
from progcycle.runtime.checkpoint import checkpoints


def test_the_gradient_and_the_distance_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    weight, other = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64)), torch.nn.Parameter(torch.ones(2))
    averages = HistoricalAverages({"g": 0.3}, {"g": {"w": weight, "without": other}, "d": {"w": weight}})
    seen = []
    for _ in range(5):
        value, gradient = rng.standard_normal(3), rng.standard_normal(3)
        seen.append(value)
        weight.data, weight.grad = torch.from_numpy(value.copy()), torch.from_numpy(gradient.copy())
        assert averages.add_gradients("d") == {}
        distance = value - np.mean(seen, axis=0)
        figures = averages.add_gradients("g")
        np.testing.assert_allclose(weight.grad.numpy(), gradient + 2 * 0.3 * distance, rtol=1e-12)
        assert figures["history/g"].item() == pytest.approx((distance**2).sum())
        assert other.grad is None
    fresh = HistoricalAverages({"g": 0.3}, {"g": {"w": weight, "without": other}})
    fresh.load_state_dict({key: tensor.clone() for key, tensor in averages.state_dict().items()})
    assert int(fresh.counts["g"]) == 5
    np.testing.assert_allclose(fresh.means["g"]["w"].numpy(), np.mean(seen, axis=0))
    with pytest.raises(ValueError, match=r"^historical averages of other parameters: d$"):
        fresh.load_state_dict({**averages.state_dict(), "d": torch.zeros(())})


def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(pictures: Path, tmp_path: Path) -> None:
    content = tiny_content("pggan", pictures, {"training": {"keep_checkpoints": 99}})
    content["optimizer"]["discriminator"] = {"lr": 0.003, "historical_averaging": 0.5}
    recipe = validate(content)
    assert train(recipe, tmp_path / "whole").trainer.step == STEPS
    train(recipe, tmp_path / "broken", stop_before=12)
    train(recipe, tmp_path / "broken")
    names = [path.name for path in checkpoints(tmp_path / "whole" / "checkpoints")]
    assert names
    for name in names:
        ours, theirs = (checkpoint_content(tmp_path / run / "checkpoints" / name) for run in ("broken", "whole"))
        assert ours == theirs
        assert "history.safetensors" in theirs
    lines = stats(tmp_path / "broken")
    assert lines == stats(tmp_path / "whole")
    assert all(line["history/discriminator"] > 0 for line in lines if "step" in line)
    assert "history/generator" not in lines[0]
