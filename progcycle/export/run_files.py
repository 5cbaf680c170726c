"""Where a run folder keeps what belongs to one of its snapshots."""

from pathlib import Path


def run_folder(snapshot: Path) -> Path:
    """The run folder of a snapshot, or the snapshot itself where it lies in none."""
    if snapshot.name == "best":  # which a better one may replace
        return snapshot.parent
    return snapshot.parent.parent if snapshot.parent.name == "snapshots" else snapshot


def evaluation_file(run: Path, nimg: int) -> Path:
    """The JSON file of what ``evaluate`` measured of a snapshot.

    Args:
        run: the run folder.
        nimg: pictures that the snapshot had been shown.
    """
    return run / "evaluation" / f"nimg-{nimg:012d}.json"


def newest_sheet(run: Path, nimg: int) -> Path | None:
    """The newest sheet of samples that was painted by then, or None."""
    sheets = sorted((run / "samples").glob("nimg-" + "[0-9]" * 12 + ".png"))
    return max((sheet for sheet in sheets if int(sheet.stem[5:]) <= nimg), default=None)
