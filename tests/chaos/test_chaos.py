"""The short form of kill_runs.py: a few runs of every kind that it plays."""

from pathlib import Path

from kill_runs import differences, play
from tiny_runs import stats


def test_killed_runs_go_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    tally = play(tmp_path, times=3, seed=1)
    assert tally.lost == []
    assert tally.runs == 3
    assert tally.writing == 1
    assert tally.kills >= 1


def test_what_differs_is_seen(tmp_path: Path) -> None:
    for name in ("whole", "run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stats.jsonl").write_text('{"nimg": 4, "seconds": 1}\n')
        (tmp_path / name / "weights").write_bytes(b"1")
    whole, run = tmp_path / "whole", tmp_path / "run"
    (run / "stats.jsonl").write_text('{"nimg": 4, "seconds": 2}\n')
    assert stats(run) == stats(whole)
    assert differences(run, whole) == []
    (run / "stats.jsonl").write_text('{"nimg": 8, "seconds": 1}\n')
    (run / "weights").write_bytes(b"2")
    (run / "torn.tmp").touch()
    assert differences(run, whole) == ["torn.tmp: only in one of them", "stats.jsonl: differs", "weights: differs"]
