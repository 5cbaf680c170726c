"""What a BEGAN may be measured by while it trains, and what its best snapshot is chosen by."""

from pathlib import Path
from typing import Any

import pytest
from tiny_runs import began

from progcycle.engine.best import BestFolder
from progcycle.errors import UserError
from progcycle.evaluation import evaluator
from progcycle.schedule import Growth


def measured(pictures: Path, **options: Any) -> Any:
    return began(pictures, {"training": {"evaluation": options}})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"metrics": ["fidelity"]},
            "training.evaluation.metrics: there is no metric 'fidelity'; choose from convergence, swd",
        ),
        (
            {"metrics": ["swd"], "best": "convergence"},
            "training.evaluation.best: 'convergence' is not a measured",
        ),
        ({"count": 64}, "training.evaluation.count: convergence is measured without pictures; leave it out."),
        ({"best": "swd"}, "training.evaluation.best: 'swd' is not a measured figure of which the lowest is the best; "),
    ],
)
def test_what_cannot_be_measured_is_refused(options: dict[str, Any], sentence: str, pictures: Path) -> None:
    with pytest.raises(UserError) as caught:
        evaluator(measured(pictures, **options))
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("best", ["auto", "convergence"])
def test_what_can_be_is_taken(best: str, pictures: Path) -> None:
    assert evaluator(measured(pictures, metrics=["swd", "convergence"], best=best)) is not None
    assert measured(pictures).training.evaluation.metrics == ("convergence",)


def test_the_best_follows_m_where_it_is_measured(tmp_path: Path) -> None:
    best = BestFolder(tmp_path, "auto", 16)
    assert best.improvement({"swd": 3.0, "convergence": 0.5}, Growth(2, 16, 1.0)) == ("convergence", 0.5)
    assert best.improvement({"swd": 3.0}, Growth(2, 16, 1.0)) == ("swd", 3.0)
