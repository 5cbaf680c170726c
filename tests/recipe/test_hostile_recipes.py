"""Recipe files that a stranger hands over: nothing is executed, expanded or waited for; one sentence, exit code 2."""

import resource
from pathlib import Path

import pytest

from progcycle.commands.cli import main
from progcycle.recipe import load_recipe, load_study

VALID = "task: pggan\nresolution: 32\ndata: {path: pictures}\n"
LAUGHS = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}, *a{i}, *a{i}, *a{i}, *a{i}, *a{i}, *a{i}, *a{i}]\n" for i in range(9)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i + 1}: &a{i + 1} {{<<: [*a{i}, *a{i}, *a{i}]}}\n" for i in range(30))

HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "python object": (VALID + "seed: !!python/object/apply:os.mkdir [{touched}]\n", "could not determine a"),
    "python name": (VALID + "seed: !!python/name:os.system\n", "could not determine a constructor"),
    "a billion laughs": (VALID + LAUGHS + "seed: *a9\n", "it stands for more than 20000 values"),
    "laughs by merging": (VALID + MERGES, "it stands for more than 20000 values"),
    "an alias in itself": (VALID + "seed: &a [*a]\n", "line 4: this is not valid YAML (an alias stands inside of what"),
    "a merge with itself": (VALID + "network: &a {<<: *a}\n", "an alias stands inside of what it names"),
    "50 MB": (VALID + "#" * 50_000_000, "this file has more than 256 KiB, which no recipe needs."),
    "deep lists": (VALID + "seed: " + "[" * 200 + "]" * 200, "nested too deeply"),
    "endlessly deep lists": (VALID + "seed: " + "[" * 200_000, "nested too deeply"),
    "deep sections": (VALID + "seed: " + "{a: " * 60 + "1" + "}" * 60, "nested too deeply"),
    "deep dashes": (VALID + "seed:\n " + "- " * 90_000, "nested too deeply"),
    "NUL bytes": (VALID + "seed: \0\n", "this is not valid YAML (unacceptable character #x0000"),
    "UTF-16": (VALID.encode("utf-16"), "cannot be read as UTF-8 text"),
    "duplicate keys": (VALID + "data: {path: elsewhere}\n", "line 4: this is not valid YAML (the key 'data' stands"),
    "two documents": (VALID + "---\n" + VALID, "found another document"),
    "a number of 100,000 digits": (VALID + "seed: " + "9" * 100_000, "integer string conversion"),
    "a hexadecimal number of 100,000 digits": (VALID + "seed: 0x" + "f" * 100_000, "has more than 64 bits"),
    "a sexagesimal number": (VALID + "seed: 1" + ":1" * 20_000, "has more than 64 bits"),
    "bytes": (VALID + "seed: !!binary /w==\n", "is a bytes in YAML, which no key takes"),
    "6,000 unknown keys": (VALID + "".join(f"key{i}: 1\n" for i in range(6000)), "; and 5980 more."),
    "control characters": (VALID + '"\\e[2J\\nx": 1\n', r"\x1b[2J x: unknown key"),
    "itself": (VALID + "extends: here.yaml\n", "extends leads back to itself."),
    "itself through another": (VALID + "extends: other.yaml\n", "extends leads back to itself."),
    "a missing file": (VALID + "extends: gone.yaml\n", "gone.yaml; give the path of a YAML file"),
    "a folder": (VALID + "extends: .\n", ". is a folder; give the path of a YAML file"),
    "a device without an end": (VALID + "extends: /dev/zero\n", "/dev/zero: this file has more than 256 KiB"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_recipes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content, problem = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.yaml").write_text("extends: here.yaml\n")
    if isinstance(content, str):
        content = content.replace("{touched}", "touched").encode()
    (tmp_path / "here.yaml").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main(["plan", "here.yaml"]) == 2
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    text, errors = capsys.readouterr()
    assert text == ""
    assert len(errors.splitlines()) == 1, errors
    assert problem in errors
    assert len(errors) < 3000
    assert grown < 200_000, "kB; bombs that go off take more than there is"
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_byte_order_marks_and_line_ends_of_windows_are_read(tmp_path: Path, end: str) -> None:
    (tmp_path / "here.yaml").write_bytes(VALID.replace("\n", end).encode("utf-8-sig"))
    assert load_recipe(tmp_path / "here.yaml").resolution == 32


def test_aliases_and_merges_that_people_write_are_read(tmp_path: Path) -> None:
    text = "task: pggan\nresolution: 32\ndata: {path: pictures}\noptimizer:\n  generator: &adam {lr: 0.002}\n"
    (tmp_path / "here.yaml").write_text(text + "  discriminator: {<<: *adam, eps: 1e-6}\n")
    optimizer = load_recipe(tmp_path / "here.yaml").optimizer
    assert (optimizer.discriminator.lr, optimizer.discriminator.eps) == (0.002, 1e-6)


def test_studies_are_read_as_recipes_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.yaml").write_text("title: x\nrecipe: y\nvariants: !!python/name:os.system\n")
    assert main(["study", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "could not determine a constructor" in capsys.readouterr().err
    (tmp_path / "study.yaml").write_text(LAUGHS)
    with pytest.raises(ValueError, match="stands for more than"):
        load_study(tmp_path / "study.yaml")


def test_numbers_in_overrides_may_have_any_length(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "here.yaml").write_text(VALID)
    assert main(["plan", str(tmp_path / "here.yaml"), "schedule.batch_size." + "9" * 5000 + "=1"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
