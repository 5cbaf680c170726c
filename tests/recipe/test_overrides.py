"""Overrides of keys that take text: the text as it is. The others are YAML, see test_reading.py."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import write_pictures

from progcycle.data import resolve_sets
from progcycle.recipe import RecipeError, dump, load_recipe, load_study, override, validate
from progcycle.recipe.overrides import text_kinds
from progcycle.recipe.schema import RECIPES
from progcycle.recipe.text import parse

PGGAN: dict[str, Any] = {"task": "pggan", "resolution": 8, "data": {"path": "pictures"}}
CYCLEGAN: dict[str, Any] = {"task": "cyclegan", "resolution": 8, "data": {"root": "pictures"}}
# What YAML reads as a comment, a number, a date, true or false, nothing, an alias, a section, or not at all.
NAMES = [
    "horses #2", "001", "2024", "1e3", "0x10", "1_000", "2024-01-01", "no", "on", "True", "~", "Null", "*x", "&x", "!x",
    "{a}", "@home", "%x", "a: b", "a:", "- a", "? a", "'a", 'a"', "#fff", "[a", "a]", "a, b", " a ", "|", "`x`",
]  # fmt: skip


def value(recipe: Any, key: str) -> Any:
    for part in key.split("."):
        recipe = getattr(recipe, part)
    return recipe


TEXTS = ["data.path", "data.test_path", "training.trackers"]
ONE = ["data.background", "data.labels", "data.cache_dir", "training.fallback_dir"]


@pytest.mark.parametrize("name", NAMES)
def test_text_is_taken_as_it_is(name: str) -> None:
    for key in (*ONE, *TEXTS):
        recipe = validate(override(PGGAN, [f"{key}={name}"]))
        assert value(recipe, key) == ((name,) if key in TEXTS else name), key
        assert validate(parse(dump(recipe), "dump")) == recipe
    for key in ("data.root", "warm_start.gen_ab", "objective.loss"):
        assert value(validate(override(CYCLEGAN, [f"{key}={name}"])), key) == name
    both = override(CYCLEGAN, ["data.root=null", f"data.a.path={name}", f"data.b.path={name}x"])
    assert value(validate(both), "data.a.path") == (name,)


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1))
def test_any_text_is_taken_as_it_is_unless_it_is_quoted_a_list_or_null(text: str) -> None:
    if (text[0], text[-1]) in (('"', '"'), ("'", "'"), ("[", "]")) or text == "null":
        return
    assert override(PGGAN, [f"data.path={text}"])["data"]["path"] == text
    assert override(PGGAN, [f"data.cache_dir={text}"])["data"]["cache_dir"] == text


def test_quotes_lists_and_nothing() -> None:
    def written(assignment: str, content: dict[str, Any] = PGGAN) -> Any:
        return value(validate(override(content, [assignment])), assignment.partition("=")[0])

    assert written("data.path='[a]'") == ("[a]",)
    assert written('data.cache_dir="null"') == "null"
    assert written("data.cache_dir='it''s'") == "it's"
    assert written("data.cache_dir='a' and 'b'") == "'a' and 'b'"  # no YAML, so that it stays as it is
    assert written("data.path=[one, 'no', \"a #1\"]") == ("one", "no", "a #1")
    assert written("training.trackers=[]") == ()
    assert written("data.cache_dir=[a]") == "[a]"  # one text only
    labelled = override(PGGAN, ["data.labels=folders", "training.evaluation.best=swd"])
    for nothing in ("", "null"):
        assert written(f"data.labels={nothing}", labelled) is None
        assert written(f"training.evaluation.best={nothing}", labelled) is None
        assert written(f"data.root={nothing}", {**CYCLEGAN, "data": {"a": {"path": "x"}, "b": {"path": "y"}}}) is None
    assert written("data.path=null") == ("null",)  # which is never left out


def test_nothing_for_a_key_that_takes_text_is_refused() -> None:
    """As of a shell variable that is not set; it must not become the current folder."""
    with pytest.raises(RecipeError, match=r"data\.path: this is empty; text with a # in it"):
        validate(override(PGGAN, ["data.path="]))


def test_other_keys_are_yaml() -> None:
    changed = override(
        PGGAN, ["seed=0x10", "data.mirror=yes", "training.precision=no", "network.discriminator.minibatch_stddev=off"]
    )
    recipe = validate(override(changed, ["schedule.batch_size={default: 8, 4: 2}", "objective.gradient_penalty=null"]))
    assert (recipe.seed, recipe.training.precision, recipe.network.discriminator.minibatch_stddev.group) == (
        16,
        "no",
        0,
    )
    assert value(recipe, "data.mirror") is True
    assert recipe.schedule.batch_size == {"default": 8, 4: 2}
    assert recipe.objective.gradient_penalty is None


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"^override data\.path: this is not UTF-8 text\.$"):
        override(PGGAN, ["data.path=caf\udce9"])


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        (["data", "path"], {"texts"}),
        (["data", "path", 0], {"texts"}),
        (["data", "labels"], {"text", "nothing"}),
        (["training", "evaluation", "metrics"], {"texts"}),
        (["training", "evaluation", "best"], {"text", "nothing"}),
        (["seed"], set()),
        (["training", "precision"], set()),
        (["training", "evaluation"], set()),
        (["network", "generator"], set()),
        (["network", "generator", "name"], {"text"}),
        (["network", "discriminator", "minibatch_stddev"], set()),
        (["network", "discriminator", "minibatch_stddev", "averaging"], {"text"}),
        (["objective", "augment", "policy"], set()),
        (["schedule", "total_kimg"], set()),
        (["nothing", "of", "this"], set()),
        (["seed", "below"], set()),
        ([], set()),
    ],
)
def test_which_keys_take_text(path: list[Any], kinds: set[str]) -> None:
    assert text_kinds(RECIPES["pggan"], path) == kinds
    assert text_kinds(None, path) == frozenset()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("path: 2024", "data.path: YAML reads this as the number 2024; put text in quotes."),
        ("path: 001", "data.path: YAML reads this as the number 1; put text in quotes."),
        ("path: [a, 3.5]", "data.path.1: YAML reads this as the number 3.5; put text in quotes."),
        ("path: no", "data.path: YAML reads this as false; text such as no or yes belongs in quotes."),
        ("path: {a}", "data.path: this takes text, and YAML reads a section; put text in quotes."),
        (
            "path: a\n  background: #fff",
            "data.background: this is empty; text with a # in it, where YAML sees a comment",
        ),
        ("path: 2024-01-01", "2024-01-01 is a date in YAML, which no key takes; put it in quotes."),
        ("path: @home", "token); text with such characters belongs in quotes."),
        ("path: *x", "(found undefined alias 'x'); text with such characters belongs in quotes."),
        ("path: a: b", "(mapping values are not allowed here); text with such characters belongs in quotes."),
    ],
)
def test_text_in_a_file_that_yaml_reads_otherwise_belongs_in_quotes(tmp_path: Path, data: str, sentence: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"task: pggan\nresolution: 8\ndata:\n  {data}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert sentence in str(caught.value)
    key, _, text = data.rpartition("\n")[2].strip().partition(": ")
    quoted = f"path: '{text}'" if key == "path" else f"path: a, {key}: '{text}'"
    path.write_text(f"task: pggan\nresolution: 8\ndata: {{{quoted}}}\n")
    assert value(load_recipe(path), f"data.{key}") in (text, (text,))


def test_names_of_variants_belong_in_quotes_too(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("task: pggan\nresolution: 8\ndata: {path: a}\n")
    study = tmp_path / "study.yaml"
    for name, read_as in (("no", "false"), ("2024", "the number 2024")):
        study.write_text(f"title: t\nrecipe: recipe.yaml\nseeds: [0]\nvariants: {{{name}: {{}}}}\n")
        with pytest.raises(RecipeError, match=f"YAML reads this as {read_as}"):
            load_study(study)
        study.write_text(f"title: t\nrecipe: recipe.yaml\nseeds: [0]\nvariants: {{'{name}': {{}}}}\n")
        assert list(load_study(study)[1]) == [(name, 0)]


def test_the_folder_of_that_name_is_the_one_that_is_read(tmp_path: Path) -> None:
    write_pictures(tmp_path / "horses", 3, 0, side=8)
    write_pictures(tmp_path / "horses #2", 1, 1, side=8)
    recipe = validate(override(PGGAN, [f"data.path={tmp_path}/horses #2"]))
    (pictures,) = resolve_sets(recipe.data, resolution=8, seed=0, cache_dir=tmp_path / "cache").values()
    assert len(pictures) == 1
