"""Files of pictures whose values are not 8 bits of grey or RGB: PNG of 16 bits, TIFF, numpy arrays."""

import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from progcycle.data import Levels
from progcycle.data.bands import png_chunk
from progcycle.data.pixels import as_image
from progcycle.errors import UserError
from progcycle.export.exif_directories import append_directories
from progcycle.export.jobs import TIFF, WITH_ALPHA, WRITERS, write_picture
from progcycle.export.metadata import Metadata, describing_texts
from progcycle.files import atomic_file

ARRAY = ".npy"
ASCII = 2  # type of a TIFF's tag
DOTS_PER_METRE = 1 / 0.0254  # of one dot an inch
WITH_OPACITY = (2, 4)  # channels of 8 bits, as Pillow writes them
SIGNATURE, HEADER = 8, 25  # bytes of a PNG before its other chunks


def endings(levels: Levels, channels: int) -> tuple[str, ...]:
    """Endings of the files that can hold pictures of a depth; the first one is for those that have another.

    Args:
        levels: depth and window of the pictures.
        channels: of a picture.
    """
    kind = levels.stored
    if kind == np.uint8 and channels in (1, 3):
        return (*WRITERS, ARRAY)
    if kind == np.uint8 and channels in (2, 4):
        return (*WITH_ALPHA, ARRAY)
    png = (".png",) if kind == np.uint16 and channels in (1, 3, 4) else ()
    return (*png, *TIFF, ARRAY)


def write_values(values: np.ndarray, metadata: Metadata, background: str, target: Path) -> None:
    """Write the values of a picture in the format of its file name, without loss but for JPEG of 8 bits.

    Colour profile, EXIF block and dots an inch are written as far as the format holds them.

    Args:
        values: of a picture.  # [H, W, C] uint8, uint16, int16 or float32
        metadata: of the picture that it was made from.
        background: see :meth:`Metadata.apply`.
        target: the file.

    Raises:
        UserError: the picture is transparent, which the format cannot hold.
        OSError, ValueError: a library or the disk refuses.
    """
    kind = target.suffix.lower()
    if kind == ARRAY:
        with atomic_file(target) as temporary, open(temporary, "wb") as stream:
            np.save(stream, values[:, :, 0] if values.shape[2] == 1 else values)
    elif values.dtype == np.uint8 and values.shape[2] in (1, 3):
        write_picture(metadata.apply(values, background), target)
    elif metadata.alpha is not None:
        raise UserError(
            f"{target.name}: transparency is kept of pictures of 8 bits, grey or RGB, only; leave --alpha keep out."
        )
    elif values.dtype == np.uint8 and values.shape[2] in (2, 4):
        image = as_image(values)
        image.info.update(metadata.info(image.mode))
        write_picture(image, target)
    else:
        content = _png(values, metadata) if kind == ".png" else None
        with atomic_file(target) as temporary:
            if content is None:
                with open(temporary, "w+b") as stream:
                    _write_tiff(values, metadata, stream)
            else:
                temporary.write_bytes(content)


def _png(values: np.ndarray, metadata: Metadata) -> bytes:
    """A PNG of 16 bits a channel, with metadata in chunks right after its header."""
    import cv2

    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[values.shape[2]]
    made, content = cv2.imencode(".png", np.ascontiguousarray(values[..., order]))
    if not made:
        raise ValueError("the picture cannot be written as PNG")
    written = content.tobytes()
    head = SIGNATURE + HEADER
    return written[:head] + metadata_chunks(metadata, values.shape[2]) + written[head:]


def metadata_chunks(metadata: Metadata, channels: int) -> bytes:
    """The chunks of a PNG that hold its colour profile, dots an inch and EXIF block; they stand behind its header."""
    info, chunks = metadata.info("L" if channels <= 2 else "RGB"), b""
    if "icc_profile" in info:
        chunks += png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(info["icc_profile"]))
    if "dpi" in info:
        across, down = (round(dots * DOTS_PER_METRE) for dots in info["dpi"])
        chunks += png_chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    if "exif" in info:
        chunks += png_chunk(b"eXIf", info["exif"].removeprefix(b"Exif\0\0"))
    return chunks


def _write_tiff(values: np.ndarray, metadata: Metadata, stream: BinaryIO) -> None:
    import tifffile

    channels = values.shape[2]
    tifffile.imwrite(
        stream, values[:, :, 0] if channels == 1 else values, **tiff_options(metadata, channels, values.dtype)
    )
    append_directories(stream, metadata.exif or b"")


def tiff_options(metadata: Metadata, channels: int, dtype: np.dtype[Any]) -> dict[str, Any]:
    """How tifffile writes a picture and its metadata, but for directories, see :func:`append_directories`."""
    colour = channels == 3 or (dtype == np.uint8 and channels == 4)
    info = metadata.info("RGB" if colour else "L")
    options: dict[str, Any] = {"iccprofile": info["icc_profile"]} if "icc_profile" in info else {}
    if "dpi" in info:
        options |= {"resolution": info["dpi"], "resolutionunit": "INCH"}
    if "exif" in info:
        texts = describing_texts(info["exif"])
        options["extratags"] = [(tag, ASCII, None, text, True) for tag, text in texts.items()]
    if dtype == np.uint8 and channels in WITH_OPACITY:
        options |= {"extrasamples": ["unassalpha"]}
    return {
        "photometric": "rgb" if colour else "minisblack",
        "planarconfig": "contig" if channels > 1 else None,
        "compression": "zlib",
        "metadata": None,
        "software": False,
        **options,
    }
