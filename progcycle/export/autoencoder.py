"""``Autoencoder``: the network of an autoencoder's snapshot, which restores pictures from their codes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from progcycle import networks
from progcycle.data import PictureSet, resolve_sets, resolve_test_sets, resolve_validation_sets, unaltered
from progcycle.errors import UserError
from progcycle.export.config import CONFIG_FILE, SnapshotConfig
from progcycle.export.examples import Examples
from progcycle.export.graph import Graph, Painting, PictureForm
from progcycle.export.snapshot_model import SnapshotModel
from progcycle.export.source_pictures import read_fitted
from progcycle.export.tensor_images import from_pixels, resize, to_pil
from progcycle.recipe import AutoencoderRecipe, validate
from progcycle.resolution import Resolution


@dataclass
class AutoencoderExamples(Examples):
    """Pictures, and what is restored of them.

    Attributes:
        pictures: a picture, or a folder or zip file of pictures, instead of the run's own.
    """

    pictures: str | Path | None = None

    @cached_property
    def reals(self) -> Tensor:
        """The pictures at the final resolution.  # [N, C, H, W]"""
        return run_pictures(self.config, self.count, self.pictures)

    @property
    def words(self) -> str:
        """That they are restored."""
        return "restored pictures"

    @property
    def source_name(self) -> str:
        """What the sources are."""
        return "real"

    @property
    def sources(self) -> Sequence[Image.Image]:
        """The pictures."""
        return to_pil(self.reals)

    def made_by(self, model: "Autoencoder", resolution: int | None = None) -> list[Image.Image]:
        """What a snapshot restores."""
        batches = torch.split(self.reals, self.batch_size)
        return [picture for batch in batches for picture in to_pil(model.restore(batch, resolution))]


def run_pictures(config: SnapshotConfig, count: int, folder: str | Path | None = None) -> Tensor:
    """Pictures from all over a run's test pictures, or where it has none, of those held out or trained on.

    Args:
        config: of a snapshot of an autoencoder.
        count: how many at most.
        folder: other pictures: a folder, a zip file, or a single picture.

    Returns:
        Pictures in [-1, 1] at the recipe's resolution.  # [N, C, H, W]

    Raises:
        UserError: there are none.
    """
    recipe = validate(config.recipe, CONFIG_FILE)
    assert isinstance(recipe, AutoencoderRecipe)
    if folder is not None:
        return read_fitted(config, "real", folder, recipe.data.channels, count, config.final_resolution)[1]
    try:
        _, pictures = unseen_pictures(recipe)
    except UserError as error:
        reason = str(error).partition(";")[0].rstrip(".")  # its remedy is not this command's
        raise UserError(f"The run's pictures are not here ({reason}); give a folder with --pictures.") from None
    count = min(count, len(pictures))
    levels = [pictures.plain(i * len(pictures) // count, recipe.resolution).image for i in range(count)]
    return torch.cat([from_pixels(image) for image in levels])


def unseen_pictures(recipe: AutoencoderRecipe, cache_dir: Path | None = None) -> tuple[str, PictureSet]:
    """Pictures that an autoencoder was not trained on, if its recipe has some, without augmentation.

    Args:
        recipe: a validated recipe.
        cache_dir: folder of caches, which are read if they exist; none is built.

    Returns:
        ``test`` for those of ``test_path``, ``held out`` for those of ``validation``, or ``training``; and the set.

    Raises:
        UserError: a path is missing or has no pictures.
    """
    finders: dict[str, Callable[..., dict[str, PictureSet]]] = {
        "test": resolve_test_sets,
        "held out": resolve_validation_sets,
        "training": resolve_sets,
    }
    data = unaltered(recipe.data, recipe.resolution)
    if cache_dir is None:
        data = data.model_copy(update={"cache_resolution": 0})
    for kind, find in finders.items():
        sets = find(data, resolution=recipe.resolution, seed=recipe.seed, cache_dir=cache_dir or Path())
        if "real" in sets:
            return kind, sets["real"]
    raise AssertionError("there always are training pictures")


class Autoencoder(SnapshotModel):
    """A trained autoencoder, at the stage and alpha of its snapshot."""

    task: ClassVar[str] = "autoencoder"
    names: ClassVar[tuple[str, ...]] = ("autoencoder",)
    registry: ClassVar[dict[str, type[networks.Network]]] = networks.AUTOENCODERS
    kind: ClassVar[str] = "an autoencoder"
    examples: ClassVar[type[Examples] | None] = AutoencoderExamples
    summary: ClassVar[str] = "Restores pictures from the few numbers that it makes of them"
    autoencoder: networks.Network

    @property
    def usage(self) -> str:
        """Restores a picture."""
        channels = self.config.networks["autoencoder"].arguments.get("image_channels", 3)
        picture = f'from_pil(Image.open("a.png"), {channels})'
        imports = "from PIL import Image\nfrom progcycle.export import from_pil, to_pil"
        return f'{imports}\n\nto_pil(model.restore({picture}))[0].save("restored.png")'

    def graphs(self, direction: str | None = None, resolution: int | None = None) -> list[Graph]:
        """The graph ``autoencoder``; see :meth:`SnapshotModel.graphs`."""
        self._no_direction(direction)
        growth = self.config.growth_at(resolution)
        network, config = self.autoencoder, self.config
        channels = config.networks["autoencoder"].arguments.get("image_channels", 3)
        sides = Resolution.of(growth.resolution).shape
        form = PictureForm(
            "real", channels, config.levels("real"), sides, background=config.pictures("real").background
        )
        options = network.options_at(growth.nimg)

        def restored(x: Tensor) -> Tensor:
            return self.run(network, x, growth.stage, growth.alpha, **options)

        return [Graph("autoencoder", Painting(network, growth), restored, {"input": form}, form, growth)]

    @torch.no_grad()
    def restore(self, pictures: Tensor, resolution: int | None = None) -> Tensor:
        """What is restored of pictures.

        Args:
            pictures: in [-1, 1]; of another size than the stage they are resized to it.  # [N, C, H, W]
            resolution: of an earlier stage; default: the snapshot's own.

        Returns:
            Pictures in [-1, 1], clamped, at that resolution.  # [N, C, r, r] float32

        Raises:
            UserError: there is no such stage.
        """
        growth = self.config.growth_at(resolution)
        x = resize(pictures.to(self.device), *Resolution.of(growth.resolution).shape).clamp(-1, 1)
        options = self.autoencoder.options_at(growth.nimg)
        return self.run(self.autoencoder, x, growth.stage, growth.alpha, **options).float().clamp(-1, 1)
