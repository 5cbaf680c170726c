"""Stores that the tests prepare, and what is in them."""

from pathlib import Path
from typing import Any

from progcycle.commands.cli import main


def prepare(*arguments: Any) -> int:
    """``progcycle prepare`` in this process, with one worker."""
    return main(["prepare", *map(str, arguments), "--workers", "1"])


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
