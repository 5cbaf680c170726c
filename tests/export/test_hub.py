"""Which model a name means; nothing is downloaded here."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

import progcycle
from progcycle.commands.cli import main
from progcycle.errors import UserError
from progcycle.export import Generator, Translator, hub

Make = Callable[..., Path]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names that the Hub was asked for; it has whatever lies in ``tmp_path/hub``."""
    names: list[str] = []

    def snapshot_download(name: str, **options: Any) -> str:
        names.append(name)
        folder = tmp_path / "hub" / name
        if not folder.is_dir():
            raise LocalEntryNotFoundError("Got: ConnectError: Name or service not known\nAnd a second line.")
        assert options["allow_patterns"] == ["config.json", "model.safetensors"]
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    return names


@pytest.mark.parametrize(("task", "kind"), [("cyclegan", Translator), ("pggan", Generator)])
def test_the_config_says_which_model_it_is(
    asked: list[str], make_snapshot: Make, tmp_path: Path, task: str, kind: type
) -> None:
    shutil.copytree(make_snapshot(task=task), tmp_path / "hub" / "somebody" / "model-1.0")
    assert type(progcycle.load("somebody/model-1.0")) is kind
    assert type(kind.from_pretrained("somebody/model-1.0")) is kind  # type: ignore[attr-defined]
    assert asked == ["somebody/model-1.0"] * 2


def test_without_a_network_there_is_one_sentence(asked: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        progcycle.load("somebody/model")
    assert str(caught.value) == (
        "somebody/model is neither a folder nor a model to download from the Hugging Face Hub (Got: ConnectError: Name "
        "or service not known); without a network, give a folder with the model's config.json and model.safetensors."
    )


def test_runs_in_another_working_directory_are_not_asked_for(asked: list[str]) -> None:
    with pytest.raises(UserError, match="runs/mine does not exist; give a run folder"):
        progcycle.load("runs/mine")
    assert asked == []


def test_a_folder_here_is_never_looked_for_elsewhere(
    asked: list[str], make_snapshot: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_snapshot(run="runs/openmoji")
    assert isinstance(progcycle.load("runs/openmoji"), Translator)
    for name in ("runs/openmojy", Path("runs/openmojy"), "openmojy", Path("some/openmojy")):
        with pytest.raises(
            UserError, match=r"openmojy does not exist \(did you mean runs/openmoji\?\); give a run folder"
        ):
            progcycle.load(name)
    with pytest.raises(UserError, match=r"nothing does not exist; give"):
        progcycle.load("nothing")
    with pytest.raises(UserError, match=r"run3 does not exist; give"):
        progcycle.load(folder / "run3")
    # A command's folder that was mistyped is not asked for either.
    assert main(["progression", "runs/openmojy", "--out", "a.png"]) == 2
    assert main(["translate", "some/openmojy", "a.png", "b.png", "--direction", "ab"]) == 2
    assert capsys.readouterr().err.count("(did you mean runs/openmoji?)") == 2
    assert asked == []
