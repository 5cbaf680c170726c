"""What all commands share: help with examples, exit codes, errors as one sentence."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import progcycle
from progcycle.commands.cli import COMMANDS, PATIENCE, guarded, main
from progcycle.errors import UserError
from progcycle.recipe import RecipeError
from progcycle.runtime.watchdog import Timeouts

Make = Callable[..., Path]


def python(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    root = Path(progcycle.__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=env)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: progcycle {name}")
    examples = text[text.index("examples:") :].splitlines()
    assert any(line.startswith("  ") and f"progcycle {name}" in line.replace(".", " ") for line in examples)
    assert all(len(line) <= 120 for line in text.splitlines())


def test_help_and_version_of_the_dispatcher(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {name}" in text for name in COMMANDS)
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"progcycle {progcycle.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["trian"], ["translate"], ["generate", "run", "--out", "x", "--count", "0"]])
def test_wrong_usage_leaves_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage: progcycle" in capsys.readouterr().err


def test_help_does_not_import_torch() -> None:
    code = """
import sys
from progcycle.commands.cli import COMMANDS, main
for name in COMMANDS:
    try:
        main([name, "--help"])
    except SystemExit:
        print(name, "torch" in sys.modules)
"""
    shown = python("-c", code).stdout.splitlines()
    assert [line for line in shown if line.endswith(" False")] == [f"{name} False" for name in COMMANDS]


@pytest.mark.parametrize("name", ["translate", "generate", "plan", "evaluate"])
def test_aliases_run_the_same_command(name: str) -> None:
    done = python("-m", f"progcycle.{name}", "--help")
    assert done.returncode == 0
    assert done.stdout == python("-m", "progcycle", name, "--help").stdout


def fail(error: BaseException) -> Callable[..., int]:
    def command(argv: object) -> int:
        raise error

    return guarded(command)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("The run is blue."), 2, "error: The run is blue.\n"),
        (RecipeError("seed: this key is missing."), 2, "error: seed: this key is missing.\n"),
        (PermissionError(13, "Permission denied", "/root/x"), 2, "error: /root/x: Permission denied.\n"),
        (IsADirectoryError(21, "Is a directory", ".x.tmp", None, "x"), 2, "error: x: Is a directory.\n"),
        (OSError(28, "No space left on device"), 2, "error: a file: No space left on device.\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_exit_codes(error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(error)([]) == code
    assert capsys.readouterr().err == words


def test_faults_of_the_program_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())([])


def test_only_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    assert fail(UserError("The run is blue."))([]) == 2
    assert capsys.readouterr() == ("", "error: The run is blue.\n")
    assert waited == []
    monkeypatch.setenv("RANK", "1")
    for error in (UserError("The run is blue."), OSError(13, "not allowed", "a file")):
        assert fail(error)([]) == 2
    assert capsys.readouterr() == ("", "")
    assert Timeouts().grace < PATIENCE
    assert waited == [PATIENCE] * 2, "a launcher would end the first one before it has spoken"


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    code = (
        "import sys; from progcycle.commands.cli import guarded; from progcycle.output import say\n"
        "main = guarded(lambda argv: [say('x' * 100) for _ in range(10000)] and 0)\n"
        "sys.exit(main([]))"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    root = Path(progcycle.__file__).parents[1]
    done = subprocess.run(
        f"{sys.executable} {script} | head -1",
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stderr == ""


# --- plan -------------------------------------------------------------------------------------------------------------

RECIPE = """
task: cyclegan
resolution: 32
data: {root: nowhere}
network: {channels: {base: 64, max: 16}}
schedule: {stable_kimg: 2, fade_kimg: 1}
"""


def test_plan_prints_the_table_and_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    out = tmp_path / "pictures" / "plan.png"
    assert main(["plan", str(tmp_path / "r.yaml"), "--out", str(out), "schedule.batch_size=4"]) == 0
    text = capsys.readouterr().out
    fade = next(line.split() for line in text.splitlines() if line.startswith("fade"))
    assert fade == ["fade", "1", "16", "2.0", "3.0", "4", "1.00", "250"]
    assert text.splitlines()[-1] == f"wrote {out}"
    assert out.exists()
    from progcycle.networks import TRANSLATORS

    network = TRANSLATORS["progressive"](channels=[16, 8, 4], predict="change")
    count = f"{sum(p.numel() for p in network.parameters()):,} parameters"
    assert next(line for line in text.splitlines() if line.startswith("gen_ab")).endswith(f" {count}")


def test_plan_writes_nothing_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE)
    assert main(["plan", "r.yaml"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["r.yaml"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["schedule.fade_kimgs=1"], "did you mean fade_kimg"),
        (["schedule.total_kimg=1"], "schedule.total_kimg"),
        (["nonsense"], "is not an override"),
        (["network.generator=vit"], "there is no 'vit'"),
    ],
)
def test_plan_refuses_with_a_sentence(
    tmp_path: Path, overrides: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    assert main(["plan", str(tmp_path / "r.yaml"), *overrides]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)


def test_plan_of_a_missing_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(tmp_path / "none.yaml")]) == 2
    assert "There is no recipe" in capsys.readouterr().err


# --- generate ---------------------------------------------------------------------------------------------------------


def pixels(path: Path) -> bytes:
    from PIL import Image

    with Image.open(path) as image:
        return image.tobytes()


def test_generate_writes_the_models_pictures(
    make_snapshot: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_snapshot(task="pggan").parent.parent
    out = tmp_path / "pictures"
    arguments = ["generate", str(run), "--count", "5", "--seed", "3", "--out", str(out)]
    assert main([*arguments, "--grid", "--batch-size", "2"]) == 0
    names = [f"{i:06d}.png" for i in range(5)]
    assert sorted(p.name for p in out.iterdir()) == [*names, "grid.png"]
    assert capsys.readouterr().out == f"wrote 5 pictures of 16 px (seed 3) and grid.png to {out}\n"
    from progcycle.export import load, to_pil

    expected = [image.tobytes() for image in to_pil(load(run).generate(5, 3, batch_size=2))]
    assert [pixels(out / name) for name in names] == expected

    assert main(arguments) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--resolution", "8", "--count", "1"]) == 0
    assert [p.name for p in out.iterdir()] == ["000000.png"]
    assert "wrote 1 picture of 8 px" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_generate_leaves_foreign_files_alone(
    make_snapshot: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(make_snapshot(task="pggan").parent.parent)
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    assert main(["generate", run, "--out", str(out), "--overwrite"]) == 2
    assert "such as thesis.txt" in capsys.readouterr().err
    assert main(["generate", run, "--out", str(out)]) == 2
    assert "such as thesis.txt" in capsys.readouterr().err, "--overwrite would not help"
    assert main(["generate", run, "--out", str(out / "thesis.txt"), "--overwrite"]) == 2
    assert "is a file" in capsys.readouterr().err
    monkeypatch.chdir(out)
    assert main(["generate", run, "--out", "."]) == 2
    assert [p.name for p in out.iterdir()] == ["thesis.txt"]
    assert (out / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", "required: RECIPE\n"),
        ("plan", "required: RECIPE\n"),
        ("generate run --out x --count few", "--count: must be a whole number of at least 1, got few\n"),
        ("generate run --out x --seed -1", "--seed: must be a whole number of at least 0, got -1\n"),
        ("evaluate run --memory much", "--memory: must be a number above 0, got much\n"),
    ],
)
def test_what_cannot_be_read_names_the_argument(command: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as found:
        main(command.split())
    assert found.value.code == 2
    assert capsys.readouterr().err.endswith(words)


@pytest.mark.parametrize(
    ("out", "words"), [("x.jpg", "give --out a name that ends in .png."), ("", "is a folder; give")]
)
def test_a_plan_is_drawn_into_a_png_file_only(
    tmp_path: Path, out: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "pggan_emoji", "--out", str(tmp_path / out)]) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert (shown.out, shown.err.count("\n"), list(tmp_path.iterdir())) == ("", 1, [])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--resolution", "5"], "it can run at 4, 8, 16 px"),
        (["--device", "toaster"], "toaster"),
    ],
)
def test_generate_that_fails_leaves_nothing(
    make_snapshot: Make, tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_snapshot(task="pggan").parent.parent
    assert main(["generate", str(run), "--out", str(tmp_path / "out"), *options]) == 2
    assert words in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_commands_tell_tasks_apart(make_snapshot: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pggan, cyclegan = make_snapshot(task="pggan", run="p"), make_snapshot(run="c")
    assert main(["generate", str(cyclegan), "--out", str(tmp_path / "x")]) == 2
    assert "use progcycle translate" in capsys.readouterr().err
    assert main(["translate", str(pggan), str(tmp_path), str(tmp_path / "x"), "--direction", "ab"]) == 2
    assert "use progcycle generate" in capsys.readouterr().err
    assert main(["evaluate", str(pggan), "--a", str(tmp_path)]) == 2
    assert "--a is no option for a PG-GAN" in capsys.readouterr().err
    assert main(["generate", str(tmp_path / "nowhere"), "--out", str(tmp_path / "x")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_an_import_that_ctrl_c_broke_is_an_interruption_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Numpy tells of an interrupted import by an ImportError."""

    def command(argv: object) -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("cannot load module more than once per process") from None
        return 0

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert guarded(command)([]) == 130
        assert capsys.readouterr().err == "interrupted\n"
        assert guarded(guarded(command))([]) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(ImportError):
            fail(ImportError("no module"))([])
    finally:
        signal.signal(signal.SIGINT, before)
