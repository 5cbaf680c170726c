"""Evaluation of translators, compared with leaving pictures unchanged and with matching their colours."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from tqdm import tqdm

from progcycle.blocks import level_step
from progcycle.data import PictureSet, describe_scale
from progcycle.errors import UserError
from progcycle.evaluation.diversity import PICTURES, TRANSLATIONS, latents_of, measure_diversity
from progcycle.evaluation.evaluate_resolution import (
    check_resolution,
    larger_size,
    measure_at_resolution,
    resolution_table,
    resolution_warnings,
)
from progcycle.evaluation.feature_distances import (
    IN_FEATURES,
    PUBLISHED,
    RESNET,
    bias_note,
    choose_features,
    choose_resnet,
    features_record,
    is_biased,
)
from progcycle.evaluation.options import EvaluationOptions
from progcycle.evaluation.pairs import Pairing, find_pairs
from progcycle.evaluation.provenance import default_path, origin, versions
from progcycle.evaluation.result import Evaluation
from progcycle.evaluation.round_trip import NOISE, Figures, RoundTrip, translate_as_training, translate_round_trip
from progcycle.evaluation.seen_features import MARK, has_seen, mark_note, seen_figures
from progcycle.evaluation.translation_metrics import (
    DIRECTIONS,
    HIDDEN,
    INVERTED,
    QUICK,
    SMALLEST,
    DirectionTestSet,
    Pairs,
    RealFeatures,
    faults,
    real_features,
    source_target_pairs,
)
from progcycle.evaluation.translation_page import PageSection, TranslationPage
from progcycle.evaluation.translation_pictures import faded_as_trained, read_pictures, test_sets, training_pictures
from progcycle.evaluation.translation_table import as_text
from progcycle.export.tensor_images import as_channels
from progcycle.metrics import Features, TwoSampleTest, colour_statistics, match_colours
from progcycle.metrics.sliced_wasserstein import DIRECTIONS as RANDOM
from progcycle.metrics.sliced_wasserstein import PATCHES, REPEATS, SCALE
from progcycle.metrics.two_sample import BATCH, FOLDS, STEPS
from progcycle.metrics.two_sample import REPEATS as DIVISIONS
from progcycle.output import bars_hidden

if TYPE_CHECKING:
    from progcycle.export import Translator
    from progcycle.recipe import CycleganRecipe

SETS = ("swd", *IN_FEATURES, RESNET, "two-sample")  # comparisons of sets that take time


@dataclass(frozen=True)
class TranslatorOptions(EvaluationOptions):
    """What to measure of translators, and on which pictures. Metrics are the comparisons of ``SETS``.

    kid-resnet is measured by default where a discriminator has seen the features of kid; two-sample never is.

    Attributes:
        a: folder of test pictures of A, instead of the recipe's.
        b: folder of test pictures of B, instead of the recipe's.
        resolution: another one (one number is the shorter side) at which true pairs are compared too, or None.
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
    choice = _available(options, model.resolution, recipe)
    features = choice.features
    started = time.perf_counter()
    sharp = {domain: read_pictures(sets[domain], model.resolution) for domain in ("a", "b")}
    paired = recipe.data.paired if options.paired is None else options.paired
    remedy = "give --paired if they are true pairs"
    pairing = find_pairs(sets, paired, lambda domain, places: sharp[domain][places], remedy=remedy)
    at = None if options.resolution is None else larger_size(model, options.resolution)
    if at is not None:
        check_resolution(model, at, pairing.pairs, pairing.sentence)
    colours, why = training_pictures(recipe, run, model.resolution)
    colours = faded_as_trained(model, colours) if colours else None
    measured = _measure(model, choice, faded_as_trained(model, sharp), pairing.pairs, colours, options)
    results = {direction: result.rows for direction, result in measured.items()}
    wrong = faults({name: value for result in measured.values() for name, value in result.figures.items()})
    seconds = round(time.perf_counter() - started, 1)
    small = features is not None and is_biased(features, *map(len, sharp.values()))
    starred = [name for name in PUBLISHED if small and name in choice.names]
    seen = seen_figures(recipe, *(f.name if f else None for f in (features, choice.resnet)))
    larger: dict[str, Any] | None = None
    if at is not None:
        folders, how = (options.a, options.b), (options.batch_size, options.seed)
        larger = measure_at_resolution(model, recipe, folders, pairing.pairs, at, *how)
    record = {
        **_origin(model, snapshot, recipe, sets, pairing),
        "protocol": _protocol(measured, colours, options),
        "features": features_record(features),
        "resnet_features": features_record(choice.resnet),
        "biased": starred,
        "seen_by_discriminators": seen,
        "left_out": choice.left_out,
        "seconds": seconds,
        "results": results,
        "at_resolution": larger,
        "faults": wrong,
        "versions": versions("kornia", "numpy", *(f.protocol["library"] for f in choice.networks)),
    }
    notes = [bias_note(features.dimensions)] if starred and features is not None else []
    networks = [network.name for network in choice.networks if has_seen(recipe, network.name)]
    notes += [mark_note(networks)] if networks else []
    warnings = [f"{domain.upper()}: {remark}" for domain in sets for remark in sets[domain].remarks]
    warnings += resolution_warnings(larger, record["pictures"]) if larger else []
    sections = [
        PageSection(f"{a.upper()} to {b.upper()}", result.test_set, result.round_trip, sets[a].names, sets[b].names)
        for (_, a, b), result in zip(DIRECTIONS, measured.values(), strict=True)
    ]
    page = TranslationPage(
        f"Translations of {run.name}",
        ", ".join(_head(record)),
        sections,
        results,
        list(wrong.values()),
        _marks(record),
        notes,
    )
    text = _text(record, pairing.sentence, notes, why)
    return Evaluation(record, text, default_path(run, model), [*warnings, *wrong.values()], page)


@dataclass(frozen=True)
class DirectionResult:
    """The measured figures of one direction.

    Attributes:
        test_set: the test pictures.
        round_trip: their translations and reconstructions.
        figures: of the translations, by name with the direction.
        rows: figures by row of the tables, by name without the direction.
        tests: two-sample tests by row.
    """

    test_set: DirectionTestSet
    round_trip: RoundTrip
    figures: Figures
    rows: dict[str, Figures]
    tests: dict[str, TwoSampleTest]


def _measure(
    model: "Translator",
    choice: "_Choice",
    pictures: Mapping[str, Tensor],
    pairs: Pairs,
    colours: Mapping[str, Tensor] | None,
    options: TranslatorOptions,
) -> dict[str, DirectionResult]:
    """Measure both directions."""
    names, features, resnet = choice.names, choice.features, choice.resnet
    reals = real_features(features, pictures["a"], pictures["b"]) if features else None
    more = RealFeatures(resnet, real_features(resnet, pictures["a"], pictures["b"])) if resnet else None
    measured: dict[str, DirectionResult] = {}
    for direction, source, target in tqdm(DIRECTIONS, unit="direction", disable=bars_hidden(), leave=False):
        test_set = DirectionTestSet(
            direction, pictures[source], pictures[target], source_target_pairs(pairs, direction), features, reals, more
        )
        translate, latents = translate_as_training(model), latents_of(model, options.seed)
        round_trip = translate_round_trip(
            translate, test_set.source, direction, options.seed, options.batch_size, latents=latents
        )
        outputs = {"translated": round_trip.output, "unchanged": test_set.unchanged}
        if colours:
            outputs["matched"] = match_training_colours(test_set.unchanged, colours[source], colours[target])
        groups = (*QUICK, *(["swd"] if "swd" in names else []))
        figures = {}
        for what, output in outputs.items():
            found = test_set.measure(output, metrics=groups, seed=options.seed, memory_gb=options.memory_gb)
            figures[what] = _selected(found, names)
        tests = {}
        for what in ("translated", "unchanged") if "two-sample" in names else ():  # matched colours: it takes long
            if (test := test_set.two_sample(outputs[what], options.seed)) is not None:
                figures[what] |= {f"{name}/{direction}": value for name, value in test.figures().items()}
                tests[what] = test
        figures["translated"] |= round_trip.figures(direction)
        figures["translated"] |= measure_diversity(
            translate, test_set.source, direction, latents, features, options.batch_size
        )
        rows = _with_floor({what: _short(row) for what, row in figures.items()})
        measured[direction] = DirectionResult(test_set, round_trip, figures["translated"], rows, tests)
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


def _marks(record: Mapping[str, Any]) -> dict[str, str]:
    """Signs behind the headings of figures: a star for bias, another one for features that a discriminator has seen."""
    marks = dict.fromkeys(record["biased"], "*")
    return marks | {name: marks.get(name, "") + MARK for name in record["seen_by_discriminators"]}


def _text(record: Mapping[str, Any], pairing: str, notes: Sequence[str], why: str) -> str:
    """The tables, for a terminal.

    Args:
        record: what the JSON file holds.
        pairing: a sentence about the pairs, or "".
        notes: what the signs at figures mean.
        why: a sentence why there is no row of matched colours, or "".
    """
    counts, snapshot, *where = _head(record)
    lines = [snapshot, ", ".join([counts, *where])]
    if record["alpha"] < 1:
        lines.append("All pictures are faded as training fades them at this moment.")
    if pairing:
        lines.append(f"{pairing[0].upper()}{pairing[1:]}.")
    scales = record["scale"]
    alike = len(set(scales.values())) == 1
    domains = {"A and B": scales["a"]} if alike else {domain.upper(): words for domain, words in scales.items()}
    lines += [f"{domain}: {words}." for domain, words in domains.items() if words]
    lines += [*record["left_out"], "", as_text(record["results"], marks=_marks(record)), "", *notes]
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


@dataclass(frozen=True)
class _Choice:
    """What is measured.

    Attributes:
        names: of metrics, of ``SETS``.
        features: the network of KID, FID and the Inception Score.
        resnet: that of ``kid-resnet``.
        left_out: sentences about defaults that are left out.
    """

    names: list[str]
    features: Features | None
    resnet: Features | None
    left_out: list[str]

    @property
    def networks(self) -> list[Features]:
        """The networks for features."""
        return [network for network in (self.features, self.resnet) if network is not None]


def _available(options: TranslatorOptions, resolution: int, recipe: "CycleganRecipe") -> _Choice:
    """Names of the comparisons of sets, the networks that they need, and sentences about defaults left out."""
    asked = bool(options.metrics)
    names, left_out = list(dict.fromkeys(options.metrics or ("kid", "swd"))), []
    if not asked and options.inception:
        names += PUBLISHED
    for name in names:
        if name not in SETS:
            raise UserError(
                f"--metrics: translators have no metric {name!r}; choose from {', '.join(SETS)}. Figures against "
                "truth and source, of colours and of lines are always there."
            )
    if "swd" in names and resolution < SMALLEST:
        why = f"it takes pictures of {SMALLEST} px or more, and these have {resolution} px"
        if asked:
            raise UserError(f"--metrics: swd cannot be measured: {why}; leave it out.")
        names.remove("swd")
        left_out.append(f"SWD is left out: {why}.")
    features, why = choose_features(names, asked, options.inception, options.device)
    if why:
        names.remove("kid")
        left_out.append(f"KID and distances in features are left out: {why}")
    resnet, why = choose_resnet(names, asked, has_seen(recipe, features.name if features else None), options.device)
    if why:
        left_out.append(f"KID-R is left out: {why}")
    return _Choice(names, features, resnet, left_out)


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


def _origin(
    model: "Translator", snapshot: Path, recipe: "CycleganRecipe", sets: Mapping[str, PictureSet], pairing: Pairing
) -> dict[str, Any]:
    return {
        **origin(snapshot, model.config),
        "faded": model.config.growth.reals_alpha < 1,
        "pairs": len(pairing.pairs),
        "paired": pairing.about,
        "pictures": {domain: len(pictures) for domain, pictures in sets.items()},
        "paths": {domain: list(pictures.paths) for domain, pictures in sets.items()},
        "scale": {d: describe_scale(getattr(recipe.data, d), recipe.resolution) for d in sets},
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
        **_diversity_protocol(measured),
        "faults_from": {"inversion": INVERTED, "hidden": HIDDEN},
        "two_sample": _two_sample_protocol(measured),
    }


def _two_sample_protocol(measured: Mapping[str, DirectionResult]) -> dict[str, Any] | None:
    seconds = [test.seconds for result in measured.values() for test in result.tests.values()]
    if not seconds:
        return None
    protocol = {"folds": FOLDS, "divisions": DIVISIONS, "steps": STEPS, "batch": BATCH}
    return {**protocol, "seconds": round(sum(seconds), 1)}


def _diversity_protocol(measured: Mapping[str, DirectionResult]) -> dict[str, Any]:
    if not any(name.startswith("diversity/") for result in measured.values() for name in result.figures):
        return {}
    return {"diversity": {"pictures_at_most": PICTURES, "translations": TRANSLATIONS}}
