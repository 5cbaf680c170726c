"""One look at every picture before anything is written: what can be read, how large it is, and what occurs twice."""

import hashlib
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from progcycle.data.bit_depth import LowRange, UnsupportedPicture, is_16_bit_png
from progcycle.data.containers import Container, Item
from progcycle.data.decode import BrokenPicture, decode_picture
from progcycle.data.dicom import is_dicom
from progcycle.data.kinds import ending_of, extension_of, readable_extensions
from progcycle.data.labels import Label
from progcycle.data.levels import Bits
from progcycle.data.pool import in_processes
from progcycle.data.stored import is_deep, read_stored
from progcycle.data.volumes import is_volume
from progcycle.errors import UserError
from progcycle.files import atomic_file
from progcycle.rng import address

VERSION = 3  # raise it when a scan finds something else in the same pictures
CHUNK = 128  # pictures that a process scans at a time
BROKEN, REFUSED = "broken", "refused"
OF_PATIENTS = "a store would copy what its header tells of a patient; train on such files in their folder."
LOW, DEEP = "low", "deep"  # 16 bits of which few are used, and what 8 bits cannot hold; the whole set decides


@dataclass(frozen=True)
class Found:
    """What a scan found out about a picture; the attributes are those of a store's row, and

    Attributes:
        problem: a sentence about a picture that cannot be used, or "".
        fault: what kind of problem it is, or "".
    """

    name: str
    bytes: int = 0
    crc: int = 0
    sha256: str = ""
    pixels: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    label: Label | None = None
    problem: str = ""
    fault: str = ""

    @property
    def is_deep(self) -> bool:
        """Whether it has more than 8 bits a channel, or channels that Pillow has no mode for."""
        return self.mode.startswith("I") or ";" in self.mode

    @property
    def bits(self) -> Bits:
        """The depth that training reads it at."""
        depth = self.mode.partition(";")[2]
        return "float" if depth == "F" else 16 if depth.startswith("16") else 8


@dataclass
class Part:
    """The pictures of one part of a store-to-be.

    Attributes:
        name: of the part, such as trainA.
        source: where they come from, for people.
        container: that reads them.
        items: the pictures, in the order of their names.
        found: what the scan found, in the order of the items.
        skipped: names of pictures that are left out, and why.
    """

    name: str
    source: str
    container: Container
    items: list[Item]
    found: list[Found] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def kept(self) -> list[tuple[Item, Found]]:
        """The pictures that are not left out, in the order of their final names."""
        pairs = [pair for pair in zip(self.items, self.found, strict=True) if pair[1].name not in self.skipped]
        return sorted(pairs, key=lambda pair: pair[1].name)

    @property
    def offenders(self) -> list[Found]:
        """Pictures that cannot be used."""
        return [found for found in self.found if found.fault in (BROKEN, REFUSED)]


def scan(
    parts: Sequence[Part],
    *,
    max_pixels: int,
    processes: int,
    memory: Path | None,
    on_scanned: Callable[[int], None] = lambda count: None,
) -> None:
    """Read and decode every picture once; fills ``found`` of every part.

    Args:
        parts: whose pictures are scanned.
        max_pixels: pictures of more pixels are broken.
        processes: how many read at a time.
        memory: folder in which the results are kept, so that a scan that was interrupted goes on; None: nowhere.
        on_scanned: called with the number of pictures that were scanned since the last call.

    Raises:
        UserError: a process was killed, or the results cannot be written.
    """
    results: list[list[list[Found] | None]] = []
    jobs: list[tuple[Any, ...]] = []
    places: list[tuple[int, int]] = []
    for p, part in enumerate(parts):
        results.append([])
        for start in range(0, len(part.items), CHUNK):
            items = part.items[start : start + CHUNK]
            file = None if memory is None else memory / f"{_key(part.container, items, max_pixels)}.jsonl"
            known = _recall(file, len(items))
            if known is None:
                places.append((p, len(results[p])))
                jobs.append((part.container, items, max_pixels, file))
            else:
                on_scanned(len(known))
            results[p].append(known)
    for i, found in in_processes(_scan_some, jobs, processes):
        p, chunk = places[i]
        results[p][chunk] = found
        on_scanned(len(found))
    for part, chunks in zip(parts, results, strict=True):
        part.found = _with_own_names([found for chunk in chunks for found in chunk or ()])
        _judge_range(part)


def _with_own_names(found: Sequence[Found]) -> list[Found]:
    """With a number in the later of two equal names, as an archive may hold, or endings that were added bring about."""
    taken: set[str] = set()
    result = []
    for one in found:
        name, number = one.name, 1
        while name in taken:
            number += 1
            path = PurePosixPath(one.name)
            name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        taken.add(name)
        result.append(one if name == one.name else replace(one, name=name))
    return result


def _key(container: Container, items: Sequence[Item], max_pixels: int) -> str:
    content = [VERSION, str(container.path), max_pixels, *([i.name, str(i.place), i.stamp, i.label] for i in items)]
    return f"{address(json.dumps(content)):016x}"


def _recall(file: Path | None, count: int) -> list[Found] | None:
    try:
        found = [] if file is None else [Found(**json.loads(line)) for line in file.read_text("utf-8").splitlines()]
    except (OSError, ValueError, TypeError):
        return None
    return found if len(found) == count else None


def _scan_some(container: Container, items: Sequence[Item], max_pixels: int, file: Path | None) -> list[Found]:
    found = [scan_one(container, item, max_pixels) for item in items]
    if file is not None:
        with atomic_file(file) as temporary:
            temporary.write_text("".join(json.dumps(asdict(one)) + "\n" for one in found), encoding="utf-8")
    return found


def scan_one(container: Container, item: Item, max_pixels: int) -> Found:
    """Read and decode one picture."""
    try:
        content = container.read(item)
    except MemoryError:
        raise
    except Exception as error:  # zip members, tables and databases fail in many ways
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        return Found(item.name, label=item.label, problem=f"{item.name}: cannot be read ({reason}).", fault=BROKEN)
    name = item.name
    if PurePosixPath(name).suffix.lower() not in readable_extensions():
        name += ending_of(content[:64])
    facts: dict[str, Any] = {"name": name, "bytes": len(content), "crc": zlib.crc32(content), "label": item.label}
    facts["sha256"] = hashlib.sha256(content).hexdigest()
    if is_dicom(content) or is_volume(name):
        problem = f"{name}: {OF_PATIENTS}"
        return Found(**facts, pixels=str(facts["sha256"]), fault=REFUSED, problem=problem)
    deep = is_16_bit_png(content[:32])
    shape: dict[str, Any] = {}

    def look(image: Image.Image) -> None:
        mode = f"{image.mode};16" if deep and not image.mode.startswith("I") else image.mode
        shape.update(width=image.width, height=image.height, mode=mode)

    fault, problem, pixels = "", "", ""
    try:
        array = decode_picture(
            io.BytesIO(content), channels=3, background="white", name=name, max_pixels=max_pixels, on_decoded=look
        )
        found = _of_deep(content, name, max_pixels) if deep else None
        pixels = _hash(array) if not deep else "" if found is None else found[1]
    except LowRange as error:
        fault, problem = LOW, str(error)
        shape, pixels = _of_deep(content, name, max_pixels) or ({"mode": "I;16"}, "")
    except UnsupportedPicture as error:
        fault, problem = REFUSED, str(error)
        if (found := _of_deep(content, name, max_pixels)) is not None:
            fault, (shape, pixels) = DEEP, found
    except BrokenPicture as error:
        fault, problem = BROKEN, str(error)
    return Found(**facts, **shape, pixels=pixels or str(facts["sha256"]), fault=fault, problem=problem)


def _of_deep(content: bytes, name: str, max_pixels: int) -> tuple[dict[str, Any], str] | None:
    """Size and mode of a picture that training reads as more than 8 bits or n channels, and a hash of its values.

    None if training reads it otherwise.
    """
    stream, head = io.BytesIO(content), content[:1024]
    try:
        stored = read_stored(stream, head, name, max_pixels) if is_deep(stream, head, 3) else None
    except Exception:  # damaged files make decoders raise nearly anything
        return None
    if stored is None:
        return None
    height, width, channels = stored.values.shape
    kind = {1: "I", 3: "RGB", 4: "RGBA"}.get(channels, f"{channels} channels")
    mode = f"{kind};{'F' if stored.bits == 'float' else stored.bits}"
    return {"width": width, "height": height, "mode": mode}, _hash(stored.values)


def _hash(pixels: np.ndarray) -> str:
    """A hash of pixels and their shape."""
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _judge_range(part: Part) -> None:
    """What 8 bits cannot hold is refused among pictures that have 8; sets of nothing else are trained on as they are.

    Among others, pictures of 16 bits with few levels are refused where most are so; elsewhere they are merely dark.
    """
    if all(found.is_deep for found in part.found if found.fault not in (BROKEN, REFUSED)):
        part.found = [replace(one, fault="", problem="") if one.fault in (LOW, DEEP) else one for one in part.found]
    part.found = [replace(one, fault=REFUSED) if one.fault == DEEP else one for one in part.found]
    low = sum(found.fault == LOW for found in part.found)
    wide = sum(found.is_deep and not found.fault for found in part.found)
    fault, problem = (REFUSED, None) if low >= wide else ("", "")
    part.found = [
        replace(one, fault=fault, problem=one.problem if problem is None else problem) if one.fault == LOW else one
        for one in part.found
    ]


# --- what is twice ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Twice:
    """Pictures that are in two parts, or more than once in one.

    Attributes:
        first, second: names of the parts; the same for repeats within one.
        pairs: names of the pictures, first and second.
    """

    first: str
    second: str
    pairs: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        count, (one, other) = len(self.pairs), self.pairs[0]
        pictures = "1 picture" if count == 1 else f"{count:,} pictures"
        if self.first == self.second:
            occur = "occurs" if count == 1 else "occur"
            return f"{self.first}: {pictures} {occur} again under another name, such as {other}, the same as {one}"
        of, are = ("1 picture", "is") if count == 1 else (f"{count:,} pictures", "are")
        return f"{of} of {self.first} {are} also in {self.second}, such as {one} = {other}"

    @property
    def leaks(self) -> bool:
        """Whether test pictures are among the training pictures."""
        return self.first.startswith("train") and self.second.startswith("test")


def find_twice(parts: Sequence[Part]) -> list[Twice]:
    """Pictures with the same pixels, within each part and between each two."""
    tables: list[dict[str, str]] = []
    result = []
    for part in parts:
        table: dict[str, str] = {}
        again = []
        for found in sorted(part.found, key=lambda found: found.name):
            if found.fault or found.name in part.skipped:
                continue
            if found.pixels in table:
                again.append((table[found.pixels], found.name))
            else:
                table[found.pixels] = found.name
        tables.append(table)
        if again:
            result.append(Twice(part.name, part.name, tuple(again)))
    for (first, a), (second, b) in combinations(zip(parts, tables, strict=True), 2):
        if shared := [(a[pixels], b[pixels]) for pixels in a if pixels in b]:
            result.append(Twice(first.name, second.name, tuple(shared)))
    return result


# --- the report -------------------------------------------------------------------------------------------------------

MODES = {"RGB": "colour", "L": "grey", "RGBA": "colour with transparency", "P": "palette", "1": "black and white"}
UNBALANCED = 2.0  # times as many pictures in one domain as in the other
MOST_CLASSES = 10  # that are named


def describe(part: Part) -> Iterator[str]:
    """Lines about a part: count, bytes, sizes, kinds, classes, and what is left out."""
    kept = [found for _, found in part.kept() if not found.fault]
    yield f"{part.name}  {summary(kept)}"
    if kept and (shortest := sum(min(f.width, f.height) < 32 for f in kept)):
        yield f"{shortest:,} have a side of less than 32 px"
    if labels := Counter(found.label for found in kept if found.label is not None):
        named = ", ".join(f"{label} {count:,}" for label, count in sorted(labels.items(), key=_by_label)[:MOST_CLASSES])
        more = f" and {len(labels) - MOST_CLASSES} more" if len(labels) > MOST_CLASSES else ""
        yield f"{len(labels)} class{'es' * (len(labels) != 1)}: {named}{more}"
    for reason, count in Counter(part.skipped.values()).most_common():
        yield f"{count:,} left out: {reason}"
    yield from part.container.remarks


def _by_label(pair: tuple[Any, int]) -> tuple[bool, int, str]:
    return isinstance(pair[0], str), pair[0] if isinstance(pair[0], int) else 0, str(pair[0])


def summary(found: Sequence[Any]) -> str:
    """Count, bytes, sizes and kinds of pictures, found or of a store's rows, in a line."""
    count, total = len(found), sum(one.bytes for one in found)
    sizes = sorted({(one.width, one.height) for one in found}, key=lambda size: size[0] * size[1])
    ranged = " to ".join(f"{w}x{h}" for w, h in (sizes[:1] if len(sizes) < 2 else (sizes[0], sizes[-1])))
    modes = Counter(one.mode for one in found)
    kinds = ", ".join(f"{_kind_of(mode)}{f' {n:,}' * (len(modes) > 1)}" for mode, n in modes.most_common())
    pictures = f"{count:,} picture{'s' * (count != 1)}, {as_bytes(total)}"
    return f"{pictures}: {ranged} px, {kinds}" if count else "no pictures"


def _kind_of(mode: str) -> str:
    kind, _, depth = mode.partition(";")
    words = {"F": " of floating point numbers", "8": ""}.get(depth, f" of {depth[:2]} bits" if depth else "")
    return f"{'grey' if kind == 'I' else MODES.get(kind, kind)}{words}"


def as_bytes(count: float) -> str:
    """A number of bytes for people: 116.9 MB."""
    units = iter(("bytes", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while count >= 1000 and unit != "TB":
        count, unit = count / 1000, next(units)
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"


def unbalanced(parts: Sequence[Part]) -> str | None:
    """A sentence about two domains of very different size, or None."""
    counts = {part.name[-1]: len(part.kept()) for part in parts if part.name in ("trainA", "trainB")}
    if len(counts) < 2 or max(counts.values()) < UNBALANCED * min(counts.values()):
        return None
    less, more = sorted("AB", key=lambda domain: counts[domain])
    return (
        f"{more} has {counts[more]:,} pictures and {less} {counts[less]:,}: in an epoch of {more} every picture of "
        f"{less} is shown {counts[more] / max(counts[less], 1):.1f} times, and may be learned by heart"
    )


def mixed_depths(part: Part) -> str | None:
    """A sentence about 8 and 16 bits in one part, or None."""
    deep = [found for found in part.found if found.is_deep and not found.fault]
    flat = [found for found in part.found if not found.is_deep and not found.fault]
    if not deep or not flat:
        return None
    return (
        f"{part.name} mixes {len(flat):,} pictures of 8 bits (such as {flat[0].name}) and {len(deep):,} of 16 bits "
        f"(such as {deep[0].name}), whose grey levels mean different things; keep one kind, by --include or --exclude."
    )


def refuse_files_of_patients(parts: Sequence[Part], max_bad: float) -> None:
    """Stop where more than a share of a part is DICOM or NIfTI files, before each of them is named.

    Raises:
        UserError: so it is.
    """
    for part in parts:
        names = [found.name for found in part.found if found.problem.endswith(OF_PATIENTS)]
        if len(names) > max_bad * len(part.found):
            patterns = " ".join(f"'*{end}'" for end in sorted({extension_of(name) for name in names} - {""}))
            others = f" and {len(names) - 1:,} others" if len(names) > 1 else ""
            raise UserError(
                f"{part.name}: {names[0]}{others} of {len(part.found):,} are DICOM or NIfTI files, whose headers a "
                f"store would copy with what they tell of patients; train on such files in their folder, or give "
                f"--exclude {patterns}."
            )


def refuse_offenders(parts: Sequence[Part], max_bad: float, listing: str) -> None:
    """Stop where too many pictures cannot be used.

    Args:
        parts: that were scanned.
        max_bad: share of a part's pictures that may be left out.
        listing: where all of them are named, for the sentence.

    Raises:
        UserError: more cannot be used, or a part mixes 8 and 16 bits.
    """
    for part in parts:
        bad = len(part.offenders)
        if bad > max_bad * len(part.found):
            raise UserError(
                f"{part.name}: {bad:,} of {len(part.found):,} pictures cannot be used, above the allowed share "
                f"--max-bad {max_bad:g} ({listing}); repair or remove them, or raise --max-bad to leave them out."
            )
        if (sentence := mixed_depths(part)) is not None:
            raise UserError(sentence)
