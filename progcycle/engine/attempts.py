"""Rolling back after non-finite numbers: how often a run has returned to a checkpoint, and what that changes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from progcycle.files import atomic_file
from progcycle.recipe import Recovery

# Offset between the picture numbers of two attempts: more than any plan has (schedule.total_kimg is at most 1e9).
ATTEMPT_OFFSET = 10**13


class RollbackError(Exception):
    """Numbers were not finite, and ``training.recovery`` allows another attempt; the text says what happened."""


class Attempts:
    """Counts the attempts of a run. A new attempt shifts the numbers of all pictures and lowers the learning rates.

    The count never falls: after a rollback the file ``attempt.json`` overrides the checkpoint, which is older.

    Args:
        options: ``training.recovery`` of the recipe.
        run_dir: the run folder.

    Attributes:
        number: how often the run has rolled back.
    """

    def __init__(self, options: Recovery | None, run_dir: Path) -> None:
        self.options, self.path, self.number = options, run_dir / "attempt.json", 0

    @property
    def left(self) -> bool:
        """Whether another attempt is allowed."""
        return self.options is not None and self.number < self.options.attempts

    @property
    def lr_factor(self) -> float:
        """Factor on all learning rates in this attempt."""
        return self.options.lr_factor**self.number if self.options else 1.0

    @property
    def shift(self) -> int:
        """Offset added to the number of every picture in this attempt, by which everything random is addressed."""
        return self.number * ATTEMPT_OFFSET

    def save_number(self) -> None:
        """Write ``attempt.json``, since only the next checkpoint will hold the number; for the first process.

        Raises:
            OSError: the run folder cannot be written.
        """
        with atomic_file(self.path) as path:
            path.write_text(json.dumps({"attempt": self.number}) + "\n", encoding="utf-8")

    def remove_file(self) -> None:
        """Remove ``attempt.json`` of a run that starts afresh; for the first process."""
        self.path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, int]:
        """The number."""
        return {"number": self.number}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave, or the number in ``attempt.json`` if it is higher."""
        self.number = max(int(state["number"]), self._saved_number())

    def _saved_number(self) -> int:
        if self.options is None:
            return 0
        try:
            return int(json.loads(self.path.read_text(encoding="utf-8"))["attempt"])
        except (OSError, ValueError, KeyError, TypeError):  # usually there is no such file
            return 0
