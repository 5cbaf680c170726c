"""One discriminator, several, or either by domain: what is written, what comes out, and what is laid over it."""

import copy
import pickle
from typing import Any

import pytest
import yaml

from progcycle.networks import DISCRIMINATORS, PatchDiscriminator
from progcycle.networks.classic import PatchDiscriminatorOptions
from progcycle.recipe import Adversarial, Recipe, RecipeError, dump, merge, override, override_with, validate

PATCHES: dict[str, Any] = {"name": "patchgan", "layers": 1}
GROWING: dict[str, Any] = {"name": "progressive", "minibatch_stddev": 2}
BOTH: dict[str, Any] = {"a": "progressive", "b": [PATCHES, {**GROWING, "weight": [[0, 0], [10, 1]], "reduce": 4}]}


def content(discriminator: Any, task: str = "cyclegan", **more: Any) -> dict[str, Any]:
    data = {"path": "x"} if task == "pggan" else {"root": "x"}
    return {"task": task, "resolution": 64, "data": data, "network": {"discriminator": discriminator}, **more}


def described(recipe: Recipe) -> Any:
    """What discriminators there are: names, with what differs from the defaults."""

    def one(options: Any) -> Any:
        own = {k: v for k, v in options.model_dump(exclude_defaults=True).items() if k not in ("name", "channels")}
        return {"name": options.name, **own} if own else options.name

    def some(value: Any) -> Any:
        return [one(each) for each in value] if isinstance(value, tuple) else one(value)

    value = recipe.network.discriminator  # type: ignore[attr-defined]
    return {"a": some(value.a), "b": some(value.b)} if hasattr(value, "a") else some(value)


def test_domains_and_lists_are_read_and_written_again() -> None:
    recipe = validate(content(BOTH))
    assert described(recipe) == {
        "a": "progressive",
        "b": [
            PATCHES,
            {
                "name": "progressive",
                "minibatch_stddev": {"group": 2},
                "weight": ((0.0, 0.0), (10.0, 1.0)),
                "reduce": 4,
            },
        ],
    }
    text = dump(recipe)
    assert validate(yaml.safe_load(text)) == recipe
    assert dump(validate(yaml.safe_load(text))) == text
    assert pickle.loads(pickle.dumps(recipe)) == copy.deepcopy(recipe) == recipe


def test_equal_domains_and_a_list_of_one_are_the_lone_discriminator() -> None:
    lone = validate(content(PATCHES))
    forms: list[Any] = [[PATCHES], {"a": PATCHES, "b": PATCHES}, {"a": [PATCHES], "b": PATCHES}]
    for form in [*forms, {"a": dict(reversed(PATCHES.items())), "b": PATCHES}]:
        assert validate(content(form)) == lone
    assert validate(content({"a": "patchgan", "b": PATCHES})) != lone


def test_a_lone_discriminator_is_written_as_before() -> None:
    """Folders of runs hold such recipes; keys of its own that are not used are not written."""
    written = yaml.safe_load(dump(validate(content("patchgan"))))["network"]["discriminator"]
    assert set(written) == set(PatchDiscriminatorOptions.model_fields)
    own = {**PATCHES, "loss": "hinge", "r1": False, "lr": 0.5}
    written = yaml.safe_load(dump(validate(content(own))))["network"]["discriminator"]
    assert set(written) == {*PatchDiscriminatorOptions.model_fields, "loss", "r1", "lr"}
    assert written["r1"] is False


def test_a_domain_that_is_left_out_has_the_default() -> None:
    assert described(validate(content({"b": "patchgan"}))) == {"a": "progressive", "b": "patchgan"}


def test_keys_for_all_networks_reach_those_that_have_them() -> None:
    more = {"network": {"channels": {"base": 128}, "discriminator": {"a": "progressive", "b": ["patchgan", "pggan"]}}}
    network: Any = validate({**content(None), **more}).network
    assert [options.channels.base for options in (network.discriminator.a, network.discriminator.b[1])] == [128, 128]
    none = {"network": {"channels": {"base": 128}, "discriminator": "patchgan"}}
    with pytest.raises(RecipeError, match=r"not every network here has this option; write network\.generator\.channel"):
        validate({**content(None), **none})


# --- changes ------------------------------------------------------------------------------------------------------

CHANGES: list[tuple[Any, list[str], Any]] = [
    ("progressive", ["b.name=patchgan"], {"a": "progressive", "b": "patchgan"}),
    (GROWING, ["b=patchgan", "b.layers=1"], {"a": {**GROWING, "minibatch_stddev": {"group": 2}}, "b": PATCHES}),
    ("patchgan", ["layers=1"], PATCHES),
    ({"a": "progressive", "b": "patchgan"}, ["=patchgan", "layers=1"], PATCHES),
    ({"a": "progressive", "b": "patchgan"}, ["name=patchgan"], "patchgan"),
    ({"a": "patchgan", "b": PATCHES}, ["weight=2"], {"a": {"name": "patchgan", "weight": ((0.0, 2.0),)},
                                                    "b": {**PATCHES, "weight": ((0.0, 2.0),)}}),
    ("patchgan", ["1.name=patchgan", "1.layers=1"], ["patchgan", PATCHES]),
    ("patchgan", ["b.1=pggan", "b.1.reduce=4"], {"a": "patchgan", "b": ["patchgan", {"name": "pggan", "reduce": 4}]}),
    ([PATCHES, "pggan"], ["0.layers=3", "1.lr=0.5"], ["patchgan", {"name": "pggan", "lr": 0.5}]),
    ([PATCHES, "pggan"], ["1.name=patchgan"], [PATCHES, "patchgan"]),
    ([PATCHES, "pggan"], ["=patchgan"], "patchgan"),
    ([PATCHES, "pggan"], ["=[pggan, patchgan]"], ["pggan", "patchgan"]),
    ({"name": "patchgan", "loss": "lsgan", "lsgan_factor": 0.5}, ["loss=hinge"], {"name": "patchgan", "loss": "hinge"}),
    (["pggan", {"name": "patchgan", "loss": "wgan", "drift": 1.0}], ["1.loss=hinge"],
     ["pggan", {"name": "patchgan", "loss": "hinge"}]),
]  # fmt: skip


@pytest.mark.parametrize(("written", "changes", "expected"), CHANGES)
def test_overrides_reach_every_discriminator_that_they_are_for(written: Any, changes: list[str], expected: Any) -> None:
    keys = [f"network.discriminator{change if change[0] == '=' else f'.{change}'}" for change in changes]
    assert described(validate(override(content(written), keys))) == expected


def test_options_of_one_of_several_follow_its_own_choices() -> None:
    """``minibatch_discrimination`` takes the place of the statistic, there and nowhere else."""
    dense = {"name": "progressive", "head": "dense"}
    changed = override(
        content({"a": GROWING, "b": ["pggan", dense]}), ["network.discriminator.b.1.minibatch_discrimination.kernels=3"]
    )
    discriminator: Any = validate(changed).network.discriminator  # type: ignore[attr-defined]
    groups = [each.minibatch_stddev.group for each in (discriminator.a, *discriminator.b)]
    assert groups == [2, 4, 0]


@pytest.mark.parametrize(
    ("base", "change", "expected"),
    [
        ("progressive", {"b": PATCHES}, {"a": "progressive", "b": PATCHES}),
        ({"a": "patchgan", "b": "pggan"}, {"name": "patchgan"}, "patchgan"),
        ({"b": PATCHES, "a": "pggan"}, {"lr": 0.5}, {"a": {"name": "pggan", "lr": 0.5}, "b": {**PATCHES, "lr": 0.5}}),
        ("pggan", ["patchgan", PATCHES], ["patchgan", PATCHES]),
        ({"b": ["pggan", PATCHES]}, {"b": {1: {"layers": 3}}}, {"a": "progressive", "b": ["pggan", "patchgan"]}),
        (["pggan", PATCHES], {"name": "patchgan"}, "patchgan"),
    ],
)  # fmt: skip
def test_recipes_and_variants_that_extend_one(base: Any, change: Any, expected: Any) -> None:
    assert described(validate(merge(content(base), {"network": {"discriminator": change}}))) == expected
    leaves = {"network.discriminator": change}
    assert described(validate(override_with(content(base), leaves))) == expected, "the same from Python"


def test_another_network_in_one_domain_hands_shared_keys_down() -> None:
    network = {"channels": {"base": 128}, "discriminator": GROWING}
    changed = override({**content(None), "network": network}, ["network.discriminator.b.name=patchgan"])
    recipe: Any = validate(changed)
    assert recipe.network.generator.channels.base == recipe.network.discriminator.a.channels.base == 128
    assert recipe.network.discriminator.b.name == "patchgan"


@pytest.mark.parametrize("several", [["patchgan", PATCHES], {"a": [PATCHES, "patchgan"], "b": ["patchgan", PATCHES]}])
def test_lists_without_growing_networks_hand_shared_keys_down(several: Any) -> None:
    base = {**content(None), "network": {"channels": {"base": 128}, "discriminator": GROWING}}
    for change in ({"network": {"discriminator": several}}, {"network.discriminator": several}):
        merged = merge(base, change) if "network" in change else override_with(base, change)
        recipe: Any = validate(merged)
        assert recipe.network.generator.channels.base == 128
        assert described(recipe) == several


# --- terms --------------------------------------------------------------------------------------------------------


def terms(own: dict[str, Any], on_features: bool = False, **objective: Any) -> dict[str, Any]:
    recipe: Any = validate(content({**PATCHES, **own}))
    found, _ = recipe.network.discriminator.terms(Adversarial.model_validate(objective), on_features)
    return dict(found.model_dump(exclude_defaults=True))


R1, R2 = {"gamma": 2.0}, {"gamma": 3.0}
LSGAN = {"loss": "lsgan", "lsgan_factor": 0.5, "r1": R1}


@pytest.mark.parametrize(
    ("own", "on_features", "objective", "expected"),
    [
        ({}, False, LSGAN, LSGAN),
        ({"lsgan_factor": 0.25}, False, LSGAN, {**LSGAN, "lsgan_factor": 0.25}),
        ({"loss": "hinge"}, False, LSGAN, {"loss": "hinge", "r1": R1}),  # keys of lsgan stay behind
        ({"loss": "lsgan"}, False, LSGAN, LSGAN),
        ({"r1": False, "r2": R2}, False, LSGAN, {"loss": "lsgan", "lsgan_factor": 0.5, "r2": R2}),
        ({}, True, LSGAN, {"loss": "lsgan", "lsgan_factor": 0.5}),  # a frozen network's pixels are not penalised ...
        ({"r1": R2}, True, LSGAN, {**LSGAN, "r1": R2}),  # ... unless it is asked for
        ({"loss": "hinge"}, False, {"loss": "wgan", "gradient_penalty": {}, "drift": 1.0}, {"loss": "hinge"}),
    ],
)  # fmt: skip
def test_what_a_discriminator_takes_from_the_objective(
    own: dict[str, Any], on_features: bool, objective: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert terms(own, on_features, **objective) == expected


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ([], "network.discriminator: a list of discriminators has one at least."),
        ({"a": "patchgan", "c": "pggan"}, "network.discriminator.c: unknown key, known keys here are a, b."),
        (["patchgan", {"nam": "pggan"}], "network.discriminator.1.nam: unknown key, did you mean name?"),
        ({"b": ["patchgan", "pgan"]}, "network.discriminator.b.1: there is no 'pgan'; did you mean pggan?"),
        (
            {"b": {"name": "patchgan", "r1": {"gama": 1}}},
            "network.discriminator.b.r1.gama: unknown key, did you mean ",
        ),
        (["patchgan", {"r1": {"gamma": 0}}], "network.discriminator.1.r1.gamma: input should be greater than 0"),
        ([{"weight": 0}, "pggan"], "network.discriminator.0: weight: with 0 throughout, the generator never learns fr"),
        ({"reduce": 3}, "network.discriminator.reduce: must be a power of two, got 3."),
        ([3], "network.discriminator.0: this is a section of keys and values, got a number."),
    ],
)
def test_faults_are_told_where_they_stand(written: Any, sentence: str) -> None:
    with pytest.raises(RecipeError) as error:
        validate(content(written))
    assert str(error.value).startswith(f"recipe: {sentence}")
    assert str(error.value).count("network.discriminator") == 1


def test_growing_discriminators_see_pictures_of_their_base_resolution_at_least() -> None:
    """8 px at 64 px for translators; one of any size sees whatever is left."""
    assert described(validate(content({"name": "progressive", "reduce": 8})))["reduce"] == 8
    with pytest.raises(
        RecipeError, match=r"network\.discriminator\.1\.reduce: at most 8, so that the largest pictures, "
    ):
        validate(content(["patchgan", {"name": "progressive", "reduce": 16}]))
    with pytest.raises(RecipeError, match=r"reduce: at most 4, .* of 32 px, are not smaller than 8 px, got 8\.$"):
        validate(content({"name": "progressive", "reduce": 8}, schedule={"hold_resolution": 32}))
    validate(content({"a": "progressive", "b": {"name": "patchgan", "layers": 1, "reduce": 16}}))


@pytest.mark.parametrize(
    ("written", "change", "sentence"),
    [
        (["patchgan", "pggan"], "layers=1", "network.discriminator.layers: there are several discriminators here; w"),
        ({"b": ["pggan", "pggan"]}, "b.lr=1", "network.discriminator.b.lr: there are several discriminators here; w"),
        ("patchgan", "2.lr=1", "network.discriminator.2: discriminators are numbered from 0; the next one here is 1."),
    ],
)  # fmt: skip
def test_changes_that_could_mean_several(written: Any, change: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as error:
        override(content(written), [f"network.discriminator.{change}"])
    assert str(error.value).startswith(sentence)


def test_an_option_called_like_a_term_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Options(PatchDiscriminatorOptions):
        weight: float = 1.0

    class Heavy(PatchDiscriminator):
        pass

    monkeypatch.setattr(Heavy, "Options", Options)
    monkeypatch.setitem(DISCRIMINATORS, "heavy", Heavy)
    with pytest.raises(TypeError, match="weight is a key that every discriminator has"):
        validate(content("heavy"))
