"""The HTML page of ``progcycle evaluate``: every translation with its source and true pair, all in one file."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from PIL import Image

from progcycle.blocks import from_levels
from progcycle.evaluation.translation_table import Results, fill_tables
from progcycle.export import to_pil
from progcycle.files import atomic_file
from progcycle.metrics import paired_scores
from progcycle.resolution import Resolution

if TYPE_CHECKING:
    from torch import Tensor

    from progcycle.evaluation.round_trip import RoundTrip
    from progcycle.evaluation.translation_metrics import DirectionTestSet

LARGEST = 256  # pixels per side, on the page
LOSSLESS = 64  # up to here pictures are PNG, above WebP
SMALLEST = 96  # pixels per side that small pictures are enlarged to


@dataclass(frozen=True)
class PageSection:
    """One direction of the page.

    Attributes:
        title: its heading.
        test_set: the test pictures.
        round_trip: of the source's pictures.
        names: of the source's pictures.
        target_names: of the real pictures of the other domain.
    """

    title: str
    test_set: "DirectionTestSet"
    round_trip: "RoundTrip"
    names: Sequence[str]
    target_names: Sequence[str]


@dataclass(frozen=True)
class TranslationPage:
    """The content of the page.

    Attributes:
        title: its heading.
        summary: a line about what was measured.
        sections: the directions.
        results: figures for the tables on top.
        faults: sentences about what is wrong.
        marks: signs behind the headings of figures, by the figures' names.
        notes: what the signs mean.
    """

    title: str
    summary: str
    sections: Sequence[PageSection]
    results: Results
    faults: Sequence[str] = ()
    marks: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write_page(path: Path, page: TranslationPage) -> None:
    """Write an HTML file that holds all its pictures."""
    sections = page.sections
    size = Resolution(*sections[0].test_set.source.shape[-2:])
    enlarged = min(max(size.longer, SMALLEST), LARGEST) / size.longer
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(
        files("progcycle.evaluation").joinpath("translation_page.html").read_text("utf-8")
    )
    text = template.render(
        title=page.title,
        summary=page.summary,
        faults=page.faults,
        notes=page.notes,
        tables=list(fill_tables(page.results, marks=page.marks)),
        sections=[_section(section) for section in sections],
        height=round(size.height * enlarged),
        width=round(size.width * enlarged),
        shown=4 if any(section.test_set.pairs for section in sections) else 3,
        pixelated=size.longer < SMALLEST,
    )
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _section(section: PageSection) -> dict[str, Any]:
    test_set, round_trip = section.test_set, section.round_trip
    truth = dict(test_set.pairs)
    scores = {}
    if truth:
        found = paired_scores(round_trip.output[list(truth)], test_set.target[list(truth.values())])
        scores = {i: (float(found.l1[k]), float(found.ssim[k])) for k, i in enumerate(truth)}
    # Pictures without a pair stand behind those with one.
    worst = sorted(
        range(len(test_set.source)),
        key=lambda i: (scores[i][0] if i in scores else -1, float(round_trip.cycle[i])),
        reverse=True,
    )
    cards = []
    for i in worst:
        pictures = [("before", test_set.source[i]), ("after", round_trip.output[i])]
        pictures += [("truth", test_set.target[truth[i]])] if i in truth else []
        pictures += [("there and back", from_levels(round_trip.reconstruction[i]))]
        words = [f"L1 {scores[i][0]:.4f}", f"SSIM {scores[i][1]:.4f}"] if i in scores else []
        cards.append(
            {
                "name": section.names[i]
                if i not in truth
                else f"{section.names[i]} \N{RIGHTWARDS ARROW} {section.target_names[truth[i]]}",
                "figures": ", ".join([*words, f"cycle {float(round_trip.cycle[i]):.4f}"]),
                "pictures": [(word, _as_uri(picture)) for word, picture in pictures],
            }
        )
    by = "L1 to the true pair" if truth else "L1 of the round trip"
    return {"id": test_set.direction, "title": section.title, "sorted_by": by, "cards": cards}


def _as_uri(picture: "Tensor") -> str:  # [C, H, W]
    (image,) = to_pil(picture[None])
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    kind, options = ("PNG", {}) if max(image.size) <= LOSSLESS else ("WEBP", {"quality": 90})
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
