"""Tables of pictures in Parquet files, as the Hugging Face hub keeps data sets; scripts are never run."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from progcycle.data.containers.base import Container, Item, find_files, needs, split_of
from progcycle.data.labels import Label
from progcycle.data.source import LARGEST
from progcycle.errors import UserError

BATCH = 16  # rows read at a time
LABELS = ("label", "labels", "class", "fine_label")  # names of columns of classes, where no metadata says which


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file, or a folder with some."""
    return bool(find_files(path, ".parquet", b"PAR1"))


@dataclass(frozen=True)
class _Place:
    """A cell: its file, group of rows, row in the group, and column."""

    file: str
    group: int
    row: int
    column: str


@dataclass
class Parquet(Container):
    """Tables with a column of pictures, or two of them for two domains."""

    kind = "a table of pictures (Parquet)"
    takes = frozenset({"columns", "label_column"})
    _open: dict[tuple[str, int, str], tuple[int, Iterator[list[Any]], list[Any]]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def items(self) -> list[Item]:
        """A picture for every row and column; only the columns of classes are read."""
        needs("pyarrow", "parquet", self.path)
        files = find_files(self.path, ".parquet", b"PAR1")
        try:
            return [item for file in files for item in self._in_file(file)]
        except UserError:
            raise
        except Exception as error:  # pyarrow's errors are of many kinds
            raise self.refused(error) from None

    def _in_file(self, file: Path) -> Iterator[Item]:
        table = self._file(str(file))
        schema = table.schema_arrow
        columns = self._columns(schema)
        label, names = self._label_column(schema)
        stamp, prefix = self.stamp_of(file), "" if file == self.path else f"{file.stem}/"
        first = 0
        for group in range(table.metadata.num_row_groups):
            count = table.metadata.row_group(group).num_rows
            values = table.read_row_group(group, [label]).column(0).to_pylist() if label else [None] * count
            for row, value in enumerate(values):
                for domain, column in zip(("a", "b") if len(columns) == 2 else ("",), columns, strict=True):
                    name = f"{prefix}{first + row:07}"
                    place = _Place(str(file), group, row, column)
                    yield Item(name, place, stamp, _label(value, names), split_of(file, self.path), domain)
            first += count

    @staticmethod
    def _file(file: str) -> Any:
        import pyarrow.parquet

        return pyarrow.parquet.ParquetFile(file, memory_map=True, pre_buffer=False)

    def _columns(self, schema: Any) -> tuple[str, ...]:
        """Names of the columns of pictures."""
        found = [name for name, kind in _features(schema).items() if kind.get("_type") == "Image"]
        found = found or [one.name for one in schema if _holds_bytes(one.type)]
        if self.options.columns:
            for name in self.options.columns:
                if name not in schema.names:
                    raise UserError(
                        f"{self.path}: there is no column {name} for --column; there are {', '.join(schema.names)}."
                    )
                if not _holds_bytes(schema.field(name).type):
                    raise UserError(f"{self.path}: the column {name} holds no pictures but {schema.field(name).type}.")
            return self.options.columns
        if len(found) == 1:
            return (found[0],)
        if not found:
            raise UserError(f"{self.path}: no column holds pictures; there are {', '.join(schema.names) or 'none'}.")
        raise UserError(
            f"{self.path}: the columns {', '.join(found)} hold pictures; choose one by --column, or two for A and B."
        )

    def _label_column(self, schema: Any) -> tuple[str | None, list[str]]:
        """Name of the column of classes, and their names."""
        features = _features(schema)
        wanted = self.options.label_column
        found = [name for name, kind in features.items() if kind.get("_type") == "ClassLabel" and name in schema.names]
        if not found and not features:
            found = [name for name in LABELS if name in schema.names][:1]
        if wanted is None and len(found) > 1:
            self.remark(f"the columns {', '.join(found)} hold classes, and none is kept; --label-column chooses one")
        name = wanted if wanted is not None else found[0] if len(found) == 1 else ""
        if not name:
            return None, []
        if name not in schema.names:
            raise UserError(
                f"{self.path}: there is no column {name} for --label-column; see {', '.join(schema.names)}."
            )
        names = features.get(name, {}).get("names", [])
        return name, [str(one) for one in names] if isinstance(names, list) else []

    def read(self, item: Item) -> bytes:
        """The bytes in a cell. Rows are read in order, so those before it are passed over."""
        place: _Place = item.place
        key = (place.file, place.group, place.column)
        start, rows, batch = self._open.get(key, (0, iter(()), []))
        if key not in self._open or place.row < start:
            self._open.clear()  # one group at a time
            start, rows, batch = 0, self._rows(*key), []
        while place.row >= start + len(batch):
            start += len(batch)
            batch = next(rows)
        self._open[key] = (start, rows, batch)
        value = batch[place.row - start]
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            path = value.get("path") if isinstance(value, dict) else None
            raise ValueError(
                f"the cell holds no picture but the name of a file, {path}" if path else "the cell is empty"
            )
        if len(content) > LARGEST:
            raise ValueError(f"it has {len(content)} bytes, more than {LARGEST}")
        return content

    def _rows(self, file: str, group: int, column: str) -> Iterator[list[Any]]:
        table = self._file(file)
        for batch in table.iter_batches(BATCH, row_groups=[group], columns=[column], use_threads=False):
            yield batch.column(0).to_pylist()


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What the hub's metadata say about the columns; {} without."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: kind for name, kind in features.items() if isinstance(kind, dict) and name in schema.names}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _holds_bytes(kind: Any) -> bool:
    import pyarrow

    binary = (pyarrow.types.is_binary, pyarrow.types.is_large_binary)
    if pyarrow.types.is_struct(kind):
        return any(one.name == "bytes" and any(test(one.type) for test in binary) for one in kind)
    return any(test(kind) for test in binary)


def _label(value: Any, names: list[str]) -> Label | None:
    """A class by its name, if it has one; -1 means none."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    if isinstance(value, str):
        return value or None
    if value < 0:
        return None
    return names[value] if value < len(names) else value
