"""Finding a model: in a local folder, or on the Hugging Face Hub; and suggesting the folder that was meant."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils.tqdm import disable_progress_bars

from progcycle.errors import UserError, closest
from progcycle.export.config import CONFIG_FILE, WEIGHTS_FILE
from progcycle.output import bars_hidden

# What lies beside the two files of a snapshot in a repository of the Hub.
RECIPE_FILE, CARD_FILE, FIGURES_FILE, SAMPLES = "recipe.yaml", "README.md", "metrics.json", "samples"
LONGEST = 96  # characters of a repository's name on the Hub
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def is_hub_name(path: str | Path) -> bool:
    """Whether it is ``user/model``, given as text, and there is neither such a local folder nor one called ``user``.

    ``runs/...`` always means a local folder, even if the working directory is the wrong one.
    """
    if not isinstance(path, str) or not _HUB_NAME.fullmatch(path) or path.startswith("runs/"):
        return False
    return not Path(path).exists() and not Path(path).parent.exists()


def check_name(name: str) -> None:
    """Refuse what can be no repository of the Hub.

    Raises:
        UserError: it is not ``user/model``.
    """
    if not _HUB_NAME.fullmatch(name) or ".." in name or "--" in name or len(name) > LONGEST or name[-1] in "-.":
        raise UserError(
            f"{name!r} is no name of a repository of the Hugging Face Hub; give user/model, of letters, digits, -, _ "
            "and ."
        )


def fetch_model(
    name: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    token: str | bool | None = None,
    local_dir: Path | None = None,
    files: Sequence[str] = (CONFIG_FILE, WEIGHTS_FILE),
) -> Path:
    """The two files of a model of the Hub, downloaded unless they are in its cache.

    Args:
        name: ``user/model``.
        revision, cache_dir, force_download, local_files_only, token: as in ``huggingface_hub.snapshot_download``.
        local_dir: folder to download to, in place of the cache.
        files: patterns of what to download.

    Raises:
        UserError: it is no name of the Hub, there is no such model, or the Hub cannot be reached.
    """
    try:
        folder = snapshot_download(
            name,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=list(files),
            local_dir=local_dir,
        )
    except HFValidationError:
        raise UserError(f"There is no snapshot folder {name}{did_you_mean(Path(name))}.") from None
    except RevisionNotFoundError:
        raise UserError(f"{name} is on the Hugging Face Hub, but has no revision {revision}.") from None
    except Exception as error:  # without a network or a repository; versions of huggingface_hub differ in it
        reason = reason_of(error)
        raise UserError(
            f"{name} is neither a folder nor a model to download from the Hugging Face Hub ({reason}); without a "
            f"network, give a folder with the model's {CONFIG_FILE} and {WEIGHTS_FILE}."
        ) from None
    return Path(folder)


def reason_of(error: Exception) -> str:
    """Why the Hub was of no use, in a few words; what to do if it does not know who asks."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    log_in = "log in with hf auth login, or set HF_TOKEN"
    if isinstance(error, GatedRepoError):
        return f"its owners have not granted you access; ask for it on its page, and {log_in}"
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no such repository; if it is private, {log_in}"
    if status in (401, 403):
        return f"it answers {status}; {log_in} to a token that may do this"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".:")[:300]


def quieten() -> None:
    """Switch off the progress bars of ``huggingface_hub`` in this process where those of progcycle are hidden too."""
    if bars_hidden() or not sys.stderr.isatty():
        disable_progress_bars()


def check_new(folder: Path) -> None:
    """Refuse to write a folder over something.

    Raises:
        UserError: it is there, and holds something, or is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already; give a new or an empty folder.")


def did_you_mean(path: Path) -> str:
    """A hint at the folder that was probably meant, of those next to ``path`` and in ``runs``; or ""."""
    near: dict[str, Path] = {}
    for place in (Path("runs"), path.parent):
        if place.is_dir():
            near |= {folder.name: folder for folder in sorted(place.iterdir()) if folder.is_dir()}
    found = closest(path.name, near)
    return f" (did you mean {near[found]}?)" if found else ""
