"""Another attempt when numbers go bad: how often a run has gone back to a checkpoint, and what that changes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from progcycle.files import atomic_file
from progcycle.recipe import Recovery

# Every attempt has pictures' numbers of its own: beyond all that a plan can have (schedule.total_kimg is at most 1e9).
ATTEMPT = 10**13


class RollbackError(Exception):
    """Numbers went bad, and the recipe wants another attempt from the last checkpoint; the text says what happened."""


class Attempts:
    """The attempts of a run. In another one all pictures have other numbers, and learning rates are lower.

    Attempts never become fewer: after going back, a note in the run folder counts more than the checkpoint, which is
    older.

    Args:
        options: ``training.recovery`` of the recipe.
        run_dir: the run folder.

    Attributes:
        number: how often the run has gone back.
    """

    def __init__(self, options: Recovery | None, run_dir: Path) -> None:
        self.options, self.path, self.number = options, run_dir / "attempt.json", 0

    @property
    def left(self) -> bool:
        """Whether there may be another one."""
        return self.options is not None and self.number < self.options.attempts

    @property
    def lr_factor(self) -> float:
        """What all learning rates are multiplied by in this attempt."""
        return self.options.lr_factor**self.number if self.options else 1.0

    @property
    def shift(self) -> int:
        """What is added to the number of every picture in this attempt: everything random is addressed by it."""
        return self.number * ATTEMPT

    def note(self) -> None:
        """Write down the number, which only the next checkpoint will hold; for the first process.

        Raises:
            OSError: the run folder cannot be written.
        """
        with atomic_file(self.path) as path:
            path.write_text(json.dumps({"attempt": self.number}) + "\n", encoding="utf-8")

    def forget(self) -> None:
        """Remove the note of a run that starts afresh; for the first process."""
        self.path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, int]:
        """The number."""
        return {"number": self.number}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave, or go on from the note."""
        self.number = max(int(state["number"]), self._noted())

    def _noted(self) -> int:
        if self.options is None:
            return 0
        try:
            return int(json.loads(self.path.read_text(encoding="utf-8"))["attempt"])
        except (OSError, ValueError, KeyError, TypeError):  # mostly: there was no trouble
            return 0
