"""What the soak makes of courses of figures; the soak itself takes 25 minutes."""

import os

import pytest
from soak import growth, judge, look, quarters


def test_growth_is_that_of_the_second_half() -> None:
    assert growth([5.0] * 50 + [100 + i for i in range(51)]) == pytest.approx(0.5)
    assert growth([100.0 + i for i in range(50)] + [200.0] * 50) == pytest.approx(0)


def test_quarters_are_medians_of_the_last_two() -> None:
    assert quarters([9, 9, 9, 9, 1, 7, 2, 3]) == (4, 2.5)


@pytest.mark.parametrize(
    ("memory", "files", "speed", "good"),
    [(1.01, 0, 1.0, True), (1.04, 0, 1.0, False), (1.0, 1, 1.0, False), (1.0, 0, 0.8, False)],
)
def test_growing_memory_open_files_and_lost_speed_are_not_good(
    memory: float, files: int, speed: float, good: bool
) -> None:
    course = {
        "memory": [100.0] * 50 + [100 * (1 + (memory - 1) * i / 50) for i in range(50)],
        "files": [8.0] * 75 + [8.0 + files] * 25,
    }
    assert judge(course, {"nimg": [1000], "cpu": [10.0] * 12 + [10 * speed] * 4})["good"] is good


def test_a_process_is_seen() -> None:
    if not os.path.exists("/proc/self/status"):
        pytest.skip("there is no /proc")
    memory, files = look(os.getpid())
    with open(__file__):
        assert look(os.getpid())[1] == files + 1
    assert memory > 10
