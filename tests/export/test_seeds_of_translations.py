"""Translators with latents: one picture has many translations, and the same seed gives the same one again."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from photos import folder, photo
from PIL import Image
from snapshots import edit_config

from progcycle.commands.cli import main
from progcycle.errors import UserError
from progcycle.evaluation.diversity import latents_of
from progcycle.export import Translator, load, load_as
from progcycle.export.clips import Frame, write_animation
from progcycle.export.contact_sheet import wrapped_sheet
from progcycle.export.morph import latent_frames
from progcycle.export.source_pictures import TranslatorExamples
from progcycle.export.translate_files import translate_files
from progcycle.networks import LatentEncoder
from progcycle.rng import normal

Make = Callable[..., Path]


@pytest.fixture
def run(make_snapshot: Make) -> Path:
    return make_snapshot(latents=4, predict="picture").parent.parent


@pytest.fixture
def model(run: Path) -> Translator:
    return load_as(Translator, run)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def test_a_seed_gives_its_latents_whatever_the_input_is(model: Translator, tmp_path: Path) -> None:
    path = photo(tmp_path / "x.png", 1, size=(40, 32))
    assert torch.equal(model.latents("ab", [5, 9]), torch.cat([normal(s, "latent/ab", [0], 4) for s in (5, 9)]))
    with Image.open(path) as opened:
        image = opened.copy()
    for scale in ("train", "native"):
        five, nine = (pixels(model.translate(path, "ab", scale, seed=seed)) for seed in (5, 9))
        assert np.array_equal(five, pixels(model.translate(image, "ab", scale, seed=5)))
        assert np.array_equal(five, model.translate(pixels(image), "ab", scale, seed=5))
        assert np.array_equal(five, pixels(model.translate(path, "ab", scale, latents=model.latents("ab", [5]))))
        assert np.abs(five.astype(int) - nine).mean() > 1
    assert np.array_equal(pixels(model.translate(path)), pixels(model.translate(path, seed=0)))
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    rows = model.translate(x, "ab", latents=model.latents("ab", [5, 9]))
    for i, seed in enumerate((5, 9)):
        torch.testing.assert_close(rows[i : i + 1], model.translate(x[i : i + 1], "ab", seed=seed))
    assert not torch.equal(model.translate(x, "ab", seed=5)[1], rows[1])


def test_seeds_choose_among_the_latents_of_real_pictures_where_the_encoder_remembers_some(model: Translator) -> None:
    """The share of normal numbers below the first of a seed says which."""
    encoder = model.enc_b = LatentEncoder(8, 4, remembered=6)
    assert torch.equal(model.latents("ab", [3]), normal(3, "latent/ab", [0], 4))
    encoder.remember(torch.eye(5)[:, :4] + 0.1, torch.zeros(5, 3, 8, 8))
    kept = torch.nn.functional.normalize(torch.eye(5)[:, :4] + 0.1, dim=1) * 2
    seeds = range(40)
    shares = [NormalDist().cdf(float(normal(seed, "latent/ab", [0], 4)[0, 0])) for seed in seeds]
    places = [int(5 * share) for share in shares]
    assert set(places) == set(range(5))
    torch.testing.assert_close(model.latents("ab", seeds), kept[places])
    numbers = [7, 11]
    first = [float(x) for x in normal(0, "metric/latent/ab/0", numbers, 4)[:, 0]]
    torch.testing.assert_close(
        latents_of(model).drawn("ab", numbers, torch.zeros(2, 3, 8, 8))[0],
        kept[[int(5 * NormalDist().cdf(x)) for x in first]],
    )


@pytest.fixture
def choosing(make_snapshot: Make) -> Translator:
    """With three neighbours of twelve."""
    return load_as(Translator, make_snapshot(latents=4, neighbours=3, predict="picture"))


def nearest(model: Translator, x: torch.Tensor, seed: int) -> torch.Tensor:
    """By numpy: of the three whose sources are nearest to means of 8x8 areas, the one that the seed stands for."""
    encoder = model.enc_b
    small = x.reshape(3, 8, x.shape[1] // 8, 8, x.shape[2] // 8).mean(dim=(2, 4)).numpy()
    apart = ((encoder.sources[-12:].numpy() - small) ** 2).sum(axis=(1, 2, 3))
    share = NormalDist().cdf(float(normal(seed, "latent/ab", [0], 4)[0, 0]))
    return encoder.real[-12:][np.argsort(apart)[int(3 * share)]][None]


def test_neighbours_are_chosen_by_the_whole_picture_at_every_scale(choosing: Translator, tmp_path: Path) -> None:
    model, x = choosing, torch.rand(4, 3, 32, 32) * 2 - 1
    seeds = (1, 2, 3, 4)
    rows = torch.cat([nearest(model, picture, seed) for picture, seed in zip(x, seeds, strict=True)])
    assert len(set(map(tuple, rows.tolist()))) > 1
    torch.testing.assert_close(model.latents("ab", seeds, x), rows)
    for picture, seed, row in zip(x[:, None], seeds, rows[:, None], strict=True):
        torch.testing.assert_close(
            model.translate(picture, "ab", seed=seed), model.translate(picture, "ab", latents=row)
        )
    together = torch.cat([nearest(model, picture, 2) for picture in x])
    torch.testing.assert_close(model.translate(x, "ab", seed=2), model.translate(x, "ab", latents=together))
    at_zero = torch.cat([nearest(model, picture, 0) for picture in x])
    torch.testing.assert_close(model(x), model(x, latents=at_zero))
    drawn = latents_of(model).drawn("ab", [5, 6, 7, 8], x)[0]
    assert drawn.shape == (4, 4)
    # A picture of another size: in tiles as at once, at any scale
    with Image.open(photo(tmp_path / "x.png", 3, size=(64, 128))) as image:
        shape, large = image.size, image.copy()
    half = large.resize((32, 64), Image.Resampling.BOX)
    z = nearest(model, torch.from_numpy(pixels(half).copy()).permute(2, 0, 1) / 127.5 - 1, 4)
    assert shape == (64, 128)
    for options in ({"scale": "train"}, {"scale": "native"}, {"scale": "native", "tiles": 64}):
        found, expected = (model.translate(large, "ab", **options, **how) for how in ({"seed": 4}, {"latents": z}))  # type: ignore[call-overload]
        assert np.array_equal(pixels(found), pixels(expected))


def test_the_first_frame_of_a_clip_chooses_for_all_of_them(choosing: Translator, tmp_path: Path) -> None:
    model, (given, out) = choosing, (tmp_path / "in", tmp_path / "out")
    given.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    shown = [Image.fromarray(values) for values in noise]
    write_animation(given / "moving.png", [Frame(image, Fraction(i), Fraction(1)) for i, image in enumerate(shown)])
    translate_files(model, given, out, "ab", seeds=[5])
    x = torch.from_numpy(noise).permute(0, 3, 1, 2) / 127.5 - 1
    rows = torch.cat([nearest(model, picture, 5) for picture in x])
    assert len(set(map(tuple, rows.tolist()))) > 1
    with Image.open(out / "moving.png") as clip:
        for i, frame in enumerate(shown):
            clip.seek(i)
            assert np.array_equal(pixels(clip.convert("RGB")), pixels(model.translate(frame, "ab", latents=rows[:1])))


def test_frames_between_seeds_begin_with_the_latents_of_each_picture(choosing: Translator) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    values = list(noise.repeat(4, axis=1).repeat(4, axis=2))
    examples = TranslatorExamples(choosing.config, len(values), 32, direction="ab")
    examples.levels = values
    first = next(iter(latent_frames(choosing, examples, 2, 1, seed=6)))
    expected = [choosing.translate(picture, "ab", seed=6) for picture in values]
    shown = wrapped_sheet([Image.fromarray(x) for x in expected], 32, "A to B, seeds 6 to 7", above=examples.sources)
    assert np.array_equal(pixels(first), pixels(shown))


def test_a_change_is_enlarged_with_its_latents(make_snapshot: Make, tmp_path: Path) -> None:
    model = load_as(Translator, make_snapshot(latents=4, predict="change"))
    torch.nn.init.normal_(model.gen_ab.get_submodule("decoder.to_rgb.2").weight)  # type: ignore[arg-type]
    path = photo(tmp_path / "x.png", 1, size=(90, 70))
    one, two = (pixels(model.translate(path, "ab", "detail", seed=seed)) for seed in (1, 2))
    assert np.array_equal(one, pixels(model.translate(path, "ab", "detail", seed=1)))
    assert np.abs(one.astype(int) - two).mean() > 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(model: Translator, dtype: torch.dtype) -> None:
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    expected = model.translate(x, "ab", seed=3)
    other = model.translate(x, "ab", seed=4)
    found = model.to(dtype).translate(x, "ab", seed=3)
    assert (found - expected).abs().mean() < 0.1 * (other - expected).abs().mean()


def test_seeds_and_count_on_the_command_line(run: Path, model: Translator, tmp_path: Path) -> None:
    given, out = folder(tmp_path / "in", 3, size=(20, 12)), tmp_path / "out"
    shown = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 24, 3), dtype=np.uint8)) for i in range(3)]
    write_animation(given / "moving.png", [Frame(im, Fraction(i), Fraction(1)) for i, im in enumerate(shown)])
    order = ["translate", str(run), str(given), str(out), "--direction", "ab", "--grid"]
    assert main([*order, "--seed", "7", "2"]) == 0
    names = [f"{name}_seed{seed}.png" for name in ("000", "moving") for seed in (7, 2)]
    assert {p.name for p in out.iterdir()} >= {*names, "002_seed2.png", "before_after.png"}
    with Image.open(given / "000.png") as source, Image.open(out / "000_seed2.png") as made:
        assert np.array_equal(pixels(model.translate(source, "ab", seed=2)), pixels(made))
    with Image.open(out / "before_after.png") as sheet:
        assert sheet.width > 3 * 256
    with Image.open(out / "moving_seed7.png") as clip:  # the same latents in all frames
        for i, frame in enumerate(shown):
            clip.seek(i)
            assert np.array_equal(pixels(clip.convert("RGB")), pixels(model.translate(frame, "ab", seed=7)))
    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir() if "seed" in p.name}
    (out / "001_seed7.png").unlink()
    assert main([*order, "--count", "3", "--seed", "6", "--skip-existing"]) == 0
    assert {p.name for p in out.iterdir()} >= {f"001_seed{seed}.png" for seed in (6, 7, 8)}
    assert all((out / name).stat().st_mtime_ns == time for name, time in before.items() if name != "001_seed7.png")
    single = tmp_path / "one.png"
    assert main(["translate", str(run), str(given / "000.png"), str(single), "--direction", "ab", "--seed", "2"]) == 0
    assert single.read_bytes() == (out / "000_seed2.png").read_bytes()


def test_pictures_to_be_like(run: Path, model: Translator, tmp_path: Path) -> None:
    """Their latents are what the encoder makes of them as training shows pictures: fitted, reduced, in [-1, 1]."""
    given, out = folder(tmp_path / "in", 2, size=(20, 12)), tmp_path / "out"
    size = int(model.resolution)
    assert size == int(model.config.final_resolution)
    red, wide = photo(tmp_path / "red.png", 5, size=(size, size)), photo(tmp_path / "wide.jpg", 6, size=(40, 16))
    with Image.open(red) as image:
        seen = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        expected = model.enc_b(seen, model.config.stage, model.config.alpha)
    rows = model.latents_like([red, wide], "ab")
    assert rows.shape == (2, 4)
    torch.testing.assert_close(rows[:1], expected)
    with Image.open(red) as image:
        assert torch.equal(model.latents_like([image], "ab"), rows[:1])
    order = ["translate", str(run), str(given), str(out), "--direction", "ab", "--grid", "--like", str(red), str(wide)]
    assert main(order) == 0
    names = {f"{name}_like_{ref}.png" for name in ("000", "001") for ref in ("red", "wide")}
    assert {p.name for p in out.iterdir()} == {*names, "before_after.png"}
    for i, ref in enumerate(("red", "wide")):
        with Image.open(given / "000.png") as source, Image.open(out / f"000_like_{ref}.png") as made:
            assert np.array_equal(pixels(model.translate(source, "ab", latents=rows[i : i + 1])), pixels(made))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--direction", "ab", "--like", "none.png"], "none.png"),
        (["--direction", "ab", "--seed", "1", "--like", "x.png"], "leave out one of the two"),
        (["--direction", "ab", "--like", "a/x.png", "b/x.png"], "are called x, which names of files cannot tell"),
        (["--direction", "ba", "--like", "x.png"], "These translators have no latents from B to A"),
        (
            ["--direction", "ba", "--seed", "1"],
            "These translators have no latents from B to A, so that each picture has",
        ),
        (["--direction", "ba", "--count", "2"], "These translators have no latents from B to A"),
        (["--direction", "ab", "--seed", "1", "2", "--count", "2"], "--count counts on from one seed"),
    ],
)
def test_refusals(
    options: list[str], sentence: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = photo(tmp_path / "x.png", 1)
    assert main(["translate", str(run), str(picture), str(tmp_path / "out"), *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_python_refuses_too(model: Translator) -> None:
    x = torch.zeros(3, 3, 32, 32)
    with pytest.raises(UserError, match="no latents from B to A"):
        model.translate(x, "ba", seed=1)
    with pytest.raises(UserError, match="no latents from B to A"):
        model.estimate_latents(x, "ba")
    with pytest.raises(ValueError, match="not both"):
        model.translate(x, "ab", seed=1, latents=torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"expected latents of shape \[1 or 3, 4\], got \[2, 4\]"):
        model.translate(x, "ab", latents=torch.zeros(2, 4))
    with pytest.raises(ValueError, match="expected latents of shape"):
        model.gen_ab(x, 2, 1.0)
    assert model.estimate_latents(x, "ab").shape == (3, 4)


def test_a_snapshot_without_the_encoder_or_with_another_is_refused(make_snapshot: Make) -> None:
    snapshot = make_snapshot(latents=4)
    networks = json.loads((snapshot / "config.json").read_text())["networks"]
    edit_config(snapshot, networks={name: spec for name, spec in networks.items() if name != "enc_b"})
    with pytest.raises(UserError, match="gen_ab takes 4 latents and enc_b estimates 0, so that they do not belong"):
        load(snapshot)
    networks["enc_b"]["arguments"]["latents"] = 5
    edit_config(snapshot, networks=networks)
    with pytest.raises(UserError, match="enc_b estimates 5"):
        load(snapshot)


def test_examples_of_a_progression_differ_in_their_latents(model: Translator, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "x.png", 1, size=(32, 32))
    photo(tmp_path / "in" / "y.png", 1, size=(32, 32))  # the same picture twice
    examples = TranslatorExamples(model.config, count=2, side=32, direction="ab", pictures=tmp_path / "in")
    first, second = examples.made_by(model)
    for seed, made in enumerate((first, second)):
        assert np.array_equal(pixels(made), model.translate(examples.levels[seed], "ab", seed=seed))
    assert not np.array_equal(pixels(first), pixels(second))
