"""Figures of generators as tables, for a terminal of 100 columns."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from progcycle.evaluation.feature_distances import IN_FEATURES, OF_GENERATORS, PRECISION_RECALL, RESNET, bias_note
from progcycle.evaluation.seen_features import MARK, mark_note
from progcycle.evaluation.translation_table import COLOURS, TOLD_APART

LABEL, CELL, WIDE = 24, 9, 10  # columns of the terminal


def as_text(record: Mapping[str, Any]) -> str:
    """The tables of a record of ``progcycle evaluate``.

    Args:
        record: what the JSON file holds.
    """
    real = record["real"]["pictures"]
    fading = f" at alpha {record['alpha']:.2f}" if record["alpha"] < 1 else ""
    head = (
        f"{record['snapshot']}, {record['resolution']} px{fading}, against {real} real pictures, seed {record['seed']}"
    )
    blocks = ["\n".join([head, *record["left_out"]])]
    results = record["results"]
    in_features = [name for name in results if name in IN_FEATURES]
    for name, found in results.items():
        if name == "swd":
            blocks.append(_distances(found, real))
        elif name == "ms-ssim":
            blocks.append(_similarities(found))
        elif name == "modes":
            blocks.append(_modes(found))
        elif name == "palette":
            blocks.append(_palette(found))
        elif name == "two-sample":
            blocks.append(_two_sample(found))
        elif name == RESNET:
            blocks.append(_in_features({"kid": found}, record["resnet_features"], record["seen_by_discriminators"]))
        elif name == PRECISION_RECALL:
            blocks.append(_in_features({name: found}, record["features"], record["seen_by_discriminators"]))
        elif name == in_features[0]:
            some = {name: results[name] for name in in_features}
            blocks.append(_in_features(some, record["features"], record["seen_by_discriminators"]))
    return "\n\n".join(blocks)


def _line(label: str, cells: Iterable[str], width: int = CELL) -> str:
    return f"{label:{LABEL}}" + "".join(f"{cell:>{width}}" for cell in cells)


def _distances(found: Mapping[str, Any], real: int) -> str:
    sides = [name.partition("/")[2] or "average" for name in found["generated"]]
    lines = [f"sliced Wasserstein distance x 1000 between sets of {found['count']}, by pixels of the pyramid's level"]
    lines.append(_line("", sides))
    for name, label in (("generated", "generated to real"), ("real", "real to real (floor)")):
        if found[name] is not None:
            lines.append(_line(label, (f"{value:.2f}" for value in found[name].values())))
        else:
            words = f"it compares two halves of the real pictures, which takes a --count up to {real // 2}"
            lines.append(f"{label:{LABEL}}  none: {words}")
    return "\n".join(lines)


def _similarities(found: Mapping[str, Any]) -> str:
    lines = [f"MS-SSIM of {found['pairs']} random pairs, from 0 to 1 for equal pictures", _line("", ("mean", "error"))]
    for name in ("generated", "real"):
        mean, error = found[name]["mean"], found[name]["standard_error"]
        lines.append(_line(name, [f"{value:.4f}" for value in (mean, error) if value is not None]))
    return "\n".join(lines)


def _in_features(
    found: Mapping[str, Mapping[str, Any]], features: Mapping[str, Any], seen: Collection[str] = ()
) -> str:
    one = next(iter(found.values()))
    rows = {what: {k: v for each in found.values() for k, v in each[what].items()} for what in ("generated", "real")}
    columns = []
    for name, each in found.items():
        stars = {what: "*" * each.get(key, False) for what, key in (("generated", "biased"), ("real", "real_biased"))}
        columns += [(title, f, style, stars) for title, f, style in OF_GENERATORS[name] if f in rows["generated"]]
    counts = f"{one['count']} generated against {one['real_count']} real pictures"
    lines = [f"in features of {features['name']}: {counts}", _line("", (title for title, *_ in columns), WIDE)]
    for what, label in (("generated", "generated"), ("real", "real, half to half")):
        cells = (
            f"{rows[what][f]:{style}}{stars[what]}" if f in rows[what] else "n/a" for _, f, style, stars in columns
        )
        lines.append(_line(label, cells, WIDE))
    if any(each.get("biased") or each.get("real_biased") for each in found.values()):
        lines.append(bias_note(features["dimensions"]))
    if features["name"] in seen:
        lines[1] = _line("", (title + MARK for title, *_ in columns), WIDE)
        lines.append(mark_note([features["name"]]))
    return "\n".join(lines)


def _palette(found: Mapping[str, Any]) -> str:
    lines = [f"colours of {found['count']} generated and as many real pictures"]
    lines.append(_line("", (column.title for column in COLOURS)))
    for name, label in (("generated", "generated"), ("real", "real, half to half")):
        row = found[name]
        lines.append(_line(label, (f"{row[c.name]:{c.style}}" if c.name in row else "n/a" for c in COLOURS)))
    return "\n".join(lines)


def _two_sample(found: Mapping[str, Any]) -> str:
    lines = [
        f"told from real by a classifier, {found['count']} pictures of each set, {found['seconds']:.0f} s; 0.5 is best",
        _line("", (column.title for column in TOLD_APART)),
        _line("generated", (f"{found['generated'][c.name]:{c.style}}" for c in TOLD_APART)),
    ]
    return "\n".join(lines)


def _modes(found: Mapping[str, Any]) -> str:
    made, real = found["generated"], found["real"]
    times = f"({found['repeats']} times)"
    lines = [f"modes, of 1000, in {found['count']} generated pictures {times} and in {real['count']} real ones"]
    lines.append(_line("", ("modes", "KL", "KL found")))
    rows = {"generated, mean": made["mean"], "generated, deviation": made["deviation"], "real": real}
    for label, row in rows.items():
        lines.append(_line(label, (f"{row['modes']:.1f}", f"{row['kl']:.4f}", f"{row['kl_found']:.4f}")))
    return "\n".join(lines)
