"""Figures of translators as tables, for a terminal of 100 columns and for a page."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from progcycle.evaluation.round_trip import Figures

Results = Mapping[str, Mapping[str, Figures]]  # by direction and row
ROWS = {
    "translated": "translated",
    "unchanged": "unchanged (do nothing)",
    "matched": "colours matched",
    "floor": "real to real (floor)",
}
LABEL, CELL = 30, 9  # columns of the terminal


@dataclass(frozen=True)
class Column:
    """A figure of a table: its heading, its name, how it is written, and what it means."""

    title: str
    name: str
    style: str
    words: str


@dataclass(frozen=True)
class Table:
    """A heading and the figures below it; columns and rows without any figure are not shown."""

    title: str
    columns: tuple[Column, ...]


AGAINST_TARGET = (
    Column("KID", "kid", ".5f", "kernel distance to the real pictures; 0 is best"),
    Column("+-", "kid_error", ".5f", "standard error of KID"),
    Column("FID", "fid", ".2f", "Frechet distance to the real pictures in Inception's features; 0 is best"),
    Column("IS", "is", ".3f", "Inception Score, 1 or more; that of the real pictures stands in the floor's row"),
    Column("FD", "fd", ".2f", "Frechet distance to the real pictures; not below the floor"),
    Column("SWD", "swd", ".2f", "sliced Wasserstein distance to the real pictures x 1000; not below the floor"),
)
AGAINST_TRUTH = (
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
)
THERE_AND_BACK = (
    Column("cycle", "cycle", ".4f", "mean absolute difference after the way there and back"),
    Column("rounded", "cycle_rounded", ".4f", "the same with the middle picture rounded to 8 bits"),
    Column("noisy", "cycle_noisy", ".4f", "the same with noise of two grey levels on it"),
    Column("hidden", "hidden", ".2f", "about 1 or less if the way back reads nothing hidden"),
)
TABLES = (
    Table("against the other domain", AGAINST_TARGET),
    Table("against the true pair", AGAINST_TRUTH),
    Table("against the source", AGAINST_SOURCE),
    Table("there and back", THERE_AND_BACK),
)
MISSING = "n/a"  # not applicable


def columns_of(table: Table, results: Results) -> list[Column]:
    """The columns that any row has a figure for."""
    names = {name for rows in results.values() for row in rows.values() for name in row}
    return [column for column in table.columns if column.name in names]


def lines_of(
    columns: Sequence[Column], results: Results, labels: Mapping[str, str] = ROWS
) -> Iterator[tuple[str, list[str]]]:
    """Every row's label and cells, ``n/a`` where a figure is not there; rows without any figure are left out."""
    for direction, rows in results.items():
        for what, row in rows.items():
            cells = [format(row[column.name], column.style) if column.name in row else MISSING for column in columns]
            if set(cells) - {MISSING}:
                yield f"{direction[0].upper()} to {direction[1].upper()} {labels[what]}", cells


def as_text(
    results: Results,
    tables: Sequence[Table] = TABLES,
    labels: Mapping[str, str] = ROWS,
    starred: Collection[str] = (),
) -> str:
    """Tables for a terminal, those without any figure left out.

    Args:
        results: figures.
        tables: what to show of them.
        labels: words for the rows.
        starred: names of figures that get a star, for a note below.
    """
    texts = []
    for table in tables:
        shown = columns_of(table, results)
        titles = [column.title + "*" * (column.name in starred) for column in shown]
        lines = [f"{table.title:{LABEL}}" + "".join(f"{title:>{CELL}}" for title in titles)]
        for label, cells in lines_of(shown, results, labels):
            lines.append(f"{label:{LABEL}}" + "".join(f"{cell:>{CELL}}" for cell in cells))
        if len(lines) > 1:
            texts.append("\n".join(lines))
    return "\n\n".join(texts)
