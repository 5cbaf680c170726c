"""Containers of pictures: what ``progcycle prepare`` reads."""

from collections.abc import Callable
from pathlib import Path

from progcycle.data.containers.base import Container, Item, Options
from progcycle.data.containers.cifar import Cifar, is_cifar
from progcycle.data.containers.files import Files
from progcycle.data.containers.hdf5 import Hdf5, is_hdf5
from progcycle.data.containers.idx import Idx, is_idx
from progcycle.data.containers.lsun import Lsun, is_lmdb
from progcycle.data.containers.parquet import Parquet, is_parquet
from progcycle.data.containers.webdataset import WebDataset, is_webdataset
from progcycle.errors import UserError

__all__ = ["Container", "Item", "Options", "open_container"]

# Tests of a path, in this order, and what opens it; the last one takes everything else.
CONTAINERS: tuple[tuple[Callable[[Path], bool], type[Container]], ...] = (
    (is_cifar, Cifar),
    (is_idx, Idx),
    (is_lmdb, Lsun),
    (is_hdf5, Hdf5),
    (is_parquet, Parquet),
    (is_webdataset, WebDataset),
    (lambda path: True, Files),
)


def open_container(path: str, options: Options) -> Container:
    """The container at a path, known by its content and not by its name.

    Raises:
        UserError: an option means nothing to it.
    """
    place = Path(path).expanduser().absolute()
    kind = next(kind for test, kind in CONTAINERS if test(place))
    given = {"columns": options.columns, "label_column": options.label_column, "labels": options.labels}
    for name, value in given.items():
        if value not in (None, ()) and name not in kind.takes:
            option = {"columns": "--column", "label_column": "--label-column", "labels": "--labels"}[name]
            raise UserError(f"{path}: {option} means nothing to {kind.kind}; leave it out.")
    return kind(place, options)
