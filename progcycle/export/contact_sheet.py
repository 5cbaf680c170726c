"""Contact sheets: pictures in rows, with titles."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
MOST_COLUMNS = 16  # of a grid whose columns have names
LINE, MARGIN = 24, 8  # height of a line of text and space around it, in pixels
DENSE = 16  # from one line of a title to the next


def enlarge(image: Image.Image, side: int) -> Image.Image:
    """A small picture enlarged by whole pixels, so that its longer side comes as near to ``side`` as it can."""
    factor = max(1, side // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def sheet(
    rows: list[list[Image.Image]],
    header: list[str] | None = None,
    tile: int = 128,
    gap: int = 4,
    side: list[str] | None = None,
    title: str | None = None,
) -> Image.Image:
    """A contact sheet on white; every picture fits a square tile, thinly framed, small ones enlarged by whole pixels.

    A row of nothing but wide pictures is as low as they are. Without titles, columns of nothing but high ones are as
    narrow as they are.

    Args:
        rows: pictures, row by row.
        header: titles of the columns, of one line or more.
        tile: side of a tile in pixels.
        gap: pixels between tiles.
        side: titles of the rows, of one line or more.
        title: of the whole sheet. Titles that are too long for their place are cut.
    """
    font = _font([*(header or ()), *(side or ()), title or ""])
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left = 2 * MARGIN + max(round(measure.multiline_textbbox((0, 0), words, font)[2]) for words in side) if side else 0
    lines = max((words.count("\n") + 1 for words in header), default=0) if header else 0
    top = LINE * (title is not None) + LINE * bool(lines) + DENSE * max(lines - 1, 0)
    columns = max(map(len, rows))
    tiles = [[_fit_tile(picture, tile) for picture in row] for row in rows]
    heights = [max(t.height for t in row) if all(t.width > t.height for t in row) else tile for row in tiles]
    high = header is None and all(t.height > t.width for row in tiles for t in row)
    across = max(t.width for row in tiles for t in row) if high else tile
    width, height = left + columns * (across + gap) + gap, top + sum(heights) + (len(rows) + 1) * gap
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)

    def write(x: float, y: float, words: str, anchor: str, room: float) -> None:
        draw.text((x, y), _cut(words, room, font), fill="#333333", font=font, anchor=anchor)

    if title is not None:
        write(gap + MARGIN / 2, LINE / 2 + 1, title, "lm", width - 2 * gap - MARGIN)
    for column, words in enumerate(header or []):
        own = words.split("\n")
        for i, line in enumerate(own):
            y = top - LINE / 2 + 1 - DENSE * (len(own) - 1 - i)
            write(left + gap + column * (across + gap) + across / 2, y, line, "mm", across)
    upper = top + gap
    for r, (row, tall) in enumerate(zip(tiles, heights, strict=True)):
        if side:
            place = (left - MARGIN, upper + tall / 2)
            draw.multiline_text(place, side[r], fill="#333333", font=font, anchor="rm", align="right")
        for c, small in enumerate(row):
            x = left + gap + c * (across + gap) + (across - small.width) // 2
            y = upper + (tall - small.height) // 2
            draw.rectangle((x - 1, y - 1, x + small.width, y + small.height), outline="#cccccc")  # ends of white ones
            page.paste(small, (x, y))
        upper += tall + gap
    return page


def columns_for(count: int) -> int:
    """Columns of a grid of ``count`` pictures: near to a square, and without gaps if it need not be far from one."""
    least = math.ceil(math.sqrt(count))
    whole = next(columns for columns in range(least, count + 1) if count % columns == 0)
    return whole if whole <= 2 * least else least


def wrapped_sheet(
    pictures: Sequence[Image.Image], tile: int, title: str | None = None, above: Sequence[Image.Image] = ()
) -> Image.Image:
    """Pictures in rows, near to a square, each with another one above it if there are any.

    Args:
        pictures: at least one.
        tile: side of a tile in pixels.
        title: of the sheet.
        above: one for each picture, or none.
    """
    kinds = [list(above), list(pictures)] if above else [list(pictures)]
    columns = columns_for(len(pictures))
    rows = [kind[i : i + columns] for i in range(0, len(pictures), columns) for kind in kinds]
    return sheet(rows, tile=tile, title=title)


def grid(pictures: Sequence[Image.Image], classes: Sequence[str] = ()) -> Image.Image:
    """One sheet of pictures, near to a square; of a few classes in turn, each has a column of its own.

    Args:
        pictures: picture i is of class i modulo their number.
        classes: names of the classes, or none.
    """
    columns, header = math.ceil(math.sqrt(len(pictures))), None
    if 0 < len(classes) <= min(MOST_COLUMNS, len(pictures)):
        columns, header = len(classes), list(classes)
    rows = [list(pictures[i : i + columns]) for i in range(0, len(pictures), columns)]
    return sheet(rows, header, tile=max(*pictures[0].size, 96 if header else 64))


def _font(words: Iterable[str]) -> Font:
    """Pillow's own font, or where that has not all the letters, the one of matplotlib."""
    if all(text.isascii() for text in words):
        return ImageFont.load_default(13)
    from progcycle.figures import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 12)


def _fit_tile(picture: Image.Image, tile: int) -> Image.Image:
    picture = picture.convert("RGB")
    if max(picture.size) <= tile:
        return enlarge(picture, tile)
    factor = tile / max(picture.size)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return picture.resize(size, Image.Resampling.BOX)


def _cut(words: str, room: float, font: Font) -> str:
    """Words, or as many letters of them as fit into ``room`` pixels."""
    if font.getlength(words) <= room:
        return words
    while words and font.getlength(f"{words}...") > room:
        words = words[:-1]
    return f"{words.rstrip()}..."
