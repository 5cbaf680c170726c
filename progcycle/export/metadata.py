"""Metadata that a translated picture keeps: colour profile, EXIF block, resolution in dpi, transparency."""

import contextlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from progcycle.blocks import LUMINANCE, levels_to_unit
from progcycle.data.decode import orientation, parse_colour
from progcycle.data.pixels import as_image
from progcycle.data.region import is_swapped
from progcycle.export.exif_directories import EXIF, GPS, INTEROPERABILITY

# Four letters in the header of an ICC profile name its colour space (ICC.1:2022, 7.2.6).
FAMILIES = {b"RGB ": "RGB", b"GRAY": "L"}
DESCRIBING = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)  # what, camera, program, when, by whom
IFDS = (EXIF, GPS)
MAKER_NOTE, WIDTH, HEIGHT = 0x927C, 0xA002, 0xA003
MOST_EXIF = 65_500  # bytes; a JPEG holds no more


@dataclass
class Metadata:
    """Metadata of one picture; calling it with the decoded, upright image reads them.

    Attributes:
        wants_alpha: whether to remember transparency.
        icc: the colour profile.
        exif: the EXIF block, without an orientation since the picture has been turned.
        dpi: pixels an inch, across and down.
        alpha: opacity, 0 to 255, if the picture has transparent pixels.  # [H, W] uint8
    """

    wants_alpha: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    alpha: np.ndarray | None = field(default=None, repr=False)

    def __call__(self, image: Image.Image, width: int | None = None, height: int | None = None) -> None:
        """Read the metadata of an image, upright or not; width and height are the upright picture's, if others."""
        icc, dpi = image.info.get("icc_profile"), image.info.get("dpi")
        self.icc = icc if isinstance(icc, bytes) else None
        self.dpi = _resolution(dpi)
        self.exif = _exif(image, width, height)
        if self.wants_alpha and image.has_transparency_data:
            self.alpha = _alpha(image)

    def apply(self, levels: np.ndarray, background: str) -> Image.Image:
        """An image of translated pixels with these metadata in its ``info``.

        A profile stays only where it is for the same kind of numbers: of RGB for colour, of grey for grey. Transparent
        pixels had been put on the background. The background is removed from their translation again: on it, the
        picture looks as without transparency, and on other backgrounds it has no fringe.

        Args:
            levels: grey or RGB.  # [H, W, 1 or 3] uint8
            background: colour that transparent pixels had been put on.

        Returns:
            An image of mode L or RGB, or of LA or RGBA with transparency.
        """
        mode = "L" if levels.shape[2] == 1 else "RGB"
        if self.alpha is None:
            image = as_image(levels)
        else:
            image = as_image(_without_background(levels, self.alpha, background))
        image.info.update(self.info(mode))
        return image

    def info(self, mode: str) -> dict[str, Any]:
        """What Pillow's images have of it in their ``info``.

        Args:
            mode: L or RGB, that of the picture's numbers; its profile stays where it is for the same kind.
        """
        icc = self.icc if self.icc is not None and FAMILIES.get(self.icc[16:20]) == mode[:3].removesuffix("A") else None
        found = {"icc_profile": icc, "exif": self.exif, "dpi": self.dpi}
        return {name: value for name, value in found.items() if value is not None}


def describing_texts(exif: bytes) -> dict[int, str]:
    """What an EXIF block says in words of the picture, its camera and its author, by tag; a TIFF can hold that."""
    block = Image.Exif()
    with contextlib.suppress(Exception):  # a damaged block does not spoil the picture
        block.load(exif)
    return {tag: block[tag] for tag in DESCRIBING if isinstance(block.get(tag), str)}


def _without_background(levels: np.ndarray, alpha: np.ndarray, background: str) -> np.ndarray:  # [H, W, 2 or 4] uint8
    """c of c * alpha + background * (1 - alpha) = levels, as near as grey levels come."""
    backdrop = np.array(parse_colour(background), np.float32)
    if levels.shape[2] == 1:
        backdrop = backdrop @ np.array(LUMINANCE, np.float32)
    out = np.empty((*alpha.shape, levels.shape[2] + 1), np.uint8)
    out[:, :, -1] = alpha
    step = max(1, (1 << 20) // alpha.shape[1])
    for i in range(0, len(alpha), step):  # of a large picture a band at a time
        some = np.s_[i : i + step]
        share = levels_to_unit(np.maximum(alpha[some], 1)[:, :, None])
        colours = (levels[some] - backdrop) / share + backdrop
        colours = np.where(alpha[some][:, :, None] == 0, levels[some], colours)
        out[some][:, :, :-1] = colours.round().clip(0, 255)
    return out


def _alpha(image: Image.Image) -> np.ndarray | None:
    if image.mode.startswith("I"):  # grey of 16 bits, of which one value is transparent
        clear = image.info.get("transparency")
        return np.where(np.asarray(image) == clear, 0, 255).astype(np.uint8) if isinstance(clear, int) else None
    if image.mode == "La":
        image = image.convert("LA")
    alpha = np.array(image.convert("RGBA").getchannel("A"))
    return None if (alpha == 255).all() else alpha


def _exif(image: Image.Image, width: int | None, height: int | None) -> bytes | None:
    """The EXIF block's tags on how the picture was taken, without those on the layout of its file."""
    try:
        old, new = image.getexif(), Image.Exif()
        new.update({tag: old[tag] for tag in DESCRIBING if tag in old})
        across, down = _upright_size(image)
        sides = {WIDTH: width or across, HEIGHT: height or down}
        directories = [{key: value for key, value in old.get_ifd(tag).items() if key != MAKER_NOTE} for tag in IFDS]
        directories[0] |= {tag: side for tag, side in sides.items() if tag in directories[0]}
        if INTEROPERABILITY in directories[0]:
            directories[0][INTEROPERABILITY] = old.get_ifd(INTEROPERABILITY)
        for tag, directory in zip(IFDS, directories, strict=True):
            if directory:  # empty ones are not written
                new.get_ifd(tag).update(directory)
        block = new.tobytes() if len(new) or any(directories) else b""
    except Exception:  # a damaged block does not spoil the pixels
        return None
    return block if 0 < len(block) <= MOST_EXIF else None


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an image when it is turned; of a TIFF some versions of Pillow give those as size."""
    tags = getattr(image, "tag_v2", None)
    size = image.size if tags is None else (int(tags[256]), int(tags[257]))
    return size[::-1] if is_swapped(orientation(image)) else size


def _resolution(dpi: object) -> tuple[float, float] | None:
    try:
        across, down = (float(number) for number in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 1 <= across <= 1e6 and 1 <= down <= 1e6 else None
