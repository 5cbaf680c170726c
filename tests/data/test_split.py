"""The held-out part of the training pictures: chosen by names alone, and never among those that train."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_folders import AUGMENT, picture, write_folder
from PIL import Image

from progcycle.data import PictureSet, build_loader, resolve_sets, resolve_validation_sets
from progcycle.data.source import Entry
from progcycle.data.split import select_part, stem_of
from progcycle.errors import UserError
from progcycle.recipe import CycleganData, RecipeError, Schedule, validate
from progcycle.schedule import GrowthSchedule

# Of the names 000 to 049, with a share of 0.2.
HELD = [
    "005.png",
    "007.png",
    "011.png",
    "025.png",
    "031.png",
    "037.png",
    "041.png",
    "047.png",
]
FORMS = st.sampled_from(("{}", "sub/{}", "a b/é {}", "x.{}"))
STEMS = st.tuples(FORMS, st.sets(st.integers(0, 10**6), min_size=30, max_size=50)).map(
    lambda drawn: [drawn[0].format(number) for number in drawn[1]]
)
QUICK = settings(deadline=None, max_examples=20)


def entries(stems: list[str], ending: str = "png") -> list[Entry]:
    return [Entry(f"{stem}.{ending}", f"/x/{stem}.{ending}", None, "1") for stem in stems]


def by_hand(stem: str) -> float:
    """A number in [0, 1] for a name, from the definition."""
    digest = hashlib.blake2b(b"validation\x1f" + stem.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def both(given: list[Entry], share: float, several: bool = False) -> tuple[list[str], list[str]]:
    parts = (select_part(given, several, share, held_out) for held_out in (False, True))
    training, held = ([entry.name for entry in part] for part in parts)
    return training, held


@QUICK
@given(stems=STEMS, share=st.floats(0.2, 0.8), seed=st.randoms(use_true_random=False))
def test_a_name_alone_decides(stems: list[str], share: float, seed: object) -> None:
    held = {stem for stem in stems if by_hand(stem) < share}
    if min(len(held), len(stems) - len(held)) < 2:
        return
    shuffled = list(stems)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    training, out = both(entries(shuffled), share)
    assert set(out) == {f"{stem}.png" for stem in held}
    assert [name for name in (f"{stem}.png" for stem in shuffled) if name not in set(out)] == training
    # Fewer other pictures, and the other domain's extension, change nothing for those that are left.
    fewer = entries([stem for stem in shuffled if len(stem) % 2 or stem in sorted(held)[:2]], "jpg")
    kept, gone = (part for part in both([*fewer, *entries([f"p{i}" for i in range(40)])], share))
    assert {name[:-4] for name in gone if name.endswith("jpg")} == held & {entry.name[:-4] for entry in fewer}
    assert not {name[:-4] for name in kept} & held


@QUICK
@given(stems=STEMS, low=st.floats(0.2, 0.5), more=st.floats(0, 0.3))
def test_a_larger_share_holds_out_the_same_pictures_and_more(stems: list[str], low: float, more: float) -> None:
    given = entries([*stems, *(f"more{i}" for i in range(40))])
    assert set(both(given, low)[1]) <= set(both(given, low + more)[1])


def test_about_the_share_is_held_out() -> None:
    for share in (0.05, 0.3):
        _, held = both(entries([f"{i:05}" for i in range(4000)]), share)
        assert abs(len(held) - 4000 * share) < 5 * (4000 * share * (1 - share)) ** 0.5


def test_the_part_of_a_name_never_changes() -> None:
    """A change of the rule would train a resumed run on pictures that it was measured on."""
    _, held = both(entries([f"{i:03}" for i in range(50)]), 0.2)
    assert held == [f"{i:03}.png" for i in range(50) if by_hand(f"{i:03}") < 0.2]
    assert held == HELD


def test_the_path_that_a_picture_comes_from_does_not_count() -> None:
    assert stem_of("photos/sub/a.b.png", several=True) == stem_of("sub/a.b.jpg", several=False) == "sub/a.b"
    names = [f"{i:02}" for i in range(40)]
    _, alone = both(entries(names), 0.3)
    _, held = both(entries([f"one/{n}" for n in names] + [f"two/{n}" for n in names]), 0.3, several=True)
    assert held == [f"{place}/{name}" for place in ("one", "two") for name in alone]


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_part_with_fewer_than_two_pictures_is_refused(share: float) -> None:
    with pytest.raises(
        UserError, match=r"^data\.validation: 0\.\d+ holds out \d+ of the 9 pictures of domain b and .*0\.$"
    ):
        select_part(entries([f"{i}" for i in range(9)]), False, share, False, "b")


def test_without_a_share_nothing_is_held_out() -> None:
    one = entries(["only"])
    assert both(one, 0.0) == (["only.png"], [])


# --- sets ---------------------------------------------------------------------------------------------------------

OPTIONS = {"resolution": 32, "seed": 0}


@pytest.fixture
def data(tmp_path: Path) -> CycleganData:
    """Two domains of different size, with pairs, and nothing cached yet."""
    write_folder(tmp_path / "trainA", 24)
    write_folder(tmp_path / "trainB", 18, offset=50)
    a = {"augment": AUGMENT, "mirror": True, "load_resolution": 40}
    return CycleganData.model_validate({"root": str(tmp_path), "validation": 0.3, "a": a})


def sets(data: CycleganData, tmp_path: Path, seed: int = 0) -> tuple[dict[str, PictureSet], dict[str, PictureSet]]:
    options = {**OPTIONS, "seed": seed, "cache_dir": tmp_path / "cache"}
    return resolve_sets(data, **options), resolve_validation_sets(data, **options)  # type: ignore[arg-type]


def test_sets_are_parts_of_the_whole_and_pairs_stay_together(data: CycleganData, tmp_path: Path) -> None:
    training, held = sets(data, tmp_path)
    whole, nothing = sets(data.model_copy(update={"validation": 0.0}), tmp_path)
    assert nothing == {}
    for domain in ("a", "b"):
        names, out = set(training[domain].names), set(held[domain].names)
        assert names | out == set(whole[domain].names)
        assert not names & out
        assert min(len(names), len(out)) >= 2
        assert held[domain].names == tuple(sorted(out))
    assert set(held["b"].names) == set(held["a"].names) & set(whole["b"].names)
    again = sets(data, tmp_path, seed=77)
    assert [s.names for part in again for s in part.values()] == [
        s.names for part in (training, held) for s in part.values()
    ]


def test_held_out_pictures_are_never_loaded_for_training(data: CycleganData, tmp_path: Path) -> None:
    training, held = sets(data, tmp_path)
    schedule = GrowthSchedule(Schedule.model_validate({"stable_kimg": 0.06, "batch_size": 6}), 32, 32)
    loader = build_loader(training, schedule, rank=0, processes=1, start_nimg=0, workers=0, pin_memory=False)
    seen: dict[str, set[str]] = {"a": set(), "b": set()}
    for _, _, batches in loader:
        for domain, batch in batches.items():
            seen[domain] |= set(batch.names)
    for domain in ("a", "b"):
        assert seen[domain] == set(training[domain].names)
        assert not seen[domain] & set(held[domain].names)


def test_held_out_pictures_are_not_altered(data: CycleganData, tmp_path: Path) -> None:
    _, held = sets(data, tmp_path)
    for i in range(len(held["a"])):
        index = held["a"].index_at(i)
        assert np.array_equal(held["a"].training(i, 16).image, held["a"].plain(index, 16).image)


def test_caches_of_the_two_parts_are_not_mistaken_for_each_other(data: CycleganData, tmp_path: Path) -> None:
    whole, _ = sets(data.model_copy(update={"validation": 0.0}), tmp_path)
    training, held = sets(data, tmp_path)
    plain = sets(data.model_copy(update={"cache_resolution": 0}), tmp_path)
    other, _ = sets(data.model_copy(update={"validation": 0.4}), tmp_path)
    everything = [*whole.values(), *training.values(), *held.values(), *other.values()]
    for pictures in everything:
        pictures.prepare([8, 32])
    folders = [pictures.cache.folder for pictures in everything if pictures.cache is not None]
    assert len(folders) == len(set(folders)) == 8
    for part, truth in zip((training, held), plain, strict=True):
        for domain in ("a", "b"):
            cached = pickle.loads(pickle.dumps(part[domain]))
            for i in range(len(cached)):
                for resolution in (8, 32):
                    one, same = cached.plain(i, resolution), truth[domain].plain(i, resolution)
                    assert one.name == same.name
                    assert np.array_equal(one.image, same.image)
                    assert np.array_equal(
                        cached.training(i, resolution).image, truth[domain].training(i, resolution).image
                    )


def test_a_share_that_leaves_a_domain_empty_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "trainA", 24)
    (tmp_path / "trainB").mkdir()
    for name in ("x", "y"):
        Image.fromarray(picture(1)).save(tmp_path / "trainB" / f"{name}.png")
    data = CycleganData.model_validate({"root": str(tmp_path), "validation": 0.3})
    for resolve in (resolve_sets, resolve_validation_sets):
        refuse: Callable[..., object] = resolve
        with pytest.raises(UserError, match=r"^data\.validation: 0\.3 holds out . of the 2 pictures of domain b "):
            refuse(data, **OPTIONS, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(("share", "words"), [(1.0, "less than 1"), (-0.1, "greater than or equal to 0")])
def test_a_share_is_at_least_0_and_below_1(share: float, words: str) -> None:
    content = {"task": "cyclegan", "resolution": 32, "data": {"root": "x", "validation": share}}
    with pytest.raises(RecipeError, match=rf"^recipe: data\.validation: input should be {words}"):
        validate(content)


def test_a_pg_gan_has_nothing_to_hold_out() -> None:
    content = {"task": "pggan", "resolution": 32, "data": {"path": "x", "validation": 0.1}}
    with pytest.raises(
        RecipeError, match=r"^recipe: data: nothing of a generator is measured on held-out pictures; .*\.$"
    ):
        validate(content)
