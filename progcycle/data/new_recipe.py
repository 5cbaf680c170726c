"""A recipe for the pictures of one or two folders that were surveyed."""

from collections.abc import Sequence
from pathlib import Path

from progcycle.data.split import name_hash
from progcycle.data.survey import Survey
from progcycle.errors import UserError
from progcycle.recipe import Draft, find_pictures_path, nearest
from progcycle.resolution import Resolution

FEWEST = 8  # pictures of a folder
ENOUGH = {32: 200, 64: 200, 128: 400, 256: 800, 512: 2000, 1024: 5000}  # pictures by size; with fewer there is a note
MOST_START, START = 64, 32  # pixels of the shorter side where training starts, at most, and for advice
HELD_OUT = (0.1, 8, 200)  # share of the pictures that is held out, and from how few to how many pictures


def draft_for(
    surveys: Sequence[Survey], resolution: int, *, name: str, command: str | None = None, gpu: bool = False
) -> Draft:
    """A recipe for surveyed pictures: translators for two folders, a PG-GAN for one.

    Args:
        surveys: of the folder, or of A and B.
        resolution: at last: a side of squares or height and width, which halve to 64 px at most on the shorter side.
        name: of the recipe.
        command: that trains it, for a comment; default: ``progcycle train NAME.yaml``.
        gpu: whether a GPU trains it, for which it is made larger.

    Raises:
        UserError: a folder has fewer than 8 pictures that can be read or a name that is no text, or the resolution is
            no such one.
    """
    resolution = Resolution.of(resolution)
    check_size(resolution)
    notes = [note for survey in surveys if (note := _check_count(survey, resolution))]
    tests: tuple[str, ...] = ()
    share = 0.0
    if len(surveys) == 2:
        tests = folders_of_tests(surveys)
        share = 0.0 if tests else held_out(surveys)
        if tests:
            notes.append(f"test pictures: {tests[0]}, {tests[1]}")
        if named := len(surveys[0].stems & surveys[1].stems):
            notes.append(
                f"{named:,} names are in both folders; if these mark true pairs, progcycle evaluate compares "
                "translations with them (data.paired), and both pictures of a pair are held out together"
            )
    try:
        "".join(survey.path for survey in surveys).encode()
    except UnicodeEncodeError:
        raise UserError("A folder's name holds bytes that are no text, which no recipe can name; rename it.") from None
    grey = all(survey.grey == 1 and not survey.refused for survey in surveys)
    crops = all(survey.offers_crops(resolution) for survey in surveys)
    if crops:
        notes.append(_about_crops(surveys, resolution))
    return Draft(
        name,
        command or f"progcycle train {name}.yaml",
        tuple(survey.path for survey in surveys),
        tuple(survey.count for survey in surveys),
        resolution,
        gpu,
        share,
        tests,
        tuple(survey.channels or (1 if grey else 3) for survey in surveys),
        crops,
        notes=tuple(notes),
    )


def _about_crops(surveys: Sequence[Survey], resolution: Resolution) -> str:
    times = min(survey.times_larger(resolution) for survey in surveys)
    return (
        f"note: the pictures are some {times:.0f} times as large as the networks' {resolution} px; they are reduced to "
        "that, and lose their fine detail. Where it matters more than the whole, as in textures, scans and maps, train "
        "on crops: load_resolution in the recipe"
    )


def check_size(resolution: Resolution) -> None:
    """Refuse a resolution that no new recipe can have.

    Raises:
        UserError: it is too small or too large, or cannot be halved to where training starts.
    """
    smallest, largest = min(ENOUGH), max(ENOUGH)
    if not smallest <= resolution <= largest:
        raise UserError(f"A new recipe has a resolution of {smallest} to {largest} px, not {resolution}.")
    if resolution.halves(1)[-1] > MOST_START:
        near = " or ".join(map(str, nearest(resolution, START)))
        raise UserError(
            f"Pictures of {resolution} px cannot be halved down to {MOST_START} px, where training starts; choose "
            f"{near}."
        )


def _enough(resolution: int) -> int:
    """Pictures of the next larger size of ``ENOUGH``."""
    return next(count for size, count in ENOUGH.items() if size >= resolution)


def _check_count(survey: Survey, resolution: int) -> str | None:
    """A note about a folder of few pictures."""
    usable, enough = survey.count - len(survey.broken) - len(survey.refused), _enough(resolution)
    if usable < FEWEST:
        pictures = "picture" if usable == 1 else "pictures"
        raise UserError(
            f"{survey.path} has {usable} {pictures} that can be read; training needs at least {FEWEST}, and works "
            f"better from about {enough} on."
        )
    if survey.count >= enough:
        return None
    return (
        f"note: {survey.path} has {survey.count} pictures; with fewer than about {enough} the networks may learn them "
        "by heart"
    )


def folders_of_tests(surveys: Sequence[Survey]) -> tuple[str, ...]:
    """Folders of test pictures next to those of A and B: testA for trainA, test/x for train/x; () without both."""
    found = []
    for survey in surveys:
        path = Path(survey.path)
        places = [path.with_name(path.name.replace("train", "test", 1))] if path.name.startswith("train") else []
        if path.parent.name == "train":
            places.append(path.parent.with_name("test") / path.name)
        found += [str(place) for place in places if find_pictures_path(place).is_dir()][:1]
    return tuple(found) if len(found) == 2 else ()


def held_out(surveys: Sequence[Survey]) -> float:
    """Share of the pictures to hold out by name, so that each folder has some of both kinds."""
    share, fewest, most = HELD_OUT
    smallest = min(survey.count for survey in surveys)
    share = min(max(share, fewest / smallest), 0.25)
    share = round(min(share, max(most / smallest, 0.01)), 2)
    while any(sum(name_hash(stem) < share for stem in survey.stems) < 2 for survey in surveys) and share < 0.5:
        share = round(share + 0.05, 2)
    return share
