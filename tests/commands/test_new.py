"""``progcycle new``: the recipe that is written, and the commands that follow."""

import shlex
from pathlib import Path

import pytest
from photos import folder

from progcycle.commands.cli import main
from progcycle.commands.new import recipe_file
from progcycle.data import resolve_sets, resolve_validation_sets
from progcycle.data.new_recipe import ENOUGH, FEWEST, check_size
from progcycle.engine.estimate import Estimate
from progcycle.errors import UserError
from progcycle.recipe import CycleganRecipe, Draft, load_recipe
from progcycle.resolution import Resolution
from progcycle.schedule import GrowthSchedule

Read = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mine", "mine.yaml"),
        ("mine.yaml", "mine.yaml"),
        ("a b/c", "a b/c.yaml"),
        ("v1.5", "v1.5.yaml"),
        ("é", "é.yaml"),
        ("mine.yml", "mine.yml"),
    ],
)
def test_the_file_of_a_name(name: str, file: str) -> None:
    assert recipe_file(name) == Path(file)


@pytest.mark.parametrize("name", ["", ".", "..", "/", ".yaml", "a\nb", "a\x1b[2J"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UserError, match="is not a name for a recipe"):
        recipe_file(name)


def test_a_name_that_train_takes_for_another_recipe_is_refused() -> None:
    with pytest.raises(UserError, match="There is a bundled recipe called pggan_emoji; choose another NAME"):
        recipe_file("pggan_emoji")


@pytest.mark.parametrize("folders", [("x",), ("x", "y")], ids=["pggan", "cyclegan"])
@pytest.mark.parametrize("gpu", [False, True])
def test_recipes_of_all_shapes_can_be_trained(folders: tuple[str, ...], gpu: bool) -> None:
    sizes = [*ENOUGH, 48, 96, 100, 192, 320, 640, (64, 96), (96, 64), (128, 416), (200, 1000), (56, 32)]
    for size in map(Resolution.of, sizes):
        check_size(size)
        recipe = Draft("new", "train", folders, (400, 400)[: len(folders)], size, gpu).recipe
        assert recipe.resolution.shape == size.shape
        schedule = GrowthSchedule.of(recipe)
        start = schedule.phases[0].resolution
        assert start <= 64
        assert 4 <= recipe.network.base_resolution <= max(32, size // 8)
        assert schedule.final.resolution.shape == size.shape


def test_what_is_written_for_a_rectangle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    monkeypatch.chdir(tmp_path)
    folder(Path("wide"), 9)
    assert main(["new", "wide_ones", "wide", "--size", "80x112", "--no-estimate"]) == 0
    assert "100% are smaller than 80x112 px (height x width) and are enlarged" in capsys.readouterr().out
    text = Path("wide_ones.yaml").read_text()
    assert "resolution: [80, 112] " in text
    assert "  base_resolution: 5 " in text
    assert load_recipe("wide_ones.yaml").network.base_resolution.shape == (5, 7)
    cases = {
        "250": "250 px cannot be halved down to 64 px, where training starts; choose 128 or 256.",
        "16": "A new recipe has a resolution of 32 to 1024 px, not 16.",
        "2048x4096": "A new recipe has a resolution of 32 to 1024 px, not 2048x4096.",
        "250x500": "choose 128x256 or 256x512.",
    }
    for size, sentence in cases.items():
        assert main(["new", "other", "wide", "--size", size, "--no-estimate"]) == 2
        assert sentence in capsys.readouterr().err
    assert not Path("other.yaml").exists()


def commands_of(text: str) -> list[list[str]]:
    """The commands that are printed to be copied, without the program's name."""
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("  progcycle ")]


@pytest.mark.usefixtures("no_plots")
def test_from_two_folders_to_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    """What is printed is run as it stands, with a shorter plan."""
    monkeypatch.chdir(tmp_path)
    folder(Path("day light/2024"), 12, 1)
    folder(Path("dämmerung"), 10, 2)
    assert main(["new", "my summer", "day light", "dämmerung", "--size", "32", "--no-estimate"]) == 0
    shown = capsys.readouterr()
    assert max(map(len, shown.out.splitlines())) <= 100
    assert "12 pictures: 80x60 px, colour 12" in shown.out
    assert "note: dämmerung has 10 pictures; with fewer than about 200" in shown.out
    train, translate, evaluate = commands_of(shown.out)
    recipe = load_recipe("my summer.yaml")
    kept, held = (
        resolve(recipe.data, resolution=32, seed=0, cache_dir=tmp_path)
        for resolve in (resolve_sets, resolve_validation_sets)
    )
    assert {domain: len(kept[domain]) + len(held[domain]) for domain in "ab"} == {"a": 12, "b": 10}
    short = ["schedule.stable_kimg.32=0.008", "network.channels={base: 32, max: 4}", "training.precision=no"]
    assert main([*train, *short]) == 0
    assert main(translate) == 0
    assert len(list(Path("my summer_translated").rglob("*.png"))) >= 12
    capsys.readouterr()
    assert main([*evaluate, "--no-page"]) == 0
    assert f"of {len(held['a'])} and {len(held['b'])} test pictures, 32 px" in capsys.readouterr().out


def test_nothing_is_overwritten_without_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    monkeypatch.chdir(tmp_path)
    folder(Path("a"), FEWEST)
    Path("mine.yaml").write_text("precious")
    assert main(["new", "mine", "a", "--no-estimate"]) == 2
    assert "mine.yaml already exists; choose another NAME, or add --force" in capsys.readouterr().err
    assert Path("mine.yaml").read_text() == "precious"
    assert main(["new", "mine", "a", "--no-estimate", "--force"]) == 0
    assert load_recipe("mine.yaml").task == "pggan"
    shown = capsys.readouterr().out
    assert [words[0] for words in commands_of(shown)] == ["train", "generate", "evaluate"]
    assert main([*commands_of(shown)[0], "--dry-run"]) == 0


def test_the_commands_work_where_names_begin_with_a_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("-a", "b")):
        folder(Path(name), FEWEST, seed)
    assert main(["new", "./-x", "--no-estimate", "--", "-a", "b"]) == 0
    assert load_recipe("-x.yaml").task == "cyclegan"
    train, translate, _ = commands_of(capsys.readouterr().out)
    assert main([*train, "--dry-run"]) == 0
    assert translate[2:4] == ["./-a", "./-x_translated"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    monkeypatch.chdir(tmp_path)
    folder(Path("a"), FEWEST)
    Path("taken.yaml").mkdir()
    Path("file").touch()
    for name, words in (
        ("taken", "taken.yaml is a folder; choose another NAME."),
        ("taken --force", "taken.yaml is a folder; choose another NAME."),
        ("file/mine", "file/mine.yaml cannot be written ("),
    ):
        assert main(["new", *name.split(), "a", "--no-estimate"]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


def test_test_folders_beside_are_used_and_nothing_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("trainA", "trainB", "testA", "testB")):
        folder(Path("data") / name, FEWEST, seed)
    assert main(["new", "mine", "data/trainA", "data/trainB", "--no-estimate"]) == 0
    recipe = load_recipe("mine.yaml")
    assert isinstance(recipe, CycleganRecipe)
    assert (recipe.data.a.test_path, recipe.data.b.test_path) == (("data/testA",), ("data/testB",))
    assert recipe.data.validation == 0
    shown = capsys.readouterr().out
    assert "8 names are in both folders" in shown
    assert commands_of(shown)[1][2] == "data/testA"


def test_a_folder_of_two_domains_given_as_one_gets_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("trainA", "trainB")):
        folder(Path("my data") / name, FEWEST, seed)
    assert main(["new", "mine", "my data", "--no-estimate"]) == 0
    shown = capsys.readouterr().out
    assert "note: one folder is for a PG-GAN" in shown
    assert main([*commands_of(shown)[0], "--no-estimate"]) == 0
    assert load_recipe("mine.yaml").task == "cyclegan"


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["few"], f"few has 3 pictures that can be read; training needs at least {FEWEST}"),
        (["nowhere"], "nowhere; check the path."),
        (["few", "./few"], "Both folders are the same"),
        (["empty", "few"], "has no pictures in it"),
        (["few", "few", "few"], "3 folders are given; give two for translators"),
    ],
)
def test_what_cannot_be_trained_gets_a_sentence_and_no_file(
    folders: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read
) -> None:
    monkeypatch.chdir(tmp_path)
    folder(Path("few"), 3)
    Path("empty").mkdir()
    assert main(["new", "mine", *folders, "--no-estimate"]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.yaml"))


def test_folders_may_be_named_by_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("x", "y")):
        folder(Path(name), FEWEST, seed)
    written = []
    for arguments in (["x", "y"], ["--a", "x", "--b", "y"], ["--b", "y", "--a", "x"]):
        assert main(["new", "mine", *arguments, "--no-estimate", "--force"]) == 0
        written.append(Path("mine.yaml").read_text())
    assert written[0] == written[1] == written[2]
    assert main(["new", "one", "--a", "x", "--no-estimate"]) == 0
    assert load_recipe("one.yaml").task == "pggan"
    capsys.readouterr()
    for arguments, words in (
        (["x", "--b", "y"], "Give the folders by --a and --b, or without these options; not both."),
        (["--b", "y"], "--b needs --a FOLDER too"),
        ([], "new needs pictures: two folders for translators, or one for a PG-GAN."),
        (["--a", "x", "--b", "./x"], "Both folders are the same"),
    ):
        assert main(["new", "other", *arguments, "--no-estimate"]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
    assert not Path("other.yaml").exists()


def test_what_was_measured_stands_in_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    monkeypatch.chdir(tmp_path)
    folder(Path("x"), FEWEST)
    found = Estimate(600.0, (("stable", 32, 1000, 0.6),), 1_200_000_000, "cpu", 2)
    monkeypatch.setattr("progcycle.engine.estimate.estimate", lambda _: found)
    assert main(["new", "mine", "x", "--size", "32"]) == 0
    assert "training at 32 px takes about 10 min 0 s and 1.2 GB of memory on this device" in capsys.readouterr().out
    lines = Path("mine.yaml").read_text().splitlines()
    assert "# Measured on this machine: 10 min 0 s and 1.2 GB of memory (cpu, 2 threads)." in lines
    assert any(line.startswith("# Its sizes are those for a ") for line in lines)
    assert load_recipe("mine.yaml").task == "pggan"


def test_crops_of_large_pictures_are_offered_and_can_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read
) -> None:
    monkeypatch.chdir(tmp_path)
    folder(Path("x"), FEWEST, size=(200, 150))
    assert main(["new", "mine", "x", "--size", "32", "--no-estimate"]) == 0
    assert "train on crops: load_resolution in the recipe" in " ".join(capsys.readouterr().out.split())
    text = Path("mine.yaml").read_text()
    Path("mine.yaml").write_text(text.replace("# load_resolution", "load_resolution"))
    assert main(["train", "mine.yaml", "--dry-run"]) == 0
    assert "  load_resolution: native\n" in capsys.readouterr().out


def test_bundled_pictures_work_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    monkeypatch.chdir(tmp_path)
    folders = ["--a", "datasets/demo/trainA", "--b", "datasets/demo/trainB"]
    assert main(["new", "faces", *folders, "--size", "32", "--no-estimate"]) == 0
    train, translate, _ = commands_of(capsys.readouterr().out)
    assert translate[2] == "datasets/demo/testA"
    assert main([*train, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "60 pictures, 14 test pictures" in shown
    assert "43 pictures, 14 test pictures" in shown
