"""index.html: it says how the run stands in every state, holds no foreign text unescaped, and stops nothing."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import WatchedRun, stats, tiny, train

from progcycle.data import LoaderError
from progcycle.engine import page
from progcycle.engine.build import build
from progcycle.engine.description import RunDescription, picture_counts
from progcycle.engine.page import SHOWN, Figures, render
from progcycle.engine.train import train_run
from progcycle.errors import UserError
from progcycle.recipe import Schedule
from progcycle.schedule import GrowthSchedule

VOID = {"meta", "img", "input", "br", "link"}


class Parsed(HTMLParser):
    """Tags with their attributes, the text by tag, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(text.split()) for tag, text in self.texts if tag not in ("style", "script"))

    @property
    def data(self) -> Any:
        (text,) = [text for tag, text in self.texts if tag == "script" and text.startswith("{")]
        return json.loads(text)


def read(run: Path) -> Parsed:
    return Parsed((run / "index.html").read_text(encoding="utf-8"))


def state(parsed: Parsed) -> str | None:
    (body,) = parsed.of("body")
    return body["data-state"]


def show(run: Path, **changes: Any) -> Parsed:
    """A page made of little."""
    figures = Figures(run / "stats.jsonl")
    figures.update()
    about = RunDescription("cyclegan", {}, [("Device", "cpu")], "task: cyclegan", [])
    about = replace(about, **{key: changes.pop(key) for key in tuple(changes) if hasattr(about, key)})
    options: dict[str, Any] = {"nimg": 3000, "state": "training", "message": "", "left": 4080.0, **changes}
    schedule = GrowthSchedule(Schedule.model_validate({"stable_kimg": 2, "fade_kimg": 2}), 4, 8)
    return Parsed(render(run, schedule, about, figures, **options))


def _parameters(parsed: Parsed) -> int:
    (found,) = re.findall(r"([\d,]+) parameters in", parsed.words)
    return int(found.replace(",", ""))


def test_pictures_are_counted_by_what_is_done_with_them() -> None:
    sets = {"train": {"a": range(1200), "b": range(3)}, "test": {"a": range(7)}, "validate": {"a": range(18)}}
    assert picture_counts("a", sets) == "1,200 to train, 7 to test, 18 to validate"
    assert picture_counts("b", sets) == "3 to train"


class TestOfARun:
    def test_finished(self, pictures: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        train(tiny("cyclegan", pictures, {"training": {"sample_kimg": 0.04}}), run)
        parsed = read(run)
        assert state(parsed) == "finished"
        assert parsed.data["samples"] == [0, 40, 80, 88]
        assert parsed.data["phases"] == [[0, 16, 4], [16, 32, 8], [32, 48, 8], [48, 64, 16], [64, 88, 16]]
        sources = [str(image["src"]).partition("?")[0] for image in parsed.of("img")]
        assert sources == ["samples/nimg-000000000088.png", "curves.png", "plan.png"]
        assert all((run / source).exists() for source in sources)
        last = stats(run)[-1]
        assert f"loss/generator {last['loss/generator']:.4g}" in parsed.words
        for words in ("0.088/0.088 kimg", "precision", "resolution: 16", "float32", "11 to train, 3 to test", "torch"):
            assert words.lower() in parsed.words.lower()
        assert f"progcycle translate {run} {pictures / 'testA'} {run / 'translated'} --direction ab" in parsed.words
        assert not parsed.of("noscript"), "a page that is not written any more need not refresh"

    def test_while_it_trains_and_after_it_died(self, pictures: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        seen: list[Parsed] = []
        networks = build(tiny("pggan", pictures)).task.networks.values()
        count = sum(parameter.numel() for network in networks for parameter in network.parameters())

        def look(training: WatchedRun, _: Any) -> None:
            seen.append(read(run))

        with pytest.raises(SystemExit):
            train(tiny("pggan", pictures), run, on_step=lambda t, g: look(t, g) if t.trainer.step < 9 else exit(3))
        assert {state(parsed) for parsed in seen} == {"training"}
        assert {_parameters(parsed) for parsed in seen} == {count}, "whosever turn it is"
        assert seen[0].data["samples"] == [0]
        assert " left" in seen[8].words
        assert seen[8].of("noscript")
        parsed = read(run)
        assert state(parsed) == "failed"
        assert "SystemExit: 3" in parsed.words
        train(tiny("pggan", pictures), run)
        assert state(read(run)) == "finished"

    @pytest.mark.parametrize("kind", [UserError, LoaderError])
    def test_a_sentence_ends_it(self, kind: type[UserError], pictures: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"

        def fail(training: WatchedRun, _: Any) -> None:
            if training.trainer.step == 4:
                raise kind("The disk is <b>full</b>.")

        with pytest.raises(kind):
            train(tiny("pggan", pictures), run, on_step=fail)
        parsed = read(run)
        assert state(parsed) == "failed"
        assert "The disk is <b>full</b>." in parsed.words
        assert "Error:" not in parsed.words

    def test_finished_before(self, pictures: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        train(tiny("pggan", pictures), run)
        (run / "index.html").unlink()
        train(tiny("pggan", pictures), run)
        assert state(read(run)) == "finished"

    def test_that_cannot_be_written_is_told_once(
        self, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "run/index.html").mkdir(parents=True)
        training = train(tiny("pggan", pictures), tmp_path / "run")
        assert training.trainer.nimg == training.schedule.total
        warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: index.html")]
        assert len(warnings) == 1

    def test_its_cost_is_not_counted_and_small(
        self, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        running: list[bool] = []
        training = WatchedRun(tiny("pggan", pictures), tmp_path / "run")
        honest = training.page.write

        def write(*arguments: Any) -> None:
            running.append(training.clock._since is not None)
            honest(*arguments)

        monkeypatch.setattr(training.page, "write", write)
        train_run(training)
        assert len(running) > 5
        assert not any(running)


def test_untrusted_texts_are_escaped(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    run = tmp_path / "<img src=x onerror=alert(3)>"
    (run / "samples").mkdir(parents=True)
    (run / "samples/nimg-000000000000.png").touch()
    (run / "samples/nimg-0000\"onerror='alert(4)'.png").touch()
    line = {"nimg": 3, "resolution": evil, f"loss/{evil}": 1.0, f"alarm/{evil}": 1, "images_per_s": 2.0}
    (run / "stats.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps({**line, f'metric/{evil}': 0.5})}\n")
    before = show(run)
    after = show(run, message=evil, what=evil, facts=[(evil, evil)], recipe=evil, next_commands=[(evil, evil)])
    tags = [tag for tag, _ in after.tags]
    assert tags.count("script") == 2
    assert tags.count("img") == 1
    assert [tag for tag, _ in before.tags if tag == "img"] == ["img"]
    assert not any(name.startswith("on") for _, attributes in after.tags for name in attributes)
    assert after.words.count("alert(1)") > 8
    assert after.data["samples"] == [0]


def test_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    text = (Path(page.__file__).parent / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"(https?:)?//[a-z]", text)
    assert "fetch(" not in text


def test_thousands_of_samples_and_evaluations_stay_small(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    for i in range(3000):
        (run / f"samples/nimg-{1000 * i:012d}.png").touch()
    lines = [{"nimg": i, "resolution": 8, "metric/swd": i / 7, "metric/kid": 0.1} for i in range(3000)]
    (run / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    parsed = show(run, nimg=2_999_000)
    assert len(parsed.data["samples"]) == 3000
    assert parsed.words.count("2.999") == 1  # kimg of the newest evaluation
    assert f"{3000 - SHOWN} earlier ones" in parsed.words
    figures = Figures(run / "stats.jsonl")
    figures.update()
    schedule = GrowthSchedule(Schedule(), 4, 8)
    nothing = RunDescription("", {}, [], "", [])
    page_of = render(run, schedule, nothing, figures, nimg=2_999_000, state="training", message="", left=None)
    assert len(page_of) < 50_000


def test_sheets_of_pictures_that_are_not_shown_yet_are_left_out(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    for nimg in (0, 2000, 3000, 4000):  # the last one is of a run that was killed after its checkpoint
        (run / f"samples/nimg-{nimg:012d}.png").touch()
    parsed = show(run, nimg=3000)
    assert parsed.data["samples"] == [0, 2000, 3000]
    assert parsed.of("img")[0]["src"] == "samples/nimg-000000003000.png"


def test_figures_are_read_on_and_anew_after_a_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stats.jsonl"
    figures = Figures(path)
    figures.update()
    assert (figures.newest, figures.evaluations) == ({}, [])
    path.write_text(
        '{"nimg": 1, "x": 2.0}\n{"nimg": 1, "resolution": 8, "metric/swd": 3.0}\nno json\n[1]\n{"nimg": 2, "x"'
    )
    figures.update()
    assert figures.newest == {"nimg": 1, "x": 2.0}
    assert figures.evaluations == [{"nimg": 1, "resolution": 8, "figures": {"swd": 3.0}}]
    with path.open("a") as file:
        file.write(': 5.0}\n{"nimg": 3, "metric/swd": 1.0, "metric/kid": 2.0}\n')
    figures.update()
    assert figures.newest == {"nimg": 2, "x": 5.0}
    assert [row["nimg"] for row in figures.evaluations] == [1, 3]
    path.write_text('{"nimg": 1, "x": 2.0}\n')
    figures.update()
    assert figures.newest == {"nimg": 1, "x": 2.0}
    assert figures.evaluations == []


def test_states(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "stats.jsonl").write_text(
        '{"nimg": 3000, "images_per_s": 210.0, "memory_gb": 1.2, "alarm/copy/gen_ab": 1}\n'
    )
    parsed = show(run)
    assert (
        "3.00/6.00 kimg, 8 px, alpha 0.50, 210 pictures a second, 1 h 8 min left, 1.2 GB of memory at most"
        in parsed.words
    )
    assert "Alarm: copy/gen_ab" in parsed.words
    assert "None yet." in parsed.words
    assert parsed.of("progress")[0]["value"] == "50"
    parsed = show(run, state="stopped", message="stopped by SIGTERM", left=None)
    assert state(parsed) == "stopped"
    assert "left" not in parsed.words
    assert "refreshes itself" not in parsed.words
    (run / "pretraining").mkdir()
    assert not any(link.get("href") == "pretraining/index.html" for link in show(run).of("a"))
    (run / "pretraining/index.html").touch()
    assert any(link.get("href") == "pretraining/index.html" for link in show(run).of("a"))
