import math
import os
from pathlib import Path

import pytest

from progcycle.runtime.cores import CoreUse, cgroup_limit, crowded_cores, local_processes, usable_cores


def test_usable_cores_are_not_more_than_there_are() -> None:
    assert 0 < usable_cores() <= (os.cpu_count() or 1)


def test_the_tightest_limit_of_all_groups_counts(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("1:cpu:/\n0::/user/me\n")
    (tmp_path / "user/me").mkdir(parents=True)
    assert cgroup_limit(tmp_path, own) == math.inf
    (tmp_path / "user/me/cpu.max").write_text("max 100000\n")
    assert cgroup_limit(tmp_path, own) == math.inf
    (tmp_path / "user/cpu.max").write_text("250000 100000\n")
    assert cgroup_limit(tmp_path, own) == 2.5
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert cgroup_limit(tmp_path, own) == 2.5
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("150000\n")
    assert cgroup_limit(tmp_path, own) == 1.5
    assert cgroup_limit(tmp_path / "nowhere", tmp_path / "none") == math.inf


def test_cores_of_others_are_what_this_run_has_not_used() -> None:
    """In 10 s all programs used 16 s, of which two processes of this run used 3 s each."""
    samples = iter([(0.0, 100.0, 1.0), (0.1, 100.0, 1.0), (10.0, 116.0, 4.0)])
    use = CoreUse(lambda: next(samples))
    assert use.of_others() is None, "too soon"
    assert use.of_others(alike=2) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("threads", "processes", "cores", "others", "words"),
    [
        (1, 1, 2.0, 2.0, None),
        (2, 1, 2.0, 0.3, None),
        (2, 1, 2.0, 0.8, "2 threads, but only 1.2 of 2 cores are free"),
        (2, 1, 1.0, 0.0, "2 threads, but only 1.0 of 1 cores are free"),
        (8, 1, 8.0, 4.0, "try OMP_NUM_THREADS=4."),
        (2, 4, 8.0, 4.0, "2 threads in each of 4 processes, but only 4.0 of 8 cores are free"),
        (1, 4, 2.0, 0.0, "start fewer processes."),
        (2, 1, 2.0, 30.0, None),  # of 64 cores, of which this process may use two
    ],
)
def test_more_threads_than_free_cores_are_a_warning(
    threads: int, processes: int, cores: float, others: float, words: str | None
) -> None:
    machine = 64 if others > cores else int(cores)
    lines = crowded_cores(threads, processes, cores, machine, others)
    assert bool(lines) == (words is not None)
    assert words is None or words in lines[0]


def test_processes_of_this_machine() -> None:
    assert local_processes(8, {"LOCAL_WORLD_SIZE": "4"}) == 4
    assert local_processes(8, {}) == 8
    assert local_processes(1, {"LOCAL_WORLD_SIZE": "4"}) == 1
