"""Figures of translators as tables, for a terminal and for a page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from progcycle.commands.round_trip import Figures

Results = Mapping[str, Mapping[str, Figures]]  # by direction and row
ROWS = {
    "translated": "translated",
    "unchanged": "unchanged (do nothing)",
    "matched": "colours matched",
    "floor": "real to real (floor)",
}


@dataclass(frozen=True)
class Column:
    """A figure of a table: its heading, its name, how it is written, and what it means."""

    title: str
    name: str
    style: str
    words: str


AGAINST_TARGET = (
    Column("KID", "kid", ".5f", "kernel distance to the real pictures; 0 is best"),
    Column("+-", "kid_error", ".5f", "standard error of KID"),
    Column("FD", "fd", ".2f", "Frechet distance to the real pictures; not below the floor"),
    Column("SWD", "swd", ".2f", "sliced Wasserstein distance to the real pictures x 1000; not below the floor"),
    Column("L1", "l1", ".4f", "mean absolute difference to the true pair; 0 is best, 2 the most"),
    Column("PSNR", "psnr", ".2f", "to the true pair, in dB; 100 for equal pictures"),
    Column("SSIM", "ssim", ".4f", "to the true pair; 1 for equal pictures"),
    Column("feature", "feature", ".4f", "cosine distance of features to the true pair; 0 is best"),
)
AGAINST_SOURCE = (
    Column("L1", "source_l1", ".4f", "mean absolute difference to the source"),
    Column("PSNR", "source_psnr", ".2f", "to the source, in dB; 100 for equal pictures"),
    Column("SSIM", "source_ssim", ".4f", "to the source; 1 for equal pictures"),
    Column("feature", "source_feature", ".4f", "cosine distance of features to the source"),
    Column("copy", "copy", ".3f", "1 does nothing; with pairs 0 changes as much as the truth, else SSIM to the source"),
    Column("inverse", "inversion", ".3f", "1 for a negative of the source, -1 for its colours"),
    Column("cycle", "cycle", ".4f", "mean absolute difference after the way there and back"),
    Column("rounded", "cycle_rounded", ".4f", "the same with the middle picture rounded to 8 bits"),
    Column("noisy", "cycle_noisy", ".4f", "the same with noise of two grey levels on it"),
    Column("hidden", "hidden", ".2f", "about 1 or less if the way back reads nothing hidden"),
)
TABLES: tuple[tuple[str, tuple[Column, ...]], ...] = (
    ("against the other domain", AGAINST_TARGET),
    ("against the source", AGAINST_SOURCE),
)
MISSING = "n/a"  # not applicable
ALWAYS = {"l1", "psnr", "ssim", "source_l1", "source_psnr", "source_ssim"}  # columns that stay where nothing pairs up


def columns_of(columns: Sequence[Column], results: Results) -> list[Column]:
    """The columns that any row has a figure for; those of pairs and of the source stay."""
    names = {name for rows in results.values() for row in rows.values() for name in row}
    in_features = {"feature", "source_feature"} if "kid" in names else set()
    return [column for column in columns if column.name in names | ALWAYS | in_features]


def lines_of(columns: Sequence[Column], results: Results) -> Iterator[tuple[str, list[str]]]:
    """Every row's label and cells, ``n/a`` where a figure is not there; rows without any figure are left out."""
    for direction, rows in results.items():
        for what, row in rows.items():
            cells = [format(row[column.name], column.style) if column.name in row else MISSING for column in columns]
            if set(cells) != {MISSING}:
                yield f"{direction[0].upper()} to {direction[1].upper()} {ROWS[what]}", cells


def as_text(results: Results) -> str:
    """Both tables, for a terminal."""
    texts = []
    for title, columns in TABLES:
        shown = columns_of(columns, results)
        lines = [f"{title:32}" + "".join(f"{column.title:>9}" for column in shown)]
        lines += [f"{label:32}" + "".join(f"{cell:>9}" for cell in cells) for label, cells in lines_of(shown, results)]
        texts.append("\n".join(lines))
    return "\n\n".join(texts)
