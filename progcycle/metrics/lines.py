"""What translations make of the lines of the pictures they come from: fill inside them, and edges kept."""

from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from progcycle.blocks import max_level, to_levels
from progcycle.metrics.paired import luma_chroma

STEP = 0.2  # of the luma in [0, 1] from pixel to pixel, as Sobel's filter sees it, that makes an edge
TOLERANCE = 1  # pixels, in either direction


@dataclass(frozen=True)
class EdgeScores:
    """How two sets of edges agree, over all pictures together; None where there are no edges to speak of.

    Attributes:
        precision: share of the pictures' edges that the drawings have too; the rest are new.
        recall: share of the drawings' edges that the pictures still have.
    """

    precision: float | None
    recall: float | None


def edge_scores(pictures: Tensor, drawings: Tensor) -> EdgeScores:
    """Precision and recall of the edges of pictures against those of the drawings they were made from.

    An edge pixel is one where the gradient of the luma (Sobel's filter, over 4) is 0.2 of black to white or more. It is
    not made thinner, as Canny 1986 would: of lines that are two pixels wide that leaves one side or the other. It is
    found if there is one of the other picture within a pixel, diagonals included; counts are added up over the set, as
    Martin, Fowlkes and Malik 2004 do, but without matching pixels one to one.

    Args:
        pictures: in [-1, 1].  # [N, 1 or 3, H, W]
        drawings: in [-1, 1], of the same number and size.  # [N, 1 or 3, H, W]

    Raises:
        ValueError: numbers or sizes differ.
    """
    _check(pictures, drawings)
    kept, new, old, made = 0, 0, 0, 0
    reach = np.ones((2 * TOLERANCE + 1, 2 * TOLERANCE + 1), np.uint8)
    for x, y in zip(_grey(pictures), _grey(drawings), strict=True):
        mine, theirs = edges(x), edges(y)
        kept += int((theirs & (cv2.dilate(mine.astype(np.uint8), reach) > 0)).sum())
        new += int((mine & (cv2.dilate(theirs.astype(np.uint8), reach) == 0)).sum())
        old, made = old + int(theirs.sum()), made + int(mine.sum())
    return EdgeScores(1 - new / made if made else None, kept / old if old else None)


def edges(grey: np.ndarray) -> np.ndarray:
    """Where the steps are, see :func:`edge_scores`.  # [H, W] uint8 -> [H, W] bool"""
    across, down = (cv2.Sobel(grey, cv2.CV_64F, *order, ksize=3, scale=1 / 4) for order in ((1, 0), (0, 1)))
    found: np.ndarray = np.hypot(across, down) >= STEP * max_level()
    return found


def fill_deviation(pictures: Tensor, drawings: Tensor) -> float | None:
    """How far colours inside the lines of drawings are from flat: 0 for one colour in every region.

    Lines are the pixels whose luma is at or below Otsu's (1979) threshold of the drawing, made wider by a pixel.
    Regions are what they enclose: the 4-connected parts of the rest that do not touch the border. The deviation is the
    root of the mean squared difference of a pixel from its region's mean colour, over all regions of the set.

    Args:
        pictures: in [-1, 1].  # [N, C, H, W]
        drawings: dark lines on a light ground, in [-1, 1], of the same number and size.  # [N, 1 or 3, H, W]

    Returns:
        The deviation in [-1, 1], at most 1; None where no lines enclose anything.

    Raises:
        ValueError: numbers or sizes differ.
    """
    _check(pictures, drawings)
    power, count = 0.0, 0
    for picture, drawing in zip(pictures.cpu().double().numpy(), _grey(drawings), strict=True):
        regions = enclosed_regions(drawing)
        inside = regions > 0
        which, colours = regions[inside], picture[:, inside]
        sizes = np.bincount(which)
        for channel in colours:
            means = np.bincount(which, channel) / np.maximum(sizes, 1)
            power += float(np.square(channel - means[which]).sum())
        count += colours.size
    return (power / count) ** 0.5 if count else None


def enclosed_regions(drawing: np.ndarray) -> np.ndarray:
    """Numbers from 1 on of the regions that a drawing's dark lines enclose, 0 elsewhere.

    Args:
        drawing: grey levels.  # [H, W] uint8

    Returns:
        Numbers, not all of which need occur.  # [H, W] int32
    """
    threshold, _ = cv2.threshold(drawing, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    lines = (drawing <= threshold).astype(np.uint8)
    if lines.all():  # a picture of one level has no lines
        return np.zeros(drawing.shape, np.int32)
    free = 1 - cv2.dilate(lines, np.ones((3, 3), np.uint8))
    _, regions = cv2.connectedComponents(free, connectivity=4)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    found: np.ndarray = np.where(np.isin(regions, border), 0, regions)
    return found


def _grey(pictures: Tensor) -> np.ndarray:
    """Luma as grey levels.  # [N, H, W] uint8"""
    x = pictures.cpu().float()
    levels: np.ndarray = to_levels(luma_chroma(x)[0] if x.shape[1] == 3 else x)[:, 0].numpy()
    return levels


def _check(pictures: Tensor, drawings: Tensor) -> None:
    if pictures.ndim != 4 or pictures.shape[0] != drawings.shape[0] or pictures.shape[2:] != drawings.shape[2:]:
        shapes = f"{list(pictures.shape)} and {list(drawings.shape)}"
        raise ValueError(f"expected as many pictures as drawings, of one size, got {shapes}")
