"""The notebook of the documents: every cell runs, in order, and what it shows can be shown."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import progcycle

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs/notebook.ipynb"


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does; the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None


def test_the_notebook_runs_from_the_first_cell_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("datasets", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in content["cells"]), "it is kept without what it shows"
    names: dict[str, Any] = {"__name__": "__main__"}
    # The same plan in a twentieth of the time.
    short = cells[0].replace("{8: 0.3, 16: 0.5}", "{8: 0.016, 16: 0.024}").replace(": 0.1,", ": 0.008,")
    assert short.count("0.016") == short.count("0.008") == 1
    shown = [run_cell(cell, names) for cell in [short.replace("0.3,", "0,"), *cells[1:]]]
    run, sheet, translated, files = shown[1:]
    assert "data:image/png;base64," in run._repr_html_()
    assert isinstance(sheet, Image.Image)
    assert isinstance(translated, Image.Image)
    assert translated.size == names["drawing"].size
    assert isinstance(run, progcycle.RunFolder)
    assert [path.suffix for path in files] == [".json", ".html"]
    assert all(path.is_file() for path in files)
    assert "against the true pair" in capsys.readouterr().out
