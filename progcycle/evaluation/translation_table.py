"""Figures of translators as tables, for a terminal of 100 columns and for a page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
    """A figure of a table: its heading, its name, its format, and what it means."""

    title: str
    name: str
    style: str
    description: str


@dataclass(frozen=True)
class Table:
    """A heading and the figures below it; columns and rows without any figure are not shown."""

    title: str
    columns: tuple[Column, ...]


AGAINST_TARGET = (
    Column("KID", "kid", ".5f", "kernel distance to the real pictures; 0 is best"),
    Column("+-", "kid_error", ".5f", "standard error of KID"),
    Column("KID-R", "kid_resnet", ".5f", "KID in features of open_nsfw, a ResNet"),
    Column("+-", "kid_resnet_error", ".5f", "standard error of KID-R"),
    Column("FID", "fid", ".2f", "Frechet distance to the real pictures in Inception's features; 0 is best"),
    Column("IS", "is", ".3f", "Inception Score, 1 or more; that of the real pictures is in the floor's row"),
    Column("FD", "fd", ".2f", "Frechet distance to the real pictures; not below the floor"),
    Column("SWD", "swd", ".2f", "sliced Wasserstein distance to the real pictures x 1000; not below the floor"),
)
TOLD_APART = (
    Column("error", "two_sample_error", ".3f", "share that a fresh classifier gets wrong; 0.5 is best, and chance"),
    Column("+-", "two_sample_error_deviation", ".3f", "deviation over divisions of the test pictures"),
    Column("AUC", "two_sample_auc", ".3f", "area under its ROC curve; 0.5 is best, and chance"),
    Column("+-", "two_sample_auc_deviation", ".3f", "deviation over divisions of the test pictures"),
)
COLOURS = (
    Column("hue", "hue_distance", ".1f", "degrees from the real set's hues, weighted by chroma; not below the floor"),
    Column("chroma", "chroma_distance", ".4f", "distance from the real set's chroma; not below the floor"),
    Column("colours", "colours", ".2f", "distinct colours a picture; those of real pictures stand in the floor's row"),
    Column("mean", "mean_chroma", ".4f", "mean chroma; that of real pictures stands in the floor's row"),
    Column("spread", "colour_spread", ".4f", "deviation of the pictures' mean colours; likewise"),
)
LUMA_CHROMA = (
    Column("luma L1", "luma_l1", ".4f", "mean absolute difference of brightness to the true pair"),
    Column("SSIM", "luma_ssim", ".4f", "structural similarity of brightness"),
    Column("chr. L1", "chroma_l1", ".4f", "mean absolute difference of colour (Cb and Cr) to the true pair"),
    Column("SSIM", "chroma_ssim", ".4f", "structural similarity of colour"),
)
LINES = (
    Column("recall", "edge_recall", ".3f", "share of the source's edges that are kept; the truth's is the floor's row"),
    Column("precis.", "edge_precision", ".3f", "share of the output's edges that the source has; likewise"),
    Column("fill", "fill", ".4f", "deviation of colours inside the source's lines, 0 for flat; likewise"),
)


def _differences(other: str, prefix: str = "") -> tuple[Column, ...]:
    """How far single pictures are from others.

    Args:
        other: what the others are called.
        prefix: of the figures' names.
    """
    return (
        Column("L1", f"{prefix}l1", ".4f", f"mean absolute difference to {other}; 0 for equal pictures, 2 at most"),
        Column("PSNR", f"{prefix}psnr", ".2f", f"to {other}, in dB; 100 for equal pictures"),
        Column("SSIM", f"{prefix}ssim", ".4f", f"to {other}; 1 for equal pictures"),
        Column("feature", f"{prefix}feature", ".4f", f"cosine distance of features to {other}; 0 for equal pictures"),
    )


AGAINST_TRUTH = _differences("the true pair")
AGAINST_SOURCE = (
    *_differences("the source", "source_"),
    Column(
        "copy",
        "copy",
        ".3f",
        "1 for an unchanged source; 0 if as far from it as the true pair; without pairs SSIM to it",
    ),
    Column("inverse", "inversion", ".3f", "1 for a negative of the source, -1 for its colours"),
)
THERE_AND_BACK = (
    Column("cycle", "cycle", ".4f", "mean absolute difference to the source after the round trip"),
    Column("rounded", "cycle_rounded", ".4f", "the same with the translation rounded to 8 bits"),
    Column("noisy", "cycle_noisy", ".4f", "the same with noise of two grey levels on the translation"),
    Column("hidden", "hidden", ".2f", "about 1 or less if the way back reads no hidden signal"),
)
SAME_SOURCE = (
    Column("L1", "diversity", ".4f", "mean absolute difference of two translations of a picture; 0 if they are equal"),
    Column("feature", "diversity_feature", ".4f", "cosine distance of features of two translations of a picture"),
    Column(
        "latent", "latent", ".4f", "cosine distance of latents and their estimates from the translations; 0 is best"
    ),
)
TABLES = (
    Table("against the other domain", AGAINST_TARGET),
    Table("told from real by a classifier", TOLD_APART),
    Table("colours of the set", COLOURS),
    Table("against the true pair", AGAINST_TRUTH),
    Table("brightness and colour to it", LUMA_CHROMA),
    Table("lines of the source", LINES),
    Table("against the source", AGAINST_SOURCE),
    Table("there and back", THERE_AND_BACK),
    Table("between translations of a picture", SAME_SOURCE),
)
MISSING = "n/a"  # not applicable


@dataclass(frozen=True)
class FilledTable:
    """A table with its figures.

    Attributes:
        title: its heading.
        columns: those that any row has a figure for.
        rows: label and cells of each row that has any figure, ``n/a`` where one is missing.
    """

    title: str
    columns: list[Column]
    rows: list[tuple[str, list[str]]]


def fill_tables(
    results: Results,
    tables: Sequence[Table] = TABLES,
    labels: Mapping[str, str] = ROWS,
    marks: Mapping[str, str] | None = None,
) -> Iterator[FilledTable]:
    """The tables that have any figure.

    Args:
        results: figures by direction, row and name.
        tables: which figures to show.
        labels: how the rows are called.
        marks: signs behind the headings of figures, by the figures' names, for notes below the tables.
    """
    known = {name for rows in results.values() for row in rows.values() for name in row}
    for table in tables:
        columns = [
            replace(column, title=column.title + (marks or {}).get(column.name, ""))
            for column in table.columns
            if column.name in known
        ]
        rows = [
            (f"{direction[0].upper()} to {direction[1].upper()} {labels[what]}", cells)
            for direction, by_row in results.items()
            for what, row in by_row.items()
            if set(cells := [_cell(column, row) for column in columns]) - {MISSING}
        ]
        if rows:
            yield FilledTable(table.title, columns, rows)


def _cell(column: Column, row: Figures) -> str:
    return format(row[column.name], column.style) if column.name in row else MISSING


def as_text(
    results: Results,
    tables: Sequence[Table] = TABLES,
    labels: Mapping[str, str] = ROWS,
    marks: Mapping[str, str] | None = None,
) -> str:
    """Tables for a terminal; arguments as for :func:`fill_tables`."""
    texts = []
    for table in fill_tables(results, tables, labels, marks):
        lines = [f"{table.title:{LABEL}}" + "".join(f"{column.title:>{CELL}}" for column in table.columns)]
        lines += [f"{label:{LABEL}}" + "".join(f"{cell:>{CELL}}" for cell in cells) for label, cells in table.rows]
        texts.append("\n".join(lines))
    return "\n\n".join(texts)
