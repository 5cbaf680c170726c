"""The best snapshot of a run, by a metric that is lower for better pictures."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from progcycle.errors import UserError
from progcycle.files import restore_folder
from progcycle.resolution import Resolution
from progcycle.schedule import Growth

# Metrics that ``best: auto`` follows, the first that is measured: of BEGAN, generators, translators, autoencoders.
DEFAULTS = ("convergence", "swd", "kid", "l1")  # lower is better


class BestFolder:
    """The folder ``best`` of a run: a snapshot whose ``config.json`` records the metric and its value.

    This record is kept in the folder only, not in checkpoints. A run resumed from before its best snapshot keeps it,
    since the same weights give the same value again, which is not lower.

    Args:
        run_dir: the run folder.
        figure: ``training.evaluation.best``: the name of a metric, ``auto``, or None to keep no best snapshot.
        final: resolution at which the run ends; figures of earlier stages do not compare with those of the last.
    """

    def __init__(self, run_dir: Path, figure: str | None, final: int) -> None:
        self.path, self.figure, self.final = run_dir / "best", figure, final

    def improvement(self, figures: Mapping[str, float], growth: Growth) -> tuple[str, float] | None:
        """The name and value of the metric if it is lower than ever before, otherwise None.

        Args:
            figures: of an evaluation, by name.
            growth: of the step just done.

        Raises:
            UserError: the folder cannot be read.
        """
        names = DEFAULTS if self.figure == "auto" else (self.figure,)
        name = next((name for name in names if name is not None and name in figures), None)
        if name is None or growth.resolution != self.final or growth.progress < 1 or not math.isfinite(figures[name]):
            return None
        before = self._recorded()
        # Values of two different metrics cannot be compared.
        lowest = before[1] if before is not None and before[0] == name else math.inf
        return (name, figures[name]) if figures[name] < lowest else None

    def _recorded(self) -> tuple[str, float] | None:
        restore_folder(self.path)
        file = self.path / "config.json"
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
            if (
                Resolution.of(config["resolution"]).shape != Resolution.of(self.final).shape
            ):  # of a plan that ended below and was made longer
                return None
            return str(config["best"]["figure"]), float(config["best"]["value"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{file} cannot be read; it holds the best value so far, so move the folder {self.path} away."
            ) from None
