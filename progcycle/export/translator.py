"""``Translator``: the two networks of a CycleGAN snapshot, which turn pictures of A into B and back.

It is read in evaluation mode, where batch norm, if a recipe asks for it, uses the statistics of training; without it
both modes are the same.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal, TypeVar, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from progcycle import networks
from progcycle.blocks import fade_reals
from progcycle.blocks.levels import max_level
from progcycle.data import Levels, as_reals, decode_picture, decode_reduced, image_pixels
from progcycle.data.decode import parse_colour, undecoded, upright
from progcycle.data.fit import box_reduce, fit_to
from progcycle.data.levels import DEEP
from progcycle.data.pixels import as_image
from progcycle.data.values import Stored, as_wanted
from progcycle.errors import UserError
from progcycle.export.config import SnapshotConfig
from progcycle.export.detail import Enlarged, Rows, add_change, bands
from progcycle.export.examples import Examples
from progcycle.export.graph import Form, Graph, LatentForm, PictureForm, Translation
from progcycle.export.metadata import Metadata
from progcycle.export.parts import Parts, PixelParts, TensorParts
from progcycle.export.seeded import Seeded
from progcycle.export.snapshot_model import SnapshotModel
from progcycle.export.source_pictures import TranslatorExamples
from progcycle.export.tensor_images import as_channels, pad_to_multiple, resize
from progcycle.export.tiles import Seams, Tiling
from progcycle.output import warn
from progcycle.resolution import Resolution
from progcycle.rng import normal

Direction = Literal["ab", "ba"]
Scale = Literal["detail", "train", "native"]
Alpha = Literal["drop", "keep"]
X = TypeVar("X", Tensor, np.ndarray)
NO_DETAIL = (
    "These translators paint whole pictures (network.generator.predict: picture), so there is no change to enlarge "
    "with the scale 'detail'; use the scale 'train', or 'native'."
)

WITHOUT_TILES = (
    "At the scale '{scale}' the network sees the whole picture at once, reduced to the size of training, so that there "
    "are no tiles to choose; leave out their side and overlap, or use the scale 'native', or a larger side for the "
    "network."
)


def no_latents(direction: Direction) -> str:
    """A sentence that says that each picture has one translation only."""
    a, b = tuple(direction.upper())
    return (
        f"These translators have no latents from {a} to {b}, so that each picture has one translation; leave out seed "
        f"and count (a recipe with network.generator.latents: {{{direction}: 8}} trains translators with many)."
    )


@dataclass(frozen=True)
class Way:
    """How pictures are translated.

    Attributes:
        direction: ``ab`` or ``ba``.
        scale: see :meth:`Translator.translate`.
        resolution: of an earlier stage, or None.
        latents: of networks that have some, or what chooses them for each picture.  # [1 or N, latent_size]
        side: pixels of the short side that the network works on; None: that of training.
        share: of the short side of a picture, in place of such a side.
        tiling: of what the network works on; None: all of it at once.
        seams: how much tiles that are blended differ.
    """

    direction: Direction
    scale: Scale
    resolution: int | None = None
    latents: Tensor | Seeded | None = None
    side: int | None = None
    share: float | None = None
    tiling: Tiling | None = None
    seams: Seams = field(default_factory=Seams)


class Translator(SnapshotModel):
    """A trained pair of CycleGAN translators, at the stage and alpha of their snapshot."""

    task: ClassVar[str] = "cyclegan"
    names: ClassVar[tuple[str, ...]] = ("gen_ab", "gen_ba")
    optional: ClassVar[tuple[str, ...]] = ("enc_a", "enc_b")
    registry: ClassVar[dict[str, type[networks.Network]]] = networks.TRANSLATORS
    kind: ClassVar[str] = "translators"
    command: ClassVar[str | None] = "translate"
    examples: ClassVar[type[Examples] | None] = TranslatorExamples
    summary: ClassVar[str] = "Translates pictures of A into pictures of B, and back"
    gen_ab: networks.Network
    gen_ba: networks.Network

    def __init__(self, config: SnapshotConfig) -> None:
        super().__init__(config)
        self._seams_told = False
        self._reaches: dict[tuple[str, int, float], int | None] = {}  # of the networks' layers, whatever their weights
        for direction in self.directions:
            encoder = getattr(self, f"enc_{direction[1]}", None)
            of_encoder = 0 if encoder is None else encoder.latent_size
            if of_encoder != (size := self.latent_size(direction)):
                raise UserError(
                    f"gen_{direction} takes {size} latents and enc_{direction[1]} estimates {of_encoder}, so that they "
                    "do not belong together."
                )

    @classmethod
    def check(cls, config: SnapshotConfig) -> None:
        """Refuse the config of a snapshot that this class cannot hold; one of the two directions is enough."""
        present = {name for name in cls.names if name in config.networks}
        missing = {name: config.networks[other] for name in cls.names for other in present if name not in present}
        super().check(config.model_copy(update={"networks": {**missing, **config.networks}}))

    @property
    def usage(self) -> str:
        """Translates a picture in each direction."""
        ways = ((direction, direction[0], direction[1]) for direction in self.directions)
        calls = (f'model.translate("{a}.png", "{way}").save("{b}.png")' for way, a, b in ways)
        return "\n".join(f"{call}  # of any size" for call in calls)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Those that there are: both of a run, or one of what was imported."""
        known: tuple[Direction, ...] = ("ab", "ba")
        return tuple(direction for direction in known if f"gen_{direction}" in self.config.networks)

    def network(self, direction: Direction) -> networks.Network:
        """The network of a direction.

        Raises:
            UserError: it is not there.
        """
        if direction not in self.directions:
            (other,) = self.directions
            a, b = tuple(other.upper())
            raise UserError(f"This snapshot translates from {a} to {b} only; use the direction {other}.")
        network: networks.Network = getattr(self, f"gen_{direction}")
        return network

    @classmethod
    def registry_of(cls, name: str) -> dict[str, type[networks.Network]]:
        """The encoders of latents have a registry of their own."""
        return networks.ENCODERS if name in cls.optional else cls.registry

    def latent_size(self, direction: Direction) -> int:
        """Numbers of a latent from which pictures are translated; 0 where each has one translation only."""
        return self.network(direction).latent_size

    def latents(self, direction: Direction, seeds: Iterable[int], sources: Tensor | None = None) -> Tensor:
        """The random latents of some seeds: normal numbers, or, with ``drawn: real``, those of real pictures.

        Args:
            direction: ``ab`` or ``ba``.
            seeds: one row for each.
            sources: a picture to translate, in [-1, 1], or one for each seed, or several for a single seed; with
                ``neighbours``, seeds choose among those of each, without sources among all latents that are kept.
                # [1 or N, C, H, W]

        Returns:
            float32.  # [number of seeds or of sources, latent_size]

        Raises:
            UserError: there are none in this direction.
        """
        return self.drawn_latents(self.normals(direction, seeds), direction, sources)

    def normals(self, direction: Direction, seeds: Iterable[int]) -> Tensor:
        """The normal numbers of some seeds, which latents are or are chosen by: see :meth:`drawn_latents`.

        Returns:
            N(0, 1), float32.  # [number of seeds, latent_size]

        Raises:
            UserError: there are no latents in this direction.
        """
        if not (size := self.latent_size(direction)):
            raise UserError(no_latents(direction))
        return torch.cat([normal(seed, f"latent/{direction}", [0], size) for seed in seeds])

    def seeded(self, direction: Direction, seed: int) -> Tensor | Seeded:
        """The latents of a seed; with ``neighbours`` each picture has a part in them, so that they are chosen later.

        Raises:
            UserError: there are none in this direction.
        """
        normals = self.normals(direction, [seed])
        return self.drawn_latents(normals, direction) if self.chooser(direction) is None else Seeded(normals)

    def chooser(self, direction: Direction) -> networks.LatentEncoder | None:
        """The encoder that chooses latents for each picture; None without ``neighbours``, or before it knows any."""
        encoder = getattr(self, f"enc_{direction[1]}", None)
        chooses = isinstance(encoder, networks.LatentEncoder) and encoder.neighbours and len(encoder.kept)
        return encoder if chooses else None

    def sources(self, pictures: Parts) -> Tensor:
        """What ``neighbours`` compares: pictures at the scale of training, whatever scale they are translated at."""
        return pictures.small(self.config.growth_at(None).resolution, self.config.final_resolution)

    def drawn_latents(self, normals: Tensor, direction: Direction, sources: Tensor | None = None) -> Tensor:
        """Normal numbers as they are, or latents of real pictures that they choose, as the networks were trained.

        Args:
            normals: N(0, 1).  # [N, latent_size]
            direction: one that has latents.
            sources: the pictures to translate, in [-1, 1], which ``latents.neighbours`` looks at.  # [1 or N, C, H, W]

        Returns:
            Of the same shape as ``normals``.
        """
        return networks.drawn_latents(getattr(self, f"enc_{direction[1]}", None), normals, sources)

    @torch.no_grad()
    def estimate_latents(self, pictures: Tensor, direction: Direction) -> Tensor:
        """The latents from which a direction would paint some pictures, estimated as in training.

        Args:
            pictures: of the domain that it translates to, in [-1, 1], of the snapshot's resolution.  # [N, C, H, W]
            direction: ``ab`` or ``ba``.

        Returns:
            Latents of any length.  # [N, latent_size]

        Raises:
            UserError: there are none in this direction.
        """
        if not self.latent_size(direction):
            raise UserError(no_latents(direction))
        growth = self.config.growth_at(None)
        encoder = getattr(self, f"enc_{direction[1]}")
        return self.run(encoder, pictures.to(self.device), growth.stage, growth.alpha)

    def latents_like(self, pictures: Sequence[Image.Image | str | os.PathLike[str]], direction: Direction) -> Tensor:
        """The latents of pictures, so that translations become like them, in their colours for instance.

        Pictures are read and fitted as those of the domain in training, and the encoder estimates their latents.

        Args:
            pictures: Pillow images or paths, of the domain that the direction translates to, of any size.
            direction: ``ab`` or ``ba``.

        Returns:
            For :meth:`translate`, a row for each picture.  # [number of pictures, latent_size]

        Raises:
            UserError: there are no latents in this direction, or a picture cannot be read.
        """
        if not self.latent_size(direction):
            raise UserError(no_latents(direction))
        domain, growth = direction[1], self.config.growth_at(None)
        levels, fit = self.levels(direction)[1], self.config.pictures(domain).fit
        options: dict[str, Any] = {"channels": self.channels(direction)[1], "levels": levels}
        options["background"] = self.config.background(domain)
        rows = []
        for picture in pictures:
            if isinstance(picture, Image.Image):
                pixels = image_pixels(upright(picture), **options)
            else:
                pixels = decode_picture(Path(picture), **options)
            whole = fit_to(pixels, self.config.final_resolution, fit, options["background"])
            fitted = torch.from_numpy(box_reduce(whole, growth.resolution)).permute(2, 0, 1)[None]
            rows.append(self.estimate_latents(as_reals(fitted, growth), direction).cpu())
        return torch.cat(rows)

    def channels(self, direction: Direction) -> tuple[int, int]:
        """Channels of the pictures that go in and come out.

        Raises:
            ValueError: the direction is neither ``ab`` nor ``ba``.
        """
        if direction not in ("ab", "ba"):
            raise ValueError(f"direction is 'ab' or 'ba', got {direction!r}")
        self.network(direction)
        arguments = self.config.networks[f"gen_{direction}"].arguments
        return arguments.get("in_channels", 3), arguments.get("out_channels", 3)

    @property
    def scale(self) -> Scale:
        """The default scale of :meth:`translate`: ``detail`` if the networks predict a change, else ``train``."""
        changes = all(self.network(direction).predicts_change for direction in self.directions)
        return "detail" if changes else "train"

    def choose_scale(self, scale: Scale | None) -> Scale:
        """``scale`` after a check, or :attr:`scale` if it is None.

        Raises:
            UserError: it is ``detail``, and the networks paint whole pictures.
            ValueError: there is no such scale.
        """
        if scale not in (None, "detail", "train", "native"):
            raise ValueError(f"scale is 'detail', 'train' or 'native', got {scale!r}")
        if scale == "detail" != self.scale:
            raise UserError(NO_DETAIL)
        return scale or self.scale

    def at_training(
        self, direction: Direction, scale: Scale | None, resolution: int | None, side: int | None
    ) -> tuple[Scale, int | None, float | None]:
        """How pictures come to the network as training showed them, as far as nothing else is asked for.

        Where training saw parts of pictures (``load_resolution``), they are brought to the size at which it loaded
        them, and keep their own size where it did.

        Args:
            direction, scale, resolution, side: as of :meth:`translate`.

        Returns:
            Scale, side and share as of :class:`Way`.

        Raises:
            UserError, ValueError: as :meth:`choose_scale` and :meth:`check_side`.
        """
        chosen = self.choose_scale(scale)
        self.check_side(chosen, resolution, side)
        loaded, final = self.config.test_side(direction[0]), self.config.final_resolution
        if side is not None or chosen == "native" or loaded == final:
            return chosen, side, None
        trained = resolution or self.resolution
        if loaded is not None:
            return chosen, int(loaded) * int(trained) // int(final), None
        if scale is None and trained == final:
            return "native", None, None
        return chosen, None, int(trained) / int(final)

    def forward(
        self,
        x: Tensor,
        direction: Direction = "ab",
        resolution: int | None = None,
        latents: Tensor | None = None,
    ) -> Tensor:
        """Run a network as in training: the input is padded to a size that suits it, and faded if reals were.

        Args:
            x: pictures in [-1, 1] of any size.  # [N, C_in, H, W]
            direction: ``ab`` or ``ba``.
            resolution: an earlier stage to run at; default: the snapshot's own.
            latents: of networks that have some: one row for all pictures or one for each; default: those of seed 0.
                # [1 or N, latent_size]

        Returns:
            Pictures in about [-1, 1].  # [N, C_out, H, W] float32 at least
        """
        return self._input_and_output(x, direction, resolution, latents)[1]

    def _input_and_output(
        self, x: Tensor, direction: Direction, resolution: int | None, latents: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The network's input, which in mid-fade differs a little from ``x``, and its output."""
        growth = self.config.growth_at(resolution)
        height, width = x.shape[2:]
        network = self.network(direction)
        x = pad_to_multiple(x.to(self.device), network.multiple(growth.stage), network.smallest)
        if growth.reals_alpha < 1:  # as the real pictures of a fading stage
            x = fade_reals(x, growth.reals_alpha)
        if latents is None and network.latent_size:
            latents = self.latents(direction, [0], x[:, :, :height, :width])
        more = {} if latents is None else {"latents": latents.to(self.device).expand(len(x), -1)}
        y = self.run(network, x, growth.stage, growth.alpha, **more)
        return x[:, :, :height, :width], y[:, :, :height, :width]

    @overload
    def translate(
        self,
        picture: Image.Image | str | os.PathLike[str],
        direction: Direction = ...,
        scale: Scale | None = ...,
        resolution: int | None = ...,
        alpha: Alpha = ...,
        *,
        seed: int | None = ...,
        latents: Tensor | Seeded | None = ...,
        side: int | None = ...,
        tiles: bool | int = ...,
        overlap: int | None = ...,
    ) -> Image.Image: ...

    @overload
    def translate(
        self,
        picture: Tensor,
        direction: Direction = ...,
        scale: Scale | None = ...,
        resolution: int | None = ...,
        *,
        seed: int | None = ...,
        latents: Tensor | Seeded | None = ...,
        side: int | None = ...,
        tiles: bool | int = ...,
        overlap: int | None = ...,
    ) -> Tensor: ...

    @overload
    def translate(
        self,
        picture: np.ndarray,
        direction: Direction = ...,
        scale: Scale | None = ...,
        resolution: int | None = ...,
        *,
        reduced: np.ndarray | None = ...,
        seed: int | None = ...,
        latents: Tensor | Seeded | None = ...,
        side: int | None = ...,
        tiles: bool | int = ...,
        overlap: int | None = ...,
    ) -> np.ndarray: ...

    @torch.no_grad()
    def translate(
        self,
        picture: Image.Image | str | os.PathLike[str] | Tensor | np.ndarray,
        direction: Direction = "ab",
        scale: Scale | None = None,
        resolution: int | None = None,
        alpha: Alpha = "drop",
        reduced: np.ndarray | None = None,
        *,
        seed: int | None = None,
        latents: Tensor | Seeded | None = None,
        side: int | None = None,
        tiles: bool | int = False,
        overlap: int | None = None,
    ) -> Image.Image | Tensor | np.ndarray:
        """Translate a picture of any size and aspect; what comes back has its size.

        Args:
            picture: one of these:

                * a Pillow image or the path of a picture: it is turned upright by its EXIF orientation and made grey or
                  colour as the domain needs, transparency is put on the colour that training put there, usually white;
                * an array of the values that files hold, such as grey levels: uint8 or uint16, or any numbers if
                  training read such;  # [H, W] or [H, W, C]
                * pictures in [-1, 1].  # [N, C, H, W]

            direction: ``ab`` turns pictures of A into B, ``ba`` the other way.
            scale: ``detail`` brings the short side to the resolution of training as training does (in 256 grey levels,
                by Pillow's filters), takes what the network changes there, and adds it to the full picture along the
                picture's own edges (:mod:`progcycle.export.detail`);
                ``train`` works at the same size, and enlarges the whole translation, so that detail is lost;
                ``native`` translates every pixel as it is, for pictures whose contents have the scale of training.
                Default: ``native`` where training saw parts of pictures at their own size
                (``load_resolution: native``), ``detail`` if the networks predict a change
                (``network.generator.predict: change``), else ``train``.
            resolution: an earlier stage to run at, in pixels per side; default: the snapshot's own.
            alpha: of an image or a path: ``drop`` gives an opaque image, ``keep`` one with the transparency that the
                picture has.
            reduced: of an array from a large JPEG: the same decoded at a part of its size, as training reads it
                (:func:`progcycle.data.decode_reduced`); a path or an image just opened needs none.  # [h, w, C] uint8
            seed: of networks with latents: other seeds give other translations of the same picture; default: 0.
            latents: in place of a seed: one row for all pictures, or one for each of a tensor, or what
                :meth:`seeded` gives.  # [1 or N, latent_size]
            side: of the scales ``detail`` and ``train``: pixels of the short side that the network works on; default:
                the resolution of training, and where that saw parts of larger pictures, their size. Pictures that are
                smaller keep their size, but for that resolution.
            tiles: of the scale ``native``, or with a side: work tile by tile, in less memory. True chooses the side of
                a tile, a number is this side in pixels. See :meth:`tiling`.
            overlap: pixels by which tiles overlap; default: what the receptive field asks for.

        Returns:
            A Pillow image of mode L or RGB (LA or RGBA with transparency), whose ``info`` has the picture's EXIF block,
            dots an inch and, where it fits, colour profile; an array of values, also of an image if the other domain
            has more than 8 bits or other channels  # [H, W, C_out]; or pictures in [-1, 1], clamped, on the CPU
            # [N, C_out, H, W] float32.

        Raises:
            UserError: there is no such resolution, the picture cannot be read, ``detail`` for networks that paint whole
                pictures, a seed for networks without latents, or a side or tiles that do not go with the rest.
            ValueError: an unknown direction, scale or alpha, pictures or latents of another shape, or both a seed and
                latents.
            TypeError: none of the above, or an array of another type.
        """
        channels, _ = self.channels(direction)
        self.config.growth_at(resolution)
        scale, side, share = self.at_training(direction, scale, resolution, side)
        if alpha not in ("drop", "keep"):
            raise ValueError(f"alpha is 'drop' or 'keep', got {alpha!r}")
        z = self._chosen_latents(direction, seed, latents, len(picture) if isinstance(picture, Tensor) else 1)
        if tiles and scale != "native" and side is share is None:
            raise UserError(WITHOUT_TILES.format(scale=scale))
        tiling = self._chosen_tiling(direction, resolution, tiles, overlap)
        way = Way(direction, scale, resolution, z, side, share, tiling)
        if isinstance(picture, Tensor):
            if picture.ndim != 4 or picture.shape[1] not in (1, 3, channels) or 0 in picture.shape:
                raise ValueError(f"expected pictures of shape [N, 1 or 3, H, W], got {list(picture.shape)}")
            x = as_channels(picture.to(self.device, torch.float32), channels)
            return self._told(self._tensors(x, way), way)
        if isinstance(picture, np.ndarray):
            return self._told(self._array(picture, way, reduced), way)
        background = self.config.background(direction[0])
        metadata = Metadata(wants_alpha=alpha == "keep")
        own, made = self.levels(direction)
        options: dict[str, Any] = {"channels": channels, "background": background}
        file: Path | BinaryIO | None
        if isinstance(picture, Image.Image):
            file = undecoded(picture)
            picture = upright(picture)
            metadata(picture)
            levels = image_pixels(picture, levels=own, **options)
        elif isinstance(picture, str | os.PathLike):
            file = Path(picture)
            levels = decode_picture(file, on_decoded=metadata, levels=own, **options)
        else:
            raise TypeError(f"expected a Pillow image, a path, an array or a tensor, got a {type(picture).__name__}")
        if file is not None and own.plain:
            reduced = decode_reduced(file, levels.shape[:2], self.read_at(way, *levels.shape[:2]), **options)
        values = self._told(self._values(levels, way, made, reduced), way)
        plain = values.dtype == np.uint8 and values.shape[2] in (1, 3)
        return metadata.apply(values, background) if plain else values

    def graphs(self, direction: str | None = None, resolution: int | None = None) -> list[Graph]:
        """A graph for each direction; see :meth:`SnapshotModel.graphs`."""
        growth = self.config.growth_at(resolution)
        sides = Resolution.of(growth.resolution).shape
        found = list[Graph]()
        for one in self.directions if direction is None else (direction,):
            come, go = self.channels(one)  # type: ignore[arg-type]  # any text, which is checked here
            way: Direction = "ab" if one == "ab" else "ba"
            network = self.network(way)
            own, made = self.levels(way)
            multiple, least = network.multiple(growth.stage), network.least(growth.stage)
            source = PictureForm(way[0], come, own, sides, multiple, least, self.config.background(way[0]))
            inputs: dict[str, Form] = {"input": source}
            if network.latent_size:
                encoder = getattr(self, f"enc_{way[1]}", None)
                kept = encoder.kept if isinstance(encoder, networks.LatentEncoder) else None
                inputs["latents"] = LatentForm(((network.latent_size, "normal"),), kept)
            output = PictureForm(way[1], go, made, sides, multiple, least)
            reference = partial(_translated, self, way, resolution)
            found.append(Graph(way, Translation(network, growth), reference, inputs, output, growth))
        return found

    def _told(self, made: X, way: Way) -> X:
        """What was made; the first time that it was blended of tiles, that is said."""
        if way.seams.compared and not self._seams_told:
            self._seams_told = True
            warn(self.describe_seams("this picture", way))
        return made

    def levels(self, direction: Direction) -> tuple[Levels, Levels]:
        """The depth and the window of the pictures that go in and come out."""
        return self.config.levels(direction[0]), self.config.levels(direction[1])

    def _array(self, picture: np.ndarray, way: Way, reduced: np.ndarray | None) -> np.ndarray:
        """Translate values of files. 16 bits keep their depth, though training read 8."""
        own, made = self.levels(way.direction)
        channels = self.channels(way.direction)[0]
        if own.plain and picture.dtype == np.uint16:
            own, made = DEEP, DEEP if made.plain else made
        if picture.ndim not in (2, 3) or 0 in picture.shape or picture.shape[2:] not in ((), (1,), (3,), (channels,)):
            raise ValueError(f"expected an array of shape [H, W] or [H, W, 1 or 3], got {list(picture.shape)}")
        if own.plain and picture.dtype != np.uint8:
            raise TypeError(
                f"expected an array of grey levels (uint8 or uint16), got {picture.dtype}; numbers in [-1, 1] go in a "
                "tensor"
            )
        if own.plain and channels in (1, 3) and picture.shape[2:] in ((), (1,), (3,)):
            pixels = image_pixels(as_image(np.atleast_3d(picture)), channels=channels)
        else:
            stored, white = Stored(np.atleast_3d(picture)), parse_colour("white")
            pixels = own.pixels(as_wanted(stored, channels, own, white, "The array"))
        return self._values(pixels, way, made, reduced)

    def _chosen_latents(
        self, direction: Direction, seed: int | None, latents: Tensor | Seeded | None, count: int
    ) -> Tensor | Seeded | None:
        """The latents of ``count`` pictures, or one row for all, or what chooses them; None where there are none."""
        size = self.latent_size(direction)
        if not size and (seed is not None or latents is not None):
            raise UserError(no_latents(direction))
        if latents is None:
            return self.seeded(direction, seed or 0) if size else None
        if seed is not None:
            raise ValueError("give a seed or latents, not both")
        if isinstance(latents, Seeded):
            return latents
        if list(latents.shape) not in ([1, size], [count, size]):
            raise ValueError(f"expected latents of shape [1 or {count}, {size}], got {list(latents.shape)}")
        return latents

    def _tensors(self, x: Tensor, way: Way) -> Tensor:
        parts = TensorParts(x, deep=not self.levels(way.direction)[0].plain)
        y, done = torch.empty(len(x), self.channels(way.direction)[1], *x.shape[2:]), 0
        for rows in self.strips(parts, way):
            y[:, :, done : done + rows.shape[2]] = rows
            done += rows.shape[2]
        return y

    def _values(
        self, levels: np.ndarray, way: Way, made: Levels, reduced: np.ndarray | None = None
    ) -> np.ndarray:  # [H, W, C_in] -> [H, W, C_out] of made.stored
        """Translate pixels into values; of a large picture only a band is ever held as floating point numbers."""
        out, done = np.empty((*levels.shape[:2], self.channels(way.direction)[1]), made.stored), 0
        for rows in self.strips(PixelParts(levels, self.device, reduced), way):
            out[done : done + rows.shape[2]] = made.values(rows[0].cpu().permute(1, 2, 0).numpy())
            done += rows.shape[2]
        return out

    def read_at(self, way: Way, height: int, width: int) -> Resolution:
        """The size for which a large JPEG is decoded at a part of its own, as training does."""
        if way.share is not None:  # of pictures that training decodes at their own size
            return Resolution(height, width)
        final = self.config.final_resolution
        largest = max(self.config.test_side(way.direction[0]) or 0, way.side or 0)
        return final if largest <= final else final.scaled(largest)

    def works_at(self, way: Way, height: int, width: int) -> Resolution:
        """What the network's picture just covers, where the scale is not ``native``.

        Args:
            way: how it is translated; its side counts where that is above training and no larger than the picture.
            height, width: of the picture.
        """
        trained = Resolution.of(self.config.growth_at(way.resolution).resolution)
        most = min(height * int(trained) // trained.height, width * int(trained) // trained.width)
        wanted = min(way.side or 0, most) if way.share is None else round(most * way.share)
        return trained.scaled(wanted) if wanted > trained else trained

    def check_side(self, scale: Scale, resolution: int | None, side: int | None) -> None:
        """Refuse a side that does not go with the rest.

        Raises:
            UserError: the scale is ``native``, or the side is smaller than that of training.
        """
        if side is None:
            return
        if scale == "native":
            raise UserError(
                "The scale 'native' works on every pixel as it is; leave the side out, or use another scale."
            )
        if side < (trained := self.config.growth_at(resolution).resolution):
            raise UserError(
                f"A side of {side} px is below the {trained} px of training; give {trained} or more, or leave it out "
                "(a resolution chooses an earlier stage)."
            )

    def reach(self, direction: Direction, resolution: int | None = None) -> int | None:
        """How many pixels away a picture can change what the network makes of a pixel, at the scale ``native``.

        Args:
            direction: ``ab`` or ``ba``.
            resolution: of an earlier stage.

        Returns:
            Pixels; None where it depends on the whole picture, as with instance norm, or reaches further than
            :data:`progcycle.networks.receptive_field.MOST_REACH`.
        """
        growth, network = self.config.growth_at(resolution), self.network(direction)
        key = (direction, growth.stage, growth.alpha)
        if key in self._reaches:
            return self._reaches[key]
        more = {"latents": self.latents(direction, [0]).to(self.device)} if network.latent_size else {}

        def forward(x: Tensor) -> Tensor:
            return self.run(network, x, growth.stage, growth.alpha, **more)

        like = torch.zeros(1, self.channels(direction)[0], 1, 1, device=self.device)
        self._reaches[key] = network.reach(forward, like, growth.stage)
        return self._reaches[key]

    def tiling(
        self, direction: Direction, resolution: int | None = None, side: int | None = None, overlap: int | None = None
    ) -> Tiling:
        """How large pictures are cut into tiles for the network; this takes seconds.

        Where the network sees a neighbourhood of each pixel that fits into a tile (:meth:`reach`), tiles overlap by it,
        and the picture is that of the network working on all of it at once (``Tiling.exact``). Else they overlap by a
        quarter of their side, and are blended there.

        Args:
            direction: ``ab`` or ``ba``.
            resolution: of an earlier stage.
            side: pixels of a side of a tile; default: 1024, and up to 2048 for networks that see further; the size of
                training for networks of one size.
            overlap: pixels by which neighbours overlap.

        Raises:
            UserError: the tiles are too small for the network or for the overlap.
        """
        growth, network = self.config.growth_at(resolution), self.network(direction)
        reach = self.reach(direction, resolution)
        multiple = math.lcm(network.multiple(growth.stage), 1 if growth.reals_alpha == 1 else 2)
        reach = None if reach is None else -(-reach // multiple) * multiple
        fixed = int(self.config.final_resolution) if reach is None and network.sizes == "one" else 0
        return Tiling.choose(reach, multiple, side=side, overlap=overlap, fixed=fixed)

    def describe_seams(self, name: str, way: Way) -> str:
        """A sentence that says how much blended tiles differ.

        Args:
            name: of the picture.
            way: how it was translated.
        """
        assert way.tiling is not None
        reach = self.reach(way.direction, way.resolution)
        sees = "the whole picture" if reach is None else f"{reach} px around each pixel"
        remedy = "larger tiles differ less" if reach is None else f"an overlap of {2 * reach} px makes it exact"
        return (
            f"warning: {name} is not quite what it would be without tiles, since these translators see {sees}: where "
            f"tiles of {way.tiling.side} px overlap, they differ by {way.seams.mean:.2f} of {max_level()} grey levels "
            f"on average, and by {way.seams.greatest:.0f} at most, and are blended ({remedy})."
        )

    def _chosen_tiling(
        self, direction: Direction, resolution: int | None, tiles: bool | int, overlap: int | None
    ) -> Tiling | None:
        if not tiles:
            if overlap is not None:
                raise UserError("An overlap is one of tiles; give tiles too, or leave it out.")
            return None
        return self.tiling(direction, resolution, None if tiles is True else tiles, overlap)

    @torch.no_grad()
    def strips(self, parts: Parts, way: Way) -> Iterator[Tensor]:
        """Translate pictures of any size a few rows at a time.

        Args:
            parts: the pictures, as many channels as the domain has.
            way: how.

        Yields:
            Rows of full width that follow each other, from top to bottom, clamped.  # [N, C_out, h, W]
        """
        height, width = parts.height, parts.width
        if isinstance(way.latents, Seeded):
            seeded = way.latents
            chosen = seeded.latents(lambda z: self.drawn_latents(z, way.direction, self.sources(parts)))
            way = replace(way, latents=chosen)
        if way.scale == "native" and way.tiling is not None:
            for strip in way.tiling.strips(parts.region, height, width, lambda x: self._both(x, way)[1], way.seams):
                for i, j in bands(strip.shape[2], parts.count * width):
                    yield strip[:, :, i:j].clone()  # a part of it would keep all of it while the next one is made
                del strip
            return
        rows = self._rows(parts, way)
        for i, j in bands(height, parts.count * width):
            yield rows(i, j)

    def _both(self, x: Tensor, way: Way) -> tuple[Tensor, Tensor]:
        """The network's input, and its output, cut off at black and white."""
        assert not isinstance(way.latents, Seeded)
        shown, painted = self._input_and_output(x, way.direction, way.resolution, way.latents)
        return shown.float(), painted.float().clamp(-1, 1)

    def _rows(self, parts: Parts, way: Way) -> Rows:
        """The translation of pictures by their rows; the network works here, at the training scale unless native."""
        height, width = parts.height, parts.width
        if way.scale == "native":
            return _slices(self._both(parts.region(0, height, 0, width), way)[1])
        x = self._small(parts, way)
        larger = height >= x.shape[2] and width >= x.shape[3]
        shown, painted = self._in_tiles(x, way) if way.tiling is not None else self._both(x, way)
        if way.scale == "train":
            enlarged = Enlarged(painted, height, width, "bicubic")
            whole = enlarged if larger else _slices(resize(painted, height, width))
            return lambda i, j: whole(i, j).clamp(-1, 1)
        change = painted - shown

        def full(i: int, j: int) -> Tensor:
            return parts.region(i, j, 0, width)

        if larger:
            return add_change(full, height, width, x, change)
        reduced = resize(change, height, width)
        return lambda i, j: (full(i, j) + reduced[:, :, i:j]).clamp(-1, 1)

    def _small(self, parts: Parts, way: Way) -> Tensor:
        """The pictures at the scale that the network works on."""
        size, final = self.works_at(way, parts.height, parts.width), self.config.final_resolution
        trained, loaded = self.config.growth_at(way.resolution).resolution, self.config.test_side(way.direction[0])
        if size == trained:
            return parts.small(size, final)
        as_training = loaded is not None and int(size) * int(final) == int(loaded) * int(trained)
        return parts.small(size, loaded if as_training and loaded else size)

    def _in_tiles(self, x: Tensor, way: Way) -> tuple[Tensor, Tensor]:
        """The same as :meth:`_both`, tile by tile."""
        assert way.tiling is not None

        def region(top: int, bottom: int, left: int, right: int) -> Tensor:
            return x[:, :, top:bottom, left:right]

        height, width = x.shape[2:]
        strips = way.tiling.strips(region, height, width, lambda part: torch.cat(self._both(part, way), 1), way.seams)
        both = torch.cat(list(strips), dim=2).to(x.device)
        return both[:, : x.shape[1]], both[:, x.shape[1] :]


def _translated(
    model: Translator, direction: Direction, resolution: int | None, x: Tensor, latents: Tensor | None = None
) -> Tensor:
    y: Tensor = model(x, direction, resolution, latents)
    return y


def _slices(x: Tensor) -> Rows:
    return lambda i, j: x[:, :, i:j]
