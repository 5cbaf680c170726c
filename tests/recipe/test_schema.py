"""The keys of a recipe: what is refused and how, what never raises anything else."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from progcycle.recipe import RECIPES, PgganRecipe, RecipeError, by_resolution, load_recipe, merge, on_curve, validate

PGGAN: dict[str, Any] = {"task": "pggan", "resolution": 32, "data": {"path": "pictures"}}
CYCLEGAN: dict[str, Any] = {"task": "cyclegan", "resolution": 32, "data": {"root": "pictures"}}
STDDEV = "network.discriminator.minibatch_stddev.group: must be a number of pictures, 0 for off, or batch, got '{}'."
AVERAGING = (
    "network.discriminator.minibatch_stddev.averaging: must be all, flat, spatial, none, gpool, or "
    "groupK with a number K"
)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        # unknown keys
        ({"sead": 3}, "recipe: sead: unknown key, did you mean seed?"),
        ({"objective": {"r1": {"gama": 3}}}, "objective.r1.gama: unknown key, did you mean gamma?"),
        ({"schedule": {"fade": 1}}, "schedule.fade: unknown key, "),
        (
            {"network": {"generator": {"residual_blocks": 2}}},
            "network.generator.residual_blocks: unknown key, known keys here are channels",
        ),
        ({1: 2}, "1: keys should be strings"),
        ({"bad\nkey": 2}, "bad key: unknown key"),
        # wrong types
        ({"seed": "7"}, "seed: input should be a valid integer (got '7')"),
        ({"seed": True}, "seed: input should be a valid integer (got 'True')"),
        ({"seed": 1.5}, "seed: input should be a valid integer (got '1.5')"),
        ({"schedule": {"batch_size": "many"}}, "schedule.batch_size.default: input should be a valid integer"),
        ({"schedule": {"batch_size": True}}, "schedule.batch_size.default: input should be a valid integer"),
        ({"data": {"mirror": "perhaps"}}, "data.mirror: input should be a valid boolean (got 'perhaps')"),
        ({"data": {"mirror": 1}}, "data.mirror: input should be a valid boolean"),
        ({"network": 5}, "network: this is a section of keys and values, got a number"),
        ({"network": None}, "network: this is a section of keys and values, got empty"),
        ({"data": {"augment": [{"p": 1}]}}, "data.augment.0.name: this key is missing"),
        ({"optimizer": {"generator": {"betas": [0]}}}, "optimizer.generator.betas.1: this key is missing"),
        # wrong values
        ({"seed": -1}, "seed: input should be greater than or equal to 0 (got '-1')"),
        ({"resolution": 48}, "network.base_resolution: 4 px doubled again and again never become the resolution 48; "),
        ({"resolution": 2048}, "resolution: input should be less than or equal to 1024"),
        ({"resolution": 2}, "resolution: input should be greater than or equal to 4"),
        ({"network": {"base_resolution": 6}}, "network.base_resolution: 6 px doubled again and again never become"),
        (
            {"schedule": {"start_resolution": 12}},
            "schedule.start_resolution: 12 is none of the resolutions that",
        ),
        ({"schedule": {"batch_size": {2: 3}}}, "schedule.batch_size.2: keys here are resolutions"),
        ({"schedule": {"batch_size": {100: 3, 4: 1}}}, "there is no 100; did you mean 64 or 128?"),
        ({"schedule": {"batch_size": {"defualt": 3}}}, "schedule.batch_size.defualt: keys here are resolutions"),
        ({"schedule": {"batch_size": {"default": 0}}}, "schedule.batch_size.default: input should be greater than"),
        ({"schedule": {"fade_kimg": -1}}, "schedule.fade_kimg.default: input should be greater than or equal to 0"),
        ({"schedule": {"stable_kimg": float("inf")}}, "schedule.stable_kimg.default: input should be a finite number"),
        ({"optimizer": {"generator": {"lr": float("nan")}}}, "optimizer.generator.lr: input should be a finite number"),
        ({"optimizer": {"generator": {"betas": [0, 1]}}}, "optimizer.generator.betas.1: input should be less than 1"),
        ({"data": {"path": []}}, "data.path: value should have at least 1 item"),
        ({"data": {"channels": 65}}, "data.channels: input should be less than or equal to 64"),
        ({"data": {"bits": 12}}, "data.bits: input should be 8, 16 or 'float'"),
        ({"data": {"window": [3, 3]}}, "data.window: the range must rise, got [3.0, 3.0]"),
        ({"data": {"window": {"percentiles": [0, 101]}}}, "data.window: percentiles must rise within 0 and 100"),
        ({"training": {"ema": {"per_step": 0.9, "half_life_kimg": 1}}}, "give half_life_kimg or per_step, not both"),
        # variation and normalization
        ({"network": {"discriminator": {"minibatch_stddev": -1}}}, STDDEV.format("-1")),
        ({"network": {"discriminator": {"minibatch_stddev": 2.5}}}, STDDEV.format("2.5")),
        ({"network": {"discriminator": {"minibatch_stddev": True}}}, STDDEV.format("True")),
        ({"network": {"discriminator": {"minibatch_stddev": "half"}}}, STDDEV.format("half")),
        ({"network": {"discriminator": {"minibatch_stddev": {"group": [4]}}}}, STDDEV.format("[4]")),
        (
            {"network": {"discriminator": {"minibatch_stddev": None}}},
            "network.discriminator.minibatch_stddev: this is a section of keys and values",
        ),
        (
            {"network": {"discriminator": {"minibatch_stddev": [4]}}},
            "network.discriminator.minibatch_stddev: this is a section of keys and values",
        ),
        (
            {"network": {"discriminator": {"minibatch_stddev": {"grup": 4}}}},
            "network.discriminator.minibatch_stddev.grup: unknown key, did you mean group",
        ),
        ({"network": {"discriminator": {"minibatch_stddev": {"averaging": "group"}}}}, AVERAGING),
        ({"network": {"discriminator": {"minibatch_stddev": {"averaging": "group0"}}}}, AVERAGING),
        ({"network": {"discriminator": {"minibatch_stddev": {"averaging": "mean"}}}}, AVERAGING),
        (
            {"network": {"discriminator": {"minibatch_stddev": {"group": 0, "averaging": "flat"}}}},
            "network.discriminator.minibatch_stddev: averaging belongs to a statistic, which is "
            "off with group: 0; leave it out.",
        ),
        (
            {"network": {"discriminator": {"minibatch_stddev": {"group": False, "gather": True}}}},
            "network.discriminator.minibatch_stddev: gather belongs to a statistic, which is "
            "off with group: 0; leave it out.",
        ),
        (
            {"objective": {"classes": {"real": 2}}},
            "recipe: objective.classes are weights of the classes of data.labels; give labels, or leave it out.",
        ),
        (
            {"network": {"discriminator": {"minibatch_stddev": {"queue": -1}}}},
            "network.discriminator.minibatch_stddev.queue: input should be greater",
        ),
        (
            {"network": {"discriminator": {"minibatch_stddev": {"queue": 3}}}},
            "network.discriminator.minibatch_stddev: queue compares the whole batch with "
            "earlier pictures, as one group; set",
        ),
        (
            {"network": {"discriminator": {"minibatch_stddev": {"group": 0, "queue": 3}}}},
            "network.discriminator.minibatch_stddev: queue compares the whole batch with "
            "earlier pictures, as one group; set",
        ),
        (
            {"network": {"discriminator": {"minibatch_stddev": {"group": "batch", "queue": 3, "gather": True}}}},
            "network.discriminator.minibatch_stddev: queue holds earlier pictures of its own "
            "process, and gather joins all; choose",
        ),
        (
            {"network": {"discriminator": {"minibatch_discrimination": {}, "minibatch_stddev": 4}}},
            "network.discriminator: minibatch_discrimination takes the place of "
            "minibatch_stddev; set minibatch_stddev: 0.",
        ),
        (
            {"network": {"discriminator": {"minibatch_discrimination": 100}}},
            "network.discriminator.minibatch_discrimination: this is a section of keys",
        ),
        (
            {"network": {"discriminator": {"minibatch_stddev": 0, "minibatch_discrimination": {"init_pictures": 1}}}},
            "network.discriminator.minibatch_discrimination.init_pictures: input should be greater than or equal to 2",
        ),
        (
            {"network": {"generator": {"normalization": "spectral"}}},
            "network.generator.normalization: input should be 'pixel', 'batch', 'instance', 'layer' or 'none'",
        ),
        (
            {"network": {"epsilon": 0}},
            "network.epsilon: input should be greater than 0",
        ),
        ({"network": {"slope": 1}}, "network.slope: input should be less than 1"),
        ({"network": {"convs": 3}}, "network.convs: input should be 1 or 2 (got '3')"),
        (
            {"network": {"generator": {"rgb_kernel": 2}}},
            "network.generator.rgb_kernel: input should be 1 or 3 (got '2')",
        ),
        # the game
        ({"objective": {"n_critic": 0}}, "objective.n_critic: input should be greater than or equal to 1"),
        (
            {"objective": {"n_critic": 5, "simultaneous": True}},
            "objective: simultaneous updates go with n_critic: 1.",
        ),
        ({"objective": {"noise": "prop"}}, "objective.noise: this is a section of keys and values, got text"),
        ({"objective": {"noise": {"mode": "add"}}}, "objective.noise.mode: input should be 'prop', 'mul' or 'drop'"),
        ({"objective": {"noise": {"signal": "g_loss"}}}, "objective.noise.signal: input should be 'real', 'fake' or"),
        ({"objective": {"noise": {"momentum": 1}}}, "objective.noise.momentum: input should be less than 1"),
        ({"objective": {"lsgan_fake_factor": 0}}, "objective.lsgan_fake_factor: input should be greater than 0"),
        (
            {"objective": {"classes": {"real": -1}}},
            "objective.classes.real: input should be greater than or equal to 0",
        ),
        # labels, growth, evaluation
        ({"data": {"labels": ["folders"]}}, "data.labels: input should be a valid string"),
        ({"schedule": {"hold_resolution": 12}}, "schedule.hold_resolution: 12 is none of the resolutions that double"),
        (
            {"training": {"evaluation": {"metrics": []}}},
            "training.evaluation.metrics: value should have at least 1 item",
        ),
        (
            {"training": {"evaluation": {"every_kimg": 0}}},
            "training.evaluation.every_kimg: input should be greater than",
        ),
        (
            {"training": {"evaluation": {"count": 1}}},
            "training.evaluation.count: input should be greater than or equal",
        ),
        # the task
        ({"task": "stylegan"}, f"task: must be one of {', '.join(RECIPES)}, got 'stylegan'"),
        ({"task": None}, f"task: must be one of {', '.join(RECIPES)}, got None"),
        ({"task": ["pggan"]}, "task: must be one of"),
    ],
)
def test_bad_recipes_are_refused_in_one_line(change: dict[Any, Any], sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        validate(merge(PGGAN, change))
    message = str(caught.value)
    assert sentence in message
    assert "\n" not in message
    assert message.endswith("?" if "did you mean" in message else ".")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data": {"root": "y", "a": {"path": "x"}}}, "data: give either root or a.path and b.path, not both"),
        ({"data": {"root": None}}, "data: give root (a folder with trainA and trainB), or both a.path and b.path"),
        ({"data": {"root": None, "a": {"path": "x"}}}, "data: give root"),
        (
            {"objective": {"cycle": {"aba": [[5, 1], [2, 3]]}}},
            "objective.cycle.aba: the points [kimg, value] of a curve",
        ),
        ({"objective": {"cycle": {"aba": [1, 2]}}}, "objective.cycle.aba.0: input should be a valid list"),
        ({"objective": {"cycle": {"aba": []}}}, "objective.cycle.aba: list should have at least 1 item"),
        ({"objective": {"cycle": {"aba": -1}}}, "objective.cycle.aba.0.1: input should be greater than or equal to 0"),
        ({"objective": {"cycle": 3}}, "objective.cycle: this is a section of keys and values"),
        ({"objective": {"cycle": {"scales": 0}}}, "objective.cycle.scales: input should be greater than or equal to 1"),
        (
            {"objective": {"cycle": {"through": "jpeg"}}},
            "objective.cycle.through: input should be 'picture', 'rounded'",
        ),
        (
            {"objective": {"cycle": {"through": "blurred", "noise_std": 0.1}}},
            "objective.cycle: noise_std belongs to through: noisy, not to blurred; leave it out.",
        ),
        (
            {"objective": {"palette": {"queue": 8}}},
            "objective.palette: queue is of a loss without weight; give a or b one, or leave it out.",
        ),
        ({"objective": {"cycle": {"detach": ["ab"]}}}, "objective.cycle.detach.0: input should be 'aba' or 'bab'"),
        ({"objective": {"cycle": {"detach": ["bab", "bab"]}}}, "objective.cycle: detach names a way round twice."),
        (
            {"objective": {"cycle": {"bab": 0, "detach": ["bab"]}}},
            "objective.cycle: detach names bab, whose weight is 0, so that nobody learns from it; leave it out.",
        ),
        ({"objective": {"classes": {"real": 1}}}, "objective.classes: unknown key"),
        ({"objective": {"simultaneous": True}}, "objective: simultaneous changes nothing here, since discriminators"),
        ({"network": {"convs": 1}}, "network.convs: unknown key"),
        (
            {"network": {"generator": {"smooth": "mean"}}},
            "network.generator.smooth: must be true, false or mean_preserving, got 'mean'.",
        ),
        (
            {"network": {"generator": {"bounded": 1}}},
            "network.generator.bounded: must be true, false or inward, got '1'.",
        ),
        (
            {"network": {"generator": {"bounded": {"ba": "yes"}}}},
            "network.generator.bounded.ba: must be true, false or inward, got 'yes'.",
        ),
        ({"network": {"generator": {"bounded": {"a": True}}}}, "network.generator.bounded.a: unknown key"),
        (
            {"network": {"rgb": "features", "channels": {"decay": 0}, "generator": {"smooth": "mean_preserving"}}},
            "rgb: features enlarges features, not pictures with their means; set smooth: true or false",
        ),
        (
            {"network": {"discriminator": {"name": "patchgan", "layers": 0, "downsampling": "blurred"}}},
            "network.discriminator: downsampling is of layers that halve the size, and layers is 0; leave",
        ),
        ({"network": {"fused_scale": True}}, "network.fused_scale: unknown key"),
        ({"data": {"labels": "folders"}}, "data.labels: unknown key"),
    ],
)
def test_bad_cyclegan_recipes(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        validate(merge(CYCLEGAN, change))
    assert sentence in str(caught.value)


def test_what_a_refused_key_is_told_to_add_is_enough() -> None:
    validate(merge(PGGAN, {"data": {"labels": "folders"}, "objective": {"classes": {"real": 2}}}))
    validate(merge(PGGAN, {"objective": {"classes": {"real": 1}}}))  # as it is anyway
    blended = {"rgb": "features", "channels": {"decay": 0}}
    validate(merge(CYCLEGAN, {"network": {**blended, "generator": {"smooth": True}}}))
    with pytest.raises(RecipeError, match="rgb: features needs to_rgb layers of a single place: rgb_kernel: 1, not 3"):
        validate(merge(PGGAN, {"network": {**blended, "generator": {"rgb_kernel": 3}}}))
    validate(merge(PGGAN, {"network": {**blended, "generator": {"rgb_kernel": 1}}}))


def test_every_wrong_key_is_named_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        validate({**PGGAN, "seed": -1, "resolution": 3})
    assert "seed: " in str(caught.value)
    assert "resolution: " in str(caught.value)


def test_recipes_are_frozen() -> None:
    recipe = validate(PGGAN)
    with pytest.raises(ValidationError):
        recipe.seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        recipe.schedule.total_kimg = 3  # type: ignore[misc]


def test_defaults_are_the_papers() -> None:
    recipe = validate(PGGAN)
    assert isinstance(recipe, PgganRecipe)
    assert recipe.objective.loss == "wgan"
    assert recipe.objective.gradient_penalty is not None
    assert (recipe.objective.gradient_penalty.weight, recipe.objective.gradient_penalty.target) == (10, 1)
    assert recipe.objective.drift == 1e-3
    assert (recipe.optimizer.generator.lr, recipe.optimizer.generator.betas) == (1e-3, (0, 0.99))


def test_short_forms() -> None:
    recipe = validate(merge(PGGAN, {"schedule": {"batch_size": 8}, "training": {"trackers": "tensorboard"}}))
    assert recipe.schedule.batch_size == {"default": 8}
    assert recipe.training.trackers == ("tensorboard",)
    assert recipe.data.path == ("pictures",)
    assert validate(merge(PGGAN, {"data": {"load_resolution": 286}})).data.load_resolution == 286
    native = validate(merge(PGGAN, {"data": {"load_resolution": "native"}}))
    assert (native.data.load_resolution, native.data.fit) == ("native", "random_crop")
    assert validate(native.model_dump(mode="json")) == native
    cycle = validate(merge(CYCLEGAN, {"objective": {"cycle": {"aba": 3}}})).objective.cycle
    assert (cycle.aba, cycle.bab) == (((0, 3),), ((0, 10),))


@pytest.mark.parametrize(
    ("task", "written", "group", "averaging"),
    [
        (PGGAN, 16, 16, "all"),
        (PGGAN, 0, 0, "all"),
        (PGGAN, False, 0, "all"),
        (PGGAN, "batch", "batch", "all"),
        (PGGAN, {"averaging": "spatial"}, 4, "spatial"),
        (PGGAN, {"group": "batch", "averaging": "group32", "gather": True}, "batch", "group32"),
        (PGGAN, {"group": False}, 0, "all"),
        (CYCLEGAN, "batch", "batch", "all"),
        (CYCLEGAN, {"averaging": "spatial"}, 4, "spatial"),
    ],
)
def test_forms_of_the_stddev_layer(task: dict[str, Any], written: Any, group: Any, averaging: str) -> None:
    stddev = validate(
        merge(task, {"network": {"discriminator": {"minibatch_stddev": written}}})
    ).network.discriminator.minibatch_stddev
    assert (stddev.group, stddev.averaging) == (group, averaging)
    assert stddev.gather is (isinstance(written, dict) and "gather" in written)


def test_what_new_keys_are_unless_written() -> None:
    """A recipe that names none of them is the paper's run: nothing on that the paper has not."""
    recipe = validate(PGGAN)
    assert isinstance(recipe, PgganRecipe)
    network, objective = recipe.network, recipe.objective
    assert (
        network.generator.equalized,
        network.generator.slope,
        network.generator.convs,
        network.generator.rgb_kernel,
    ) == (True, 0.2, 2, 1)
    assert (network.generator.tanh, network.generator.fused_scale, network.discriminator.minibatch_discrimination) == (
        False,
        False,
        None,
    )
    for options, kind in ((network.generator, "pixel"), (network.discriminator, "none")):
        assert (options.normalization, options.epsilon) == (kind, 1e-8)
    assert (objective.n_critic, objective.simultaneous, objective.noise) == (1, False, None)
    assert (objective.lsgan_factor, objective.lsgan_fake_factor) == (1, 1)
    assert (recipe.schedule.hold_resolution, recipe.schedule.fade_reals) == (None, True)
    assert (recipe.data.labels, recipe.training.evaluation) == (None, None)


def test_noise_as_the_paper_has_it() -> None:
    recipe = validate(merge(PGGAN, {"objective": {"loss": "lsgan", "noise": {}}}))
    assert recipe.objective.noise is not None
    assert recipe.objective.noise.model_dump() == {
        "mode": "prop",
        "signal": "real",
        "gain": 0.2,
        "limit": 0.5,
        "exponent": 2,
        "momentum": 0.9,
    }


def test_by_resolution() -> None:
    assert [by_resolution({"default": 16, 256: 14}, r) for r in (4, 256)] == [16, 14]
    with pytest.raises(RecipeError, match="no value for 8 px and no default"):
        by_resolution({4: 1}, 8)


@pytest.mark.parametrize(
    ("kimg", "value"), [(0, 10), (5, 10), (10, 10), (15, 6), (20, 2), (25, 2), (29.999, 2), (30, 8), (35, 7), (99, 6)]
)
def test_curves_are_straight_between_points_flat_outside_and_may_jump(kimg: float, value: float) -> None:
    assert on_curve([(10, 10), (20, 2), (30, 2), (30, 8), (40, 6)], kimg) == pytest.approx(value)


def test_no_is_a_precision_though_yaml_reads_it_as_false(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("task: pggan\nresolution: 32\ndata: {path: pictures}\ntraining: {precision: no}\n")
    assert load_recipe(path).training.precision == "no"
    assert load_recipe(path, ["training.precision=no"]).training.precision == "no"
    with pytest.raises(RecipeError, match=r"training\.precision: .*got 'True'"):
        load_recipe(path, ["training.precision=yes"])


@pytest.mark.parametrize("value", ["big", 3, 20_000, 2.5, True])
def test_what_pictures_cannot_be_loaded_at(value):
    with pytest.raises(RecipeError, match=r"load_resolution: must be a whole number of pixels from 4 to 16384, or"):
        validate(merge(PGGAN, {"data": {"load_resolution": value}}))


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_pictures_of_their_own_size_become_no_squares(fit):
    with pytest.raises(RecipeError, match=f"fit: {fit} would do nothing; leave it out"):
        validate(merge(PGGAN, {"data": {"load_resolution": "native", "fit": fit}}))
