"""``progcycle translate`` in this process."""

from pathlib import Path

from progcycle.commands.cli import main


def translate(run: Path, given: Path, output: Path, *options: str) -> int:
    """The exit code of translating from A to B."""
    return main(["translate", str(run), str(given), str(output), "--direction", "ab", *options])
