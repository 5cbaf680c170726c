"""Figures of a finished evaluation for a model card: the record of ``evaluate``, or the log of training."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from progcycle.errors import UserError
from progcycle.export.run_files import evaluation_file

# By name in records: the metric's id on the Hub, its heading, and how its values are written.
SHOWN = {
    "kid": ("kid", "KID", ".4f"),
    "fid": ("fid", "FID", ".2f"),
    "is": ("inception_score", "IS", ".2f"),
    "swd": ("swd", "SWD x 1000", ".2f"),
    "ms-ssim": ("ms_ssim", "MS-SSIM of random pairs", ".4f"),
    "precision": ("precision", "precision", ".3f"),
    "recall": ("recall", "recall", ".3f"),
    "modes": ("modes", "modes of 1,000", ".1f"),
    "l1": ("l1", "L1 to the true picture", ".4f"),
    "psnr": ("psnr", "PSNR to it", ".2f"),
    "ssim": ("ssim", "SSIM to it", ".4f"),
    "cycle": ("cycle_l1", "L1 to the source, there and back", ".4f"),
}
DIRECTIONS = {"ab": "A to B", "ba": "B to A"}
BESIDE = {"unchanged": "unchanged pictures", "matched": "matched colours", "floor": "real pictures"}
LARGEST = 64 << 20  # bytes of a record


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        metric: its id on the Hub, such as ``kid``.
        title: its heading, such as ``KID``.
        of: what was measured, such as ``A to B``; "" where there is one thing only.
        value: of the model.
        style: how values are written.
        beside: the same of something else, by what it is.
        error: standard error of the value, where it is known.
    """

    metric: str
    title: str
    of: str
    value: float
    style: str
    beside: Mapping[str, float] = field(default_factory=dict)
    error: float | None = None


@dataclass(frozen=True)
class Measured:
    """What is known of a model's figures.

    Attributes:
        figures: in the order of tables.
        protocol: how they were measured, in words.
        record: of ``evaluate``, for a file beside the card; None if they come from the log of training.
    """

    figures: tuple[Figure, ...]
    protocol: str
    record: Mapping[str, Any] | None = None


def measured_of(run: Path, nimg: int, label: str) -> Measured | None:
    """The figures of a run's snapshot: from its evaluation, else from evaluations while it trained; None without any.

    Args:
        run: the run folder.
        nimg: pictures that the snapshot had been shown.
        label: its resolution, as records have it.

    Raises:
        UserError: the record is damaged.
    """
    file = evaluation_file(run, nimg)
    if file.is_file():
        record = _read(file)
        if record.get("nimg") == nimg:
            return Measured(tuple(_figures(record["results"])), _protocol(record), record)
    found = _of_log(run / "stats.jsonl", nimg)
    if not found:
        return None
    return Measured(
        tuple(found), f"Measured while training, at {label} px, as `training.evaluation` of the recipe says."
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError("it is too large")
        record = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or not isinstance(record.get("results"), dict):
            raise ValueError("it holds no results")
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file} is no record of an evaluation ({reason}); delete it, or run evaluate again.") from None
    return record


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _row(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}


def _figures(results: Mapping[str, Any]) -> Iterator[Figure]:
    for part, content in results.items():
        rows = _row(content)
        if part in DIRECTIONS:
            others = {label: _row(rows.get(name)) for name, label in BESIDE.items()}
            yield from _of_rows(_row(rows.get("translated")), others, DIRECTIONS[part])
        elif "generated" in rows:
            generated, real = (_named(part, _row(rows.get(name))) for name in ("generated", "real"))
            yield from _of_rows(generated, {"real pictures, half to half": real}, "")
        else:
            yield from _of_rows(rows, {}, f"{part} pictures")


def _named(part: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Figures by their names, where a record has means by the metric's name."""
    mean = row.get("mean")
    if isinstance(mean, Mapping):
        return mean
    return row if mean is None else {part: mean}


def _of_rows(row: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]], of: str) -> Iterator[Figure]:
    for name, (metric, title, style) in SHOWN.items():
        if (value := _number(row.get(name))) is not None:
            beside = {label: other for label, each in others.items() if (other := _number(each.get(name))) is not None}
            yield Figure(metric, title, of, value, style, beside, _number(row.get(f"{name}_error")))


def _protocol(record: Mapping[str, Any]) -> str:
    """In words: what was compared, at which size, in which features, with which version."""
    real, counts = _row(record.get("real")), _row(record.get("pictures"))
    words = []
    if counts:
        pairs = f", {record['pairs']} true pairs among them" if record.get("pairs") else ", without pairs"
        words.append(f"{' and '.join(f'{count} of {d.upper()}' for d, count in counts.items())}{pairs}")
    elif "pictures" in real:
        words.append(f"against {real['pictures']} real pictures")
    words.append(f"{record.get('resolution')} px")
    seed = record.get("seed", _row(record.get("protocol")).get("seed"))
    words += [f"seed {seed}"] if seed is not None else []
    for key in ("features", "resnet_features"):
        if name := _row(record.get(key)).get("name"):
            resize = _row(record.get(key)).get("resize")
            words.append(f"features of {name}" + (f" ({resize})" if resize else ""))
    version = _row(record.get("versions")).get("progcycle")
    by = f" by progcycle {version}" if version else ""
    seen = record.get("seen_by_discriminators")
    flattered = f" A discriminator has seen such features while training: {', '.join(map(str, seen))}." if seen else ""
    first = "Test pictures: " if counts else "Measured "
    return f"{first}{'; '.join(words)}.{flattered} Measured with `progcycle evaluate`{by}; `metrics.json` has it all."


def _of_log(file: Path, nimg: int) -> list[Figure]:
    """Metrics of the evaluation that a run made at that moment."""
    start, found = "metric/", dict[str, float]()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    for line in lines:
        try:
            content = json.loads(line) if f'"{start}' in line else {}
        except ValueError:
            continue
        if isinstance(content, dict) and content.get("nimg") == nimg:
            found |= {k.removeprefix(start): v for k, v in content.items() if k.startswith(start)}
    figures = []
    for name, value in found.items():
        key, _, of = name.partition("/")
        if key in SHOWN and (number := _number(value)) is not None and of in ("", *DIRECTIONS):
            metric, title, style = SHOWN[key]
            figures.append(Figure(metric, title, DIRECTIONS.get(of, ""), number, style))
    return figures
