"""Publishing a model: the folder and its card, and a round trip through a stand-in of the Hub on loopback."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hub_stand_in import TOKEN, Hub, stand_in
from huggingface_hub import ModelCard, constants
from PIL import Image, PngImagePlugin
from safetensors import safe_open
from sentences import sentence_of

import progcycle
from progcycle.commands.cli import main
from progcycle.errors import UserError
from progcycle.export import Generator, Translator, find_snapshot
from progcycle.export.card_figures import measured_of
from progcycle.export.data_terms import data_name, licence_of_data, without_places
from progcycle.recipe import load_recipe

Make = Callable[..., Path]
Read = pytest.CaptureFixture[str]
LICENCES = ["--license", "mit", "--data-license", "CC0"]
X = torch.linspace(-1, 1, 3 * 40 * 44).reshape(1, 3, 40, 44)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The stand-in, in place of huggingface.co."""
    with stand_in() as found:
        for name, value in {
            "ENDPOINT": found.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": found.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": True,
            "HF_TOKEN_PATH": str(tmp_path / "no token"),
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.chdir(tmp_path)
        yield found


def as_run(snapshot: Path, record: dict[str, Any] | None = None, sheet: int | None = None) -> Path:
    """The run folder of a snapshot, with its recipe, and perhaps an evaluation and a sheet of samples."""
    run = snapshot.parent.parent
    model = progcycle.load(run)
    (run / "recipe.yaml").write_text(yaml.safe_dump(model.config.recipe))
    if record is not None:
        (run / "evaluation").mkdir()
        file = run / "evaluation" / f"nimg-{model.config.nimg:012d}.json"
        file.write_text(json.dumps({"nimg": model.config.nimg, "resolution": 32, **record}))
    if sheet is not None:
        (run / "samples").mkdir()
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Description", "/home/me/secret")
        Image.new("RGB", (6, 6), "red").save(run / "samples" / f"nimg-{sheet:012d}.png", pnginfo=texts)
    return run


TRANSLATED = {
    "pictures": {"a": 20, "b": 30},
    "pairs": 0,
    "protocol": {"seed": 4},
    "features": {"name": "efficientnet-lite0"},
    "paths": {"a": ["/home/me/secret/testA"]},
    "results": {
        "ab": {
            "translated": {"kid": 0.25, "kid_error": 0.0625, "swd": 30.5, "cycle": 0.5, "unheard_of": 1},
            "unchanged": {"kid": 0.75},
            "floor": {"swd": 24.0},
        },
        "ba": {"translated": {"kid": float("nan"), "swd": 27.25}},
    },
}


def front_of(folder: Path) -> dict[str, Any]:
    front: dict[str, Any] = ModelCard.load(folder / "README.md").data.to_dict()
    return front


@pytest.mark.parametrize("task", ["cyclegan", "pggan"])
def test_pushed_and_pulled_a_model_is_the_same_to_the_bit(
    hub: Hub, make_snapshot: Make, task: str, capsys: Read
) -> None:
    run = as_run(make_snapshot(task=task, alpha=0.4))
    assert main(["push", str(run), "me/model-1.0", *LICENCES, "--private"]) == 0
    commit = hub.repositories["me/model-1.0"].branches["main"]
    assert capsys.readouterr().out == f"pushed me/model-1.0: {hub.url}/me/model-1.0/commit/{commit}\n"
    assert hub.repositories["me/model-1.0"].private
    assert len(hub.objects) == 1, "weights go by LFS"
    assert main(["pull", "me/model-1.0"]) == 0
    here, fetched, pulled = progcycle.load(run), progcycle.load("me/model-1.0"), progcycle.load("model-1.0")
    for other in (fetched, pulled, type(here).from_pretrained("me/model-1.0")):
        assert type(other) is type(here)
        if isinstance(here, Translator):
            assert isinstance(other, Translator)
            assert torch.equal(here.translate(X, "ab"), other.translate(X, "ab"))
        else:
            assert isinstance(here, Generator)
            assert isinstance(other, Generator)
            assert torch.equal(here.generate(3, seed=5), other.generate(3, seed=5))
    assert not list(Path("model-1.0").rglob(".*"))
    assert load_recipe("model-1.0/recipe.yaml") == here.recipe
    assert find_snapshot("model-1.0") == Path("model-1.0")


def test_revisions_are_branches_and_commits(hub: Hub, make_snapshot: Make) -> None:
    models = [progcycle.load(make_snapshot(seed=seed, run=f"run{seed}")) for seed in (0, 1)]
    terms = {"license": "mit", "data_license": "CC0"}
    first = models[0].push_to_hub("me/model", **terms).rpartition("/")[2]
    models[1].push_to_hub("me/model", **terms, revision="second", commit_message="Better")
    repository = hub.repositories["me/model"]
    assert repository.messages[-1] == "Better"
    assert not repository.private
    for revision, model in ((None, models[0]), ("main", models[0]), ("second", models[1]), (first, models[0])):
        loaded = progcycle.load("me/model", revision=revision)
        assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))
    with pytest.raises(UserError, match=r"^me/model is on the Hugging Face Hub, but has no revision third\.$"):
        progcycle.load("me/model", revision="third")
    with pytest.raises(UserError, match=r"^run0 is a folder, or none of the .* and has no revision second\.$"):
        progcycle.load("run0", revision="second")


def test_what_was_pushed_once_is_there_without_a_network(
    hub: Hub, make_snapshot: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = progcycle.load(make_snapshot())
    model.push_to_hub("me/model", license="mit", data_license="CC0")
    progcycle.load("me/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert isinstance(progcycle.load("me/model"), Translator)
    for action in (
        lambda: progcycle.load("me/other"),
        lambda: model.push_to_hub("me/model", license="mit", data_license="CC0"),
    ):
        with pytest.raises(UserError) as caught:
            action()
        sentence_of(str(caught.value))


def test_a_second_push_takes_figures_and_samples_of_the_first_away(hub: Hub, make_snapshot: Make) -> None:
    run = as_run(make_snapshot(), TRANSLATED, sheet=12000)
    assert main(["push", str(run), "me/model", *LICENCES]) == 0
    repository = hub.repositories["me/model"]
    first = set(repository.commits[repository.branches["main"]])
    assert first == {
        "README.md", "config.json", "metrics.json", "model.safetensors", "recipe.yaml", "samples/nimg-000000012000.png",
    }  # fmt: skip
    shutil.rmtree(run / "evaluation")
    assert main(["push", str(run), "me/model", *LICENCES, "--no-sheet"]) == 0
    second = repository.commits[repository.branches["main"]]
    assert set(second) == {"README.md", "config.json", "model.safetensors", "recipe.yaml"}
    assert "\nNot measured.\n" in second["README.md"].decode()


def test_nobody_is_sent_away_without_knowing_why(
    hub: Hub, make_snapshot: Make, monkeypatch: pytest.MonkeyPatch, capsys: Read
) -> None:
    """One sentence and exit code 2, and nothing on the Hub or here."""
    run = str(as_run(make_snapshot()))
    Path("full").mkdir()
    Path("full/precious").touch()
    as_it_was = sorted(Path.cwd().iterdir())

    def refused(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        return sentence_of(capsys.readouterr().err)

    assert "--license ID of the weights" in refused("push", run, "me/model", "--data-license", "CC0")
    assert "--data-license TEXT of the pictures" in refused("push", run, "me/model", "--license", "mit")
    assert "push needs the name of a repository" in refused("push", run)
    for name in (
        "model",
        "me/",
        "/me",
        "a/b/c",
        "me/../x",
        "me/mo del",
        "me/mo--del",
        "me/-x",
        "me/" + "m" * 99,
        "mé/x",
    ):
        assert "is no name of a repository" in refused("push", run, name, *LICENCES)
        assert "is no name of a repository" in refused("pull", name, "--out", "new")
    assert "--private is for pushing" in refused("push", run, "--folder", "new", "--private", *LICENCES)
    assert "full exists already" in refused("push", run, "--folder", "full", *LICENCES)
    assert "full exists already" in refused("pull", "me/model", "--out", "full")
    assert "nowhere does not exist" in refused("push", "nowhere", "me/model", *LICENCES)
    missing = refused("pull", "me/model")
    assert "me/model is neither a folder nor a model" in missing
    assert "there is no such repository; if it is private, log in with hf auth login" in missing
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    assert "log in with hf auth login, or set HF_TOKEN" in refused("push", run, "me/model", *LICENCES)
    assert hub.repositories == {}
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    assert "cannot be pushed to the Hugging Face Hub (" in refused("push", run, "me/model", *LICENCES)
    assert sorted(Path.cwd().iterdir()) == as_it_was


def test_strangers_files_are_refused_and_no_folder_is_left(hub: Hub, make_snapshot: Make, capsys: Read) -> None:
    progcycle.load(make_snapshot()).push_to_hub("me/model", license="mit", data_license="CC0")
    repository = hub.repositories["me/model"]
    files = repository.commits[repository.branches["main"]]
    config = json.loads(files["config.json"])
    for name, content in (
        ("model.safetensors", files["model.safetensors"][:-4]),
        ("model.safetensors", b"PK\x03\x04"),
        ("config.json", json.dumps({**config, "stage": 1}).encode()),
        ("config.json", b"[1]"),
        ("config.json", None),
    ):
        changed = {**files, name: content} if content is not None else {k: v for k, v in files.items() if k != name}
        repository.commits["a" * 40] = changed
        repository.branches["main"] = "a" * 40
        shutil.rmtree("cache", ignore_errors=True)
        assert main(["pull", "me/model"]) == 2
        assert "me/model" in sentence_of(capsys.readouterr().err)
        assert not Path("model").exists()


def test_the_card_says_what_is_known(make_snapshot: Make, here: Path, capsys: Read) -> None:
    run = as_run(make_snapshot(data={"root": "/home/me/secret/cats"}), TRANSLATED, sheet=11000)
    about = "Cats into dogs."
    assert main(["push", str(run), "you/cats2dogs", "--folder", "out", *LICENCES, "--about", about]) == 0
    front, text = front_of(Path("out")), Path("out/README.md").read_text()
    assert front["library_name"] == "progcycle"
    assert (front["pipeline_tag"], front["license"]) == ("image-to-image", "mit")
    assert {"cyclegan", "progressive-growing", "pytorch_model_hub_mixin"} <= set(front["tags"])
    (result,) = front["model-index"][0]["results"]
    assert front["model-index"][0]["name"] == "cats2dogs"
    assert result["dataset"] == {"name": "cats", "type": "cats"}
    found = {metric["name"]: (metric["type"], metric["value"]) for metric in result["metrics"]}
    assert found == {
        "KID, A to B": ("kid", 0.25),
        "SWD x 1000, A to B": ("swd", 30.5),
        "L1 to the source, there and back, A to B": ("cycle_l1", 0.5),
        "SWD x 1000, B to A": ("swd", 27.25),
    }
    for line in (
        "# cats2dogs",
        about,
        'model = progcycle.load("you/cats2dogs")',
        "| KID | 0.2500 ± 0.0625 | 0.7500 |  |",
        "| SWD x 1000 | 30.50 |  | 24.00 |",
        "![Samples of training, painted by the averaged weights](samples/nimg-000000011000.png)",
        "Weights: mit. Pictures that the model was trained on: CC0.",
        "  url = {https://arxiv.org/abs/1703.10593}",
    ):
        assert line in text.splitlines()
    assert "20 of A and 30 of B, without pairs; 32 px; seed 4; features of efficientnet-lite0" in text
    everything = b"".join(path.read_bytes() for path in Path("out").rglob("*") if path.is_file())
    assert b"secret" not in everything, "nor where files lie"
    assert isinstance(progcycle.load("out"), Translator)
    with safe_open("out/model.safetensors", "pt") as file:
        metadata = file.metadata()
    config = progcycle.load("out").config
    assert (metadata["format"], metadata["task"], metadata["nimg"]) == ("pt", "cyclegan", "12000")
    assert metadata["recipe_sha256"] == config.recipe_sha256
    assert config.recipe_sha256 in text


def test_lines_of_use_are_run_as_they_stand(make_snapshot: Make, here: Path) -> None:
    for task, written in (("cyclegan", ["a.png", "b.png"]), ("pggan", ["0.png"])):
        assert main(["push", str(make_snapshot(task=task, run=task)), "--folder", f"{task}_out", *LICENCES]) == 0
        text = Path(f"{task}_out/README.md").read_text()
        code = text.partition("```python\n")[2].partition("```")[0]
        assert len(code.strip().splitlines()) <= 6
        Image.new("RGB", (40, 36), "white").save("a.png")
        exec(compile(code, "README.md", "exec"), {})
        assert all(Image.open(name).size[0] > 1 for name in written)


def test_other_licences_are_named_and_unknown_ones_are_said_so(make_snapshot: Make, here: Path) -> None:
    run = make_snapshot(task="pggan")
    given = ["--license", "My own terms, v2", "--data-licence", "unknown"]
    assert main(["push", str(run), "--folder", "named", *given]) == 0
    front, text = front_of(Path("named")), Path("named/README.md").read_text()
    assert (front["license"], front["license_name"]) == ("other", "my-own-terms-v2")
    assert front["pipeline_tag"] == "unconditional-image-generation"
    assert "Licence of the pictures: not known." in text
    assert "model-index" not in front
    assert "\nNot measured.\n" in text


def test_text_from_outside_makes_no_markup(make_snapshot: Make, here: Path) -> None:
    """Neither in Markdown nor in the front matter."""
    run = as_run(make_snapshot(data={"a": {"path": "x`| [a](b)\n---"}, "b": {"path": "b: {"}}))
    licence = 'CC0 <img src=x> `x` | "\n---\nlicense: mit'
    assert main(["push", str(run), "--folder", "out", "--license", licence, "--data-license", licence]) == 0
    front, text = front_of(Path("out")), Path("out/README.md").read_text()
    assert front["license"] == "other"
    assert text.count("\n---\n") == 1
    assert "<img" not in text.replace("\\<img", "")
    assert "`x| [a](b) ---`" in text


def test_samples_stay_at_home_where_pictures_may_not_be_copied(make_snapshot: Make, here: Path) -> None:
    run = as_run(make_snapshot(), sheet=12000)
    for number, (licence, shown) in enumerate(
        (("non-commercial research only, no redistribution", False), ("CC0", True))
    ):
        out = f"out{number}"
        assert main(["push", str(run), "--folder", out, "--license", "mit", "--data-license", licence]) == 0
        assert (Path(out) / "samples").exists() == shown
    with Image.open("out1/samples/nimg-000000012000.png") as image:
        assert image.info == {}


def test_licences_come_from_stores_and_from_cards_of_data_sets(tmp_path: Path) -> None:
    def of(*parts: str) -> str | None:
        return licence_of_data({"data": {"root": str(tmp_path.joinpath(*parts))}})

    for name, text in (
        ("one", "---\nlicense: cc-by-4.0\n---\n# One"),
        ("several", "---\nlicense: [mit, cc0-1.0]\n---\n"),
        ("other", "---\nlicense: other\nlicense_name: Arphic\n---\n"),
        ("none", "# No front matter\n---\nlicense: mit\n---\n"),
        ("open", "---\nlicense: mit\n"),
        ("bad", "---\nlicense: [\n---\n"),
        ("number", "---\nlicense: 3\n---\n"),
        ("list", "---\n- license\n---\n"),
    ):
        (tmp_path / name / "trainA").mkdir(parents=True)
        (tmp_path / name / "README.md").write_text(text)
    assert of("one") == of("one", "trainA") == "cc-by-4.0"
    assert of("several") == "mit; cc0-1.0"
    assert of("other") == "Arphic"
    assert [of(name) for name in ("none", "open", "bad", "number", "list", "nowhere")] == [None] * 6
    (tmp_path / "one" / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
    assert of("one") is None
    assert licence_of_data({"data": {"root": "datasets/demo"}}) == "cc-by-sa-4.0"
    assert licence_of_data({"data": 3}) is None


def test_names_of_data() -> None:
    for data, name in (
        ({"root": "datasets/openmoji"}, "openmoji"),
        ({"path": "my/faces"}, "faces"),
        ({"path": ["faces/train"]}, "faces"),
        ({"a": {"path": "x/trainA"}, "b": {"path": "x/trainB"}}, "x"),
        ({"a": {"path": "cats"}, "b": {"path": "dogs"}}, "cats and dogs"),
        ({}, "unnamed pictures"),
    ):
        assert data_name({"data": data}) == name


def test_places_on_this_machine_are_left_out() -> None:
    content = {"data": {"a": {"path": ["/home/me/cats", "~/dogs", "rel/cats", "/"]}, "n": 3}, "t": ("/x/y",)}
    assert without_places(content) == {"data": {"a": {"path": ["cats", "dogs", "rel/cats", "/"]}, "n": 3}, "t": ["y"]}


def test_figures_of_generators_and_of_the_log(make_snapshot: Make, here: Path) -> None:
    results = {
        "kid": {"generated": {"kid": 0.5, "kid_error": 0.125}, "real": {"kid": 0.25}},
        "ms-ssim": {"pairs": 3, "generated": {"mean": 0.5, "standard_error": 0.1}, "real": {"mean": 0.375}},
        "modes": {"generated": {"mean": {"modes": 998.5}, "deviation": {}}, "real": {"modes": 1000}},
        "swd": {"generated": {"swd/16": 4.0, "swd": 3.0}, "real": None},
        "levels": [1],
    }
    record = {"results": results, "real": {"pictures": 70}, "seed": 3, "seen_by_discriminators": ["efficientnet-lite0"]}
    run = as_run(make_snapshot(task="pggan"), record)
    measured = measured_of(run, 12000, "32")
    assert measured is not None
    half = "real pictures, half to half"
    assert [(f.metric, f.value, dict(f.beside), f.error) for f in measured.figures] == [
        ("kid", 0.5, {half: 0.25}, 0.125),
        ("ms_ssim", 0.5, {half: 0.375}, None),
        ("modes", 998.5, {half: 1000.0}, None),
        ("swd", 3.0, {}, None),
    ]
    assert "A discriminator has seen such features while training: efficientnet-lite0." in measured.protocol
    assert "against 70 real pictures" in measured.protocol
    file = run / "evaluation" / "nimg-000000012000.json"
    for damaged in ("", "[]", '{"results": 3}', "{" * 5000):
        file.write_text(damaged)
        with pytest.raises(UserError, match="is no record of an evaluation"):
            measured_of(run, 12000, "32")
    file.unlink()
    lines = ['{"nimg": 12000, "metric/kid": 0.75, "metric/swd/ab": 2.5, "metric/odd": 1}', "{torn", "3"]
    lines.append('{"nimg": 16000, "metric/kid": 0.1}')
    (run / "stats.jsonl").write_text("\n".join(lines))
    logged = measured_of(run, 12000, "32")
    assert logged is not None
    assert [(f.metric, f.of, f.value) for f in logged.figures] == [("kid", "", 0.75), ("swd", "A to B", 2.5)]
    assert logged.record is None
    assert measured_of(run, 14000, "32") is None
