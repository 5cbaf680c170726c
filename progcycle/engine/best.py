"""The snapshot of a run that did best in a figure of quality, beside the newest one."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from progcycle.errors import UserError
from progcycle.files import restore_folder
from progcycle.schedule import Growth

DEFAULTS = ("swd", "kid")  # what ``best: auto`` follows, of PG-GANs and of translators; both fall to 0


class BestFolder:
    """The folder ``best`` of a run: a snapshot that says of itself which figure was lowest there.

    The folder is the only memory of it, and no checkpoint is asked. A run that is resumed from before its best
    snapshot keeps it, since the same weights give the same figure again, which is then not lower.

    Args:
        run_dir: the run folder.
        figure: the name that ``training.evaluation.best`` gives: a figure, ``auto``, or None for nothing.
        final: resolution at which the run ends; figures of earlier stages do not compare with those of the last.
    """

    def __init__(self, run_dir: Path, figure: str | None, final: int) -> None:
        self.path, self.figure, self.final = run_dir / "best", figure, final

    def improvement(self, figures: Mapping[str, float], growth: Growth) -> tuple[str, float] | None:
        """The figure that is lower than ever before, by name and value; None if it is not.

        Args:
            figures: of an evaluation, by name.
            growth: of the step just done.

        Raises:
            UserError: the folder cannot be read.
        """
        names = DEFAULTS if self.figure == "auto" else (self.figure,)
        name = next((name for name in names if name is not None and name in figures), None)
        if name is None or growth.resolution != self.final or growth.alpha < 1 or not math.isfinite(figures[name]):
            return None
        before = self._before()
        # Where another figure was followed before, the two do not compare.
        lowest = before[1] if before is not None and before[0] == name else math.inf
        return (name, figures[name]) if figures[name] < lowest else None

    def _before(self) -> tuple[str, float] | None:
        restore_folder(self.path)
        file = self.path / "config.json"
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
            if config["resolution"] != self.final:  # of a plan that ended below and was made longer
                return None
            return str(config["best"]["figure"]), float(config["best"]["value"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{file} is not as training writes it; move the folder {self.path} away.") from None
