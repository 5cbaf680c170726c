"""A limit of pixels for each thread, in place of Pillow's single one for the whole process."""

import contextlib
import sys
import threading
from collections.abc import Iterator

from PIL import Image

_lock = threading.Lock()
_here = threading.local()
_before: list[int | None] = []  # Pillow's limit, once for each place that is inside of pixel_limit


class _Limit(int):
    """Pillow warns above its limit and refuses above twice as much. Inside of ``pixel_limit`` it refuses at once.

    Other threads have the number that stood there before.
    """

    def __rmul__(self, factor: int) -> int:
        mine: int | None = getattr(_here, "limit", None)
        return factor * int(self) if mine is None else mine

    def __lt__(self, pixels: int) -> bool:  # as Pillow asks for a warning: pixels > limit
        return getattr(_here, "limit", None) is None and int(self) < pixels


@contextlib.contextmanager
def pixel_limit(pixels: int | None) -> Iterator[None]:
    """Inside, Pillow refuses pictures of more pixels in this thread, and does not warn about smaller ones.

    Args:
        pixels: of a picture; None for no limit.
    """
    outer = getattr(_here, "limit", None)
    with _lock:
        _before.append(Image.MAX_IMAGE_PIXELS if not _before else _before[0])
        Image.MAX_IMAGE_PIXELS = _Limit(sys.maxsize if _before[0] is None else _before[0])
    _here.limit = sys.maxsize if pixels is None else pixels
    try:
        yield
    finally:
        _here.limit = outer
        with _lock:
            before = _before.pop()
            if not _before:
                Image.MAX_IMAGE_PIXELS = before
