"""The folder of ``progcycle page``, and every refusal; what the page computes is in test_chromium.py."""

import base64
import gzip
import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from sentences import refused
from written_snapshots import write_snapshot

from progcycle.commands.cli import main
from progcycle.export import load
from progcycle.web import write_page
from progcycle.web.content import Content, Names
from progcycle.web.moments import Moments
from progcycle.web.runtime import SHA256, runtime_file

Make = Callable[..., Path]


def content(folder: Path) -> dict[str, Any]:
    """What the page knows of the model."""
    found = re.search(r'<script type="application/json" id="about">(.*?)</script>', (folder / "index.html").read_text())
    assert found is not None
    about: dict[str, Any] = json.loads(found[1])
    return about


def delivered(script: Path) -> dict[str, bytes]:
    """What a script hands over, by name."""
    parts = re.findall(r'deliver\("([\w.]+)","([A-Za-z0-9+/=]+)"\);', script.read_text())
    return {name: gzip.decompress(base64.b64decode(text)) for name, text in parts}


def test_the_folder_holds_the_models_and_what_computes_them(
    make_snapshot: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = make_snapshot(task="pggan")
    out = tmp_path / "site"
    title = "</script><b>A & B"
    assert main(["page", str(snapshot.parents[1]), "--out", str(out), "--title", title, "--license", "MIT"]) == 0
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    own = {"index.html", "page.css", "page.js", "engine.js", "LICENSE.onnxruntime"}
    assert files == {*own, "models/generator0.js"}
    assert f"open {out / 'index.html'}" in capsys.readouterr().out
    about = content(out)
    assert about["title"] == title
    assert ["Licence", "MIT"] in about["facts"]
    assert "<b>A" not in (out / "index.html").read_text()

    latents = np.frombuffer(base64.b64decode(about["generator"]["latents"]), "<f4").reshape(-1, 5)
    model = load(snapshot)
    np.testing.assert_array_equal(latents[:9], model.latents(9).numpy())  # type: ignore[operator]
    (onnx,) = delivered(out / "models" / "generator0.js").values()
    (got,) = onnxruntime.InferenceSession(onnx).run(["output"], {"input": latents[3:4]})
    expected = model.generate(1, start=3).numpy()  # type: ignore[operator]
    np.testing.assert_allclose(got.clip(-1, 1), expected, atol=1e-4)
    engine = delivered(out / "engine.js")
    assert engine["worker"].startswith(runtime_file("ort.wasm.min.js"))
    assert engine["wasm"].startswith(b"\0asm")


def test_the_runtime_is_that_of_npm() -> None:
    assert {name: hashlib.sha256(runtime_file(name)).hexdigest() for name in SHA256} == SHA256


def test_a_page_is_replaced_only_if_that_is_asked_for(make_snapshot: Make, tmp_path: Path) -> None:
    run, out = make_snapshot(task="pggan").parents[1], tmp_path / "site"
    out.mkdir()
    (out / "index.html").write_text("somebody's")
    for overwrite in (False, True):
        assert "holds no page" in refused(lambda: write_page(run, out, overwrite=overwrite))  # noqa: B023
    assert [path.read_text() for path in out.iterdir()] == ["somebody's"]
    (out / "index.html").write_text('<!DOCTYPE html>\n<meta name="generator" content="progcycle">')
    assert "--overwrite" in refused(lambda: write_page(run, out))
    write_page(run, out, overwrite=True)
    assert (out / "engine.js").exists()
    (tmp_path / "file").touch()
    assert "is a file" in refused(lambda: write_page(run, tmp_path / "file"))


def test_without_the_extra(make_snapshot: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    sentence = refused(lambda: write_page(make_snapshot(task="pggan"), tmp_path / "out" / "site"))
    assert "onnxscript is not installed; install it with pip install 'progcycle[export]'" in sentence
    assert "progcycle demo" in sentence
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": {"root": "x", "b": {"bits": 16, "window": [0, 4095]}}}, "Pictures of b have 16 bits"),
        ({"channels": (3, 4), "data": {"root": "x", "b": {"channels": 4}}}, "Pictures of b have 4 channels"),
    ],
)
@pytest.mark.parametrize("command", ["page", "demo"])
def test_pictures_that_a_browser_cannot_show(
    command: str, options: dict[str, Any], words: str, make_snapshot: Make, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    more = ["--out", str(tmp_path / "site")] if command == "page" else ["--port", "0"]
    assert main([command, str(make_snapshot(**options)), *more]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("command", ["page", "demo"])
def test_a_run_without_snapshots(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    more = ["--out", str(tmp_path / "site")] if command == "page" else []
    assert main([command, str(tmp_path / "run"), *more]) == 2
    assert "has no snapshot yet" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_moments_are_spread_over_the_run(make_snapshot: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for nimg in (1000, 2000, 3000, 4000, 5000):
        run = make_snapshot(nimg, task="pggan", stage=nimg // 2000).parents[1]
    moments = Moments(run)
    labels = [moment.label for moment in moments.all]
    assert labels == ["1 kimg, 4 px", "2 kimg, 8 px", "3 kimg, 8 px", "4 kimg, 16 px", "5 kimg, 16 px"]
    assert moments.spread(3) == [moments.all[i] for i in (0, 2, 4)]
    assert moments.spread(1) == moments.all[-1:]
    assert moments.spread(None) == moments.all, "tiny ones"
    count = sum(p.numel() for p in moments.newest.parameters())
    monkeypatch.setattr("progcycle.web.moments.LIGHT", 9 * count)
    assert (len(moments.spread(None)), len(moments.spread(None, half=True))) == (2, 4)
    monkeypatch.setattr("progcycle.web.moments.LIGHT", count)
    assert moments.spread(None) == moments.all[-1:]
    assert moments.model_at(moments.all[0].path).config.nimg == 1000
    stages = Moments(run, "stages").all
    assert [moment.resolution for moment in stages] == [4, 8, None]


def test_a_recipe_of_another_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_snapshot(tmp_path / "s") / "config.json"
    config = json.loads(path.read_text())
    config["recipe"]["objective"]["tomorrow"] = 1
    path.write_text(json.dumps(config))
    moments = Moments(path.parent)
    assert Content(moments, moments.all, Names("x")).as_json()["examples"] == {"a": [], "b": []}
    assert "objective.tomorrow" in capsys.readouterr().err


def test_a_run_whose_pictures_are_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = write_snapshot(tmp_path / "s")
    moments = Moments(snapshot)
    about = Content(moments, moments.all, Names("x")).as_json()
    assert about["examples"] == {"a": [], "b": []}
    assert "warning: the page has no examples of A" in capsys.readouterr().err
    assert Content(moments, moments.all, Names("x"), examples=0).as_json()["examples"] == {"a": [], "b": []}
    assert capsys.readouterr().err == ""
