"""Latent interpolation and walks, through latents that are as likely as those of training.

Normal latents go along great circles of the sphere that the generators work on. Uniform ones go through the cube: what
lies between is uniform too, where a straight line would pass by its middle.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from PIL import Image
from torch import Tensor

from progcycle.errors import UserError
from progcycle.export.contact_sheet import enlarge, sheet
from progcycle.export.generator import Generator
from progcycle.export.latent_files import Latents
from progcycle.rng import Distribution

_TINY = 1e-7  # below this share, what is left of a vector after a projection is mostly rounding


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Spherical interpolation (Shoemake 1985): from ``a`` (t = 0) to ``b`` (t = 1) along the shorter great circle.

    Both ends are brought to the sphere of mean square 1 first, as the generator does with its latents; the way lies on
    it, and the angle from ``a`` grows in proportion to t. Between opposite ends no circle is shorter; the choice
    is always the same.

    Args:
        a: latents.  # [..., D]
        b: latents.  # [..., D]
        t: how far to go.

    Returns:
        Latents of the dtype of ``a``, computed in float64.  # [..., D]

    Raises:
        ValueError: the shapes differ, a latent has fewer than 2 numbers, or it is zero and so has no direction.
    """
    if a.shape != b.shape or a.shape[-1] < 2:
        raise ValueError(f"expected two tensors of one shape [..., 2 or more], got {[*a.shape]} and {[*b.shape]}")
    u, v = _unit(a.cpu().double()), _unit(b.cpu().double())  # not every accelerator has float64
    # Kahan's angle: unlike acos(u . v) it is exact to rounding for close and for opposite vectors too.
    angle = 2 * torch.atan2((u - v).norm(dim=-1, keepdim=True), (u + v).norm(dim=-1, keepdim=True))
    across = _orthogonal_part(v, u)
    across = torch.where(across.norm(dim=-1, keepdim=True) > _TINY, across, _orthogonal_part(_axis_away_from(u), u))
    across = _unit(_orthogonal_part(_unit(across), u))  # twice: of close vectors the first time leaves rounding errors
    point = torch.cos(t * angle) * u + torch.sin(t * angle) * across
    return (point * math.sqrt(a.shape[-1])).to(a.dtype).to(a.device)


def between_uniform(a: Tensor, b: Tensor, t: float) -> Tensor:
    """From ``a`` (t = 0) to ``b`` (t = 1), both uniform in [-1, 1], so that all between is uniform in [-1, 1] as well.

    Each number is taken for the share of a normal variable that lies below it; cos(pi t / 2) x + sin(pi t / 2) y of two
    independent normal variables is one like them.

    Args:
        a: latents.  # [..., D]
        b: latents.  # [..., D]
        t: how far to go.

    Returns:
        Latents of the dtype of ``a``, computed in float64.  # [..., D]
    """
    inside = 1 - 2**-25  # at -1 and 1 themselves a normal variable is infinite
    x, y = (torch.erfinv(each.cpu().double().clamp(-inside, inside)) for each in (a, b))
    angle = math.pi * t / 2
    return torch.erf(math.cos(angle) * x + math.sin(angle) * y).to(a.dtype).to(a.device)


BETWEEN: dict[Distribution, Callable[[Tensor, Tensor, float], Tensor]] = {"normal": slerp, "uniform": between_uniform}


def _unit(x: Tensor) -> Tensor:  # [..., D] -> [..., D]
    length: Tensor = x.norm(dim=-1, keepdim=True)
    if not (length > 0).all():
        raise ValueError("a latent of zeros has no direction")
    return x / length


def _orthogonal_part(x: Tensor, u: Tensor) -> Tensor:  # [..., D] -> [..., D]
    """The part of ``x`` at right angles to the unit vector ``u``."""
    return x - (u * x).sum(-1, keepdim=True) * u


def _axis_away_from(u: Tensor) -> Tensor:  # [..., D] -> [..., D]
    return torch.zeros_like(u).scatter_(-1, u.abs().argmin(-1, keepdim=True), 1.0)


def walk(
    keys: Tensor, steps: int, distribution: Distribution | Sequence[tuple[int, Distribution]] = "normal"
) -> Iterator[Tensor]:
    """A closed walk from key to key and back to the first, which is not repeated at the end.

    Args:
        keys: latents to come by, for each of N walks.  # [K, N, D]
        steps: frames from one key to the next; the first of them is the key.
        distribution: of the latents, or how many of their numbers there are of each, in order.

    Yields:
        The latents of K * steps frames; normal ones on the sphere of mean square 1.  # [N, D]
    """
    parts: Sequence[tuple[int, Distribution]]
    parts = [(keys.shape[-1], distribution)] if isinstance(distribution, str) else distribution
    sizes, between = [size for size, _ in parts], [BETWEEN[own] for _, own in parts]
    for i, key in enumerate(keys):
        ends = list(zip(torch.split(key, sizes, -1), torch.split(keys[(i + 1) % len(keys)], sizes, -1), strict=True))
        for step in range(steps):
            yield torch.cat([go(*both, step / steps) for go, both in zip(between, ends, strict=True)], dim=-1)


def interpolation_frames(
    model: Generator,
    keyframes: int,
    steps: int,
    *,
    seed: int = 0,
    rows: int = 1,
    columns: int = 1,
    class_name: str | None = None,
    resolution: int | None = None,
    size: int | None = None,
    batch_size: int = 16,
    found: Latents | None = None,
) -> Iterator[Image.Image]:
    """Frames of a video that moves from picture to picture of a seed, and back to the first.

    Args:
        model: a generator.
        keyframes: pictures to pass: number 0, 1, 2, ... of the seed; at least 2.
        steps: frames from one of them to the next.
        seed: which series of pictures.
        rows, columns: of several walks side by side.
        class_name: of all pictures; default: the first walk keeps the first class, the next the next, and so on.
        resolution: an earlier stage to paint at.
        size: up to this side pictures are enlarged by whole pixels; default: 256, in a grid 128.
        batch_size: pictures painted at a time.
        found: latents to pass instead of those of the seed, in one walk; at least 2, of one class.

    Yields:
        ``keyframes * steps`` frames, of mode RGB.

    Raises:
        UserError: there is no such resolution or class, or latents are single numbers.
        ValueError: latents that were found, and several walks or another number of keyframes.
    """
    cells = rows * columns
    if found is not None and (cells != 1 or keyframes != len(found.rows)):
        raise ValueError(f"{len(found.rows)} latents are as many keyframes of one walk, got {keyframes} of {cells}")
    keys = model.latents(keyframes * cells, seed) if found is None else found.rows  # [K * N, D]
    if keys.shape[1] < 2:
        raise UserError("This model's latents are single numbers, between which there is no way to walk.")
    latents = torch.cat(list(walk(keys.reshape(keyframes, cells, -1), steps, model.latent_parts)))  # [frames * N, D]
    labels = model.labels_for(cells, class_name)
    if found is not None and found.labels is not None and class_name is None:
        labels = _one_class(model, found.labels)
    every = None if labels is None else labels * (len(latents) // cells)
    pictures = model.paint(latents, every, resolution, batch_size)
    side = size or (256 if cells == 1 else 128)
    if cells == 1:
        yield from (enlarge(picture, side) for picture in pictures)
        return
    for first in pictures:
        frame = [first, *islice(pictures, cells - 1)]
        tile = max(enlarge(first, side).size)
        yield sheet([frame[i : i + columns] for i in range(0, cells, columns)], tile=tile)


def _one_class(model: Generator, labels: list[int]) -> list[int]:
    if len(several := {model.classes[label]: label for label in labels}) > 1:
        names = " and ".join(list(several)[:2])
        raise UserError(f"These latents are of several classes, such as {names}; choose one with --class.")
    return labels[:1]
