"""The result of an evaluation: a record of figures, a text for a terminal, and a page of pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from progcycle.evaluation.translation_page import TranslationPage, write_page
from progcycle.files import atomic_file


@dataclass(frozen=True)
class Evaluation:
    """Figures of a trained model.

    Attributes:
        record: the content of the JSON file: figures, their origin, and the protocol.
        text: the figures as tables of at most 100 columns.
        path: default path of the JSON file, in the run folder.
        warnings: sentences about what is wrong with the model or its pictures.
        page: all translations with their sources and true pairs; None for generators.
    """

    record: Mapping[str, Any]
    text: str
    path: Path
    warnings: Sequence[str] = ()
    page: TranslationPage | None = field(default=None, repr=False)

    @property
    def results(self) -> Mapping[str, Any]:
        """The figures: of generators by metric, of translators by direction and row."""
        found: Mapping[str, Any] = self.record["results"]
        return found

    def __str__(self) -> str:
        return self.text

    def save(self, path: Path | None = None, page: bool = True) -> list[Path]:
        """Write the record as JSON, and the page of pictures next to it.

        Args:
            path: the JSON file; default: ``self.path``.
            page: whether to write the page, where there is one.

        Returns:
            The files written.
        """
        path = path or self.path
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(self.record, indent=2) + "\n", encoding="utf-8")
        if self.page is None or not page:
            return [path]
        write_page(path.with_suffix(".html"), self.page)
        return [path, path.with_suffix(".html")]
