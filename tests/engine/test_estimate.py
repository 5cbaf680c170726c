"""How long a training would take: a few steps of every phase are timed."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from photos import folder

import progcycle
from progcycle.commands.cli import main
from progcycle.engine import estimate as estimate_module
from progcycle.engine.estimate import Estimate, estimate, measure, seconds_of_a_step
from progcycle.errors import UserError
from progcycle.recipe import validate
from progcycle.runtime.worker_processes import ProcessKilledError

Read = pytest.CaptureFixture[str]


class Clockwork:
    """A trainer whose steps take known times: 1 s, 9 s where a penalty is due, every 8th; the first one 30 s."""

    def __init__(self) -> None:
        self.task = SimpleNamespace(update_order=[()], lazy=(8,), usual_step=lambda: 0)
        self.accelerator = SimpleNamespace(device=SimpleNamespace(type="cpu"))
        self.step, self.now, self.first = 0, 0.0, True

    def train_step(self, batches: Any, growth: Any) -> None:
        self.now += 30 if self.first else 9 if self.step % 8 == 0 else 1
        self.first = False


def test_the_mean_step_has_its_share_of_lazy_penalties(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer: Any = Clockwork()
    monkeypatch.setattr(estimate_module.time, "perf_counter", lambda: trainer.now)
    assert seconds_of_a_step(trainer, None, {}) == pytest.approx((7 * 1 + 9) / 8)  # type: ignore[arg-type]


PLAN = {"stable_kimg": {4: 2, 8: 3}, "fade_kimg": 1, "batch_size": 4}


def tiny(tmp_path: Path) -> dict[str, Any]:
    for name in ("a", "b"):
        folder(tmp_path / name, 8, ord(name))
    return {
        "task": "cyclegan",
        "resolution": 8,
        "data": {"a": {"path": str(tmp_path / "a")}, "b": {"path": str(tmp_path / "b")}},
        "network": {"base_resolution": 4, "channels": {"base": 16, "max": 4}, "generator": {"residual_blocks": 1}},
        "schedule": PLAN,
        "objective": {"loss": "non_saturating", "r1": {"gamma": 1.0, "every": 8}},
        "training": {"precision": "no"},
    }


def test_a_few_steps_of_every_phase_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    monkeypatch.setattr(estimate_module, "SECONDS", 0.0)
    content = tiny(tmp_path)
    before = sorted(tmp_path.iterdir())
    found = measure(validate({**content, "pretraining": {"kind": "inpainting", "share": 0.5}}))
    assert [(kind, px, pictures) for kind, px, pictures, _ in found.phases] == [
        ("pretraining stable", 4, 1000),
        ("pretraining fade", 8, 500),
        ("pretraining stable", 8, 1500),
        ("stable", 4, 2000),
        ("fade", 8, 1000),
        ("stable", 8, 3000),
    ]
    assert found.seconds == pytest.approx(sum(n * each for _, _, n, each in found.phases))
    assert all(0 < each < 10 for *_, each in found.phases)
    assert found.memory is not None
    assert 50e6 < found.memory < 100e9
    assert 0 < found.share <= 1
    assert capsys.readouterr().out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_a_generator_with_classes_is_timed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "SECONDS", 0.0)
    for name in ("cat", "dog"):
        folder(tmp_path / "pictures" / name, 4, len(name))
    recipe = {
        "task": "pggan",
        "resolution": 8,
        "data": {"path": str(tmp_path / "pictures"), "labels": "folders"},
        "network": {"channels": {"base": 16, "max": 4}, "generator": {"latent_size": 4}},
        "schedule": PLAN,
    }
    assert [px for _, px, *_ in measure(validate(recipe)).phases] == [4, 8, 8]


def test_the_recipe_reaches_the_process_that_times_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(work: Any, jobs: Any, parallel: int) -> Any:
        """What a process of its own is sent, and sends back."""
        for key, job in jobs.items():
            function, arguments = pickle.loads(pickle.dumps((work, job)))
            yield key, pickle.loads(pickle.dumps(function(*arguments)))

    monkeypatch.setattr(estimate_module, "SECONDS", 0.0)
    monkeypatch.setattr(estimate_module, "run_in_processes", here)
    recipe = validate(tiny(tmp_path))
    assert [px for _, px, *_ in estimate(recipe).phases] == [4, 8, 8]
    refusal = UserError("The pictures are not there.")
    monkeypatch.setattr(estimate_module, "run_in_processes", lambda *_: iter([("", refusal)]))
    with pytest.raises(UserError, match="are not there"):
        estimate(recipe)


def test_a_process_that_is_killed_is_reported_as_too_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Any:
        raise ProcessKilledError

    monkeypatch.setattr(estimate_module, "run_in_processes", killed)
    with pytest.raises(UserError, match=r"not enough memory; choose a smaller resolution\.$"):
        estimate(validate(tiny(tmp_path)))


def test_an_estimate_in_words() -> None:
    found = Estimate(7500, (), 850_000_000, "cpu", 2)
    assert str(found) == "2 h 5 min and 850 MB of memory on this device (cpu, 2 threads)"
    assert str(Estimate(90, (), None, "cuda", 2)) == "1 min 30 s on this device (cuda)"


# --- the cost of stages -----------------------------------------------------------------------------------------------

PHASES = (
    ("pretraining stable", 8, 500, 0.01),
    ("stable", 8, 1000, 0.02),
    ("fade", 16, 500, 0.072),
    ("stable", 16, 1500, 0.04),
    ("stable", 32, 4000, 0.2),
)


def test_what_a_stage_costs_by_hand() -> None:
    seconds = 5 + 20 + (36 + 60) + 800
    stages = Estimate(seconds, PHASES, None, "cpu", 1).stages
    assert [(s.part, s.resolution, s.pictures) for s in stages] == [
        ("pretraining", 8, 500),
        ("", 8, 1000),
        ("", 16, 2000),
        ("", 32, 4000),
    ]
    # At 16 px the fade's pictures cost more than those of the stable phase: 96 s for 2,000.
    assert [s.picture for s in stages] == pytest.approx([0.01, 0.02, 0.048, 0.2])
    assert [s.seconds for s in stages] == pytest.approx([5, 20, 96, 800])
    assert [s.share for s in stages] == pytest.approx([5 / 921, 20 / 921, 96 / 921, 800 / 921])
    assert [s.relative for s in stages] == pytest.approx([1, 0.1, 0.24, 1])


def test_the_table_of_costs() -> None:
    lines = Estimate(921, PHASES, None, "cpu", 1).table().splitlines()
    assert [line.split() for line in lines] == [
        ["px", "kimg", "ms", "a", "picture", "of", "the", "last", "time", "share"],
        ["pretraining:"],
        ["8", "0.5", "10.0", "1.00", "5", "s", "1%"],
        ["training:"],
        ["8", "1.0", "20.0", "0.10", "20", "s", "2%"],
        ["16", "2.0", "48.0", "0.24", "1", "min", "36", "s", "10%"],
        ["32", "4.0", "200.0", "1.00", "13", "min", "20", "s", "87%"],
    ]
    assert len({len(line) for line in lines if not line.endswith(":")}) == 1, "one under the other"


def test_plan_shows_what_stages_cost_where_they_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read
) -> None:
    monkeypatch.setattr(estimate_module, "SECONDS", 0.0)
    monkeypatch.setattr(
        estimate_module, "run_in_processes", lambda work, jobs, _: [(k, work(*job)) for k, job in jobs.items()]
    )
    (tmp_path / "recipe.yaml").write_text(json.dumps(tiny(tmp_path)))
    content = str(tmp_path / "recipe.yaml")
    assert main(["plan", content]) == 0
    plain = capsys.readouterr().out
    assert main(["plan", content, "--time"]) == 0
    timed = capsys.readouterr().out
    assert timed.startswith(plain)
    rows = [line.split() for line in timed[len(plain) :].splitlines() if line[:1] == " "]
    assert [(row[0], row[1]) for row in rows[1:]] == [("4", "2.0"), ("8", "4.0")]
    assert sum(int(row[-1].rstrip("%")) for row in rows[1:]) in (99, 100, 101)
    assert timed.splitlines()[-1].startswith("in all ")
    found = progcycle.plan(content, timed=True).estimate
    assert found is not None
    assert [stage.resolution for stage in found.stages] == [4, 8]
    assert progcycle.plan(content).estimate is None


def test_too_little_memory_for_a_step_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "SECONDS", 0.0)

    def run_out(*_: Any) -> float:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(estimate_module, "seconds_of_a_step", run_out)
    with pytest.raises(
        UserError, match=r"not have enough memory for training on 4 .* at stage 0 \(4 px\); add training"
    ):
        measure(validate(tiny(tmp_path)))
