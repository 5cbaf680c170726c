import copy
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_runs import WatchedRun, checkpoint_content, hook, stats, tiny, train

from progcycle.engine import context, precision
from progcycle.engine.build import build
from progcycle.engine.precision import Before, Precision, agree_on_precision, convolutions_to_measure
from progcycle.errors import UserError
from progcycle.runtime.checkpoint import checkpoints
from progcycle.runtime.measure_precision import Convolution, PrecisionFigures
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


def _figures(ratio: float, *widths: int) -> PrecisionFigures:
    """A measurement in which bf16 takes ``ratio`` times as long as float32 in the layout of training, and none else."""
    times = {
        "channels_first": {"float32": 1.0, "bf16": 1.0},
        "channels_last": {"float32": 0.002, "bf16": 0.002 * ratio},
    }
    table = {(form, layout): seconds for layout, row in times.items() for form, seconds in row.items()}
    return PrecisionFigures({Convolution(width, width): table for width in widths or (32,)})


@pytest.mark.parametrize(("ratio", "name"), [(0.5, "bf16"), (0.94, "bf16"), (0.96, "no"), (1.3, "no")])
@pytest.mark.parametrize("hardware", [False, True])
def test_auto_goes_by_what_was_measured_and_not_by_the_hardware(
    ratio: float, name: str, hardware: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bf16 must be clearly faster, by 5 %."""
    monkeypatch.setattr(precision, "has_bf16", lambda _: hardware)
    chosen = Precision("auto", CPU, figures=_figures(ratio, 256, 64))
    assert chosen.name == name
    assert chosen.measured["bf16_to_float32"] == ratio
    found = f"bf16 is {1 / ratio:.2f} times as fast as" if ratio < 1 else f"bf16 takes {ratio:.2f} times as long as"
    assert chosen.reason == f"measured here: {found} float32 in convolutions of 256 and 64 channels"


def test_a_new_run_measures_and_a_resumed_one_keeps_choice_and_figures(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path, capsys: Any
) -> None:
    auto, asked = tiny("pggan", pictures, {"training": {"precision": "auto"}}), []
    figures = _figures(0.5, 8)

    def measure(device: torch.device, convolutions: tuple[Convolution, ...]) -> PrecisionFigures:
        asked.append(convolutions)
        return figures

    monkeypatch.setattr(precision, "measure_precision", measure)
    assert train(auto, tmp_path / "run", stop_before=6).trainer.precision.name == "bf16"
    assert "precision: bf16 (measured here: bf16 is 2.00 times as fast as float32" in capsys.readouterr().out
    # Channels are at most 8, the last stage has 16 px, and a batch 4 pictures.
    assert asked == [(Convolution(8, 8, 3, 16, 4),)]
    figures = _figures(2.0, 8)
    assert train(auto, tmp_path / "run", stop_before=12).trainer.precision.name == "bf16"
    assert "precision: bf16 (as before)" in capsys.readouterr().out
    assert len(asked) == 1
    state = json.loads((checkpoints(tmp_path / "run/checkpoints")[0] / "state.json").read_text())
    assert state["precision"] == "bf16"
    assert state["precision_measured"]["bf16_to_float32"] == 0.5
    assert state["precision_measured"]["convolutions"][0]["ms"]["float32 channels_last"] == 2.0


def test_a_precision_that_the_recipe_names_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "measure_precision", lambda *_: pytest.fail("measured"))
    alone: Any = SimpleNamespace(device=CPU, is_main_process=True, num_processes=1)
    assert agree_on_precision("no", alone, Before(), (Convolution(8, 8),)).name == "no"
    assert agree_on_precision("auto", alone, Before("bf16"), (Convolution(8, 8),)).name == "bf16"


def test_one_process_measures_and_the_others_take_its_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second process is as it would be on a machine that computes bf16 slowly, and never measures."""
    said: list[str] = []

    def gather(text: str) -> list[str]:
        said.append(text)
        return said

    monkeypatch.setattr(precision, "gather_texts", gather)
    monkeypatch.setattr(precision, "has_bf16", lambda _: False)
    monkeypatch.setattr(precision, "measure_precision", lambda *_: _figures(0.5))
    processes: list[Any] = [
        SimpleNamespace(device=CPU, is_main_process=first, num_processes=2) for first in (True, False)
    ]
    first = agree_on_precision("auto", processes[0], Before(), (Convolution(8, 8),))
    monkeypatch.setattr(precision, "measure_precision", lambda *_: pytest.fail("measured"))
    second = agree_on_precision("auto", processes[1], Before(), (Convolution(8, 8),))
    assert (first.name, str(first), first.measured) == (second.name, str(second), second.measured)
    assert second.name == "bf16"
    assert said[1] == ""


def test_the_widths_to_measure_are_those_of_the_networks(pictures: Path) -> None:
    """Of tiny CycleGANs: channels end at 8, twice as many where a skip joins; pictures and logits are no widths."""
    with torch.device("meta"):
        built = build(tiny("cyclegan", pictures, {"network": {"channels": {"base": 32, "max": 8}}}))
    found = convolutions_to_measure(built.task.networks, built.schedule, processes=2)
    assert found == (Convolution(16, 8, 3, 16, 2), Convolution(8, 8, 3, 16, 2))


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
