"""Base of the models of snapshots: building from a config, and strict loading and saving, also by Hugging Face."""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.func import functional_call

from progcycle.errors import UserError
from progcycle.export.card import Subject
from progcycle.export.config import CONFIG_FILE, SnapshotConfig
from progcycle.export.examples import Examples
from progcycle.export.graph import Graph
from progcycle.export.hub import fetch_model
from progcycle.export.publish import Publication, push, terms_of
from progcycle.export.weights import read_model, write_model
from progcycle.networks import Network
from progcycle.recipe import Recipe, validate
from progcycle.resolution import Resolution

M = TypeVar("M", bound="SnapshotModel")


class SnapshotModel(nn.Module, PyTorchModelHubMixin, library_name="progcycle"):
    """Networks of one task, at the stage and alpha of a snapshot.

    A task's own class has its name as ``task``, the ``names`` of its networks (those that the task averages), those
    that are not always there as ``optional``, and the ``registry`` in which the config's networks are looked up. For
    people it states what it is (``kind``, such as ``a PG-GAN``), the ``command`` that uses it, if there is one, and on
    which ``examples`` its snapshots are compared; for the Hugging Face Hub its ``hub_task`` (``pipeline_tag``) and a
    ``summary`` of what it does.

    Args:
        config: content of the snapshot's ``config.json``.

    Raises:
        UserError: the config belongs to another task, names an unknown network or gives it wrong arguments.
    """

    task: ClassVar[str]
    names: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()
    registry: ClassVar[dict[str, type[Network]]]
    kind: ClassVar[str] = "a model of another task"
    command: ClassVar[str | None] = None
    examples: ClassVar[type[Examples] | None] = None
    summary: ClassVar[str] = "A model of another task"
    hub_task: ClassVar[str] = "image-to-image"
    snapshot: Path | None = None  # the folder that it was loaded from

    def __init__(self, config: SnapshotConfig) -> None:
        super().__init__()
        self.config = config
        try:
            self.check(config)
        except ValueError as error:
            raise UserError(f"{error}.") from None
        for name, spec in config.networks.items():
            registry = self.registry_of(name)
            if spec.name not in registry:
                known = ", ".join(registry)
                raise UserError(f"{name}: there is no network {spec.name!r}; the known ones are {known}.")
            try:
                network = registry[spec.name](**spec.arguments)
            except Exception as error:  # a stranger's arguments make constructors raise nearly anything
                reason = " ".join(str(error).split())[:200]
                raise UserError(f"{name}: {spec.name} cannot be built with these arguments ({reason}).") from None
            self.add_module(name, network)

    @classmethod
    def check(cls, config: SnapshotConfig) -> None:
        """Refuse the config of a snapshot that this class cannot hold.

        Raises:
            ValueError: it belongs to another task, or has other networks; a sentence without its full stop.
        """
        if config.task != cls.task:
            raise ValueError(f"A {cls.__name__} holds networks of the task {cls.task}, not {config.task}")
        if set(config.networks) - set(cls.optional) != set(cls.names):
            expected, got = " and ".join(cls.names), " and ".join(sorted(config.networks)) or "none"
            raise ValueError(f"networks of the task {cls.task} are {expected}, got {got}")

    @classmethod
    def registry_of(cls, name: str) -> dict[str, type[Network]]:
        """Where the class of one of the networks is looked up."""
        return cls.registry

    @classmethod
    def resolutions(cls, config: SnapshotConfig) -> tuple[Resolution, ...]:
        """Those at which the networks of a snapshot can run, the lowest first.

        Raises:
            UserError: at none, since networks are missing.
        """
        return config.resolutions

    @property
    def recipe(self) -> Recipe:
        """The recipe that the snapshot was trained with.

        Raises:
            RecipeError: this version of progcycle does not know some of its keys.
        """
        return validate(self.config.recipe, CONFIG_FILE)

    @property
    def resolution(self) -> Resolution:
        """Of the pictures at the snapshot's stage: the scale that it was trained at last."""
        return self.config.resolution

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights: float32 unless ``.half()``, ``.to(torch.bfloat16)`` or ``.double()`` changed it."""
        return next(self.parameters()).dtype

    def run(self, network: nn.Module, x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        """A network's output in the precision of its weights.

        Half precision is training's mixed precision: convolutions in half, what would suffer from it in float32.

        Args:
            network: one of the model's own.
            x: its input; its type does not matter.
            arguments, options: what else the network takes.

        Returns:
            What the network gives, float32 at least.
        """
        half = self.dtype in (torch.float16, torch.bfloat16)
        if not half:
            y: Tensor = network(x.to(self.dtype), *arguments, **options)
            return y
        named = chain(network.named_parameters(), network.named_buffers())
        weights = {name: w.float() if w.dtype == self.dtype else w for name, w in named}
        with torch.autocast(self.device.type, self.dtype):
            y = functional_call(network, weights, (x.float(), *arguments), options)
        return y.float()

    def graphs(self, direction: str | None = None, resolution: int | None = None) -> list[Graph]:
        """What of the model can be exported to other runtimes.

        Args:
            direction: of translators, ``ab`` or ``ba``; default: both.
            resolution: an earlier stage to run at; default: the snapshot's own.

        Raises:
            UserError: nothing can, there is no such resolution, or a direction for a model that has none.
        """
        raise UserError(f"{self.kind[0].upper()}{self.kind[1:]} cannot be exported to other runtimes.")

    def _no_direction(self, direction: str | None) -> None:
        if direction is not None:
            raise UserError(f"A direction is for translators, and this is {self.kind}; leave it out.")

    @property
    def usage(self) -> str:
        """Lines of Python that use ``model``, for people who have just loaded it."""
        return "print(model)"

    def save_pretrained(self, save_directory: str | Path) -> None:  # type: ignore[override]
        """Write the two files of a snapshot; ``progcycle push --folder`` writes recipe and model card beside them."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        write_model(folder, self.config, self.state_dict())

    def publication(self) -> Publication:
        """What is published of it, see :mod:`progcycle.export.publish`."""

        def describe(name: str, config: SnapshotConfig, counts: Mapping[str, int], sheet: str | None) -> Subject:
            parameters = {part: sum(w.numel() for w in getattr(self, part).parameters()) for part in config.networks}
            about = self.kind, self.summary, self.hub_task, self.usage, self.command or "evaluate"
            return Subject(name, config, *about, parameters, counts, sheet)

        return Publication(self.config, self.state_dict(), self.snapshot, describe)

    def push_to_hub(  # type: ignore[override]  # a card asks for licences
        self,
        repo_id: str,
        *,
        license: str | None = None,
        data_license: str | None = None,
        about: str = "",
        private: bool | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        commit_message: str | None = None,
        sheet: bool = True,
    ) -> str:
        """Push the model to the Hugging Face Hub, with its recipe and a model card, in one commit.

        The card tells figures, and shows samples, if the model was loaded from a run folder that has some.

        Args:
            repo_id: ``user/model``, which is created if need be.
            license: of the weights: an id of the Hub such as ``cc-by-sa-4.0``, another name, or ``unknown``.
            data_license: of the pictures of training; default: what their store or the card of the data set says.
            about: what the model is, in a sentence or more.
            private: whether a new repository is private.
            revision: branch to push to, which is created if need be; default: ``main``.
            token: as in ``huggingface_hub``.
            commit_message: default: the task and the pictures shown.
            sheet: whether the newest sheet of samples goes along, which may show pictures of training.

        Returns:
            Address of the commit.

        Raises:
            UserError: a licence is missing, or the Hub cannot be reached or refuses.
        """
        terms = terms_of(self.config, license, data_license, about)
        how = {"private": private, "revision": revision, "token": token, "message": commit_message, "sheet": sheet}
        return push(self.publication(), repo_id, terms, **how)  # type: ignore[arg-type]

    @classmethod
    def from_pretrained(  # type: ignore[override]  # strict always, so there is no choice to pass on
        cls: type[M],
        pretrained_model_name_or_path: str | Path,
        *,
        map_location: str | torch.device = "cpu",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> M:
        """Read a model from a snapshot folder, or from a repository of the Hugging Face Hub.

        Args:
            pretrained_model_name_or_path: a folder with ``config.json`` and ``model.safetensors``, or ``user/model``.
            map_location: device of the weights.
            revision, cache_dir, force_download, local_files_only, token: as in ``huggingface_hub.snapshot_download``.

        Raises:
            UserError: there is no such model, or it does not fit exactly.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            folder = fetch_model(
                str(pretrained_model_name_or_path),
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
        model = read_model(folder, cls, map_location)
        model.snapshot = folder
        return model
