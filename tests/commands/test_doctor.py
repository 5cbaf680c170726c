"""``progcycle doctor``: what it says is so, and its exit code tells whether training can work."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from progcycle.commands.cli import main
from progcycle.commands.doctor import EXTRAS
from progcycle.runtime import cores, installed, machine, measure_precision
from progcycle.runtime.installed import Extra, requirements
from progcycle.runtime.machine import Room
from progcycle.runtime.measure_precision import Convolution, PrecisionFigures

ROOT = Path(__file__).parents[2]
Read = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known times; measuring has tests of its own."""
    times = {("float32", "channels_last"): 0.010, ("bf16", "channels_last"): 0.025}
    figures = PrecisionFigures({Convolution(64, 64): times})
    monkeypatch.setattr(measure_precision, "measure_precision", lambda _: figures)


def lines_of(text: str) -> dict[str, str]:
    """What stands behind each label, in one line."""
    found, label = dict[str, str](), ""
    for line in text.splitlines():
        label = line[:12].strip() or label
        found[label] = f"{found.get(label, '')} {line[14:].strip()}".strip()
    return found


def test_what_it_says_is_so(here: Path, capsys: Read) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines() if str(here) not in line and "/" not in line) <= 100
    found = lines_of(out)
    assert f"torch {torch.__version__.partition('+')[0]}" in found["libraries"]
    assert found["trains on"].startswith("cpu") or torch.cuda.is_available()
    assert f"{os.cpu_count()}, of which" in found["cores"]
    assert found["threads"].startswith(f"{torch.get_num_threads()} ")
    assert "training.precision: auto is float32 (measured here: bf16 takes 2.50 times as long" in found["precision"]
    assert "64 channels, 8 x 16 px, and back: float32 10.00 ms, bf16 25.00 ms" in found["precision"]
    assert "gloo" in found["processes"]
    assert str(here) in found["disk"]
    assert "progcycle train cyclegan_demo" in out
    assert list(here.iterdir()) == [], "nothing is written"


def test_it_works_where_torch_does_not(here: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from progcycle.commands.cli import main; sys.exit(main(['doctor']))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=here, env=env)
    assert (done.returncode, done.stderr) == (2, "")
    assert "error         torch or Accelerate do not work here (ModuleNotFoundError" in done.stdout
    assert "extras        installed: " in done.stdout


def test_what_stops_training_is_named_and_gives_exit_code_2(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read
) -> None:
    def refused(*words: str) -> None:
        assert main(["doctor"]) == 2
        out = capsys.readouterr().out
        assert out.endswith("\ntraining cannot work here\n")
        assert all(word in lines_of(out)["error"] for word in words), out

    with monkeypatch.context() as patch:
        patch.setattr(machine, "disk", lambda _: Room(10**12, 10**6))
        refused("is full; checkpoints need room.")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        refused(str(here), "cannot be written to; start elsewhere, or give --run-dir")
    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", lambda *_: (torch.zeros(1, 2, 4, 4),))
        refused("cpu cannot compute a convolution (it computes 0 where 18 is right).")
    with monkeypatch.context() as patch:
        patch.setattr(installed, "requirements", lambda *_: (("kornia",), []))
        refused("kornia are not installed")

    def broken() -> torch.device:
        raise RuntimeError("no driver\nat all")

    monkeypatch.setattr(machine, "training_device", broken)
    refused("torch or Accelerate do not work here (RuntimeError: no driver at all).")


def test_what_is_worth_a_change_is_a_note(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 2.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(machine, "shared_memory", lambda: Room(64 << 20, 64 << 20))
    monkeypatch.setattr(machine, "disk", lambda _: Room(10**12, 10**9))
    monkeypatch.setattr(machine, "fault_of_processes", lambda: "no process can be started (13)")
    extras = [Extra("video", ("av",), ("av",)), Extra("lmdb", ("lmdb",), ()), Extra("heic", ("h",), ("h",))]
    monkeypatch.setattr(installed, "requirements", lambda *_: ((), extras))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for words in (
        "training asks for 64 threads, but only",
        "docker run --shm-size=2g",
        "nearly full",
        "set data.workers=0",
    ):
        assert words in " ".join(out.split())
    assert lines_of(out)["extras"].startswith("installed: lmdb missing: video")
    assert lines_of(out)["extras"].endswith("to install them: pip install 'progcycle[video,heic]'")


def test_every_extra_says_what_it_is_for() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert EXTRAS.keys() == extras.keys() - {"dev", "docs"}, "but those for work on progcycle itself"


def test_extras_are_read_from_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "torch<3,>=2.6",
        "no-such-library",
        "pyvips[binary]>=3.0; extra == 'large'",
        'av>=12 ; extra == "video"',
        "numpy>=1; python_version < '3' and extra == 'video'",
    ]
    there = {"torch", "numpy"}

    def version(name: str) -> str:
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(installed, "requires", lambda _: lines)
    monkeypatch.setattr(installed, "version", version)
    missing, extras = requirements()
    assert missing == ("no-such-library",)
    assert extras == [Extra("large", ("pyvips",), ("pyvips",)), Extra("video", ("av", "numpy"), ("av",))]


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    before = machine.memory()
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert machine.memory() == Room(3_000_000, 2_000_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory().total == before.total
    assert machine.shared_memory() is None or machine.shared_memory().total > 0  # type: ignore[union-attr]
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path / "none")
    assert machine.shared_memory() is None


def test_processes_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.fault_of_processes() == ""
    monkeypatch.setattr(machine.sys, "executable", "/nowhere/python")
    assert re.match(r"no process can be started \(.*nowhere", machine.fault_of_processes())


def test_arguments_are_refused(capsys: Read) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "cuda"])
    assert caught.value.code == 2
