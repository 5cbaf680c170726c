"""Folders for the Hugging Face Hub: a snapshot with its recipe, card, figures and samples; pushed in one commit."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from PIL import Image
from torch import Tensor

from progcycle.data import resolve_sets
from progcycle.errors import UserError
from progcycle.export.card import UNKNOWN, Subject, Terms, model_card
from progcycle.export.card_figures import measured_of
from progcycle.export.config import SnapshotConfig
from progcycle.export.data_terms import licence_of_data, without_places
from progcycle.export.hub import CARD_FILE, FIGURES_FILE, RECIPE_FILE, SAMPLES, check_name, check_new, reason_of
from progcycle.export.run_files import newest_sheet, run_folder
from progcycle.export.weights import write_model
from progcycle.files import atomic_folder
from progcycle.recipe import RecipeError, dump, validate

NO_COPIES = "no redistribution"  # in what is known of a licence, see data/known.py


@dataclass(frozen=True)
class Publication:
    """A model that is to be published.

    Attributes:
        config: of the snapshot.
        weights: all of them, by name.
        snapshot: where it was loaded from, or None.
        describe: makes the subject of the card from the repository's name, the published config, counts of training
            pictures, and the path of the sheet of samples.
    """

    config: SnapshotConfig
    weights: Mapping[str, Tensor]
    snapshot: Path | None
    describe: Callable[[str, SnapshotConfig, Mapping[str, int], str | None], Subject]

    @property
    def run(self) -> Path | None:
        """The run folder that it comes from, if it does."""
        folder = None if self.snapshot is None else run_folder(self.snapshot)
        return folder if folder is not None and (folder / RECIPE_FILE).is_file() else None


def terms_of(config: SnapshotConfig, licence: str | None, data_licence: str | None, about: str = "") -> Terms:
    """The licences, that of the pictures from their store or card where it is not given.

    Args:
        config: of the snapshot.
        licence, data_licence, about: see :class:`Terms`; None: not given.

    Raises:
        UserError: one of them is not given and not known.
    """
    data_licence = data_licence or licence_of_data(config.recipe)
    licence, data_licence = (licence or "").strip(), (data_licence or "").strip()
    missing = []
    if not licence:
        missing.append("--license ID of the weights (such as mit, cc-by-sa-4.0, or the name of another one)")
    if not data_licence:
        missing.append("--data-license TEXT of the pictures that they were trained on")
    if missing:
        raise UserError(
            f"A model card states licences; give {' and '.join(missing)}. If you do not know it, {UNKNOWN} says so."
        )
    return Terms(licence, data_licence, about)


def write_hub_folder(publication: Publication, folder: Path, repository: str, terms: Terms, sheet: bool = True) -> None:
    """Write what a repository of the Hub holds into a new folder, which ``load`` takes as well.

    Args:
        publication: the model.
        folder: to create; an empty one will do.
        repository: ``user/model``, or another name for the card.
        terms: licences, see :func:`terms_of`.
        sheet: whether the newest sheet of samples goes along, which may show pictures of training.

    Raises:
        UserError: the folder holds something, or the record of an evaluation is damaged.
    """
    check_new(folder)
    config = _published(publication.config)
    run = publication.run
    measured = None if run is None else measured_of(run, config.nimg, str(config.resolution.label))
    samples = None if run is None or not sheet else newest_sheet(run, config.nimg)
    if NO_COPIES in terms.data_licence.lower():
        samples = None
    with atomic_folder(folder) as made:
        write_model(made, config, publication.weights)
        (made / RECIPE_FILE).write_text(_recipe_text(config), encoding="utf-8")
        relative = None
        if samples is not None:
            relative = f"{SAMPLES}/{samples.name}"
            (made / SAMPLES).mkdir()
            with Image.open(samples) as image:
                image.convert("RGB").save(made / relative)  # without texts that the file may hold
        if measured is not None and measured.record is not None:
            record = json.dumps(without_places(measured.record), indent=2, ensure_ascii=False)
            (made / FIGURES_FILE).write_text(record + "\n", encoding="utf-8")
        subject = publication.describe(repository, config, _counts(publication), relative)
        (made / CARD_FILE).write_text(f"{model_card(subject, terms, measured)}\n", encoding="utf-8")


def _published(config: SnapshotConfig) -> SnapshotConfig:
    """The config without where things lie on this machine."""
    return config.model_copy(update={"recipe": without_places(config.recipe)})


def _recipe_text(config: SnapshotConfig) -> str:
    try:
        return dump(validate(config.recipe, RECIPE_FILE))
    except RecipeError:  # of another version: YAML takes JSON
        return json.dumps(config.recipe, indent=1, ensure_ascii=False) + "\n"


def _counts(publication: Publication) -> dict[str, int]:
    """Training pictures by domain, if they are still there."""
    if publication.run is None:
        return {}
    try:
        recipe = validate(publication.config.recipe, RECIPE_FILE)
        sets = resolve_sets(
            recipe.data, resolution=recipe.resolution, seed=recipe.seed, cache_dir=publication.run.parent / ".cache"
        )
    except (RecipeError, UserError, OSError):
        return {}
    return {domain: len(pictures) for domain, pictures in sets.items()}


def push(
    publication: Publication,
    repository: str,
    terms: Terms,
    *,
    private: bool | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    message: str | None = None,
    sheet: bool = True,
) -> str:
    """Push a model to the Hub, in one commit; a repository and a branch that are not there are created.

    Args:
        publication: the model.
        repository: ``user/model``.
        terms: licences.
        private: whether a new repository is private; default: what the user's settings say.
        revision: branch to push to; default: ``main``.
        token: as in ``huggingface_hub``; default: that of ``hf auth login`` or HF_TOKEN.
        message: of the commit.
        sheet: see :func:`write_hub_folder`.

    Returns:
        Address of the commit.

    Raises:
        UserError: it is no name of the Hub, the Hub cannot be reached, or it refuses.
    """
    check_name(repository)
    scratch = Path(tempfile.mkdtemp(prefix="progcycle-"))
    try:
        folder = scratch / "model"
        write_hub_folder(publication, folder, repository, terms, sheet)
        api = HfApi(library_name="progcycle", token=token)
        message = message or f"progcycle: {publication.config.task}, {publication.config.nimg:,} pictures shown"
        return _commit(api, repository, folder, private, revision, message)
    except UserError:
        raise
    except Exception as error:  # versions of huggingface_hub differ in what they raise without a network
        raise UserError(f"{repository} cannot be pushed to the Hugging Face Hub ({reason_of(error)}).") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _commit(api: HfApi, repository: str, folder: Path, private: bool | None, revision: str | None, message: str) -> str:
    api.create_repo(repository, private=private, exist_ok=True)
    if revision is not None:
        api.create_branch(repository, branch=revision, exist_ok=True)
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    there = api.list_repo_files(repository, revision=revision)
    stale = [name for name in there if (name.startswith(f"{SAMPLES}/") or name == FIGURES_FILE) and name not in files]
    operations: list[Any] = [CommitOperationAdd(name, path) for name, path in files.items()]
    operations += [CommitOperationDelete(name) for name in stale]  # figures and samples of an earlier push
    made = api.create_commit(repository, operations, commit_message=message, revision=revision)
    return str(made.commit_url)
