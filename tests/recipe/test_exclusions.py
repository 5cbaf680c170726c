"""Of two keys that exclude each other the one written later counts; both in one place stay an error."""

from pathlib import Path
from typing import Any

import pytest

from progcycle.engine.build import build
from progcycle.recipe import RecipeError, load_recipe, merge, override, validate

TASKS: dict[str, dict[str, Any]] = {
    "pggan": {"task": "pggan", "resolution": 16, "data": {"path": "pictures"}},
    "cyclegan": {"task": "cyclegan", "resolution": 16, "data": {"root": "pictures"}},
}
SMALL: dict[str, Any] = {"network": {"channels": {"base": 32, "max": 8}}}
PATHS = ["data.a.path=summer", "data.b.path=dusk"]
LSGAN = {"loss": "lsgan", "lsgan_factor": 0.5, "lsgan_fake_factor": 0.1, "noise": {}}

GROWS: dict[str, Any] = {
    "network": {
        "base_resolution": 8,
        "rgb": "sum",
        "generator": {"smooth": True, "bounded": True},
        "discriminator": {"minibatch_stddev": 4},
    },
    "schedule": {"start_resolution": 8},
}

# task, what is inherited, overrides, dotted keys and the values that they then have
CASES: list[tuple[str, dict[str, Any], list[str], dict[str, Any]]] = [
    ("cyclegan", {}, PATHS, {"data.root": None, "data.a.path": ("summer",), "data.b.path": ("dusk",)}),
    (
        "cyclegan",
        {},
        [*PATHS, "data.a.test_path=held"],
        {"data.root": None, "data.a.test_path": ("held",), "data.b.test_path": None},
    ),
    (
        "cyclegan",
        {"data": {"root": None, "a": {"path": "x", "test_path": "y", "mirror": True}, "b": {"path": "z"}}},
        ["data.root=mine"],
        {"data.root": "mine", "data.a.path": None, "data.a.test_path": None, "data.a.mirror": True},
    ),
    (
        "cyclegan",
        {"data": {"a": {"fit": "pad"}, "b": {"fit": "pad"}}},
        ["data.b.load_resolution=native"],
        {"data.a.fit": "pad", "data.b.fit": "random_crop", "data.b.load_resolution": "native"},
    ),
    (
        "pggan",
        {"data": {"fit": "pad"}},
        ["data.load_resolution=64"],
        {"data.fit": "pad", "data.load_resolution": 64},
    ),
    (
        "cyclegan",
        GROWS,
        ["network.generator=resnet", "network.discriminator=patchgan", "network.discriminator.layers=1"],
        {
            "network.generator.name": "resnet",
            "network.generator.residual_blocks": 6,
            "network.discriminator.initialization": "normal",
            "network.base_resolution": 16,
            "schedule.start_resolution": None,
        },
    ),
    (
        "cyclegan",
        GROWS,
        ["network.generator=unet", "schedule.start_resolution=16"],
        {
            "network.generator.filters": 64,
            "network.discriminator.rgb": "sum",  # of the discriminators, which still grow
            "network.base_resolution": 8,
            "network.discriminator.minibatch_stddev.group": 4,
        },
    ),
    (
        "cyclegan",
        {**GROWS, "network": {**GROWS["network"], "discriminator": {"head": "dense", "channels": {"max": 4}}}},
        ["network.discriminator=patchgan", "network.discriminator.layers=1", "schedule.start_resolution=16"],
        {
            "network.discriminator.normalization": "instance",
            "network.discriminator.filters": 64,
            "network.generator.bounded": True,
            "network.generator.rgb": "sum",
        },
    ),
    (
        "pggan",
        {"training": {"ema": {"half_life_kimg": 3.0}}},
        ["training.ema.per_step=0.5"],
        {"training.ema.half_life_kimg": None, "training.ema.per_step": 0.5},
    ),
    (
        "pggan",
        {"training": {"ema": {"per_step": 0.5}}},
        ["training.ema.half_life_kimg=3"],
        {"training.ema.half_life_kimg": 3, "training.ema.per_step": None},
    ),
    (
        "cyclegan",
        {"pretraining": {"share": 0.25}},
        ["pretraining.schedule.stable_kimg=3"],
        {"pretraining.share": None, "pretraining.schedule.stable_kimg": {"default": 3}},
    ),
    (
        "cyclegan",
        {"pretraining": {"schedule": {"stable_kimg": 3}}},
        ["pretraining.share=0.25"],
        {"pretraining.share": 0.25, "pretraining.schedule": None},
    ),
    (
        "cyclegan",
        {"pretraining": {"masked": 0.5, "patch": 0.25}},
        ["pretraining.kind=autoencoding"],
        {"pretraining.masked": None, "pretraining.patch": None},
    ),
    (
        "pggan",
        {"network": {"discriminator": {"minibatch_stddev": {"group": 8, "averaging": "flat"}}}},
        ["network.discriminator.minibatch_discrimination.kernels=7"],
        {
            "network.discriminator.minibatch_stddev.group": 0,
            "network.discriminator.minibatch_discrimination.kernels": 7,
        },
    ),
    (
        "pggan",
        {},
        ["network.discriminator.minibatch_discrimination={}"],
        {"network.discriminator.minibatch_stddev.group": 0},
    ),
    (
        "pggan",
        {"network": {"discriminator": {"minibatch_stddev": 0, "minibatch_discrimination": {"kernels": 7}}}},
        ["network.discriminator.minibatch_stddev=8"],
        {"network.discriminator.minibatch_stddev.group": 8, "network.discriminator.minibatch_discrimination": None},
    ),
    (
        "pggan",
        {"network": {"discriminator": {"minibatch_stddev": {"group": "batch", "queue": 5}}}},
        ["network.discriminator.minibatch_stddev.group=8"],
        {"network.discriminator.minibatch_stddev.group": 8, "network.discriminator.minibatch_stddev.queue": 0},
    ),
    (
        "pggan",
        {"network": {"discriminator": {"minibatch_stddev": {"group": "batch", "queue": 5}}}},
        ["network.discriminator.minibatch_stddev.gather=true"],
        {"network.discriminator.minibatch_stddev.queue": 0, "network.discriminator.minibatch_stddev.group": "batch"},
    ),
    (
        "pggan",
        {"network": {"discriminator": {"minibatch_stddev": {"group": "batch", "gather": True}}}},
        ["network.discriminator.minibatch_stddev.queue=5"],
        {"network.discriminator.minibatch_stddev.queue": 5, "network.discriminator.minibatch_stddev.gather": False},
    ),
    (
        "pggan",
        {"network": {"equalized": False, "initialization": "normal"}},
        ["network.equalized=true"],
        {"network.discriminator.initialization": "he", "network.generator.equalized": True},
    ),
    (
        "pggan",
        {"objective": {"loss": "wgan", "gradient_penalty": {}, "drift": 0.5}},
        ["objective.loss=hinge"],
        {"objective.drift": 0, "objective.loss": "hinge"},
    ),
    (
        "pggan",
        {"objective": LSGAN},
        ["objective.loss=non_saturating"],
        {"objective.lsgan_factor": 1, "objective.lsgan_fake_factor": 1, "objective.noise": None},
    ),
    (
        "pggan",
        {"objective": LSGAN},
        ["objective.n_critic=3"],
        {"objective.lsgan_factor": 0.5, "objective.lsgan_fake_factor": 0.1, "objective.n_critic": 3},
    ),
    (
        "pggan",
        {"objective": {"loss": "hinge", "simultaneous": True}},
        ["objective.n_critic=3"],
        {"objective.simultaneous": False, "objective.n_critic": 3},
    ),
    (
        "pggan",
        {"objective": {"loss": "hinge", "n_critic": 3}},
        ["objective.simultaneous=true"],
        {"objective.simultaneous": True, "objective.n_critic": 1},
    ),
    (
        "cyclegan",
        {"objective": {"cycle": {"through": "noisy", "noise_std": 0.5}}},
        ["objective.cycle.through=blurred"],
        {"objective.cycle.through": "blurred", "objective.cycle.noise_std": 0.02},
    ),
]


def value_at(content: Any, key: str) -> Any:
    for name in key.split("."):
        content = content[name]
    return content


def nested(assignments: list[str]) -> dict[str, Any]:
    """The same changes as a file would write them."""
    content: dict[str, Any] = {}
    for assignment in assignments:
        content = override(content, [assignment])
    return content


@pytest.mark.parametrize(("task", "inherited", "changes", "expected"), CASES, ids=lambda v: str(v)[:40])
def test_what_is_written_later_switches_off_what_it_excludes(
    task: str, inherited: dict[str, Any], changes: list[str], expected: dict[str, Any]
) -> None:
    base = merge(merge(TASKS[task], SMALL), inherited)
    build(validate(base))  # what is inherited is a whole recipe
    for content in (override(base, changes), merge(base, nested(changes))):
        recipe = validate(content)
        build(recipe)
        assert {key: value_at(recipe.model_dump(), key) for key in expected} == expected


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"data": {"root": "x", "a": {"path": "y"}, "b": {"path": "z"}}}, "give either root or a.path and b.path"),
        ({"training": {"ema": {"half_life_kimg": 1, "per_step": 0.5}}}, "give half_life_kimg or per_step, not both"),
        ({"pretraining": {"share": 0.5, "schedule": {}}}, "give schedule or share, not both"),
        ({"objective": {"simultaneous": True, "n_critic": 2}}, "simultaneous updates go with n_critic: 1"),
    ],
)
def test_both_in_one_place_are_an_error(written: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        validate(merge(TASKS["cyclegan"], written))


def test_both_on_one_command_line_are_an_error() -> None:
    with pytest.raises(RecipeError, match=r"give either root or a\.path and b\.path, not both"):
        validate(override(TASKS["cyclegan"], [*PATHS, "data.root=mine"]))


def test_one_path_alone_is_told_what_is_missing() -> None:
    with pytest.raises(RecipeError, match=r"both a\.path and b\.path"):
        validate(override(TASKS["cyclegan"], PATHS[:1]))


def test_an_empty_value_excludes_nothing() -> None:
    recipe = validate(override(TASKS["cyclegan"], ["data.a.path=", "data.b.path="]))
    assert recipe.model_dump()["data"]["root"] == "pictures"


def test_the_advice_of_an_unknown_layout_works_when_followed(tmp_path: Path) -> None:
    """Folders with names of their own, as a file's root: the sentence, then what it says."""
    from PIL import Image

    from progcycle.data import resolve_sets
    from progcycle.errors import UserError

    for name in ("summer days", "dusk"):
        (tmp_path / "my pictures" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "my pictures" / name / "0.png")
    root = tmp_path / "my pictures"
    (tmp_path / "r.yaml").write_text(f"task: cyclegan\nresolution: 8\ndata: {{root: {root}}}\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    with pytest.raises(UserError) as caught:
        resolve_sets(recipe.data, resolution=8, seed=0, cache_dir=tmp_path)
    import shlex

    advice = [word.rstrip(".") for word in shlex.split(str(caught.value)) if word.startswith("data.") and "=" in word]
    assert len(advice) == 2
    followed = load_recipe(tmp_path / "r.yaml", advice)
    sets = resolve_sets(followed.data, resolution=8, seed=0, cache_dir=tmp_path)
    assert {domain: len(pictures) for domain, pictures in sets.items()} == {"a": 1, "b": 1}
