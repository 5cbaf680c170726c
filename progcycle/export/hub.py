"""Finding a model: in a local folder, or on the Hugging Face Hub; and suggesting the folder that was meant."""

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from progcycle.errors import UserError, closest
from progcycle.export.config import CONFIG_FILE, WEIGHTS_FILE

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_name(path: str | Path) -> bool:
    """Whether it is ``user/model``, given as text, and there is neither such a local folder nor one called ``user``.

    ``runs/...`` always means a local folder, even if the working directory is the wrong one.
    """
    if not isinstance(path, str) or not _HUB_NAME.fullmatch(path) or path.startswith("runs/"):
        return False
    return not Path(path).exists() and not Path(path).parent.exists()


def fetch_model(
    name: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """The two files of a model of the Hub, downloaded unless they are in its cache.

    Args:
        name: ``user/model``.
        revision, cache_dir, force_download, local_files_only, token: as in ``huggingface_hub.snapshot_download``.

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
            allow_patterns=[CONFIG_FILE, WEIGHTS_FILE],
        )
    except HFValidationError:
        raise UserError(f"There is no snapshot folder {name}{did_you_mean(Path(name))}.") from None
    except (OSError, ValueError) as error:  # what huggingface_hub raises without network or repository
        reason = str(error).split("\n")[0].rstrip(".")
        raise UserError(
            f"{name} is neither a folder nor a model to download from the Hugging Face Hub ({reason}); without a "
            f"network, give a folder with the model's {CONFIG_FILE} and {WEIGHTS_FILE}."
        ) from None
    return Path(folder)


def did_you_mean(path: Path) -> str:
    """A hint at the folder that was probably meant, of those next to ``path`` and in ``runs``; or ""."""
    near: dict[str, Path] = {}
    for place in (Path("runs"), path.parent):
        if place.is_dir():
            near |= {folder.name: folder for folder in sorted(place.iterdir()) if folder.is_dir()}
    found = closest(path.name, near)
    return f" (did you mean {near[found]}?)" if found else ""
