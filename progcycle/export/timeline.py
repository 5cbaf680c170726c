"""How a model learned: what each snapshot of a run, or each stage, makes of the same examples; a sheet or a video."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from progcycle.errors import UserError
from progcycle.export.config import SnapshotConfig, read_config
from progcycle.export.contact_sheet import sheet, wrapped_sheet
from progcycle.export.examples import Examples
from progcycle.export.snapshot import find_snapshot, list_snapshots, load, model_class

Show = Literal["snapshots", "stages", "network"]
REST = 2.0  # seconds that a video stays on the last snapshot


@dataclass(frozen=True)
class Moment:
    """What one snapshot, or one stage of it, made of the examples.

    Attributes:
        config: of the snapshot.
        pictures: one of each example.
        columns: what each of them is, or None.
        stage: resolution of the stage, of moments that are the stages of one snapshot.
    """

    config: SnapshotConfig
    pictures: list[Image.Image]
    columns: list[str] | None = None
    stage: int | None = None

    @property
    def words(self) -> list[str]:
        """How far training was, or which stage it is, in words."""
        if self.stage is not None and self.stage != self.config.resolution:
            return [f"{self.stage} px"]
        words = [f"{self.config.resolution} px"]
        if self.stage is None:
            words = [f"{self.config.nimg / 1000:.6g} kimg", *words]
        return words if self.config.alpha == 1 else [*words, f"fade {int(100 * self.config.alpha)}%"]


@dataclass(frozen=True)
class Timeline:
    """The moments of a run, oldest first; iterating over it loads one snapshot after the other.

    Attributes:
        folders: the snapshots that are shown.
        total: how many snapshots the run has.
        examples: what they are compared on.
        device: where they are computed.
        show: ``snapshots``, ``stages`` (the last snapshot of each) or ``network`` (the stages of one snapshot).
    """

    folders: tuple[Path, ...]
    total: int
    examples: Examples
    device: str = "cpu"
    show: Show = "snapshots"

    def __len__(self) -> int:
        return len(self._stages(self.examples.config)) if self.show == "network" else len(self.folders)

    def __iter__(self) -> Iterator[Moment]:
        for folder in self.folders:
            model = load(folder, self.device)
            if model.task != self.examples.config.task:
                raise UserError(f"{folder} holds {model.kind}, unlike the run's last snapshot; remove one of the two.")
            columns = self.examples.columns(model)
            for stage in self._stages(model.config):
                made = self.examples.made_by(model) if stage is None else self.examples.made_by(model, stage)
                yield Moment(model.config, made, columns, stage)

    def _stages(self, config: SnapshotConfig) -> Sequence[int | None]:
        """The stages of a snapshot that are moments; None is the one that it stands at."""
        return model_class(self.folders[-1]).resolutions(config) if self.show == "network" else (None,)

    def sheet(self, moments: Iterable[Moment] | None = None) -> Image.Image:
        """A contact sheet: snapshots as rows below the sources, or stages side by side, right of them.

        Args:
            moments: those of this timeline; default: itself. A progress bar may be around it.
        """
        shown = list(self if moments is None else moments)
        words, lines = ["\n".join(moment.words) for moment in shown], [moment.pictures for moment in shown]
        if sources := list(self.examples.sources):
            words, lines = [self.examples.source_name, *words], [sources, *lines]
        if self.show == "snapshots":
            return sheet(lines, shown[-1].columns, self.examples.side, side=words)
        across = [list(row) for row in zip(*lines, strict=True)]
        return sheet(across, words, self.examples.side, side=shown[-1].columns)

    def frames(self, fps: int, moments: Iterable[Moment] | None = None) -> Iterator[Image.Image]:
        """Frames of a video with one for each moment, which stays on the last one for two seconds.

        Args:
            fps: frames a second.
            moments: as in :meth:`sheet`.
        """
        sources = list(self.examples.sources)
        for moment in self if moments is None else moments:
            frame = wrapped_sheet(moment.pictures, self.examples.side, ", ".join(moment.words), above=sources)
            yield frame
        for _ in range(round(REST * fps)):
            yield frame


def timeline(
    run: str | Path,
    *,
    count: int = 8,
    side: int = 128,
    batch_size: int = 16,
    every: int = 1,
    limit: int | None = None,
    device: str = "cpu",
    show: Show = "snapshots",
    **options: Any,
) -> Timeline:
    """How the model of a run learned.

    Args:
        run: a run folder; of ``show="network"`` a snapshot too.
        count: pictures of each snapshot.
        side: pixels of a picture's tile.
        batch_size: pictures computed at a time.
        every: take every so many-th snapshot, and the last.
        limit: of those, show so many at most, evenly spread, see :func:`spread`.
        device: where to compute.
        show: ``snapshots``: every so many-th, and the last; ``stages``: the last of each stage; ``network``: the newest
            one at each of its stages, as its layers are now.
        options: what the examples are: ``seed`` and ``class_name`` of a PG-GAN, ``direction`` and ``pictures``, a
            folder, of translators.

    Raises:
        UserError: there is no snapshot, an option is not one of this task, or there are no pictures to translate.
    """
    folders = [find_snapshot(run)] if show == "network" else list_snapshots(run)
    configs = [read_config(folder) for folder in folders]
    model = model_class(folders[-1])
    if model.examples is None:
        raise UserError(f"{run} holds {model.kind}, and it is not known what its snapshots can be compared on.")
    if unknown := sorted(options.keys() - set(model.examples.options())):
        raise UserError(
            f"{unknown[0]} is no option for {model.kind}; choose from {', '.join(model.examples.options())}."
        )
    chosen = sorted({*range(0, len(folders), every), len(folders) - 1})
    if show == "stages":
        chosen = sorted({config.resolution: i for i, config in enumerate(configs)}.values())
    elif limit is not None:
        chosen = [chosen[i] for i in spread([configs[i].resolution for i in chosen], limit)]
    examples = model.examples(configs[-1], count, side, batch_size, **options)
    if show == "network":
        model.resolutions(configs[-1])  # refuses a network that cannot run
    _ = examples.sources  # refuses now, and not in the middle of a video, pictures that are not there
    return Timeline(tuple(folders[i] for i in chosen), len(folders), examples, device, show)


def spread(resolutions: Sequence[int], limit: int) -> list[int]:
    """Which snapshots to show: evenly spread, the first, the last, and one of every resolution if there is room.

    Args:
        resolutions: of all snapshots, oldest first.
        limit: how many to show at most; of a single one, the last.

    Returns:
        Indices in rising order.
    """
    last = len(resolutions) - 1
    if last < limit or limit == 1:
        return list(range(last + 1))[-limit:]
    chosen = {(2 * i * last + limit - 1) // (2 * (limit - 1)) for i in range(limit)}  # i * last / (limit - 1), rounded
    for missing in sorted(set(resolutions) - {resolutions[i] for i in chosen}):
        seen = [resolutions[i] for i in chosen]
        spare = [i for i in chosen - {0, last} if seen.count(resolutions[i]) > 1]
        if spare:
            newcomer = max(i for i, resolution in enumerate(resolutions) if resolution == missing)
            _, nearest = min((abs(i - newcomer), i) for i in spare)
            chosen ^= {newcomer, nearest}
    return sorted(chosen)
