import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import WatchedRun, checkpoint_content, hook, stats, tiny, train

from progcycle.engine import context, precision
from progcycle.engine.precision import Precision
from progcycle.errors import UserError
from progcycle.schedule import Growth

CPU = torch.device("cpu")


@pytest.mark.parametrize("hardware", [False, True])
def test_auto_is_bf16_where_the_hardware_has_it_and_never_fp16(
    hardware: bool, monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda _: hardware)
    monkeypatch.setattr(precision, "has_fp16", lambda _: True)
    assert Precision("auto", CPU).name == ("bf16" if hardware else "no")
    training = train(tiny("pggan", pictures, {"training": {"precision": "auto"}}), tmp_path / "run", stop_before=1)
    assert training.trainer.precision.name == ("bf16" if hardware else "no")
    assert "precision: auto" in (tmp_path / "run/recipe.yaml").read_text()


@pytest.mark.parametrize(("first", "then"), [("bf16", "no"), ("no", "bf16")])
def test_auto_stays_what_it_was_on_a_machine_where_it_would_be_another(
    first: str, then: str, monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path, capsys: Any
) -> None:
    auto = tiny("pggan", pictures, {"training": {"precision": "auto"}})
    words = {"no": "float32", "bf16": "bf16"}
    for name, stop in ((first, 6), (then, 12)):
        monkeypatch.setattr(precision, "has_bf16", lambda _, name=name: name == "bf16")
        assert train(auto, tmp_path / "run", stop_before=stop).trainer.precision.name == first
    told = capsys.readouterr().out
    assert f"precision: {words[first]} (as before; a new run here would use {words[then]})" in told
    monkeypatch.setattr(precision, "can_compute", lambda *_: False)
    assert train(auto, tmp_path / "run", stop_before=13).trainer.precision.name == then
    assert (
        f"precision: {words[then]} (the run began in {words[first]}, which this device cannot"
        in capsys.readouterr().out
    )
    # From the checkpoint that was written before.
    same = tiny("pggan", pictures, {"training": {"precision": first}})
    assert train(same, tmp_path / "run", stop_before=11).trainer.precision.name == first
    with pytest.raises(UserError, match=f"undo these changes: training.precision: {first} -> {then}"):
        train(tiny("pggan", pictures, {"training": {"precision": then}}), tmp_path / "run")


def _cpu(monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool] | None, flags: str, tiles: bool | None) -> None:
    """A CPU as torch and the kernel tell of it; None is a torch that does not tell."""
    for name, value in (("get_capabilities", capabilities), ("_is_amx_tile_supported", tiles)):
        if value is None:
            monkeypatch.delattr(torch.cpu, name, raising=False)
        else:
            monkeypatch.setattr(torch.cpu, name, lambda value=value: value, raising=False)
    text = f"processor : 0\nflags\t\t: fpu {flags} avx2\nbugs :\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)


AVX, AMX = "avx512f avx512_bf16", "avx512f avx512_bf16 amx_bf16 amx_tile amx_int8"


@pytest.mark.parametrize(
    ("capabilities", "flags", "tiles", "name", "why"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, AMX, True, "bf16", "this CPU has AMX"),
        ({"avx512_bf16": True, "amx_bf16": False}, AVX, False, "no", "bf16 without AMX, which is often slower"),
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "", False, "no", "this CPU has no AMX"),
        ({"bf16": True}, "", None, "no", "bf16 without AMX, which is often slower"),  # ARM
        (None, AMX, True, "bf16", "this CPU has AMX"),
        (None, AMX, None, "bf16", "this CPU has AMX"),
        (None, AMX, False, "no", "bf16 without AMX, which is often slower"),  # the kernel refuses the tiles
        (None, AVX, False, "no", "bf16 without AMX, which is often slower"),
    ],
)
def test_auto_is_bf16_on_a_cpu_with_amx_only(
    capabilities: dict[str, bool] | None,
    flags: str,
    tiles: bool | None,
    name: str,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _cpu(monkeypatch, capabilities, flags, tiles)
    chosen = Precision("auto", CPU)
    assert chosen.name == name
    assert why in chosen.reason
    assert str(chosen) == f"{'bf16' if name == 'bf16' else 'float32'} ({chosen.reason})"
    assert Precision("auto", torch.device("mps")).name == "no"
    assert str(Precision("bf16", CPU)) == "bf16", "the recipe's choice needs no reason"


def test_a_system_that_tells_nothing_of_its_cpu_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    _cpu(monkeypatch, None, "", None)

    def missing(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert Precision("auto", CPU).name == "no"


def test_float32_on_a_gpu_is_not_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = matmul.allow_tf32, cudnn.allow_tf32
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = True  # the second is torch's default
        monkeypatch.setattr(cudnn, "benchmark", cudnn.benchmark)
        context.choose_algorithms(CPU)
        assert cudnn.allow_tf32, "a run on a CPU leaves it alone"
        context.choose_algorithms(torch.device("cuda"))
        assert not matmul.allow_tf32
        assert not cudnn.allow_tf32
        if hasattr(cudnn.conv, "fp32_precision"):
            assert {cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision} == {"ieee"}
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@pytest.mark.parametrize(("choice", "dtype"), [("no", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast(choice: str, dtype: torch.dtype) -> None:
    x = torch.ones(2, 2)
    with Precision(choice, CPU).autocast():
        assert (x @ x).dtype == dtype


def test_bf16_trains_and_keeps_float32_weights(pictures: Path, tmp_path: Path) -> None:
    training = train(tiny("cyclegan", pictures, {"training": {"precision": "bf16"}}), tmp_path / "run", stop_before=6)
    for network in training.trainer.task.networks.values():
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert len(stats(tmp_path / "run")) == 2


def test_fp16_is_refused_where_the_device_lacks_it() -> None:
    with pytest.raises(UserError, match=r"^training.precision: fp16 needs a CUDA GPU, this run is on cpu"):
        Precision("fp16", CPU)


@pytest.fixture
def fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_fp16", lambda _: True)


def _weights(training: WatchedRun, player: str) -> Any:
    names = training.trainer.task.players[player]
    return copy.deepcopy({name: dict(training.trainer.task.networks[name].state_dict()) for name in names})


def _equal(one: Any, other: Any) -> bool:
    return all(torch.equal(value, other[name][key]) for name in one for key, value in one[name].items())


def _steps(training: WatchedRun, player: str) -> set[float]:
    return {float(s["step"]) for s in training.trainer.optimizers[player].state.values()}


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
@pytest.mark.usefixtures("fp16")
def test_an_overflow_of_one_player_skips_its_step_and_halves_its_scale_only(
    task: str, pictures: Path, tmp_path: Path
) -> None:
    recipe = tiny(task, pictures, {"training": {"precision": "fp16"}, "optimizer": {"reset": "never"}})
    seen: dict[int, Any] = {}

    removes: list[Any] = []

    def on_step(training: WatchedRun, growth: Growth) -> None:
        if training.trainer.step == 0:  # so small that nothing overflows by itself
            for scaler in training.trainer.scalers.values():
                scaler.load_state_dict({"scaler": {**scaler.scaler.state_dict(), "scale": 16.0}, "skipped": 0})
        players = {
            p: (_weights(training, p), _steps(training, p), training.trainer.scalers[p].figures())
            for p in training.trainer.scalers
        }
        seen[training.trainer.step] = players
        name = training.trainer.task.players["generator"][0]
        if training.trainer.step == 2:
            removes.append(hook(training, name, lambda gradient: gradient * math.inf))
        elif training.trainer.step == 3:
            removes[0]()

    train(recipe, tmp_path / "run", on_step=on_step)
    for player, overflowed in (("generator", True), ("discriminator", False)):
        (before, steps, figures), (after, steps_after, figures_after) = seen[2][player], seen[3][player]
        assert figures == {"scale": 16.0, "skipped": 0}
        assert _equal(before, after) is overflowed
        assert figures_after == ({"scale": 8.0, "skipped": 1} if overflowed else figures)
        assert steps == {2.0}
        assert steps_after == {2.0 if overflowed else 3.0}
        later = seen[4][player]
        assert not _equal(after, later[0])
        assert later[2] == figures_after
    lines = stats(tmp_path / "run")  # which refuses NaN and Infinity: norms of the skipped step are left out
    assert [line["skipped/generator"] for line in lines] == [1] * 8
    assert {line["skipped/discriminator"] for line in lines} == {0}
    assert {line["scale/generator"] for line in lines} == {8.0}


@pytest.mark.usefixtures("fp16")
def test_scales_and_counts_of_skipped_steps_resume(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny("pggan", pictures, {"training": {"precision": "fp16"}})

    def overflow(training: WatchedRun, growth: Growth) -> None:
        if training.trainer.step in (0, 3):
            hook(
                training,
                "discriminator",
                lambda gradient: gradient * (math.inf if training.trainer.step in (0, 3) else 1),
            )

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(recipe, whole, on_step=overflow)
    train(recipe, parts, stop_before=8, on_step=overflow)
    train(recipe, parts, on_step=overflow)
    assert stats(parts) == stats(whole)
    assert stats(whole)[-1]["skipped/discriminator"] >= 2
    last = "checkpoints/nimg-000000000088"
    assert checkpoint_content(parts / last) == checkpoint_content(whole / last)
    assert "skipped by D " in capsys.readouterr().out


@pytest.mark.usefixtures("fp16")
def test_a_loss_that_is_not_finite_stops_fp16_too(pictures: Path, tmp_path: Path) -> None:
    recipe = tiny("pggan", pictures, {"training": {"precision": "fp16"}})

    def spoil(training: WatchedRun, growth: Growth) -> None:
        next(training.trainer.task.networks["generator"].parameters()).data.fill_(math.nan)

    with pytest.raises(UserError, match=r"not finite at step 0 "):
        train(recipe, tmp_path / "run", on_step=spoil)
