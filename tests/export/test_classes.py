"""Generators with classes: in snapshots, by name and number, and in the pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sentences import refused
from snapshots import edit_config

from progcycle.errors import UserError
from progcycle.export import Generator, load
from progcycle.rng import normal

Make = Callable[..., Path]
CLASSES = ("cat", "dog", "1")


@pytest.fixture
def conditional(make_snapshot: Make) -> Generator:
    return Generator.from_pretrained(make_snapshot(task="pggan", alpha=0.3, classes=CLASSES))


@pytest.fixture
def generator(make_snapshot: Make) -> Generator:
    return Generator.from_pretrained(make_snapshot(task="pggan", run="without"))


def test_classes_are_kept_and_must_fit_the_generator(make_snapshot: Make) -> None:
    folder = make_snapshot(task="pggan", classes=("cat", "2", "dog"))
    assert json.loads((folder / "config.json").read_text())["classes"] == ["cat", "2", "dog"]
    model = load(folder)
    assert isinstance(model, Generator)
    assert model.classes == ("cat", "2", "dog")
    for classes in ([], ["cat", "dog"], ["cat", "cat", "dog"]):
        edit_config(folder, classes=classes)
        assert "different names of 3 classes" in refused(lambda: load(folder))
    edit_config(folder, classes=["cat", 2, "dog"])
    assert "classes.1" in refused(lambda: load(folder))
    with pytest.raises(ValueError, match="different names of 2 classes"):
        make_snapshot(task="pggan", classes=("cat", "cat"))


def test_classes_without_a_generator_for_them_are_refused(make_snapshot: Make) -> None:
    for task in ("pggan", "cyclegan"):
        folder = make_snapshot(task=task, run=task)
        edit_config(folder, classes=["cat", "dog"])
        assert "names of 0 classes" in refused(lambda folder=folder: load(folder))  # type: ignore[misc]


def test_snapshots_from_before_there_were_classes_load(make_snapshot: Make) -> None:
    folder = make_snapshot(task="pggan")
    edit_config(folder, classes=...)
    model = load(folder)
    assert isinstance(model, Generator)
    assert model.classes == ()


def test_classes_come_in_turn_or_as_told(conditional: Generator) -> None:
    latents = normal(4, "latent", range(2, 7), 5)
    rows = {label: torch.eye(3)[[label] * 5] for label in range(3)}
    with torch.no_grad():
        painted = {label: conditional.generator(latents, 2, 0.3, row).clamp(-1, 1) for label, row in rows.items()}
    assert not torch.allclose(painted[0], painted[1], atol=1e-3)
    in_turn = torch.stack([painted[number % 3][i] for i, number in enumerate(range(2, 7))])
    torch.testing.assert_close(conditional.generate(5, 4, start=2, batch_size=2), in_turn)
    labels = [2, 2, 0, 1, 0]
    expected = torch.stack([painted[label][i] for i, label in enumerate(labels)])
    torch.testing.assert_close(conditional.generate(5, 4, start=2, batch_size=3, labels=labels), expected)
    with torch.no_grad():
        torch.testing.assert_close(conditional(latents, labels=torch.tensor(labels)).clamp(-1, 1), expected)
        torch.testing.assert_close(
            conditional(latents[:1], 8, [1]), conditional.generator(latents[:1], 1, 1.0, rows[1][:1])
        )


def test_classes_have_names_and_numbers(conditional: Generator, generator: Generator) -> None:
    assert conditional.classes == CLASSES
    assert [conditional.class_number(name) for name in ("cat", "dog", "1", "0", "2")] == [0, 1, 2, 0, 2]
    for name in ("3", "-1", "Cat", "", "\u00b2"):
        with pytest.raises(UserError, match="it has cat, dog, 1"):
            conditional.class_number(name)
    assert generator.classes == ()
    with pytest.raises(UserError, match="without classes"):
        generator.class_number("0")


def test_an_unknown_class_shows_twenty_names(make_snapshot: Make) -> None:
    names = tuple(f"c{i:02}" for i in range(25))
    model = Generator.from_pretrained(make_snapshot(task="pggan", classes=names))
    with pytest.raises(UserError) as caught:
        model.class_number("zebra")
    assert str(caught.value) == f"This model has no class zebra; it has {', '.join(names[:20])} and 5 more."


def test_wrong_labels_are_refused(conditional: Generator, generator: Generator) -> None:
    latents = torch.zeros(2, 5)
    for labels in (None, [0], [0, 3], [0, -1], [0, 1, 2]):
        with pytest.raises(ValueError, match="3 classes got 2 latents"):
            conditional(latents, labels=labels)
    with pytest.raises(ValueError, match="0 classes got 2 latents"):
        generator(latents, labels=[0, 0])
    with pytest.raises(ValueError, match="need as many labels"):
        conditional.generate(3, labels=[0, 1])
