"""Evaluation of translators, compared with leaving pictures unchanged and with matching their colours."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from tqdm import tqdm

from progcycle.blocks import level_step
from progcycle.data import PictureSet
from progcycle.errors import UserError
from progcycle.evaluation.evaluate_resolution import (
    check_resolution,
    measure_at_resolution,
    resolution_table,
    resolution_warnings,
)
from progcycle.evaluation.feature_distances import (
    IN_FEATURES,
    PUBLISHED,
    bias_note,
    choose_features,
    features_record,
    is_biased,
)
from progcycle.evaluation.options import EvaluationOptions
from progcycle.evaluation.pairs import Pairing, find_pairs
from progcycle.evaluation.provenance import default_path, origin, versions
from progcycle.evaluation.result import Evaluation
from progcycle.evaluation.round_trip import NOISE, Figures, RoundTrip, translate_as_training, translate_round_trip
from progcycle.evaluation.translation_metrics import (
    DIRECTIONS,
    HIDDEN,
    INVERTED,
    SMALLEST,
    DirectionTestSet,
    Pairs,
    faults,
    real_features,
    source_target_pairs,
)
from progcycle.evaluation.translation_page import PageSection, TranslationPage
from progcycle.evaluation.translation_pictures import faded_as_trained, read_pictures, test_sets, training_pictures
from progcycle.evaluation.translation_table import as_text
from progcycle.export.tensor_images import as_channels
from progcycle.metrics import Features, colour_statistics, match_colours
from progcycle.metrics.sliced_wasserstein import DIRECTIONS as RANDOM
from progcycle.metrics.sliced_wasserstein import PATCHES, REPEATS, SCALE
from progcycle.output import bars_hidden

if TYPE_CHECKING:
    from progcycle.export import Translator
    from progcycle.recipe import CycleganRecipe

SETS = ("swd", *IN_FEATURES)  # distances between sets of pictures


@dataclass(frozen=True)
class TranslatorOptions(EvaluationOptions):
    """What to measure of translators, and on which pictures. Metrics are the distances between sets of ``SETS``.

    Attributes:
        a: folder of test pictures of A, instead of the recipe's.
        b: folder of test pictures of B, instead of the recipe's.
        resolution: pixels per side at which true pairs are compared too, or None.
        paired: whether equal names are true pairs, instead of ``data.paired`` of the recipe.
    """

    a: str | None = None
    b: str | None = None
    resolution: int | None = None
    paired: bool | None = None


def evaluate_translator(model: "Translator", snapshot: Path, run: Path, options: TranslatorOptions) -> Evaluation:
    """Measure translations, and for comparison unchanged pictures and pictures with matched colours.

    Args:
        model: trained translators.
        snapshot: where they come from.
        run: their run folder; caches of pictures next to it are read, and none is written.
        options: what to measure.

    Raises:
        UserError: there are no test pictures, one is broken, or the weights given are not those of the network.
    """
    recipe: CycleganRecipe = model.recipe  # type: ignore[assignment]  # a Translator's
    sets = test_sets(recipe, options.a, options.b, recipe.resolution)
    names, features, left_out = _available(options, model.resolution)
    started = time.perf_counter()
    sharp = {domain: read_pictures(sets[domain], model.resolution) for domain in ("a", "b")}
    paired = recipe.data.paired if options.paired is None else options.paired
    remedy = "give --paired if they are true pairs"
    pairing = find_pairs(sets, paired, lambda domain, places: sharp[domain][places], remedy=remedy)
    if options.resolution is not None:
        check_resolution(model, options.resolution, pairing.pairs, pairing.sentence)
    colours, why = training_pictures(recipe, run, model.resolution)
    colours = faded_as_trained(model, colours) if colours else None
    measured = _measure(model, names, features, faded_as_trained(model, sharp), pairing.pairs, colours, options)
    results = {direction: result.rows for direction, result in measured.items()}
    wrong = faults({name: value for result in measured.values() for name, value in result.figures.items()})
    seconds = round(time.perf_counter() - started, 1)
    small = features is not None and is_biased(features, *map(len, sharp.values()))
    starred = [name for name in PUBLISHED if small and name in names]
    larger: dict[str, Any] | None = None
    if options.resolution is not None:
        folders = (options.a, options.b)
        larger = measure_at_resolution(model, recipe, folders, pairing.pairs, options.resolution, options.batch_size)
    record = {
        **_origin(model, snapshot, sets, pairing),
        "protocol": _protocol(measured, colours, options),
        "features": features_record(features),
        "biased": starred,
        "left_out": left_out,
        "seconds": seconds,
        "results": results,
        "at_resolution": larger,
        "faults": wrong,
        "versions": versions("kornia", "numpy", *([features.protocol["library"]] if features else [])),
    }
    star = bias_note(features.dimensions) if starred and features is not None else ""
    warnings = [f"{domain.upper()}: {remark}" for domain in sets for remark in sets[domain].remarks]
    warnings += resolution_warnings(larger, record["pictures"]) if larger else []
    sections = [
        PageSection(f"{a.upper()} to {b.upper()}", result.test_set, result.round_trip, sets[a].names, sets[b].names)
        for (_, a, b), result in zip(DIRECTIONS, measured.values(), strict=True)
    ]
    page = TranslationPage(
        f"Translations of {run.name}", ", ".join(_head(record)), sections, results, list(wrong.values()), starred, star
    )
    text = _text(record, pairing.sentence, star, why)
    return Evaluation(record, text, default_path(run, model), [*warnings, *wrong.values()], page)


@dataclass(frozen=True)
class DirectionResult:
    """The measured figures of one direction.

    Attributes:
        test_set: the test pictures.
        round_trip: their translations and reconstructions.
        figures: of the translations, by name with the direction.
        rows: figures by row of the tables, by name without the direction.
    """

    test_set: DirectionTestSet
    round_trip: RoundTrip
    figures: Figures
    rows: dict[str, Figures]


def _measure(
    model: "Translator",
    names: Sequence[str],
    features: Features | None,
    pictures: Mapping[str, Tensor],
    pairs: Pairs,
    colours: Mapping[str, Tensor] | None,
    options: TranslatorOptions,
) -> dict[str, DirectionResult]:
    """Measure both directions."""
    reals = real_features(features, pictures["a"], pictures["b"]) if features else None
    measured: dict[str, DirectionResult] = {}
    for direction, source, target in tqdm(DIRECTIONS, unit="direction", disable=bars_hidden(), leave=False):
        test_set = DirectionTestSet(
            direction, pictures[source], pictures[target], source_target_pairs(pairs, direction), features, reals
        )
        round_trip = translate_round_trip(
            translate_as_training(model), test_set.source, direction, options.seed, options.batch_size
        )
        outputs = {"translated": round_trip.output, "unchanged": test_set.unchanged}
        if colours:
            outputs["matched"] = match_training_colours(test_set.unchanged, colours[source], colours[target])
        swd: dict[str, Any] = {"swd": "swd" in names, "seed": options.seed, "memory_gb": options.memory_gb}
        figures = {what: _selected(test_set.measure(output, **swd), names) for what, output in outputs.items()}
        figures["translated"] |= round_trip.figures(direction)
        rows = _with_floor({what: _short(row) for what, row in figures.items()})
        measured[direction] = DirectionResult(test_set, round_trip, figures["translated"], rows)
    return measured


def _head(record: Mapping[str, Any]) -> list[str]:
    """Counts, snapshot, size, seed and features, for headings."""
    counts = record["pictures"]
    fading = f" at alpha {record['alpha']:.2f}" if record["alpha"] < 1 else ""
    return [
        f"{record['pairs']} pairs of {counts['a']} and {counts['b']} test pictures",
        record["snapshot"],
        f"{record['resolution']} px{fading}",
        f"seed {record['protocol']['seed']}",
        *([f"features of {record['features']['name']}"] if record["features"] else []),
    ]


def _text(record: Mapping[str, Any], pairing: str, star: str, why: str) -> str:
    """The tables, for a terminal.

    Args:
        record: what the JSON file holds.
        pairing: a sentence about the pairs, or "".
        star: what a star means, or "".
        why: a sentence why there is no row of matched colours, or "".
    """
    counts, snapshot, *where = _head(record)
    lines = [snapshot, ", ".join([counts, *where])]
    if record["alpha"] < 1:
        lines.append("All pictures are faded as training fades them at this moment.")
    if pairing:
        lines.append(f"{pairing[0].upper()}{pairing[1:]}.")
    lines += [*record["left_out"], "", as_text(record["results"], starred=record["biased"]), ""]
    if star:
        lines.append(star)
    if record["at_resolution"]:
        lines += [resolution_table(record["at_resolution"]), ""]
    if why:
        lines.append(f"The row of matched colours is left out, since the training pictures cannot be read: {why}")
    lines.append(f"measured in {record['seconds']:.0f} s")
    return "\n".join(lines)


def match_training_colours(unchanged: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Pictures with the colours of a domain's training pictures matched to another's, see :func:`match_colours`.

    Args:
        unchanged: pictures of the first domain with the channels of the second.  # [N, C', R, R]
        source: training pictures of the first.  # [M, C, R, R]
        target: training pictures of the second.  # [M', C', R, R]
    """
    channels = unchanged.shape[1]
    own, wanted = colour_statistics([as_channels(source, channels)]), colour_statistics([target])
    return match_colours(unchanged, own, wanted)


# --- figures --------------------------------------------------------------------------------------------------------


def _available(options: TranslatorOptions, resolution: int) -> tuple[list[str], Features | None, list[str]]:
    """Names of the distances of sets, the network that they need, and sentences about defaults that are left out."""
    names, left_out = list(dict.fromkeys(options.metrics or ("kid", "swd"))), []
    if not options.metrics and options.inception:
        names += PUBLISHED
    for name in names:
        if name not in SETS:
            raise UserError(
                f"--metrics: translators have no metric {name!r}; choose from {', '.join(SETS)}. Figures against "
                "truth and source are always there."
            )
    if "swd" in names and (resolution < SMALLEST or resolution & (resolution - 1)):
        why = f"it takes sides of a power of two from {SMALLEST} px on, and these have {resolution} px"
        if options.metrics:
            raise UserError(f"--metrics: swd cannot be measured: {why}; leave it out.")
        names.remove("swd")
        left_out.append(f"SWD is left out: {why}.")
    features, why = choose_features(names, bool(options.metrics), options.inception, options.device)
    if why:
        names.remove("kid")
        left_out.append(f"KID and distances in features are left out: {why}")
    return names, features, left_out


def _selected(figures: Figures, names: Sequence[str]) -> Figures:
    """Figures without distances in features that are not in ``names``."""
    unwanted = {figure for name in IN_FEATURES if name not in names for _, figure, _ in IN_FEATURES[name]}
    kept = {}
    for name, value in figures.items():
        if name.partition("/")[0].removesuffix("_floor") not in unwanted:
            kept[name] = value
    return kept


def _short(figures: Figures) -> Figures:
    """Figures by their names without the direction."""
    return {name.partition("/")[0]: value for name, value in figures.items()}


def _with_floor(rows: dict[str, Figures]) -> dict[str, Figures]:
    """Rows with a row ``floor``, the distances between real pictures, in place of the figures named so."""
    floors = {name: value for name, value in rows["translated"].items() if name.endswith("_floor")}
    kept = {what: {name: v for name, v in row.items() if name not in floors} for what, row in rows.items()}
    floor = {name.removesuffix("_floor"): value for name, value in floors.items()}
    return {**kept, "floor": floor} if floor else kept


# --- record ---------------------------------------------------------------------------------------------------------


def _origin(model: "Translator", snapshot: Path, sets: Mapping[str, PictureSet], pairing: Pairing) -> dict[str, Any]:
    return {
        **origin(snapshot, model.config),
        "faded": model.config.growth.reals_alpha < 1,
        "pairs": len(pairing.pairs),
        "paired": pairing.about,
        "pictures": {domain: len(pictures) for domain, pictures in sets.items()},
        "paths": {domain: list(pictures.paths) for domain, pictures in sets.items()},
    }


def _protocol(
    measured: Mapping[str, DirectionResult], colours: Mapping[str, Tensor] | None, options: TranslatorOptions
) -> dict[str, Any]:
    by_direction = {direction: result.test_set for direction, result in measured.items()}
    return {
        "seed": options.seed,
        "device": options.device,
        "halves": {direction: len(test_set.halves(options.seed)[0]) for direction, test_set in by_direction.items()},
        "swd": {
            "patches_per_picture": PATCHES,
            "directions": [REPEATS, RANDOM],
            "scale": SCALE,
            "level": "mean of all",
        },
        "feature": "cosine distance, mean over the pictures",
        "copy": {
            direction: "1 - L1 to the source / L1 of the truth to it" if test_set.pairs else "SSIM"
            for direction, test_set in by_direction.items()
        },
        "noise_grey_levels": NOISE / level_step(),
        "matched": {domain: len(pictures) for domain, pictures in colours.items()} if colours else None,
        "faults_from": {"inversion": INVERTED, "hidden": HIDDEN},
    }
