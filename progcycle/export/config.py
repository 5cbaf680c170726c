"""``config.json`` of a snapshot: everything that is needed to rebuild its networks, and the recipe they came from."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)

from progcycle.data import Levels
from progcycle.data.scale import test_side
from progcycle.errors import UserError
from progcycle.recipe import LARGEST_LOADED, Pictures
from progcycle.resolution import LARGEST as WIDEST
from progcycle.resolution import LONGEST, Resolution
from progcycle.schedule import Growth

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
DISCRIMINATORS_FILE = "discriminators.safetensors"  # of imported snapshots only; a run keeps them in checkpoints

LARGEST = 16 << 20  # bytes of config.json
# What arguments of networks may be: layers are made one by one, long before their weights are seen to be missing.
MOST_FEATURES, MOST_BLOCKS, MOST_STAGES = 1 << 16, 1000, 16

# Keys of a recipe's pictures
READ_BY = ("bits", "window", "channels", "background", "volumes", "fit", "load_resolution")

Positive = Annotated[int, Field(ge=1)]
SideLoaded = Annotated[int, Field(ge=1, le=LARGEST_LOADED)] | Literal["native"]
Natural = Annotated[int, Field(ge=0)]


def _as_resolution(value: Any) -> Resolution:
    sides = value if isinstance(value, list | tuple) else [value]
    if isinstance(value, Resolution):
        sides = list(value.shape)
    if not 1 <= len(sides) <= 2 or any(isinstance(side, bool) or not isinstance(side, int) for side in sides):
        raise ValueError("a resolution is a whole number, or a list of height and width")
    if min(sides) < 1 or min(sides) > WIDEST or max(sides) > LONGEST:
        raise ValueError(f"a resolution has 1 to {WIDEST} pixels on its shorter side, got {str(value)[:60]}")
    return Resolution(*sides)


Size = Annotated[Resolution, PlainValidator(_as_resolution), PlainSerializer(lambda size: size.plain)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class NetworkSpec(_Strict):
    """How to build a network: its name in ``progcycle.networks``, and the keywords it takes."""

    name: str
    arguments: dict[str, Any]

    @field_validator("arguments")
    @classmethod
    def _limited(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        for key, value in arguments.items():
            numbers = value if isinstance(value, list) else [value]
            if len(numbers) > MOST_STAGES:
                raise ValueError(f"{key} has {len(numbers)} entries, above {MOST_STAGES}")
            most = MOST_BLOCKS if key == "residual_blocks" else MOST_FEATURES
            if any(isinstance(number, int | float) and not abs(number) <= most for number in numbers):
                raise ValueError(f"{key} holds a number above {most}")
        return arguments


class BestFigure(_Strict):
    """What a snapshot was kept for: the lowest value of a figure in the evaluations of its run until then."""

    figure: str
    value: float


class SnapshotConfig(_Strict):
    """Content of ``config.json``.

    Attributes:
        format: version of this layout.
        task: whose row of ``MODELS`` (``progcycle.export``) the networks are loaded with.
        networks: how to build every network, by the first part of its weights' names.
        stage: growth step of the networks when the weights were saved; of growth by size their last one.
        alpha: how far the newest resolution had been faded in; below 1 in mid-fade.
        resolution: of the pictures at that moment: a number, or a list of height and width.
        base_resolution: the same at stage 0.
        final_resolution: the same at the networks' last stage; training may hold below it.
        nimg: real pictures of one domain shown so far.
        classes: names of the classes that the networks know, in the order of their numbers; empty if they know none.
        recipe: the whole recipe, as JSON.
        cpu_seconds: CPU time that training had used, in its first process; None where it was not counted.
        best: of the snapshot in a run's folder ``best`` only, else None.
        test_resolution: by domain, pixels that the shorter side of pictures has at the scale of tests, at the networks'
            last stage, or ``native``; only of domains that training loads at another size than ``final_resolution``.
    """

    format: Literal[1] = 1
    library_name: Literal["progcycle"] = "progcycle"
    progcycle_version: str
    task: str
    networks: dict[str, NetworkSpec]
    stage: Natural
    alpha: Annotated[float, Field(ge=0, le=1)]
    resolution: Size
    base_resolution: Size
    final_resolution: Size
    nimg: Natural
    seed: Natural
    classes: list[str] = []
    recipe: dict[str, Any]
    cpu_seconds: Annotated[float, Field(ge=0)] | None = None
    best: BestFigure | None = None
    test_resolution: dict[str, SideLoaded] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "SnapshotConfig":
        last = self.base_resolution << min(self.stage, MOST_STAGES)
        whole = self.by_size and self.resolution <= last and last.doublings_from(self.resolution) is not None
        if self.stage > MOST_STAGES or (self.resolution.shape != last.shape and not whole):
            raise ValueError(
                f"resolution {self.resolution} is not base_resolution {self.base_resolution} doubled {self.stage} times"
            )
        if self.resolution > self.final_resolution:
            raise ValueError(f"resolution {self.resolution} is above final_resolution {self.final_resolution}")
        if self.final_resolution.doublings_from(self.base_resolution) is None:
            raise ValueError(
                f"final_resolution {self.final_resolution} is not base_resolution {self.base_resolution} doubled"
            )
        known = len(self.classes)
        takes = [spec.arguments["classes"] for spec in self.networks.values() if "classes" in spec.arguments] or [0]
        if takes != [known] * len(takes) or len(set(self.classes)) != known:
            count = next((number for number in takes if number != known), known)
            raise ValueError(f"classes must be the different names of {count} classes, got {str(self.classes)[:200]}")
        return self

    @property
    def start_resolution(self) -> Resolution:
        """The lowest resolution that was trained."""
        schedule = self.recipe.get("schedule")
        start = schedule.get("start_resolution") if isinstance(schedule, dict) else None
        try:
            return self.base_resolution if start is None else _as_resolution(start)
        except ValueError:  # of a damaged recipe
            return self.base_resolution

    @property
    def by_size(self) -> bool:
        """Whether training grew by size: whole networks, whose pictures grew (``schedule.growth: size``)."""
        schedule = self.recipe.get("schedule")
        return isinstance(schedule, dict) and schedule.get("growth") == "size"

    @property
    def growth(self) -> Growth:
        """Where growth stood."""
        if self.by_size:
            lowest = min(self.start_resolution, self.base_resolution, self.resolution)
            doublings = (int(self.resolution) // int(lowest)).bit_length() - 1
            return Growth(self.stage, self.resolution, 1.0, nimg=self.nimg, fade=self.alpha, doublings=doublings)
        schedule = self.recipe.get("schedule")
        sharp = isinstance(schedule, dict) and schedule.get("fade_reals") is False
        return Growth(self.stage, self.resolution, self.alpha, nimg=self.nimg, fade_reals=not sharp)

    def background(self, domain: str) -> str:
        """The colour that training put behind transparent pictures of a domain."""
        data = self.recipe.get("data")
        pictures = data.get(domain) if isinstance(data, dict) else None
        colour = pictures.get("background") if isinstance(pictures, dict) else None
        return colour if isinstance(colour, str) else "white"

    def levels(self, domain: str) -> Levels:
        """The depth and the window of a domain's pictures, as training read them; see :meth:`pictures`."""
        return Levels.of(self.pictures(domain))

    def pictures(self, domain: str) -> Pictures:
        """What training made of a domain's pictures: their depth, channels, background and slices.

        Args:
            domain: a name of the recipe's, such as ``a``; a recipe of one domain has it in its section ``data``.

        Raises:
            UserError: they are damaged.
        """
        data = self.recipe.get("data")
        section = data.get(domain, data) if isinstance(data, dict) else None
        section = section if isinstance(section, dict) else {}
        try:
            return Pictures.model_validate({key: section[key] for key in READ_BY if key in section})
        except ValidationError:
            raise UserError(f"{CONFIG_FILE}: data.{domain}: {' or '.join(READ_BY)} is damaged.") from None

    def test_side(self, domain: str) -> Resolution | None:
        """What a domain's pictures are brought to for the last stage; None: their own size."""
        return test_side(self.pictures(domain), self.final_resolution)

    @property
    def resolutions(self) -> tuple[Resolution, ...]:
        """Those at which the networks can run, the lowest first."""
        lowest = self.start_resolution if self.by_size else max(self.start_resolution, self.base_resolution)
        return tuple(r for i in range(MOST_STAGES, -1, -1) if (r := self.resolution >> i) >= lowest)

    def growth_at(self, resolution: int | None) -> Growth:
        """Where to run: where growth stood by default, or at an earlier resolution, faded in whole.

        Args:
            resolution: one number is the shorter side.

        Raises:
            UserError: the networks have no such stage yet, or that resolution was never trained.
        """
        growth = self.growth
        if resolution is None:
            return growth
        given = Resolution.of(resolution)
        if given == self.resolution and (given.is_square or given.shape == self.resolution.shape):
            return growth
        possible = self.resolutions
        found = next((r for r in possible if r == given and (given.is_square or r.shape == given.shape)), None)
        if found is None:
            names = ", ".join(map(str, possible))
            raise UserError(f"This snapshot has no resolution {given}; it can run at {names} px.")
        if self.by_size:
            return replace(growth, resolution=found, fade=1.0)
        stage = (int(found) // int(self.base_resolution)).bit_length() - 1
        return replace(growth, stage=stage, resolution=found, alpha=1.0)

    @property
    def recipe_sha256(self) -> str:
        """Hash of the recipe's JSON with its keys sorted."""
        return hashlib.sha256(json.dumps(self.recipe, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of ``config.json``, without the values that are not known."""
        unknown = {name for name in ("cpu_seconds", "best") if getattr(self, name) is None}
        unknown |= set() if self.test_resolution else {"test_resolution"}
        return json.dumps(self.model_dump(mode="json", exclude=unknown), indent=2, ensure_ascii=False) + "\n"


def read_config(folder: Path) -> SnapshotConfig:
    """Read and check ``config.json`` of a snapshot folder.

    Raises:
        UserError: it is missing, is not JSON, belongs to another library or format, or something in it is wrong.
    """
    path = folder / CONFIG_FILE
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise ValueError(f"it has {size} bytes, more than {LARGEST}")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: this is not a snapshot, it has no {CONFIG_FILE}.") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: this file cannot be read as JSON ({reason}).") from None
    if not isinstance(content, dict) or content.get("library_name") != "progcycle":
        owner = content.get("library_name") if isinstance(content, dict) else None
        raise UserError(f"{path}: this is not a snapshot of progcycle (library_name is {owner!r}).")
    if content.get("format") != 1:
        written = content.get("progcycle_version")
        raise UserError(
            f"{path}: format {content.get('format')!r}, written by progcycle {written}, is not known to this version."
        )
    try:
        return SnapshotConfig.model_validate(content)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, item['loc'])) or 'networks and resolutions'}: "
            + item["msg"].removeprefix("Value error, ").rstrip(".")
            for item in error.errors(include_url=False)
        ]
        raise UserError(f"{path}: {'; '.join(wrong)}.") from None
