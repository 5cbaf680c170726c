"""Translating files from Python: what is written, what is skipped, and what is a fault."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from photos import folder, photo
from PIL import Image

from progcycle.errors import UserError
from progcycle.export import Generator, Translator, load, load_as
from progcycle.export.translate_files import Translated, translate_files

Make = Callable[..., Path]


def test_a_folder_from_python(make_snapshot: Make, tmp_path: Path) -> None:
    model = load_as(Translator, make_snapshot(predict="change"))
    pictures, out = folder(tmp_path / "in", 3, size=(20, 12)), tmp_path / "out"
    (pictures / "broken.png").write_bytes(b"\x89PNG nothing")
    (out / "sub").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(out / "001.png")
    done = translate_files(model, pictures, out, "ba", skip_existing=True, grid=True)
    assert (done.written, done.existing, done.sheet) == (2, 1, out / "before_after.png")
    assert [fault.split(":")[0] for fault in done.faults] == ["broken.png"]
    for name in ("000.png", "002.png"):
        with Image.open(pictures / name) as before, Image.open(out / name) as after:
            assert np.array_equal(np.asarray(model.translate(before, "ba")), np.asarray(after))
    with Image.open(out / "001.png") as kept:
        assert kept.size == (4, 4)
    assert translate_files(model, pictures / "000.png", tmp_path / "one.png", "ab") == Translated(1, 0, (), None)
    with pytest.raises(UserError, match="would be overwritten"):
        translate_files(model, pictures, pictures, "ab")


def test_a_model_of_another_class_is_named(make_snapshot: Make, tmp_path: Path) -> None:
    run = make_snapshot(task="pggan").parent.parent
    assert type(load(run)) is type(load_as(Generator, run)) is Generator
    with pytest.raises(UserError, match=r"holds a PG-GAN, and this is for translators; use progcycle generate\.$"):
        load_as(Translator, run)
    with pytest.raises(UserError, match="does not exist"):
        load_as(Generator, photo(tmp_path / "x.png", 1).with_suffix(""))
