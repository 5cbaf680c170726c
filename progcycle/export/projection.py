"""Latent projection: the latents from which a generator paints a given picture as nearly as it can.

After Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 5 and appendix D: Adam, whose
rate rises at the start and falls at the end; noise on the latents that fades out; a distance in the features of a
frozen classifier. What differs, since a PG-GAN has no mapping network and no inputs for noise:

* The latents themselves are sought, and kept where training drew them: uniform ones in [-1, 1], normal ones as long as
  nearly all random ones are. A PG-GAN brings those to the mean square 1 itself.
* There the search begins at the mean of all. That of normal latents is 0 and has no direction, so several searches
  begin at the nearest of many random latents, and the one that ends nearest counts.
* Features are those of EfficientNet-lite0, all maps weighted alike; there it is LPIPS. The mean squared difference of
  the pixels is added, or taken alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from progcycle.blocks import as_shown
from progcycle.errors import UserError
from progcycle.export.contact_sheet import sheet
from progcycle.export.generator import Generator
from progcycle.export.tensor_images import to_pil
from progcycle.figures import LogLocator, NullLocator, new_figure
from progcycle.files import atomic_file
from progcycle.pretrained import LITE_TAPS, LiteBackbone, MissingExtra
from progcycle.rng import Distribution, latents

Distance = Literal["pixels", "features", "both"]
RISE, FALL, NOISY = 0.05, 0.25, 0.75  # shares of the steps: of the rising rate, the falling one, and the noise
FEATURES = "efficientnet-lite0"
DRAWN = 16  # random latents for each start, of which the nearest are taken
LEAST, MOST = 112, 256  # pixels of the shorter side, and of the longer one, at which features are taken
TINY = 1e-8
SPREAD = 3 * math.sqrt(0.5)  # three deviations of the length of normal latents
SHORT = 20  # letters of a name


@dataclass(frozen=True)
class Search:
    """How latents are sought.

    Attributes:
        steps: of Adam.
        starts: latents to begin at: the nearest of ``DRAWN`` times as many random ones.
        rate: the highest learning rate.
        noise: standard deviation of the noise on the latents at the beginning; 0 for none.
        seed: of the starts and the noise, which are the same for every picture.
        class_name: of the pictures, by its name or its number; default: the random latents take the classes in turn.
    """

    steps: int = 500
    starts: int = 4
    rate: float = 0.1
    noise: float = 0.05
    seed: int = 0
    class_name: str | None = None

    def rate_at(self, step: int) -> float:
        """Learning rate: rises in proportion, and falls along a cosine."""
        t = step / self.steps
        return self.rate * (0.5 - 0.5 * math.cos(math.pi * min(1, (1 - t) / FALL))) * min(1, t / RISE)

    def noise_at(self, step: int) -> float:
        """Standard deviation of the noise: falls as a square."""
        return self.noise * max(0, 1 - step / self.steps / NOISY) ** 2


@dataclass(frozen=True)
class Projection:
    """What was found for a picture.

    Attributes:
        latents: those that end nearest.  # [D]
        label: number of the class, of a model with classes.
        picture: what the generator paints from them, in [-1, 1], clamped.  # [C, H, W]
        distance: of that picture.
        random: mean distance of the random latents.
        ends: distances at which the searches ended.  # [S]
        course: distances at each step, with the noise of that step.  # [steps, S]
    """

    latents: Tensor
    label: int | None
    picture: Tensor
    distance: float
    random: float
    ends: Tensor
    course: Tensor


class PictureDistance:
    """How far pictures are from a target, one number for each.

    ``pixels`` is the mean squared difference of the numbers in [-1, 1]. ``features`` is that of Zhang et al. 2018
    ("The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", equation 1) with all weights 1, a mean
    over four maps of EfficientNet-lite0: the squared difference of feature vectors of length 1, a mean over the places.
    ``both`` is their sum. Where the target is white, what is whiter than that is no difference, and so with black.

    Args:
        kind: which.
        device: where to compute.

    Raises:
        MissingExtra: the features are not installed.
    """

    def __init__(self, kind: Distance, device: torch.device | str = "cpu") -> None:
        self.kind = kind
        self.backbone = None if kind == "pixels" else LiteBackbone(FEATURES, LITE_TAPS[FEATURES]).to(device)

    @property
    def words(self) -> str:
        """What is compared."""
        return {"pixels": "pixels", "features": f"features of {FEATURES}"}.get(
            self.kind, f"pixels and features of {FEATURES}"
        )

    def to(self, target: Tensor) -> Callable[[Tensor], Tensor]:
        """The distance to one picture.

        Args:
            target: in [-1, 1].  # [C, H, W]

        Returns:
            A function of pictures, through which gradients flow.  # [N, C, H, W] -> [N]
        """
        maps = self._maps(target[None])
        top = torch.where(target >= 1, 1.0, torch.inf)
        bottom = torch.where(target <= -1, -1.0, -torch.inf)

        def distance(pictures: Tensor) -> Tensor:
            pictures = pictures.clamp(bottom, top)
            found = pictures.new_zeros(len(pictures))
            if self.kind != "features":
                found = found + (pictures - target).square().mean(dim=(1, 2, 3))
            if self.backbone is not None:
                squares = [
                    (x - y).square().sum(1).mean(dim=(1, 2)) for x, y in zip(self._maps(pictures), maps, strict=True)
                ]
                found = found + torch.stack(squares).mean(0)
            return found

        return distance

    def _maps(self, pictures: Tensor) -> list[Tensor]:
        """Feature vectors of length 1 at every place.  # [N, C, H, W] -> [N, F, h, w] each"""
        if self.backbone is None:
            return []
        x = as_shown(pictures).expand(-1, 3, -1, -1)
        short, long = min(x.shape[2:]), max(x.shape[2:])
        factor = LEAST / short if short < LEAST else min(1.0, MOST / long)
        if factor != 1:
            size = [round(factor * side) for side in x.shape[2:]]
            x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        return [F.normalize(each, dim=1, eps=TINY) for each in self.backbone(x)]


def best_distance(device: torch.device | str = "cpu") -> PictureDistance:
    """``both`` where the features are installed, else ``pixels``."""
    try:
        return PictureDistance("both", device)
    except MissingExtra:
        return PictureDistance("pixels", device)


def project(
    model: Generator,
    target: Tensor,
    distance: PictureDistance,
    search: Search = Search(),
    on_step: Callable[[], object] = lambda: None,
) -> Projection:
    """Find latents of a picture. On the CPU the same call finds the same ones.

    Args:
        model: a generator.
        target: a picture of the model's resolution, in [-1, 1].  # [C, H, W]
        distance: what is made small.
        search: how.
        on_step: called after every step.

    Raises:
        UserError: there is no such class.
        ValueError: the picture has another shape than those of the model.
    """
    target = target.to(model.device, torch.float32)
    to_target = distance.to(target)
    parts = model.latent_parts
    z, labels, random = _starts(model, target, to_target, search)
    numbers = range(len(z))
    z.requires_grad_()
    adam = torch.optim.Adam([z], betas=(0.9, 0.999))
    course = []
    for step in range(search.steps):
        for group in adam.param_groups:
            group["lr"] = search.rate_at(step)
        moved: Tensor = z
        if strength := search.noise_at(step):
            noise = latents(search.seed, f"projection/noise/{step}", numbers, z.shape[1], "normal")
            moved = z + strength * noise.to(z.device)
        found = to_target(model(on_support(moved, parts), labels=labels))
        (z.grad,) = torch.autograd.grad(found.sum(), [z])
        adam.step()
        with torch.no_grad():
            z.copy_(on_support(z, parts))
        course.append(found.detach().cpu())
        on_step()
    with torch.no_grad():
        pictures = model(z, labels=labels)
        ends = to_target(pictures).cpu()
    best = int(ends.nan_to_num(nan=torch.inf).argmin())
    return Projection(
        z[best].detach().cpu(),
        None if labels is None else labels[best],
        pictures[best].float().clamp(-1, 1).cpu(),
        float(ends[best]),
        random,
        ends,
        torch.stack(course),
    )


def _starts(
    model: Generator, target: Tensor, to_target: Callable[[Tensor], Tensor], search: Search
) -> tuple[Tensor, list[int] | None, float]:
    """The nearest of random latents, their classes, and the mean distance of all."""
    count = max(DRAWN * search.starts, DRAWN * len(model.classes))
    labels, parts = model.labels_for(count, search.class_name), model.latent_parts
    drawn = [latents(search.seed, f"projection/start/{i}", range(count), *part) for i, part in enumerate(parts)]
    z = on_support(torch.cat(drawn, dim=1), parts).to(model.device)
    found = []
    with torch.no_grad():
        for i in range(0, count, DRAWN):
            painted = model(z[i : i + DRAWN], labels=None if labels is None else labels[i : i + DRAWN])
            if painted.shape[1:] != target.shape:
                raise ValueError(f"expected a picture of shape {list(painted.shape[1:])}, got {list(target.shape)}")
            found.append(to_target(painted))
    distances = torch.cat(found)
    nearest = distances.nan_to_num(nan=torch.inf).argsort(stable=True)[: search.starts].sort().values
    chosen = None if labels is None else [labels[i] for i in nearest.tolist()]
    return z[nearest].clone(), chosen, float(distances.mean())


def on_support(z: Tensor, parts: Sequence[tuple[int, Distribution]]) -> Tensor:
    """The nearest latents like those of training: uniform ones in [-1, 1], normal ones of a likely length.

    The length of D standard normal numbers is nearly normal, of mean sqrt(D - 1/2) and variance 1/2 (Fisher 1925); it
    stays within three deviations of that, as 99.7 % of random ones are.

    Args:
        z: any numbers.  # [N, D]
        parts: how many of them there are of each distribution, in order.

    Returns:
        Latents; gradients flow through.  # [N, D]

    Raises:
        UserError: normal latents are single numbers.
    """
    if (1, "normal") in parts:
        raise UserError("This model's latents are single numbers, which have no direction to search in.")
    pieces = torch.split(z, [size for size, _ in parts], dim=1)
    moved = []
    for piece, (size, kind) in zip(pieces, parts, strict=True):
        if kind == "uniform":
            moved.append(piece.clamp(-1, 1))
            continue
        length = piece.norm(dim=1, keepdim=True).clamp(min=TINY)
        likely = math.sqrt(size - 0.5)
        moved.append(piece * (length.clamp(max(likely - SPREAD, TINY), likely + SPREAD) / length))
    return torch.cat(moved, dim=1)


def projection_sheet(names: Sequence[str], targets: Tensor, found: Sequence[Projection]) -> Image.Image:
    """A sheet with a row for each picture: it, what was found, and the difference (black: none).

    Args:
        names: of the pictures.
        targets: the pictures.  # [N, C, H, W]
        found: for each of them.
    """
    rows, side = [], []
    for name, target, each in zip(names, targets, found, strict=True):
        difference = (each.picture - target).abs() - 1  # 0 is -1, black
        rows.append(to_pil(torch.stack([target, each.picture, difference])))
        side.append(f"{PurePosixPath(name).stem[:SHORT]}\n{each.distance:.4f}")
    return sheet(rows, ["picture", "found", "difference"], side=side)


def draw_courses(names: Sequence[str], found: Sequence[Projection], words: str, path: Path) -> None:
    """Draw how the distance of each picture fell: the search that ended nearest, and the others thin.

    Args:
        names: of the pictures.
        found: for each of them.
        words: what the distance is of.
        path: PNG to write.
    """
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    for i, (name, each) in enumerate(zip(names, found, strict=True)):
        colour = f"C{i % 10}"
        axes.plot(each.course.numpy(), color=colour, linewidth=0.5, alpha=0.35)
        best = int(each.ends.nan_to_num(nan=torch.inf).argmin())
        axes.plot(each.course[:, best].numpy(), color=colour, label=PurePosixPath(name).stem[:SHORT])
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("step")
    axes.set_ylabel(f"distance: {words}")
    axes.legend(fontsize="small")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110)
