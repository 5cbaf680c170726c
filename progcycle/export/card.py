"""The model card of a snapshot, with its front matter for the Hugging Face Hub."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from progcycle.export.card_figures import Figure, Measured
from progcycle.export.citations import citation
from progcycle.export.config import SnapshotConfig
from progcycle.export.data_terms import data_name, folders
from progcycle.recipe import RecipeError, validate
from progcycle.schedule import GrowthSchedule

# Licences that the Hub knows by an id of its own; any other one is called "other" there, and named.
_IDS = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bsd bsd-2-clause bsd-3-clause
bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0
cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-permissive-2.0 epl-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gpl gpl-2.0 gpl-3.0 lgpl
lgpl-2.1 lgpl-3.0 isc artistic-2.0 mpl-2.0 unlicense wtfpl zlib pddl odbl odc-by unknown
"""
LICENCES = frozenset(_IDS.split())
UNKNOWN = "unknown"
TAGS = {
    "cyclegan": ("gan", "cyclegan", "unpaired-image-to-image-translation"),
    "pggan": ("gan", "progan"),
    "began": ("gan", "began"),
    "lapgan": ("gan", "lapgan"),
}
OF_NETWORK = {
    "dcgan": "dcgan",
    "dcgan_theano": "dcgan",
    "wgan_gp": "wgan-gp",
    "wgan_gp_residual": "wgan-gp",
    "mlp": "mlp",
}
MIXIN = ("model_hub_mixin", "pytorch_model_hub_mixin")  # which load and from_pretrained are
LIMITS = {
    "image-to-image": (
        "It was trained without pairs: colours and details of a translation are likely ones, not true ones. It may "
        "leave out what the source shows and add what it does not; do not read facts off a translation.",
    ),
    "unconditional-image-generation": (
        "It paints nothing on purpose: what a picture shows follows from random numbers. A generator can learn some of "
        "its training pictures by heart, and can miss kinds of pictures that are rare among them.",
    ),
}


@dataclass(frozen=True)
class Terms:
    """What only the people who publish a model can say.

    Attributes:
        licence: of the weights: an id of the Hub such as ``cc-by-sa-4.0``, the name of another licence, or ``unknown``.
        data_licence: of the pictures of training, in words, or ``unknown``.
        about: what the model is, in a sentence or more; "" for what follows from the recipe alone.
    """

    licence: str
    data_licence: str
    about: str = ""


@dataclass(frozen=True)
class Subject:
    """What a card is about.

    Attributes:
        repository: ``user/model``, or the name of a folder.
        config: of the snapshot, as it is published.
        kind: what it is, such as ``translators``.
        summary: what it does, without a full stop.
        hub_task: ``pipeline_tag`` of the Hub.
        usage: lines of Python that use ``model``.
        command: of progcycle, that uses it.
        parameters: how many numbers each of its networks has.
        counts: training pictures by domain, as far as they are known.
        sheet: of samples, relative to the card.
    """

    repository: str
    config: SnapshotConfig
    kind: str
    summary: str
    hub_task: str
    usage: str
    command: str
    parameters: Mapping[str, int]
    counts: Mapping[str, int]
    sheet: str | None = None


def model_card(subject: Subject, terms: Terms, measured: Measured | None) -> ModelCard:
    """The card, as Markdown with front matter.

    Args:
        subject: what it is about.
        terms: licences.
        measured: figures, or None if there are none.
    """
    config = subject.config
    plan, grows = _plan(config.recipe)
    generator = config.networks["generator"].name if "generator" in config.networks else ""
    lines = [
        "import progcycle",
        "",
        f'model = progcycle.load("{subject.repository}")',
        *subject.usage.splitlines(),
    ]
    card: ModelCard = ModelCard.from_template(
        _front_matter(subject, terms, measured, grows),
        template_str=files("progcycle.export").joinpath("model_card.md").read_text(encoding="utf-8"),
        name=_plain(subject.repository.rpartition("/")[2]),
        repository=subject.repository,
        about=terms.about.strip(),
        summary=subject.summary,
        resolution=config.resolution.label,
        version=config.progcycle_version,
        trained_on=_named(folders(config.recipe)),
        fading=f"{config.alpha:.2f}" if config.alpha < 1 else "",
        sheet=subject.sheet,
        usage="\n".join(lines),
        command=subject.command,
        data=_data(subject),
        data_licence=_plain(terms.data_licence) if terms.data_licence != UNKNOWN else "not known",
        networks=_networks(subject),
        shown=f"{config.nimg:,}",
        of_each=" of each domain" if config.task == "cyclegan" else "",
        seed=config.seed,
        cpu=_time(config.cpu_seconds),
        recipe_sha256=config.recipe_sha256,
        plan=plan,
        figures=_figures(measured),
        limits=_limits(subject),
        licence=_plain(terms.licence) if terms.licence != UNKNOWN else "not known",
        citation=citation(config.task, generator, grows),
    )
    return card


def _front_matter(subject: Subject, terms: Terms, measured: Measured | None, grows: bool) -> ModelCardData:
    config = subject.config
    identifier = terms.licence.lower()
    known = identifier in LICENCES
    named = re.sub(r"[^a-z0-9.]+", "-", identifier).strip("-") or "other"
    dataset = data_name(config.recipe)
    results = [
        EvalResult(
            task_type=subject.hub_task,
            dataset_type=re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-") or "pictures",
            dataset_name=dataset,
            metric_type=figure.metric,
            metric_name=f"{figure.title}, {figure.of}" if figure.of else figure.title,
            metric_value=round(figure.value, 6),
        )
        for figure in (measured.figures if measured else ())
    ]
    return ModelCardData(
        license=identifier if known else "other",
        license_name=None if known else named,
        library_name="progcycle",
        pipeline_tag=subject.hub_task,
        tags=[*_tags(config), *(["progressive-growing"] if grows else []), *MIXIN],
        model_name=subject.repository.rpartition("/")[2],
        eval_results=results or None,
    )


def _tags(config: SnapshotConfig) -> tuple[str, ...]:
    network = config.networks["generator"].name if "generator" in config.networks else ""
    return ("gan", OF_NETWORK[network]) if network in OF_NETWORK else TAGS.get(config.task, ())


def _plan(recipe: Mapping[str, Any]) -> tuple[str, bool]:
    """The growth plan as a table, and whether it has several stages."""
    try:
        schedule = GrowthSchedule.of(validate(dict(recipe), "recipe"))
    except RecipeError:  # of another version
        return "see recipe.yaml", False
    return schedule.table(), len({phase.resolution for phase in schedule.phases}) > 1


def _time(seconds: float | None) -> str:
    """In hours or minutes."""
    if seconds is None:
        return ""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _plain(text: str) -> str:
    """A text in one line that is no Markdown."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', '').split())}`"


def _named(found: Mapping[str, Sequence[str]]) -> str:
    words = []
    for domain, names in found.items():
        these = ", ".join(_code(name) for name in names)
        words.append(these if domain == "data" else f"{domain.upper()}: {these}")
    return "; ".join(words)


def _data(subject: Subject) -> str:
    found = folders(subject.config.recipe)
    lines = [f"Folders of training pictures: {_named(found)}." if found else "The recipe names no pictures."]
    if subject.counts:
        counts = (
            f"{count:,}" + (f" of {domain.upper()}" if len(subject.counts) > 1 else "")
            for domain, count in subject.counts.items()
        )
        lines.append(f"Training pictures: {' and '.join(counts)}.")
    if subject.config.classes:
        lines.append(f"Classes: {', '.join(map(_code, subject.config.classes))}.")
    return " ".join(lines)


def _networks(subject: Subject) -> str:
    kinds = {name: spec.name for name, spec in subject.config.networks.items()}
    parts = ", ".join(f"`{n}` ({kinds[n]}, {count:,} parameters)" for n, count in subject.parameters.items())
    return f"{subject.kind[0].upper()}{subject.kind[1:]}: {parts}"


def _limits(subject: Subject) -> Iterable[str]:
    size = subject.config.resolution.label
    yield f"It knows pictures of the kind that it was trained on, at {size} px; others come out worse, or as nonsense."
    yield from LIMITS.get(subject.hub_task, ()) if subject.config.task in TAGS else ()
    yield "What the training pictures lack or overdo, its pictures lack or overdo too. Nobody has examined it for that."


def _figures(measured: Measured | None) -> str:
    """A table for each thing that was measured, and the protocol."""
    if measured is None or not measured.figures:
        return "Not measured."
    parts = []
    for of, group in groupby(measured.figures, key=lambda figure: figure.of):
        rows = list(group)
        beside = list(dict.fromkeys(label for figure in rows for label in figure.beside))
        head = ["", of or "this model", *beside]
        cells = [[figure.title, *_values(figure, beside)] for figure in rows]
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *cells]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join([*parts, measured.protocol])


def _values(figure: Figure, beside: Sequence[str]) -> list[str]:
    style, others = figure.style, figure.beside
    error = "" if figure.error is None else f" ± {figure.error:{style}}"
    return [
        f"{figure.value:{style}}{error}",
        *(f"{others[label]:{style}}" if label in others else "" for label in beside),
    ]
