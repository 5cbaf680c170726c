"""The pictures of one domain: their order, their augmentation, and what happens when one is broken."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from progcycle.data.batch import Sample
from progcycle.data.cache import ArrayCache, folder_name, stored_arrays
from progcycle.data.crop import Crop
from progcycle.data.decode import BrokenPicture, parse_colour
from progcycle.data.fit import box_reduce
from progcycle.data.labels import read_labels
from progcycle.data.levels import Levels
from progcycle.data.reader import PictureReader
from progcycle.data.scale import load_side, test_side
from progcycle.data.source import Opener, find_pictures
from progcycle.data.split import select_part
from progcycle.data.staging import StagedFiles
from progcycle.data.transforms import Transforms
from progcycle.data.volumes import with_patients, with_slices
from progcycle.errors import UserError
from progcycle.output import bars_hidden
from progcycle.recipe import MAX_PIXELS, RANDOM_CROP, Pictures
from progcycle.resolution import Resolution
from progcycle.rng import generator_at

CHUNK = 64  # pictures decoded ahead while a cache is built


class PictureSet:
    """Pictures of one domain; picklable, and the same in every process.

    A picture is first given the size ``side`` (the final resolution, or one of its shape whose shorter side is
    ``load_resolution``), everything random happens there, and the result is box-reduced to the stage. The pixels of two
    stages therefore always belong to one and the same picture, and to the same part of it. With ``fit: random_crop`` it
    keeps its own shape: it just covers ``side``, or keeps its size (``load_resolution: native``), and a crop comes from
    anywhere in it.

    Args:
        domain: name of the domain; part of all random addresses.
        options: what is done to the pictures.
        paths: folders or zip files.
        resolution: final resolution.
        seed: the run's seed.
        cache_dir: folder that holds caches, or None for no cache.
        cache_resolution: arrays up to this resolution are cached; 0 for no cache.
        max_broken: share of pictures that may be broken.
        max_pixels: pictures of more pixels count as broken.
        labels: where classes come from (see :func:`progcycle.data.labels.read_labels`), or None.
        classes: names of the classes that there are; default: those that the pictures have.
        validation: share of the pictures that is held out, see :func:`progcycle.data.split.select_part`.
        held_out: whether this set is the held-out part, or the rest. Each part has a cache of its own.
        stage_to: folder of a local disk from which files are read once they are copied there, or None.

    Attributes:
        load: the size that a picture covers once it is loaded; None for its own size.
        side: the same, or the final resolution.
        crops: whether crops come from anywhere in pictures that are made no squares.
        levels: the depth and the window of its values.
        classes: names of the classes in the order of their numbers; () without labels.
        stored: arrays of a store, which are read before those of the cache and never written; None without.
        remarks: a sentence for each kind of thing under the paths that is left out and might be missed.

    Raises:
        UserError: a path is missing or has no pictures, a picture has no label, one part has too few pictures, or an
            option cannot be used.
    """

    def __init__(
        self,
        domain: str,
        options: Pictures,
        paths: Sequence[str],
        *,
        resolution: int,
        seed: int,
        cache_dir: Path | None = None,
        cache_resolution: int = 0,
        max_broken: float = 0.05,
        max_pixels: int = MAX_PIXELS,
        labels: str | None = None,
        classes: Sequence[str] | None = None,
        validation: float = 0.0,
        held_out: bool = False,
        stage_to: Path | None = None,
    ) -> None:
        parse_colour(options.background)
        self.domain, self.options, self.paths = domain, options, tuple(paths)
        self.levels = Levels.of(options)
        self.resolution, self.seed = Resolution.of(resolution), seed
        self.cache_resolution, self.max_broken = cache_resolution, max_broken
        self.load = load_side(options, self.resolution)
        self.side = self.load or self.resolution
        self.crops = options.fit == RANDOM_CROP
        if self.side < self.resolution:
            raise UserError(
                f"Domain {domain}: load_resolution {self.side} is below the resolution {resolution}; raise it, or "
                "leave it out."
            )
        self.transforms: Transforms | None = None
        if options.augment:
            self.transforms = Transforms(options.augment, self.resolution, options.channels, domain, self.levels)
        found = find_pictures(self.paths)
        self.remarks = found.remarks()
        entries = with_slices(found.entries, options.volumes, Opener())
        if validation:
            entries = with_patients(entries, Opener())
        self.entries = select_part(entries, len(self.paths) > 1, validation, held_out, domain)
        self.names = tuple(entry.name for entry in self.entries)
        self.classes: tuple[str, ...] = ()
        self._labels: np.ndarray | None = None  # [N] int64
        if labels is not None:
            self.classes, self._labels = read_labels(labels, self.entries, self.paths, classes)
        self.staged = StagedFiles(stage_to)
        self.cache: ArrayCache | None = None
        if cache_dir is not None and cache_resolution > 0 and not self.crops:  # which are of no common size
            shape = (len(self), *self.side.shape, options.channels)
            name = folder_name(self.paths, self.entries, self.side, options)
            self.cache = ArrayCache(Path(cache_dir).absolute() / name, shape, self.levels.dtype, self.staged)
        whole = all(entry.slice is None for entry in entries)  # no volumes, of which no store has arrays
        self.stored = stored_arrays(self.paths, found.entries, self.side, options, self.staged) if whole else None
        places = {entry.name: place for place, entry in enumerate(found.entries)} if self.stored else {}
        self._rows = [places[name] for name in self.names] if self.stored else []  # of the store's arrays
        self.reader = PictureReader(self.entries, options, max_pixels, Opener(self.staged))
        self._broken: dict[int, str] = {}  # by index: the sentence about it
        self._orders: dict[int, np.ndarray] = {}
        self._cache_is_read = False

    def __len__(self) -> int:
        return len(self.entries)

    # --- order ----------------------------------------------------------------------------------------------------

    def index_at(self, position: int) -> int:
        """Index of the picture at a global position: epoch by epoch, every picture once in a new order."""
        epoch, place = divmod(position, len(self))
        if epoch not in self._orders:
            order = generator_at(self.seed, "order", self.domain, epoch).permutation(len(self))
            latest = list(self._orders.items())[-1:]  # a batch may lie across two epochs
            self._orders = {**dict(latest), epoch: order}
        return int(self._orders[epoch][place])

    # --- labels ---------------------------------------------------------------------------------------------------

    def label_at(self, index: int) -> int:
        """Number of the class of picture ``index`` in name order.

        Raises:
            ValueError: the pictures have no labels.
        """
        if self._labels is None:
            raise ValueError(f"the pictures of domain {self.domain} have no labels")
        return int(self._labels[index])

    def _sample(self, image: np.ndarray, position: int, used: int, broken: tuple[str, ...]) -> Sample:
        """With name and label of the picture that the pixels come from."""
        return Sample(image, position, self.names[used], broken, self.label_at(used) if self.classes else None)

    # --- reading --------------------------------------------------------------------------------------------------

    def training(self, position: int, resolution: int) -> Sample:
        """The augmented picture at a global position, box-reduced to a stage.  # [h, w, C]

        Its pixels are of the type ``levels.dtype``.

        Raises:
            UserError: too many pictures are broken, or one has another depth.
            ValueError: ``resolution`` does not divide the final one.
        """
        rng = generator_at(self.seed, "augment", self.domain, position)
        mirror = self.options.mirror and rng.random() < 0.5
        if self.crops:
            at = (rng.random(), rng.random())
            transform_seed = int(rng.integers(2**32))
            picture, index, broken = self._read_crop(self.index_at(position), at)
        else:
            spare = zip(self.side.shape, self.resolution.shape, strict=True)
            top, left = (int(rng.integers(0, loaded - kept + 1)) for loaded, kept in spare)
            transform_seed = int(rng.integers(2**32))
            whole = self._needs_full_size
            picture, index, broken = self._read(self.index_at(position), self.side, self.side if whole else resolution)
            if whole:
                picture = picture[top : top + self.resolution.height, left : left + self.resolution.width]
        if mirror:
            picture = picture[:, ::-1]
        if self.transforms is not None:
            picture = self.transforms(np.ascontiguousarray(picture), transform_seed)
        picture = box_reduce(np.ascontiguousarray(picture), resolution)
        return self._sample(picture, position, index, broken)

    def plain(self, index: int, resolution: int) -> Sample:
        """Picture number ``index`` in name order, fitted but not augmented.  # [h, w, C]

        It has the scale of test pictures: where training sees parts of pictures, it is the middle of the loaded one.

        Raises:
            UserError, ValueError: as :meth:`training`.
        """
        if test_side(self.options, self.resolution) == self.resolution:
            picture, used, broken = self._read(index, self.resolution, resolution)
        elif self.crops:
            picture, used, broken = self._read_crop(index, None)
        else:
            picture, used, broken = self._read(index, self.side, self.side)
            height, width = self.resolution.shape
            top, left = (self.side.height - height) // 2, (self.side.width - width) // 2
            picture = np.ascontiguousarray(picture[top : top + height, left : left + width])
        return self._sample(box_reduce(picture, resolution), index, used, broken)

    @property
    def _needs_full_size(self) -> bool:
        """Mirroring commutes with the box reduction; crops and transforms do not."""
        return self.side.shape != self.resolution.shape or self.transforms is not None

    def _read(self, index: int, side: int, resolution: int) -> tuple[np.ndarray, int, tuple[str, ...]]:
        """Pixels, the index they come from, and sentences about the broken pictures skipped before it.

        The rule: a broken picture is replaced by the next one in name order that can be read.
        """
        cached = self._cached(index, resolution) if side == self.side else None
        passed: list[str] = []
        for step in range(len(self)):
            used = (index + step) % len(self)
            if used not in self._broken:
                try:
                    return (self._decode(used, side, resolution) if cached is None else cached), used, tuple(passed)
                except BrokenPicture as error:
                    self._mark_broken(used, str(error))
            passed.append(self._broken[used])
        raise self._too_many()

    def _read_crop(self, index: int, at: tuple[float, float] | None) -> tuple[np.ndarray, int, tuple[str, ...]]:
        """A crop at full size, by the same rule.

        A damaged file may be sound where one crop lies and not where another does, so that every crop tries anew: what
        is read follows from the position alone, not from what this process has read before.
        """
        passed: list[str] = []
        for step in range(len(self)):
            used = (index + step) % len(self)
            crop = Crop(self.names[used], *self.resolution.shape, self.load, at)
            try:
                return self.reader.crop(used, crop), used, tuple(passed)
            except BrokenPicture as error:
                if used not in self._broken:
                    self._mark_broken(used, str(error))
            passed.append(self._broken[used])
        raise self._too_many()

    def _cached(self, index: int, resolution: int) -> np.ndarray | None:
        if self.stored is not None:
            for size in (resolution, self.side):
                if (row := self.stored.row(size, self._rows[index])) is not None:
                    return box_reduce(row, resolution)
        if self.cache is None:
            return None
        row = self.cache.row(resolution, index)
        if row is None and (full := self.cache.row(self.side, index)) is not None:
            row = box_reduce(full, resolution)
        if row is not None:
            self._read_broken_from_cache()
        return row

    def _decode(self, index: int, side: int, resolution: int) -> np.ndarray:
        return box_reduce(self.reader.fitted(index, side), resolution)

    # --- broken pictures ------------------------------------------------------------------------------------------

    def _mark_broken(self, index: int, sentence: str) -> None:
        self._broken[index] = sentence
        self.check_broken([self._broken[i] for i in sorted(self._broken)])

    def check_broken(self, sentences: Sequence[str]) -> None:
        """Stop when too many pictures are broken.

        Raises:
            UserError: there are more sentences than ``max_broken`` allows.
        """
        if len(sentences) > self.max_broken * len(self):
            raise self._too_many(sentences)

    def _too_many(self, sentences: Sequence[str] = ()) -> UserError:
        sentences = sentences or list(self._broken.values())
        first = "; ".join(sentence.rstrip(".") for sentence in sentences[:3])
        return UserError(
            f"Domain {self.domain}: at least {len(sentences)} of {len(self)} pictures are broken, above the allowed "
            f"share data.max_broken = {self.max_broken:g} (first: {first}); repair or remove them."
        )

    # --- cache ----------------------------------------------------------------------------------------------------

    def prepare(self, resolutions: Iterable[int], progress: bool = False) -> None:
        """Build the cache arrays that are missing; one process first, then the others, which find them there.

        Args:
            resolutions: the stages that will be read.
            progress: show a progress bar when standard error is a terminal.

        Raises:
            UserError: too many pictures are broken, one has another depth, or the disk refuses.
        """
        if self.cache is None:
            return
        wanted = self._to_cache(resolutions)
        missing = sorted(r for r in wanted if not self.cache.has(r))
        if missing:
            broken: dict[str, str] = {}
            about = {"paths": self.paths, "fit": self.options.fit, "background": self.options.background}
            self.cache.build(missing, self._all(broken, progress), broken, about)
        if wanted:
            self._read_broken_from_cache()

    def _to_cache(self, resolutions: Iterable[int]) -> set[int]:
        """Sizes of the arrays that are kept for the stages that will be read, beside those of a store."""
        wanted = {r for r in self.read_at(resolutions) if not self.in_store(r)}
        return {r for r in wanted if self.cache and r <= self.cache_resolution and Resolution.of(r).divides(self.side)}

    def read_at(self, resolutions: Iterable[int]) -> set[int]:
        """Sizes that pictures are made into for the stages that will be read."""
        return {self.side} if self._needs_full_size else set(resolutions)

    def in_store(self, resolution: int) -> bool:
        """Whether pictures of this resolution are read from the arrays of a store."""
        return self.stored is not None and (self.stored.has(resolution) or self.stored.has(self.side))

    def files_of(self, resolution: int) -> list[Path]:
        """The large files that this resolution is read from: an array, or zip files; [] for single pictures."""
        (size,) = self.read_at([resolution])
        for arrays in (self.stored, self.cache):
            for side in (size, self.side):
                if arrays is not None and arrays.has(side):
                    return [arrays.path(side)]
        return [Path(file) for file in sorted({entry.file for entry in self.entries if entry.member is not None})]

    def cache_bytes(self, resolutions: Iterable[int]) -> tuple[int, int]:
        """Bytes of the cache arrays for the stages that will be read: of all, and of those still to be built."""
        each = self.options.channels * self.levels.dtype.itemsize
        sizes = {r: len(self) * Resolution.of(r).pixels * each for r in self._to_cache(resolutions)}
        missing = sum(size for r, size in sizes.items() if self.cache is not None and not self.cache.has(r))
        return sum(sizes.values()), missing

    def _read_broken_from_cache(self) -> None:
        if self._cache_is_read or self.cache is None:
            return
        known = self.cache.broken
        self._broken.update({i: known[name] for i, name in enumerate(self.names) if name in known})
        self._cache_is_read = True
        if self._broken:
            self.check_broken(list(self._broken.values()))

    def _all(self, broken: dict[str, str], progress: bool) -> Iterator[np.ndarray]:
        """Every picture at full size in name order, broken ones replaced by the rule; fills ``broken``."""
        from tqdm import tqdm

        def attempt(index: int) -> np.ndarray | BrokenPicture:
            try:
                return self._decode(index, self.side, self.side)
            except BrokenPicture as error:
                return error

        bar = tqdm(
            total=len(self), desc=f"caching {self.domain}", unit="img", disable=bars_hidden() if progress else True
        )
        with bar, ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
            for start in range(0, len(self), CHUNK):
                indices = range(start, min(start + CHUNK, len(self)))
                for index, result in zip(indices, pool.map(attempt, indices), strict=True):
                    if isinstance(result, BrokenPicture):
                        self._mark_broken(index, str(result))
                        broken[self.names[index]] = str(result)
                        result = self._read(index, self.side, self.side)[0]
                    yield result
                bar.update(len(indices))
