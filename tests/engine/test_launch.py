"""What a launcher asks for: what is refused, and what the recipe decides, with a line about it."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_runs import tiny, train

from progcycle.engine import launch
from progcycle.engine.launch import check_environment, check_processes, missing_processes, overridden_variables
from progcycle.engine.precision import Precision
from progcycle.errors import UserError

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG"])
def test_sharing_out_weights_is_refused_before_accelerate_asks_for_packages(
    kind: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{kind}", "true")
    with pytest.raises(UserError, match=rf"^Accelerate is configured for {kind}, .*unset ACCELERATE_USE_{kind}\.$"):
        train(tiny("pggan", pictures), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv(f"ACCELERATE_USE_{kind}", "false")
    check_environment()


@pytest.mark.parametrize("kind", ["DEEPSPEED", "FSDP", "MEGATRON_LM"])
def test_configurations_that_share_out_weights_are_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=rf"^Accelerate is configured for {kind}, .*, or unset"):
        check_processes(_known(num_processes=2, distributed_type=f"DistributedType.{kind}"))
    check_processes(_known(num_processes=2, distributed_type="DistributedType.MULTI_GPU"))


def _known(**values: Any) -> Any:
    return SimpleNamespace(**values)


@pytest.mark.parametrize(
    ("variables", "choice", "lines"),
    [
        ({}, "no", []),
        # What accelerate launch always sets.
        ({"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO"}, "no", []),
        ({"ACCELERATE_MIXED_PRECISION": "BF16"}, "bf16", []),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1"}, "no", []),
        ({"ACCELERATE_MIXED_PRECISION": "fp16"}, "no", ["MIXED_PRECISION=fp16 .* training.precision: no is float32"]),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, "bf16", ["MIXED_PRECISION=no .* training.precision: bf16 is bf16"]),
        (
            {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"},
            "no",
            [
                "ACCUMULATION_STEPS=4 .* one update; training.max_batch_per_device",
                "BACKEND=INDUCTOR .* training.compile",
            ],
        ),
    ],
)
def test_a_line_says_what_the_recipe_decides(variables: dict[str, str], choice: str, lines: list[str]) -> None:
    import re

    said = overridden_variables(Precision(choice, CPU), choice, variables)
    assert len(said) == len(lines)
    for line, words in zip(said, lines, strict=True):
        assert re.search(words, line)
        assert "is ignored, as the recipe decides: " in line


def test_the_line_is_said_once_when_a_run_begins(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    monkeypatch.setattr(launch, "_launcher", lambda: ["accelerate", "launch", "--num_processes=2", "x.py"])
    training = train(tiny("pggan", pictures), tmp_path / "run", stop_before=0)
    assert training.trainer.precision.name == "no"
    said = capsys.readouterr().out
    assert said.count("ACCELERATE_MIXED_PRECISION=fp16 is ignored") == 1
    assert said.count("accelerate launch starts only one process on a CPU, not the 2 that were requested") == 1
    assert "ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m progcycle.train" in said


LAUNCH = ["python", "/bin/accelerate", "launch", "--cpu"]


@pytest.mark.parametrize(
    ("command", "processes"),
    [
        ([*LAUNCH, "--num_processes", "2", "-m", "progcycle.train"], 2),
        ([*LAUNCH, "--num-processes=3", "-m", "progcycle.train"], 3),
        ([*LAUNCH, "--config_file", "{config}", "-m", "progcycle.train"], 4),
        ([*LAUNCH, "--config_file={config}", "--num_processes", "1", "-m", "progcycle.train"], 1),
        ([*LAUNCH, "--config_file", "nowhere.yaml", "-m", "progcycle.train"], 1),
        ([*LAUNCH, "--num_processes"], 1),
        ([*LAUNCH, "-m", "progcycle.train"], 1),
        ([], 1),
    ],
)
def test_what_accelerate_launch_was_to_start(
    command: list[str], processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "my_config.yaml"
    config.write_text("distributed_type: MULTI_CPU\nnum_processes: 4\n")
    monkeypatch.setattr(launch, "default_config_file", str(tmp_path / "none.yaml"))
    monkeypatch.setattr(launch, "_launcher", lambda: [word.format(config=config) for word in command])
    alone: Any = SimpleNamespace(num_processes=1, device=CPU)
    lines = missing_processes(alone, {"ACCELERATE_MIXED_PRECISION": "no"})
    assert len(lines) == (2 if processes > 1 else 0)
    assert all(f"{processes}" in line for line in lines)
    assert missing_processes(alone, {}) == [], "nobody has launched it"
    together: Any = SimpleNamespace(num_processes=processes, device=CPU)
    assert processes == 1 or missing_processes(together, {"ACCELERATE_MIXED_PRECISION": "no"}) == []


def test_the_launcher_is_the_process_that_started_this_one() -> None:
    assert launch._launcher()
    assert launch._launcher() != [sys.executable]
