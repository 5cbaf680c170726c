"""Each option of the translation objective trains by itself, and a run with queues of features resumes bit for bit."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tiny_runs import checkpoint_content, stats, tiny, train

from progcycle.recipe import merge

PLAIN: dict[Any, Any] = {
    "network": {"generator": {"predict": "picture"}, "discriminator": {"minibatch_stddev": "batch"}},
    "objective": {"loss": "lsgan", "r1": None, "pool_size": 0, "identity": {"a": 0, "b": 0}},
    "training": {"status_kimg": 0.004},
}
# The option, and the first of two steps whose loss it changes, of the generators or else of the discriminators.
OPTIONS: dict[str, tuple[dict[Any, Any], int, str]] = {
    "queue": (
        {"network": {"discriminator": {"minibatch_stddev": {"group": "batch", "queue": 3}}}},
        1,
        "loss/generator",
    ),
    "scales": ({"objective": {"cycle": {"scales": 3}}}, 0, "cycle/aba"),
    "rounded": ({"objective": {"cycle": {"through": "rounded"}}}, 0, "cycle/aba"),
    "blurred": ({"objective": {"cycle": {"through": "blurred"}}}, 0, "cycle/aba"),
    "noisy": ({"objective": {"cycle": {"through": "noisy"}}}, 0, "cycle/bab"),
    "cycle curve": ({"objective": {"cycle": {"bab": [[0, 10], [0.004, 5]]}}}, 1, "loss/generator"),
    "identity curve": ({"objective": {"identity": {"b": [[0, 0], [0.004, 1]]}}}, 1, "loss/generator"),
    "lazy r1": ({"objective": {"r1": {"gamma": 1, "every": 2}}}, 0, "loss/discriminator"),
    "lazy r2": ({"objective": {"r2": {"gamma": 1, "every": 2}}}, 0, "loss/discriminator"),
    "relativistic": ({"objective": {"loss": "relativistic"}}, 0, "loss/generator"),
}


@pytest.fixture(scope="module")
def plain(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Figures of two steps without any of them."""
    run = tmp_path_factory.mktemp("plain")
    train(tiny("cyclegan", pictures, PLAIN), run, stop_before=2)
    return stats(run)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_trains_by_itself(name: str, plain: list[dict[str, Any]], pictures: Path, tmp_path: Path) -> None:
    """With finite figures: a run stops otherwise, and the lines could not be read."""
    change, first, figure = OPTIONS[name]
    train(tiny("cyclegan", pictures, merge(PLAIN, change)), tmp_path / "run", stop_before=2)
    lines = stats(tmp_path / "run")
    assert [line["nimg"] for line in lines] == [4, 8]
    assert all(figures in line for line in lines for figures in ("loss/generator", "gradient/disc_a", "cycle/bab"))
    changed = [ours[figure] != theirs[figure] for ours, theirs in zip(lines, plain, strict=True)]
    assert changed.index(True) == first


@pytest.mark.parametrize(
    ("task", "training"),
    [("pggan", {"max_batch_per_device": 1}), ("cyclegan", {"precision": "bf16"})],
)
def test_a_run_with_queues_resumes_bit_for_bit(
    task: str, training: dict[str, Any], pictures: Path, tmp_path: Path
) -> None:
    change = {
        "network": {"discriminator": {"minibatch_stddev": {"group": "batch", "queue": 6}}},
        "training": {"checkpoint_kimg": 0.02, "keep_checkpoints": 99, **training},
    }
    recipe = tiny(task, pictures, change)
    train(recipe, tmp_path / "straight", stop_before=15)
    for stop in (7, 15):  # resumed at 20, in the middle of a fade
        train(recipe, tmp_path / "broken", stop_before=stop)
    sizes = []
    for folder in sorted((tmp_path / "straight" / "checkpoints").iterdir()):
        assert checkpoint_content(tmp_path / "broken" / "checkpoints" / folder.name) == checkpoint_content(folder)
        own = {name: value for name, value in load_file(folder / "rank-0.safetensors").items() if "queue" in name}
        assert {name.split(".")[-1] for name in own} == {"real", "fake"}
        sizes.append({len(value) for value in own.values()})
    assert sizes == [{4}, {6}, {6}], "at 20, 40 and 60 pictures; stages open at 16 and 48, with empty queues"
    assert stats(tmp_path / "broken") == stats(tmp_path / "straight")
