"""From surveys of pictures to a recipe for them: what is held out, and how many are enough."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from progcycle.data.new_recipe import ENOUGH, draft_for, folders_of_tests, held_out
from progcycle.data.split import name_hash
from progcycle.data.survey import Survey
from progcycle.errors import UserError
from progcycle.recipe import validate
from progcycle.recipe.text import parse


@pytest.mark.parametrize("counts", [(8, 8), (8, 900), (12, 30), (80, 60), (5000, 5000)])
def test_each_folder_holds_out_some_and_keeps_most(counts: tuple[int, int]) -> None:
    surveys = [
        Survey(name, n, stems=frozenset(f"{name}{i}" for i in range(n))) for name, n in zip("ab", counts, strict=True)
    ]
    share = held_out(surveys)
    assert 0 < share <= 0.5
    for seen in surveys:
        held = sum(name_hash(stem) < share for stem in seen.stems)
        assert 2 <= held <= max(seen.count // 2, 2)
    assert share * min(counts) < 300


def test_few_pictures_have_a_note_and_hardly_any_are_refused() -> None:
    few, enough = Survey("few", 10), Survey("enough", ENOUGH[32])
    assert [note.split(";")[0] for note in draft_for([few], 32, name="x").notes] == ["note: few has 10 pictures"]
    assert draft_for([enough], 32, name="x").notes == ()
    with pytest.raises(UserError, match="few has 7 pictures that can be read; training needs at least 8"):
        draft_for([Survey("few", 10, broken=["a"], refused=["b", "c"])], 32, name="x")
    with pytest.raises(
        UserError, match=r"250 px cannot be halved down to 64 px, where training starts; choose 128 or 256\."
    ):
        draft_for([enough], 250, name="x")
    with pytest.raises(UserError, match="bytes that are no text"):
        draft_for([Survey("\udcff", 500)], 32, name="x")


def test_grey_folders_have_one_channel_and_one_in_colour_is_enough_for_three() -> None:
    grey, colour = Survey("a", 500, grey=1.0), Survey("b", 500, grey=0.9)
    assert draft_for([grey], 32, name="x").recipe.data.domains["real"].channels == 1
    assert draft_for([colour], 32, name="x").recipe.data.domains["real"].channels == 3
    unread = Survey("c", 500, grey=1.0, refused=["deep.tif"])
    assert draft_for([unread], 32, name="x").channels_of(0) == 3


@pytest.mark.parametrize(("train", "test"), [("trainA", "testA"), ("train/summer", "test/summer"), ("train", "test")])
def test_folders_of_tests_are_those_next_to_the_training_pictures(tmp_path: Path, train: str, test: str) -> None:
    pair = [Survey(str(tmp_path / place / train), 9) for place in ("one", "two")]
    (tmp_path / "one" / test).mkdir(parents=True)
    assert folders_of_tests(pair) == ()
    (tmp_path / "two" / test).mkdir(parents=True)
    assert folders_of_tests(pair) == tuple(str(tmp_path / place / test) for place in ("one", "two"))


def test_files_of_n_channels_keep_them_each_domain_its_own() -> None:
    drafted = draft_for([Survey("a", 500, channels=5), Survey("b", 500, grey=1.0)], 32, name="x")
    domains = drafted.recipe.data.domains
    assert (domains["a"].channels, domains["b"].channels) == (5, 3), "one grey folder of two is read in colour"
    assert draft_for([Survey("a", 500, channels=2, grey=1.0)], 32, name="x").recipe.data.domains["real"].channels == 2


def sharp(path: str, side: int = 400, fine: float = 9.0) -> Survey:
    return Survey(path, 500, read=2, sizes=[(side, side), (side + 200, side)], fine=fine)


def test_crops_are_offered_for_large_sharp_pictures_and_work_once_they_are_taken() -> None:
    """As the comment says: without the first #."""
    drafted = draft_for([sharp("a"), sharp("b")], 64, name="x")
    assert drafted.crops
    assert "are some 6 times as large as the networks' 64 px" in " ".join(drafted.notes)
    taken = re.sub(r"^( +)# load_resolution", r"\1load_resolution", drafted.text, flags=re.MULTILINE)
    recipe = validate(parse(taken, "x"), "x")
    assert [options.load_resolution for options in recipe.data.domains.values()] == ["native", "native"]
    assert [options.fit for options in recipe.data.domains.values()] == ["random_crop", "random_crop"]
    assert [options.load_resolution for options in drafted.recipe.data.domains.values()] == [None, None]
    for other in (
        sharp("b", side=200),  # not so large
        sharp("b", fine=0.5),  # enlarged, or blurred
        Survey("b", 500, read=2, sizes=[(400, 400)] * 9 + [(400, 60)], fine=9.0),  # one has no room for a crop
        replace(sharp("b"), flat=0.9),  # drawings
    ):
        drafted = draft_for([sharp("a"), other], 64, name="x")
        assert not drafted.crops
        assert "crops" not in drafted.text + " ".join(drafted.notes)
