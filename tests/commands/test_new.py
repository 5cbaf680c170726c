"""``progcycle new``: what is seen of pictures, the recipe that is written, and the commands that follow."""

import shlex
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from progcycle.commands import estimate as estimate_module
from progcycle.commands.cli import main
from progcycle.commands.estimate import Estimate, estimate, measure, seconds_of_a_step
from progcycle.commands.new import FEWEST, held_out, in_words, recipe_file
from progcycle.commands.new_recipe import Draft, content_of, write_recipe
from progcycle.data import resolve_sets, resolve_validation_sets
from progcycle.data.split import name_hash
from progcycle.data.survey import Survey, survey_folder
from progcycle.engine.build import build
from progcycle.errors import UserError
from progcycle.recipe import CycleganRecipe, PgganRecipe, load_recipe, validate
from progcycle.runtime.worker_processes import ProcessKilledError
from progcycle.schedule import GrowthSchedule

Read = pytest.CaptureFixture[str]


def photo(path: Path, seed: int, size: tuple[int, int] = (80, 60), grey: bool = False) -> Path:
    """Noise, in which no two neighbours are equal by anything but chance."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if grey else (size[1], size[0], 3)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def folder(path: Path, count: int, seed: int = 0, **options: Any) -> Path:
    for i in range(count):
        photo(path / f"{i:03}.png", 1000 * seed + i, **options)
    return path


# --- the survey ---------------------------------------------------------------------------------------------------


def test_sizes_modes_and_what_is_small(tmp_path: Path) -> None:
    folder(tmp_path / "p", 3)
    photo(tmp_path / "p" / "deep" / "er" / "small.png", 7, (40, 20))
    photo(tmp_path / "p" / "grey.png", 8, grey=True)
    survey = survey_folder(str(tmp_path / "p"), 32)
    assert (survey.count, survey.read, survey.broken, survey.refused) == (5, 5, [], [])
    assert sorted(survey.sizes) == [(40, 20), (80, 60), (80, 60), (80, 60), (80, 60)]
    assert survey.modes == {"RGB": 4, "L": 1}
    assert (survey.smaller_than(32), survey.grey) == (0.2, 0.2)
    lines = survey.lines(32)
    assert lines[0] == "5 pictures: 40x20 to 80x60 px, colour 4, grey 1"
    assert "20% are smaller than 32 px and are enlarged, which blurs them" in lines
    assert "photographs, or similar" in lines


def test_a_picture_on_its_side_has_the_size_that_training_sees(tmp_path: Path) -> None:
    path = tmp_path / "p" / "0.jpg"
    path.parent.mkdir()
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (80, 60)).save(path, exif=exif)
    assert survey_folder(str(path.parent), 32).sizes == [(60, 80)]


def test_drawings_are_told_from_photographs(tmp_path: Path) -> None:
    """Flat areas by hand: one vertical edge in a row of 60 pixels leaves 58 of 59 pairs of neighbours equal."""
    for i in range(4):
        pixels = np.full((60, 60, 3), 255, np.uint8)
        pixels[:, 30:] = 10 * i
        (tmp_path / "d").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "d" / f"{i}.png")
    survey = survey_folder(str(tmp_path / "d"), 16)
    assert survey.flat == pytest.approx(58 / 59)
    assert survey.is_drawn
    assert survey.grey == 1
    assert not survey_folder(str(folder(tmp_path / "p", 2)), 16).is_drawn


def test_what_cannot_be_read_and_what_would_stop_a_training(tmp_path: Path) -> None:
    folder(tmp_path / "p", 3)
    (tmp_path / "p" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "p" / "float.tif")
    survey = survey_folder(str(tmp_path / "p"), 32)
    assert (survey.count, len(survey.sizes)) == (5, 4)
    assert [sentence.split(":")[0].split(" ")[0] for sentence in survey.broken + survey.refused] == [
        "broken.png",
        "float.tif",
    ]
    lines = survey.lines(32)
    assert any(line.startswith("1 cannot be read and are skipped: broken.png") for line in lines)
    assert any(line.startswith("1 would stop the training; convert or remove them: float.tif") for line in lines)


def test_a_zip_file_is_looked_into(tmp_path: Path) -> None:
    folder(tmp_path / "p", 3)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for path in (tmp_path / "p").iterdir():
            archive.write(path, f"inside/{path.name}")
    survey = survey_folder(str(tmp_path / "p.zip"), 32)
    assert (survey.count, survey.modes, survey.stems) == (3, {"RGB": 3}, {"inside/000", "inside/001", "inside/002"})


# --- the recipe -------------------------------------------------------------------------------------------------------


def survey(path: str, count: int = 500, **more: Any) -> Survey:
    return Survey(path, count, read=count, **more)


def draft(*surveys: Survey, resolution: int = 64, **more: Any) -> Draft:
    return Draft("mine", "progcycle train mine.yaml", surveys, resolution, more.pop("gpu", False), **more)


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("resolution", [32, 64, 128, 256, 512, 1024])
@pytest.mark.parametrize("count", [1, 2])
def test_every_size_is_a_recipe_that_can_be_built(count: int, resolution: int, gpu: bool) -> None:
    import torch

    asked = draft(*[survey("a"), survey("b")][:count], resolution=resolution, gpu=gpu)
    recipe = validate(content_of(write_recipe(asked)))
    with torch.device("meta"):
        built = build(recipe)
    size = asked.sizes
    phases = built.schedule.phases
    assert phases[-1].resolution == resolution
    assert {p.end - p.start for p in phases if p.kind == "stable"} == {1000 * size.stable_kimg}
    assert {p.end - p.start for p in phases if p.kind == "fade"} <= {1000 * size.fade_kimg}
    assert phases[0].resolution == (4 if count == 1 else min(resolution, 64))
    assert recipe.schedule.decay_kimg * 1000 <= phases[-1].end - phases[-1].start
    channels = recipe.network.generator.channels
    assert (channels.base, channels.max) == ((3 - count) * size.base, size.widest)


def test_translators_at_64_px_do_as_the_recipe_for_photographs() -> None:
    mine = validate(content_of(write_recipe(draft(survey("a"), survey("b"), validation=0.1))))
    shipped = load_recipe("cyclegan_photos_64", ["data.a.path=a", "data.b.path=b"])
    assert isinstance(mine, CycleganRecipe)
    assert isinstance(shipped, CycleganRecipe)
    assert (mine.network, mine.objective, mine.optimizer) == (shipped.network, shipped.objective, shipped.optimizer)
    assert mine.data == shipped.data
    plans = [GrowthSchedule.of(recipe) for recipe in (mine, shipped)]
    assert plans[0].phases == plans[1].phases
    assert mine.training.ema == shipped.training.ema


@pytest.mark.parametrize("size", [128, 256])
def test_larger_recipes_for_photographs_follow_the_rule(size: int) -> None:
    mine = validate(content_of(write_recipe(draft(survey("a"), survey("b"), resolution=size, gpu=size == 256))))
    shipped = load_recipe(f"cyclegan_photos_{size}")
    assert (mine.network, mine.objective, mine.optimizer) == (shipped.network, shipped.objective, shipped.optimizer)
    assert GrowthSchedule.of(mine).phases == GrowthSchedule.of(shipped).phases
    assert mine.training.ema == shipped.training.ema


@pytest.mark.parametrize(
    "path", ["a b/c", "yes", "007", "#1", 'say "hi": x', "日本/é", "back\\slash", "~", "'", "{a}", "a\nb\x85\u2028\x7f"]
)
def test_any_path_comes_back_as_it_was_given(path: str) -> None:
    recipe = validate(content_of(write_recipe(draft(survey(path), survey("b"), tests=(path, "t")))))
    assert isinstance(recipe, CycleganRecipe)
    assert recipe.data.a.path == (path,)
    assert recipe.data.a.test_path == (path,)
    one = validate(content_of(write_recipe(draft(survey(path), channels=1))))
    assert isinstance(one, PgganRecipe)
    assert (one.data.path, one.data.channels) == ((path,), 1)


def test_a_pggan_of_few_pictures_sees_them_augmented() -> None:
    few, many = (validate(content_of(write_recipe(draft(survey("a", count))))) for count in (999, 1000))
    assert few.objective.augment is not None
    assert many.objective.augment is None


@pytest.mark.parametrize("counts", [(8, 8), (8, 900), (12, 30), (80, 60), (5000, 5000)])
def test_each_folder_holds_out_some_and_keeps_most(counts: tuple[int, int]) -> None:
    surveys = [
        survey(name, n, stems=frozenset(f"{name}{i}" for i in range(n))) for name, n in zip("ab", counts, strict=True)
    ]
    share = held_out(surveys)
    assert 0 < share <= 0.5
    for seen in surveys:
        held = sum(name_hash(stem) < share for stem in seen.stems)
        assert 2 <= held <= max(seen.count // 2, 2)
    assert share * min(counts) < 300


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
    with pytest.raises(UserError, match="is no name for a recipe"):
        recipe_file(name)


def test_a_name_that_train_takes_for_another_recipe_is_refused() -> None:
    with pytest.raises(UserError, match="A bundled recipe is called pggan_emoji; choose another NAME"):
        recipe_file("pggan_emoji")


# --- the estimate -----------------------------------------------------------------------------------------------------


class Clockwork:
    """A trainer whose steps take known times: 1 s, 9 s where a penalty is due, every 8th; the first one 30 s."""

    def __init__(self) -> None:
        self.task = SimpleNamespace(update_order=[()], lazy=(8,))
        self.accelerator = SimpleNamespace(device=SimpleNamespace(type="cpu"))
        self.step, self.now, self.first = 0, 0.0, True

    def train_step(self, batches: Any, growth: Any) -> None:
        self.now += 30 if self.first else 9 if self.step % 8 == 0 else 1
        self.first = False


def test_the_mean_step_has_its_share_of_lazy_penalties(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer: Any = Clockwork()
    monkeypatch.setattr(estimate_module.time, "perf_counter", lambda: trainer.now)
    assert seconds_of_a_step(trainer, None, {}) == pytest.approx((7 * 1 + 9) / 8)  # type: ignore[arg-type]


def tiny(tmp_path: Path) -> dict[str, Any]:
    for name in ("a", "b"):
        folder(tmp_path / name, FEWEST, ord(name))
    return {
        "task": "cyclegan",
        "resolution": 8,
        "data": {"a": {"path": str(tmp_path / "a")}, "b": {"path": str(tmp_path / "b")}},
        "network": {"base_resolution": 4, "channels": {"base": 16, "max": 4}, "generator": {"residual_blocks": 1}},
        "schedule": {"stable_kimg": {4: 2, 8: 3}, "fade_kimg": 1, "batch_size": 4},
        "objective": {"loss": "non_saturating", "r1": {"gamma": 1.0, "every": 8}},
    }


def test_a_few_steps_of_every_phase_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    monkeypatch.setattr(estimate_module, "SECONDS", 0.0)
    before = sorted(tmp_path.iterdir())
    found = measure(tiny(tmp_path))
    assert [(kind, px, pictures) for kind, px, pictures, _ in found.phases] == [
        ("stable", 4, 2000),
        ("fade", 8, 1000),
        ("stable", 8, 3000),
    ]
    assert found.seconds == pytest.approx(sum(n * each for _, _, n, each in found.phases))
    assert all(0 < each < 10 for *_, each in found.phases)
    assert found.memory is not None
    assert 50e6 < found.memory < 100e9
    assert 0 < found.share <= 1
    assert capsys.readouterr().out == ""
    assert sorted(tmp_path.iterdir()) == sorted({*before, tmp_path / "a", tmp_path / "b"})


def test_a_process_that_is_killed_is_told_as_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> Any:
        raise ProcessKilledError

    monkeypatch.setattr(estimate_module, "run_in_processes", killed)
    with pytest.raises(UserError, match=r"not enough memory; choose a smaller --size\.$"):
        estimate({})


def test_an_estimate_in_words() -> None:
    found = Estimate(7500, (), 850_000_000, "cpu", 2)
    assert in_words(found) == "2 h 5 min and 850 MB of memory on this device (cpu, 2 threads)"
    assert in_words(Estimate(90, (), None, "cuda", 2)) == "1 min 30 s on this device (cuda)"


# --- the command ------------------------------------------------------------------------------------------------------


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
    assert "mine.yaml is there already; choose another NAME, or add --force" in capsys.readouterr().err
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
        ("file/mine", "file/mine.yaml cannot be written ("),
    ):
        assert main(["new", name, "a", "--no-estimate", "--force"]) == 2
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
        (["few", "few", "few"], "3 folders are given; translators are between two"),
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


def test_lines_are_at_most_100_columns_wide() -> None:
    seen = survey("a", stems=frozenset(), sizes=[(4000, 3000), (40, 30)], flat=0.9, grey=1.0)
    assert max(map(len, seen.lines(64))) <= 100
