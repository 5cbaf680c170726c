"""``progcycle evaluate`` on generators: what it measures, what it writes, and what it refuses."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import write_pictures
from torch import Tensor, nn

from progcycle.blocks import from_levels
from progcycle.commands.cli import main
from progcycle.data import as_reals
from progcycle.errors import UserError
from progcycle.evaluation import feature_distances, generator_metrics, seen_features
from progcycle.evaluation.generator_metrics import check_digit_classifier, measure_run
from progcycle.evaluation.generator_samples import class_bounds, draw_classes, samples_from_model
from progcycle.export import Generator, load, to_pil
from progcycle.metrics import (
    Features,
    MissingExtra,
    batches_of,
    kernel_distance,
    manifold_overlap,
    ms_ssim,
    palette,
    palette_distances,
    sliced_wasserstein,
    two_sample_test,
)
from progcycle.metrics import digits as digits_module
from progcycle.metrics.digits import digit_split, stack_digits, stack_labels

Make = Callable[..., Path]
Read = pytest.CaptureFixture[str]
COUNT = 20


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)) + 1


CLASSES = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0], [0.5, 0.5, 0.5], [-1.0, 0.0, 3.0]])  # four classes


@pytest.fixture(autouse=True)
def quick_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three numbers for a picture, in no time."""

    def load_features(name: str, device: str = "cpu", weights: str | None = None) -> Features:
        protocol = {"library": "torch", **({"sha256": "1234"} if weights else {})}
        return Features(name, Mean(), 3, device, protocol, CLASSES if name == "inception" else None)

    for module in (feature_distances, generator_metrics):
        monkeypatch.setattr(module, "load_features", load_features)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "data", COUNT, seed=0)


@pytest.fixture
def quick_classifier(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A classifier after a sixth of its training, which reads well enough for tests."""
    monkeypatch.setattr(digits_module, "STEPS", 100)
    digits_module.digit_classifier.cache_clear()
    yield
    digits_module.digit_classifier.cache_clear()


def stacks(folder: Path, count: int, named: bool = True) -> Path:
    folder.mkdir()
    labels = stack_labels(count, 0)
    for i, stack in enumerate(stack_digits(count, 0)):
        name = f"{i:04}_{''.join(map(str, labels[i]))}.png" if named else f"{i:04}.png"
        Image.fromarray(np.ascontiguousarray(stack.transpose(1, 2, 0))).save(folder / name)
    return folder


def snapshot(make: Make, data: Path, **options: Any) -> Path:
    return make(task="pggan", data={"path": str(data), "mirror": True}, **options)


def generator(folder: Path) -> Generator:
    model = load(folder)
    assert isinstance(model, Generator)
    return model


def numbers(text: str, label: str) -> list[float]:
    (line,) = (line for line in text.splitlines() if line.startswith(label))
    return [float(number) for number in line[len(label) :].split()]


# --- what it measures ---------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_metrics_on_these_pictures(make_snapshot: Make, pictures: Path, capsys: Read) -> None:
    folder = snapshot(make_snapshot, pictures)
    run = folder.parent.parent
    assert main(["evaluate", str(run), "--seed", "4", "--batch-size", "3"]) == 0
    record = json.loads((run / "evaluation" / "nimg-000000012000.json").read_text())
    results = record["results"]
    assert list(results) == ["swd", "ms-ssim", "kid"]

    model = generator(folder)
    painted = torch.cat([torch.from_numpy(np.array(image))[None] for image in to_pil(model.generate(20, 4))])
    painted = painted.permute(0, 3, 1, 2)
    samples = samples_from_model(model, 4, "cpu")
    shown = [samples.reals.pictures.training(i, 16).image for i in range(20)]
    real = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2)
    found = sliced_wasserstein(
        batches_of(real), [batches_of(painted), batches_of(real[10:])], count=10, resolution=16, seed=4
    )
    assert results["swd"]["count"] == 10
    for name, levels in zip(("generated", "real"), found, strict=True):
        assert results["swd"][name] == pytest.approx({"swd/16": levels[16], "swd": levels[16]}, rel=1e-5)
    for name, shown in (("generated", painted), ("real", real)):
        pairs = ms_ssim(shown[0::2], shown[1::2])
        assert results["ms-ssim"][name]["mean"] == pytest.approx(float(pairs.mean()), abs=1e-6)
        assert results["ms-ssim"][name]["standard_error"] == pytest.approx(float(pairs.std()) / 10**0.5, abs=1e-6)
    assert results["ms-ssim"]["pairs"] == 10

    text = capsys.readouterr().out
    assert numbers(text, "generated to real") == pytest.approx([found[0][16]] * 2, abs=0.01)
    assert numbers(text, "real to real (floor)") == pytest.approx([found[1][16]] * 2, abs=0.01)
    assert text.splitlines()[-1] == f"wrote {run / 'evaluation' / 'nimg-000000012000.json'}"


def test_colours_and_the_two_sample_test_of_these_pictures(
    make_snapshot: Make, pictures: Path, capsys: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("progcycle.metrics.two_sample_test", partial(two_sample_test, steps=2))
    folder = snapshot(make_snapshot, pictures)
    run = folder.parent.parent
    assert main(["evaluate", str(run), "--metrics", "palette", "two-sample", "--count", "12"]) == 0
    results = json.loads((run / "evaluation" / "nimg-000000012000.json").read_text())["results"]
    samples = samples_from_model(generator(folder), 0, "cpu")
    made, real = (
        torch.cat([from_levels(batch) for batch in source()]) for source in (samples.generated(12), samples.real(12))
    )
    mine, theirs = palette(made), palette(real)
    assert results["palette"]["count"] == 12
    assert results["palette"]["generated"] == pytest.approx(mine.figures() | palette_distances(mine, theirs), abs=1e-6)
    halves = (theirs.of(torch.arange(6)), theirs.of(torch.arange(6, 12)))
    assert results["palette"]["real"] == pytest.approx(theirs.figures() | palette_distances(*halves), abs=1e-6)
    test = two_sample_test(made, real, steps=2)
    assert results["two-sample"]["generated"] == pytest.approx(test.figures())
    assert results["two-sample"].items() >= {"count": 12, "folds": 3, "divisions": 3}.items()
    text = capsys.readouterr().out
    assert "colours of 12 generated and as many real pictures" in text
    assert "told from real by a classifier, 12 pictures of each set" in text
    assert main(["evaluate", str(run), "--metrics", "two-sample", "--count", "2"]) == 2
    assert "two-sample takes 3 pictures of each set, and there are 2." in capsys.readouterr().err


def test_precision_and_recall_of_these_pictures(make_snapshot: Make, pictures: Path, capsys: Read) -> None:
    folder = snapshot(make_snapshot, pictures)
    run = folder.parent.parent
    assert main(["evaluate", str(run), "--metrics", "precision-recall", "kid", "--count", "15"]) == 0
    record = json.loads((run / "evaluation" / "nimg-000000012000.json").read_text())
    samples = samples_from_model(generator(folder), 0, "cpu")
    made, real = (
        torch.cat([Mean()(from_levels(batch)) for batch in source()])
        for source in (samples.generated(15), samples.real(15))
    )
    found = record["results"]["precision-recall"]
    assert (found["count"], found["real_count"]) == (15, 15)
    assert found["generated"] == pytest.approx(manifold_overlap(made, real).figures())
    assert found["real"] == pytest.approx(manifold_overlap(real[:7], real[7:]).figures())
    assert record["features"]["precision-recall"].startswith("balls up to the nearest neighbour 3 (precision, recall)")
    text = capsys.readouterr().out
    head = ("precision", "recall", "density", "coverage")
    assert "".join(f"{name:>10}" for name in head) in text
    rows = [numbers(line, "generated") for line in text.splitlines() if line.startswith("generated")]
    assert rows[0] == pytest.approx([found["generated"][name] for name in head], abs=5e-4)
    assert len(rows[1]) == 2, "KID has a table of its own"
    figures = measure_run(folder, ["precision-recall", "kid"], 15)
    assert figures.keys() == {*head, "kid", "kid_error"}
    assert figures["kid"] == pytest.approx(kernel_distance(made, real), rel=1e-3)
    assert measure_run(folder, ["kid"], 99) == pytest.approx(measure_run(folder, ["kid"], COUNT)), "all there are"
    assert main(["evaluate", str(run), "--metrics", "precision-recall", "--count", "5"]) == 2
    assert "6 generated and 6 real pictures are the fewest, and there are 5 and 6" in capsys.readouterr().err


def test_metrics_of_the_same_features_look_at_each_picture_once(
    make_snapshot: Make, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def count_calls(*arguments: Any) -> Features:
        seen.append(arguments)
        return Features("efficientnet-lite0", Mean(), 3)

    folder = snapshot(make_snapshot, pictures)
    monkeypatch.setattr(generator_metrics, "check_metrics", lambda *_: None)
    monkeypatch.setattr(generator_metrics, "load_features", count_calls)
    together = measure_run(folder, ["kid", "swd", "precision-recall"], 10)
    assert len(seen) == 1
    apart = {k: v for name in ("kid", "swd", "precision-recall") for k, v in measure_run(folder, [name], 10).items()}
    assert len(seen) == 3
    assert together == pytest.approx(apart)


def test_features_that_a_discriminator_has_seen_are_marked(
    make_snapshot: Make, pictures: Path, capsys: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_features, "architectures", lambda recipe: ["efficientnet-lite1"])
    run = snapshot(make_snapshot, pictures).parent.parent
    assert main(["evaluate", str(run), "--count", "8", "--pairs", "4"]) == 0
    record = json.loads((run / "evaluation" / "nimg-000000012000.json").read_text())
    assert record["seen_by_discriminators"] == ["efficientnet-lite0"]
    assert record["results"]["kid-resnet"]["generated"].keys() == {"kid", "kid_error"}
    text = capsys.readouterr().out
    assert text.count("KID^") == text.count("KID ") == 1
    assert "\n^ in features of efficientnet-lite0, a kind of network" in text
    assert "in features of open-nsfw: 8 generated" in text


def test_the_record_holds_the_whole_protocol(make_snapshot: Make, pictures: Path, tmp_path: Path) -> None:
    folder, out = snapshot(make_snapshot, pictures, alpha=0.25), tmp_path / "x.json"
    assert main(["evaluate", str(folder), "--out", str(out), "--count", "6", "--pairs", "4"]) == 0
    record = json.loads(out.read_text())
    assert not (folder.parent.parent / "evaluation").exists()
    assert (record["snapshot"], record["nimg"], record["resolution"]) == (str(folder), 12000, 16)
    assert (record["stage"], record["alpha"], record["seed"]) == (2, 0.25, 0)
    assert record["device"] in ("cpu", "cuda")
    assert record["real"] == {
        "pictures": COUNT,
        "paths": [str(pictures)],
        "channels": 3,
        "mirror": True,
        "load_resolution": None,
        "augment": "off",
        "faded": True,
        "broken": [],
    }
    assert record["classes"] is None
    assert record["seconds"] > 0
    assert record["versions"].keys() == {"progcycle", "torch", "numpy", "python"}
    distance = record["results"]["swd"]
    assert [distance[key] for key in ("count", "patches_per_picture", "patch", "directions", "scale")] == [
        6, 128, [7, 7, 3], [4, 128], 1000
    ]  # fmt: skip
    assert record["results"]["ms-ssim"]["pairs"] == 4


def test_real_pictures_are_all_shown_once_mirrored_and_faded_as_in_training(
    make_snapshot: Make, pictures: Path
) -> None:
    known = {}
    for file in pictures.iterdir():
        small = np.asarray(Image.open(file).resize((16, 16), Image.Resampling.LANCZOS))
        for mirrored in (False, True):
            known[small[:, :: -1 if mirrored else 1].tobytes()] = (file.name, mirrored)
    sharp = samples_from_model(generator(snapshot(make_snapshot, pictures)), 0, "cpu")
    seen = [known[picture.permute(1, 2, 0).numpy().tobytes()] for picture in sharp.reals(range(COUNT))]
    assert len({name for name, _ in seen}) == COUNT
    assert {mirrored for _, mirrored in seen} == {False, True}
    assert [sharp.reals.name_at(i) for i in range(COUNT)] == [name for name, _ in seen]
    fading = samples_from_model(generator(snapshot(make_snapshot, pictures, alpha=0.25, run="fading")), 0, "cpu")
    expected = as_reals(sharp.reals(range(COUNT)), fading.reals.growth)
    assert (fading.reals(range(COUNT)).float() - (expected * 127.5 + 127.5)).abs().max() <= 0.5 + 1e-4
    unfaded = {"fade_reals": False}
    plain = samples_from_model(
        generator(snapshot(make_snapshot, pictures, alpha=0.25, run="x", schedule=unfaded)), 0, "cpu"
    )
    assert torch.equal(plain.reals(range(COUNT)), sharp.reals(range(COUNT)))


def test_batches_and_memory_change_nothing_and_the_seed_does(
    make_snapshot: Make, pictures: Path, tmp_path: Path
) -> None:
    folder = str(snapshot(make_snapshot, pictures))
    found = []
    for i, options in enumerate([[], ["--batch-size", "1"], ["--memory", "0.001"], ["--seed", "1"]]):
        assert main(["evaluate", folder, "--metrics", "swd", *options, "--out", str(tmp_path / f"{i}.json")]) == 0
        found.append(json.loads((tmp_path / f"{i}.json").read_text())["results"]["swd"]["generated"]["swd"])
    # Batches of another size round otherwise in a network, which may move a grey level.
    assert found[1:3] == pytest.approx([found[0]] * 2, rel=1e-3)
    assert found[3] != pytest.approx(found[0], rel=1e-3)


def test_more_than_half_of_the_real_pictures_leaves_no_floor(
    make_snapshot: Make, pictures: Path, tmp_path: Path, capsys: Read
) -> None:
    folder, out = str(snapshot(make_snapshot, pictures)), str(tmp_path / "x.json")
    assert main(["evaluate", folder, "--metrics", "swd", "--count", "11", "--out", out]) == 0
    assert json.loads(Path(out).read_text())["results"]["swd"]["real"] is None
    assert "takes a --count up to 10" in capsys.readouterr().out


def test_other_real_pictures(make_snapshot: Make, pictures: Path, tmp_path: Path) -> None:
    folder = str(snapshot(make_snapshot, tmp_path / "gone"))
    more, out = write_pictures(tmp_path / "more", 6, seed=1), str(tmp_path / "x.json")
    assert main(["evaluate", folder, "--out", out, "--data", str(pictures), str(more)]) == 0
    record = json.loads(Path(out).read_text())
    assert record["real"]["paths"] == [str(pictures), str(more)]
    assert (record["real"]["pictures"], record["results"]["swd"]["count"]) == (26, 13)


def test_grey_pictures(make_snapshot: Make, pictures: Path, tmp_path: Path) -> None:
    data = {"path": str(pictures), "channels": 1}
    folder, out = make_snapshot(task="pggan", channels=(1, 1), data=data), str(tmp_path / "x.json")
    assert main(["evaluate", str(folder), "--out", out]) == 0
    assert json.loads(Path(out).read_text())["real"]["channels"] == 1
    assert main(["evaluate", str(folder), "--out", out, "--metrics", "modes"]) == 2


def test_broken_pictures_are_named(make_snapshot: Make, tmp_path: Path, capsys: Read) -> None:
    data = write_pictures(tmp_path / "many", 40, seed=0)
    (data / "07.png").write_bytes(b"nothing")
    (data / "08.nef").write_bytes(b"nothing")
    folder, out = str(snapshot(make_snapshot, data)), tmp_path / "x.json"
    assert main(["evaluate", folder, "--metrics", "swd", "--out", str(out)]) == 0
    (sentence,) = json.loads(out.read_text())["real"]["broken"]
    assert sentence.startswith("07.png")
    errors = capsys.readouterr().err
    assert errors.count("07.png") == 1
    assert errors.count("1 file with another extension is left out: NEF 1") == 1


# --- classes ------------------------------------------------------------------------------------------------------


def test_classes_are_drawn_in_the_proportions_of_the_data(make_snapshot: Make, tmp_path: Path) -> None:
    for name, count in (("cat", 15), ("dog", 5)):
        write_pictures(tmp_path / "animals" / name, count, seed=count)
    data = {"path": str(tmp_path / "animals"), "labels": "folders"}
    folder = make_snapshot(task="pggan", classes=("cat", "dog"), data=data)
    model = generator(folder)
    reals = samples_from_model(model, 0, "cpu").reals.pictures
    labels = draw_classes(class_bounds(reals, 2), 0, range(2000))
    assert np.mean(labels) == pytest.approx(0.25, abs=0.03)
    assert labels[700:703] == draw_classes(class_bounds(reals, 2), 0, range(700, 703))
    expected = (model.generate(4, 0, labels=labels[:4]) * 127.5 + 127.5).round().to(torch.uint8)
    assert torch.equal(samples_from_model(model, 0, "cpu").generate(range(4)), expected)
    other = samples_from_model(model, 0, "cpu", paths=[str(tmp_path / "animals")]).reals.pictures
    assert np.bincount(draw_classes(class_bounds(other, 3), 0, range(3000))) == pytest.approx([1000] * 3, rel=0.1)
    out = tmp_path / "x.json"
    assert main(["evaluate", str(folder), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["classes"] == {"names": ["cat", "dog"], "shares": "those of the real pictures"}


# --- modes --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_classifier")
def test_modes_beside_those_of_real_stacks(make_snapshot: Make, tmp_path: Path, capsys: Read) -> None:
    data = stacks(tmp_path / "stacks", 60)
    folder, out = make_snapshot(task="pggan", stage=1, data={"path": str(data)}), tmp_path / "x.json"
    assert main(["evaluate", str(folder), "--metrics", "modes", "--count", "50", "--out", str(out)]) == 0
    modes = json.loads(out.read_text())["results"]["modes"]
    assert (modes["count"], modes["repeats"], modes["real"]["count"]) == (50, 10, 50)
    assert modes["real"]["modes"] > 40
    assert modes["generated"]["mean"]["modes"] < modes["real"]["modes"]  # of an untrained generator
    assert modes["judge"]["digits"] == "scikit-learn"
    assert min(modes["judge"][key] for key in ("accuracy", "accuracy_on_real_pictures")) > 0.9
    assert numbers(capsys.readouterr().out, "real ")[0] == modes["real"]["modes"]
    assert measure_run(folder, ["modes"], 50).keys() == {"modes", "kl", "kl_found"}


@pytest.mark.usefixtures("quick_classifier")
def test_a_classifier_of_given_digits(make_snapshot: Make, tmp_path: Path) -> None:
    for number, (picture, digit) in enumerate(zip(*digit_split("classifier"), strict=True)):
        (tmp_path / "digits" / str(digit)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "digits" / str(digit) / f"{number}.png")
    data = stacks(tmp_path / "stacks", 30)
    folder, out = make_snapshot(task="pggan", stage=1, data={"path": str(data)}), tmp_path / "x.json"
    command = ["evaluate", str(folder), "--metrics", "modes", "--count", "20", "--out", str(out), "--digits"]
    assert main([*command, str(tmp_path / "digits")]) == 0
    classifier = json.loads(out.read_text())["results"]["modes"]["judge"]
    assert classifier["digits"] == str(tmp_path / "digits")
    assert classifier["accuracy_on_real_pictures"] > 0.9


@pytest.mark.usefixtures("quick_classifier")
def test_a_classifier_that_misreads_the_real_stacks_is_refused(
    make_snapshot: Make, tmp_path: Path, capsys: Read
) -> None:
    data = stacks(tmp_path / "stacks", 30)
    for file in data.iterdir():
        with Image.open(file) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(file)
    folder = make_snapshot(task="pggan", stage=1, data={"path": str(data)})
    assert main(["evaluate", str(folder), "--metrics", "modes"]) == 2
    assert re.search(r"reads only \d+ % of the digits on the real pictures correctly", capsys.readouterr().err)
    with pytest.raises(UserError, match="reads only"):
        measure_run(folder, ["modes"], 10)
    unnamed = make_snapshot(task="pggan", stage=1, run="x", data={"path": str(stacks(tmp_path / "y", 5, named=False))})
    samples = samples_from_model(generator(unnamed), 0, "cpu")
    assert check_digit_classifier(digits_module.digit_classifier(), samples.reals, "here") is None


def test_digits_in_other_folders_are_refused(make_snapshot: Make, pictures: Path, tmp_path: Path, capsys: Read) -> None:
    folder = snapshot(make_snapshot, pictures, stage=1)
    for name in ("0", "1", "three"):
        write_pictures(tmp_path / "digits" / name, 2, seed=1)
    assert main(["evaluate", str(folder), "--metrics", "modes", "--digits", str(tmp_path / "digits")]) == 2
    assert "must hold folders 0 to 9 of digits, but has 0, 1, three." in capsys.readouterr().err


# --- in features --------------------------------------------------------------------------------------------------


def test_a_run_of_8_px_is_measured_by_what_there_is(
    make_snapshot: Make, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read
) -> None:
    folder = snapshot(make_snapshot, pictures, stage=1)
    out = folder.parent.parent / "evaluation" / "nimg-000000012000.json"
    assert main(["evaluate", str(folder)]) == 0
    record = json.loads(out.read_text())
    assert list(record["results"]) == ["kid"]
    words = ["swd is left out: it starts at 16 px, and these are 8 px.", "ms-ssim is left out: it starts at 16 px"]
    text = capsys.readouterr().out
    assert all(sentence in text and sentence in " ".join(record["left_out"]) for sentence in words)

    def nothing(*_: object) -> Features:
        raise MissingExtra("The features need more; install them with pip install 'progcycle[metrics]'.")

    monkeypatch.setattr(feature_distances, "load_features", nothing)
    assert main(["evaluate", str(folder)]) == 0
    record = json.loads(out.read_text())
    assert record["results"] == {}
    assert len(record["left_out"]) == 3
    assert "kid is left out: The features need more; install them with" in capsys.readouterr().out
    assert main(["evaluate", str(folder), "--metrics", "kid"]) == 2


def test_fid_kid_and_is_against_their_formulas(
    make_snapshot: Make, pictures: Path, tmp_path: Path, capsys: Read
) -> None:
    folder, out = snapshot(make_snapshot, pictures), tmp_path / "x.json"
    command = ["evaluate", str(folder), "--out", str(out), "--inception", "w.pth", "--metrics", "fid", "kid", "is"]
    assert main([*command, "--count", "30"]) == 0
    record = json.loads(out.read_text())
    assert list(record["results"]) == ["fid", "kid", "is"]
    model = generator(folder)
    painted = torch.cat([torch.from_numpy(np.array(image))[None] for image in to_pil(model.generate(30, 0))]).double()
    samples = samples_from_model(model, 0, "cpu")
    real = np.stack([samples.reals.pictures.training(i, 16).image for i in range(COUNT)])
    x, y = painted.mean(dim=(1, 2)).numpy() / 127.5, real.astype(float).mean(axis=(1, 2)) / 127.5
    cx, cy = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    roots = np.sqrt(np.linalg.eigvals(cx @ cy).real.clip(min=0)).sum()
    fid = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx + cy) - 2 * roots
    results = record["results"]
    assert results["fid"]["generated"]["fid"] == pytest.approx(fid, rel=1e-3)
    kxx, kyy, kxy = ((a @ b.T / 3 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    off = (kxx.sum() - np.trace(kxx)) / (30 * 29) + (kyy.sum() - np.trace(kyy)) / (20 * 19)
    assert results["kid"]["generated"]["kid"] == pytest.approx(off - 2 * kxy.mean(), rel=1e-3)
    for z, row in ((x, "generated"), (y, "real")):
        p = np.exp(z @ CLASSES.numpy().T)
        p /= p.sum(axis=1, keepdims=True)
        score = np.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean())
        assert results["is"][row]["is"] == pytest.approx(score, rel=1e-4)
    for name in ("fid", "kid", "is"):
        assert (results[name]["count"], results[name]["real_count"]) == (30, 20)
    assert results["fid"]["biased"] is results["is"]["biased"] is False
    assert (record["features"]["name"], record["features"]["sha256"]) == ("inception", "1234")
    text = capsys.readouterr().out
    assert numbers(text, "generated ") == pytest.approx(
        [results["fid"]["generated"]["fid"], *results["kid"]["generated"].values(), results["is"]["generated"]["is"]],
        abs=0.006,
    )
    assert "*" not in text
    assert max(len(line) for line in text.splitlines() if not line.startswith(("wrote", str(folder)))) <= 100


def test_figures_of_few_pictures_are_marked(make_snapshot: Make, pictures: Path, tmp_path: Path, capsys: Read) -> None:
    folder, out = snapshot(make_snapshot, pictures), tmp_path / "x.json"
    few = write_pictures(tmp_path / "few", 2, seed=1)
    command = ["evaluate", str(folder), "--out", str(out), "--inception", "w.pth", "--data", str(few), str(pictures)]
    in_few = [*command, "--metrics", "fid", "--count"]
    assert main([*in_few, "3"]) == 0
    assert "FID" in (text := capsys.readouterr().out)
    assert "*" not in text  # three pictures of three dimensions; halves of one picture have no FID
    assert main([*in_few, "4"]) == 0  # the floor is that of two and two
    lines = capsys.readouterr().out.splitlines()
    (floor,), (made,) = ([line for line in lines if line.startswith(what)] for what in ("real, half", "generated "))
    assert floor.endswith("*")
    assert "*" not in made
    assert any("* of fewer than 3 pictures" in line for line in lines)
    found = json.loads(out.read_text())["results"]["fid"]
    assert (found["biased"], found["real_biased"]) == (False, True)
    assert main([*command, "--metrics", "is", "--count", "4"]) == 0  # which takes all four real ones
    assert "*" not in capsys.readouterr().out

    class Wide(Mean):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).repeat(1, 2)

    wide = Features("inception", Wide(), 6, "cpu", {"library": "torch"}, torch.ones(4, 6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_distances, "load_features", lambda *_: wide)
        assert main([*in_few, "3"]) == 0
    text = capsys.readouterr().out
    (made,) = [line for line in text.splitlines() if line.startswith("generated ")]
    assert made.endswith("*")
    assert "* of fewer than 6 pictures, for which FID is too high and IS too low: compare at equal counts" in text
    assert json.loads(out.read_text())["results"]["fid"]["biased"] is True


# --- what it refuses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--metrics", "swd,x"],
            "--metrics: there is no metric 'x'; choose from swd, ms-ssim, modes, palette, "
            "two-sample, kid, precision-recall, fid, is, kid-resnet.",
        ),
        (["--metrics", "swd", "fid"], "--metrics: fid is measured in features of the Inception network; give --incep"),
        (["--metrics", "kid", "--count", "2"], "kid: 3 generated and 3 real pictures are the fewest, and there are 2"),
        (
            ["--count", "21"],
            "--count: there are only 20 real pictures, fewer than 21; with up to 10, the other half can be compared",
        ),
        (["--pairs", "11"], "--pairs: 11 pairs need 22 real pictures, but there are 20."),
        (["--a", "x"], "--a is no option for a PG-GAN, which "),
        (["--data", "gone"], "There is no folder or zip file"),
    ],
)
def test_wrong_input_is_one_sentence(
    make_snapshot: Make, pictures: Path, capsys: Read, options: list[str], words: str
) -> None:
    folder = snapshot(make_snapshot, pictures)
    assert main(["evaluate", str(folder), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1
    assert not (folder.parent.parent / "evaluation").exists()


@pytest.mark.parametrize("memory", ["0", "-1", "nan", "inf", "much"])
def test_memory_is_a_positive_number(memory: str, capsys: Read) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "run", "--memory", memory])
    assert "--memory" in capsys.readouterr().err


def test_small_pictures_have_no_distance_and_translators_no_metrics(
    make_snapshot: Make, pictures: Path, capsys: Read
) -> None:
    small = str(snapshot(make_snapshot, pictures, stage=1))
    assert main(["evaluate", small, "--metrics", "swd"]) == 2
    assert "swd needs pictures of 16 px or more, these have 8 px" in capsys.readouterr().err
    translators = make_snapshot(run="t")
    for options in (["--count", "3"], ["--pairs", "3"], ["--data", "x"], ["--digits", "x"]):
        assert main(["evaluate", str(translators), *options]) == 2
        assert f"{options[0]} is no option for translators, which" in capsys.readouterr().err
    with pytest.raises(UserError, match="holds translators"):
        measure_run(translators, ["swd"], 4)


def test_nothing_is_written_when_a_later_metric_fails(
    make_snapshot: Make, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UserError("No.")

    folder = snapshot(make_snapshot, pictures)
    monkeypatch.setattr("progcycle.evaluation.evaluate_generator._similarities", fail)
    assert main(["evaluate", str(folder)]) == 2
    assert not (folder.parent.parent / "evaluation").exists()


# --- the short form -----------------------------------------------------------------------------------------------


def test_measure_gives_what_evaluate_writes(make_snapshot: Make, pictures: Path, tmp_path: Path) -> None:
    folder, out = snapshot(make_snapshot, pictures), tmp_path / "x.json"
    assert main(["evaluate", str(folder), "--out", str(out)]) == 0
    results = json.loads(out.read_text())["results"]
    figures = measure_run(folder, ["swd", "ms-ssim"], 20)
    assert figures == pytest.approx(
        {**results["swd"]["generated"], "ms-ssim": results["ms-ssim"]["generated"]["mean"]}, rel=1e-3
    )
