"""What a page must know of a model: forms of inputs and outputs, how pictures come to a network, examples, latents."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from progcycle import __version__
from progcycle.data.decode import parse_colour
from progcycle.errors import UserError
from progcycle.export import Autoencoder, Generator, SnapshotModel, Translator
from progcycle.export.graph import Graph, PictureForm
from progcycle.export.translator import Direction
from progcycle.output import warn
from progcycle.recipe import RecipeError
from progcycle.resolution import Resolution
from progcycle.web.moments import Moment, Moments

EXAMPLES, SIDE = 8, 256  # pictures of each domain, and pixels of their longer side at most
DRAWN, SEEDS = 128, 64  # pictures of a generator whose latents a page knows, and seeds of translators
QUALITY = 92  # of JPEG


@dataclass(frozen=True)
class Names:
    """What a page calls things.

    Attributes:
        title: its heading.
        domains: what people read for A and B.
    """

    title: str
    domains: tuple[str, str] = ("A", "B")


@dataclass
class Content:
    """The text of a page, as JSON.

    Args:
        moments: of the run.
        chosen: those that the page moves over.
        names: what it calls things.
        examples: pictures of each domain at most; 0 for none.
        licence: of the weights, if that is known.

    Raises:
        UserError: the model makes pictures that a browser cannot show, or takes such, or cannot be exported at all.
    """

    moments: Moments
    chosen: Sequence[Moment]
    names: Names
    examples: int = EXAMPLES
    licence: str | None = None
    _graphs: dict[Moment, list[Graph]] = field(default_factory=dict)
    _pictures: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        for moment in self.chosen:
            graphs = self.moments.model_at(moment.path).graphs(resolution=moment.resolution)
            self._graphs[moment] = graphs
            for graph in graphs:
                for form in (graph.inputs["input"], graph.output):
                    if isinstance(form, PictureForm):
                        _check(form)
        self._pictures = self._examples(self.moments.newest)

    def as_json(self, **more: Any) -> dict[str, Any]:
        """Everything that the page reads; ``more`` is added to it."""
        model = self.moments.newest
        about: dict[str, Any] = {
            "title": self.names.title,
            "kind": "generator" if isinstance(model, Generator) else "pictures",
            "version": __version__,
            "moments": [moment.label for moment in self.chosen],
            "facts": self._facts(model),
        }
        if isinstance(model, Generator):
            return {**about, "generator": self._generator(model), **more}
        return {**about, "ways": self._ways(model), "examples": self._pictures, **more}

    def _facts(self, model: SnapshotModel) -> list[list[str]]:
        found = [["Resolution", model.resolution.words], ["Trained for", f"{model.config.nimg:,} pictures"]]
        return [*found, ["Licence", self.licence]] if self.licence else found

    def _generator(self, model: Generator) -> dict[str, Any]:
        latents = model.latents(DRAWN)
        forms = [graphs[0] for graphs in self._graphs.values()]
        return {
            "latents": as_base64(latents),
            "count": DRAWN,
            "parts": [{"size": size, "distribution": kind} for size, kind in model.latent_parts],
            "classes": list(model.classes),
            "moments": [{"size": _size(graph)} for graph in forms],
        }

    def _ways(self, model: SnapshotModel) -> list[dict[str, Any]]:
        """The directions, each with what differs from moment to moment."""
        letters = dict(zip("ab", self.names.domains, strict=True)) | {"real": "picture"}
        ways = []
        for i, graph in enumerate(next(reversed(self._graphs.values()))):
            source, target = graph.inputs["input"], graph.output
            assert isinstance(source, PictureForm)
            to = "restored" if isinstance(model, Autoencoder) else letters[target.domain]
            way: dict[str, Any] = {
                "name": graph.name,
                "domains": [source.domain, target.domain],
                "words": [letters[source.domain], to],
                "channels": [source.channels, target.channels],
                "background": "#{:02x}{:02x}{:02x}".format(*parse_colour(source.background)),
                "moments": [self._moment(moment, graphs[i]) for moment, graphs in self._graphs.items()],
            }
            if isinstance(model, Translator) and "latents" in graph.inputs:
                direction: Direction = "ab" if graph.name == "ab" else "ba"
                way["latents"] = {"size": model.latent_size(direction), "count": SEEDS}
            ways.append(way)
        return ways

    def _moment(self, moment: Moment, graph: Graph) -> dict[str, Any]:
        """How pictures come to a network, as :meth:`Translator.translate` brings them there."""
        model, form = self.moments.model_at(moment.path), graph.inputs["input"]
        assert isinstance(form, PictureForm)
        about = {
            "trained": list(form.sides),
            "multiple": form.multiple,
            "least": form.least,
            "fade": graph.growth.reals_alpha,
        }
        if not isinstance(model, Translator):
            return {**about, "scale": "fixed"}
        direction: Direction = "ab" if graph.name == "ab" else "ba"
        scale, side, share = model.at_training(direction, None, moment.resolution, None)
        loaded = model.config.test_side(direction[0])
        final = Resolution.of(model.config.final_resolution)
        placed = {"side": side, "share": share, "loaded": list(loaded.shape) if loaded else None}
        drawn = {"latents": _latents(model, direction)} if "latents" in graph.inputs else {}
        return {**about, **placed, "scale": scale, "final": list(final.shape), **drawn}

    def _examples(self, model: SnapshotModel) -> dict[str, list[str]]:
        """Pictures of the run by domain, as data URLs; none where they are not here any more."""
        found: dict[str, list[str]] = {}
        sources = [graph.inputs["input"] for graph in model.graphs()]
        domains = {form.domain for form in sources if isinstance(form, PictureForm)}
        for domain in sorted(domains):
            found[domain] = []
            if not self.examples or model.examples is None:
                continue
            more: dict[str, Any] = (
                {"direction": "ba" if domain == "b" else "ab"} if isinstance(model, Translator) else {}
            )
            try:
                pictures = model.examples(model.config, self.examples, SIDE, **more).sources
            except (UserError, RecipeError) as error:  # the latter of a recipe of another version
                reason = str(error).partition(";")[0].rstrip(".")  # its remedy is another command's
                warn(f"warning: the page has no examples of {domain.upper()}: {reason}.")
                continue
            found[domain] = [as_url(picture) for picture in pictures]
        return found


def _latents(model: Translator, direction: Direction) -> dict[str, Any]:
    """Those of the seeds that a page offers, or what chooses them for a picture: see :meth:`LatentEncoder.drawn`."""
    if (encoder := model.chooser(direction)) is None:
        return {"drawn": as_base64(model.latents(direction, range(SEEDS)))}
    return {
        "shares": torch.special.ndtr(model.normals(direction, range(SEEDS))[:, 0]).tolist(),
        "neighbours": encoder.neighbours,
        "side": encoder.kept_sources.shape[-1],
        "kept": as_base64(encoder.kept),
        "sources": as_base64(encoder.kept_sources),
    }


def _check(form: PictureForm) -> None:
    """Refuse pictures that a canvas cannot hold."""
    if not form.levels.plain:
        raise UserError(
            f"Pictures of {form.domain} have {form.levels.words}, of which a browser shows 8 bits only; use progcycle "
            "translate or generate, or progcycle export, whose metadata have the window."
        )
    if form.channels not in (1, 3):
        raise UserError(
            f"Pictures of {form.domain} have {form.channels} channels, and a browser shows 1 (grey) or 3 (colour); use "
            "progcycle translate or generate, or progcycle export."
        )


def _size(graph: Graph) -> int:
    form = graph.inputs["input"]
    return int(getattr(form, "size"))  # noqa: B009  # of latents


def as_base64(numbers: Tensor) -> str:
    """Numbers as text: float32, little end first."""
    return base64.b64encode(np.ascontiguousarray(numbers.numpy(), "<f4").tobytes()).decode()


def as_url(picture: Image.Image) -> str:
    """A picture as a data URL, without loss unless that takes far more room."""
    found = {}
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": QUALITY})):
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        found[kind] = buffer.getvalue()
    kind = "jpeg" if 2 * len(found["jpeg"]) < len(found["png"]) else "png"
    return f"data:image/{kind};base64,{base64.b64encode(found[kind]).decode()}"
