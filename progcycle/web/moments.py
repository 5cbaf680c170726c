"""Which snapshots of a run, or which stages of its newest one, a page moves over."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from progcycle.errors import UserError
from progcycle.export import SnapshotModel, list_snapshots, load
from progcycle.export.config import CONFIG_FILE, WEIGHTS_FILE
from progcycle.resolution import Resolution

Over = Literal["snapshots", "stages"]
LIGHT = 16 << 20  # bytes of weights up to which a page takes several snapshots without being asked
MOST = 6  # snapshots that it then takes
KEPT = 4  # models in memory


@dataclass(frozen=True)
class Moment:
    """A model at one moment of its training.

    Attributes:
        path: its snapshot, or what else :func:`progcycle.load` takes.
        resolution: of an earlier stage; None: the snapshot's own.
        label: what people read.
    """

    path: str
    resolution: Resolution | None
    label: str


class Moments:
    """The moments of a run, the last of which is its newest snapshot at its own stage.

    Args:
        run: a run folder, a snapshot, or a name of the Hub.
        over: whether they are snapshots of a run, or stages of the newest one.
        device: of the models.

    Raises:
        UserError: there is no snapshot, or it does not fit exactly.
    """

    def __init__(self, run: str | Path, over: Over = "snapshots", device: str = "cpu") -> None:
        folder = Path(run)
        single = not folder.is_dir() or any((folder / name).exists() for name in (CONFIG_FILE, WEIGHTS_FILE))
        paths: Sequence[str | Path] = [run] if single else list_snapshots(folder)
        self.newest = load(paths[-1], device)
        self._load: Callable[[str | Path], SnapshotModel] = lru_cache(KEPT)(lambda path: load(path, device))
        self._paths = {str(path): path for path in paths}
        self.all: list[Moment] = []
        if over == "stages":
            sizes = list(_stages(self.newest))
            self.all += [Moment(str(paths[-1]), size, f"stage of {size} px") for size in sizes[:0:-1]]
        else:
            self.all += [_of_snapshot(str(path), self.model_at(path)) for path in paths[:-1]]
        self.all.append(_of_snapshot(str(paths[-1]), self.newest))

    def model_at(self, path: str | Path) -> SnapshotModel:
        """The model of a snapshot; some of them stay in memory."""
        path = self._paths[str(path)]
        return self.newest if str(path) == next(reversed(self._paths)) else self._load(path)

    def spread(self, count: int | None, half: bool = False) -> list[Moment]:
        """Some of the moments, evenly spread and with the last one.

        Args:
            count: how many at most; None: as many as are light, see ``LIGHT``.
            half: whether weights are kept in 16 bits.
        """
        if count is None:
            size = sum(p.numel() for p in self.newest.parameters()) * (2 if half else 4)
            count = max(1, min(MOST, LIGHT // max(size, 1)))
        last = len(self.all) - 1
        count = min(count, len(self.all))
        return [self.all[last - round(i * last / max(count - 1, 1))] for i in reversed(range(count))]


def _of_snapshot(path: str, model: SnapshotModel) -> Moment:
    return Moment(path, None, f"{model.config.nimg / 1000:g} kimg, {model.resolution} px")


def _stages(model: SnapshotModel) -> Iterator[Resolution]:
    """The resolutions that a model runs at, its own first."""
    size = Resolution.of(model.graphs()[0].growth.resolution)
    yield size
    while (half := size >> 1) << 1 == size and half >= 1:
        try:
            model.graphs(resolution=half)
        except UserError:
            return
        yield half
        size = half
