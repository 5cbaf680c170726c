"""The page in a real browser: what it computes against torch, and that it asks for nothing else than its own files."""

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chromium import PROGRAM, Tab, chromium
from PIL import Image
from safetensors.torch import load_file, save_file
from written_snapshots import write_snapshot

from progcycle.export import Generator, Translator, load_as
from progcycle.export.interpolation import between_uniform, slerp
from progcycle.web import Demo, serve, write_page

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def translators(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """Of rectangles, in mid-fade, with latents from A to B; they paint a change."""
    folder = write_snapshot(
        tmp_path_factory.mktemp("run") / "snapshots" / "nimg-000012000",
        stage=1, alpha=0.4, latents=3, predict="change", normalize="none", data={"root": str(pictures)},
    )  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    config |= {"base_resolution": [8, 12], "resolution": [16, 24], "final_resolution": [32, 48]}
    config["recipe"]["resolution"] = [32, 48]
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    for name, values in weights.items():
        if not values.any():  # the last layers: untrained, they change nothing
            weights[name] = torch.randn(values.shape, generator=torch.Generator().manual_seed(1)) / 2
    save_file(weights, folder / "model.safetensors")
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hosted() -> Iterator[Callable[[Path], str]]:
    """A host of static files, as ``python -m http.server`` is."""
    servers = []

    def host(folder: Path) -> str:
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield host
    for server in servers:
        server.shutdown()
        server.server_close()


def picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    """Smooth and noisy areas of all levels."""
    rng = np.random.default_rng(height)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noise = rng.integers(-30, 30, (height, width, 3)) * (np.arange(width) > width // 2)[:, None]
    return Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8)).convert(mode)


def ready(tab: Tab, url: str, **window: Any) -> None:
    tab.requests.clear()
    tab.problems.clear()
    tab.open(url, **window)
    tab.wait("document.body && document.body.dataset.done && document.body.dataset.state === 'ready'")


def give(tab: Tab, image: Image.Image) -> np.ndarray:
    """Drop a picture, and return what the page made of it.  # [H, W, 3]"""
    buffer = io.BytesIO()
    image.save(buffer, "png")
    text = base64.b64encode(buffer.getvalue()).decode()
    done = tab.js("document.body.dataset.done")
    tab.js(
        f"progcycle.take(new Blob([Uint8Array.from(atob('{text}'), (c) => c.charCodeAt(0))], {{type: 'image/png'}}))"
    )
    tab.wait(f"document.body.dataset.done !== '{done}' && document.body.dataset.state === 'ready'")
    return shown(tab)


def shown(tab: Tab) -> np.ndarray:
    width, height, text = tab.js(
        "(({width, height, data}) => [width, height, btoa(Array.from(data, (v) => String.fromCharCode(v)).join(''))])"
        "(progcycle.after)"
    )
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]


def change(tab: Tab, name: str, value: int) -> None:
    """Move a slider, or fill in a field."""
    tab.js(
        f"(() => {{ const field = document.getElementById('{name}'); field.value = {value};"
        "field.dispatchEvent(new Event('input')); field.dispatchEvent(new Event('change')); })()"
    )


def check_near(got: np.ndarray, expected: Image.Image | np.ndarray, most: int = 2) -> None:
    """Grey levels may round to a neighbour, here and where the picture is brought to the network."""
    apart = np.abs(got.astype(int) - np.asarray(expected).astype(int))
    assert apart.max() <= most
    assert apart.mean() < 0.1


def check_named(tab: Tab) -> None:
    """Whoever hears the page instead of seeing it is told what everything is for."""
    nameless = tab.js(
        "[...document.querySelectorAll('button, input, select, canvas')].filter((one) => !one.closest('[hidden]') &&"
        "!one.getAttribute('aria-label') && !one.labels?.length && !one.textContent.trim() && !one.closest('button'))"
        ".map((one) => one.outerHTML)"
    )
    assert nameless == []


def check_calm(tab: Tab, *starts: str) -> None:
    """Nothing was asked for but what begins like that, and nothing went wrong."""
    assert [url for url in tab.requests if not url.startswith((*starts, "blob:", "data:"))] == []
    assert tab.requests
    assert tab.problems == []


def test_translators(tab: Tab, translators: Path, tmp_path: Path, hosted: Callable[[Path], str]) -> None:
    run = translators.parents[1]
    page = write_page(run, tmp_path / "site", examples=2)
    assert page.difference < 0.1
    model = load_as(Translator, run)
    assert model.scale == "detail"
    url = hosted(page.folder)
    ready(tab, url)
    assert tab.js("document.querySelectorAll('#examples img').length") == 2
    for sides in ((90, 131), (40, 16), (9, 12)):
        image = picture(*sides)
        expected = model.translate(image, "ab", seed=0)
        assert np.abs(np.asarray(expected).astype(int) - np.asarray(image)).mean() > 10
        check_near(give(tab, image), expected)
    # Another seed, and the other direction
    image = picture(33, 50)
    give(tab, image)
    change(tab, "seed", 5)
    tab.wait("document.body.dataset.state === 'ready'")
    check_near(shown(tab), model.translate(image, "ab", seed=5))
    tab.js("document.querySelector('input[value=ba]').click()")
    tab.wait("document.body.dataset.state === 'ready'")
    check_near(shown(tab), model.translate(image, "ba"))
    check_named(tab)
    # There and back, in grey levels
    tab.js("progcycle.show('back')")
    tab.wait("progcycle.again && document.body.dataset.state === 'ready'")
    again = model.translate(model.translate(image, "ba"), "ab", seed=5)
    mean = np.abs(np.asarray(again).astype(int) - np.asarray(image)).mean()
    told = float(tab.js("document.querySelector('#error').textContent").split()[1])
    assert told == pytest.approx(mean, abs=0.15)
    check_calm(tab, url)


def test_neighbours_are_chosen_as_the_model_chooses_them(
    tab: Tab, make_snapshot: Callable[..., Path], tmp_path: Path, hosted: Callable[[Path], str]
) -> None:
    run = make_snapshot(latents=4, neighbours=4, predict="picture", normalize="none").parent.parent
    model = load_as(Translator, run)
    ready(tab, hosted(write_page(run, tmp_path / "site", examples=0).folder))
    for seed, sides in enumerate([(90, 131), (32, 32), (40, 16), (150, 150)]):
        image = picture(*sides)
        change(tab, "seed", seed)
        check_near(give(tab, image), model.translate(image, "ab", seed=seed))


def test_opened_as_a_file_with_grey_pictures_stages_and_one_direction(tab: Tab, tmp_path: Path) -> None:
    options: dict[str, Any] = {"normalize": "none", "schedule": {"start_resolution": 16}}
    run = write_snapshot(tmp_path / "s", channels=(1, 3), predict="picture", **options)
    weights = load_file(run / "model.safetensors")
    save_file({name: w for name, w in weights.items() if name.startswith("gen_ab")}, run / "model.safetensors")
    config = json.loads((run / "config.json").read_text())
    del config["networks"]["gen_ba"]
    (run / "config.json").write_text(json.dumps(config))
    page = write_page(run, tmp_path / "site", over="stages", names=("line", "<b>colour"))
    model = load_as(Translator, run)
    assert (model.scale, page.moments) == ("train", 2)
    ready(tab, page.index.as_uri(), dark=True)
    assert tab.js("document.documentElement.dataset.theme") == "dark"
    assert tab.js("document.querySelector('#ways').textContent") == "line → <b>colour"
    assert tab.js("document.querySelector('#views').textContent") == "SliderPairDraw"
    image = picture(70, 41)
    check_near(give(tab, image), model.translate(image, "ab"))
    change(tab, "moment", 0)
    tab.wait("document.body.dataset.state === 'ready'")
    check_near(shown(tab), model.translate(image, "ab", resolution=16))
    # No picture: one sentence, and what was there stays
    tab.js("progcycle.take(new Blob(['nothing']))")
    assert "no picture" in tab.js("document.querySelector('#status').textContent")
    check_near(shown(tab), model.translate(image, "ab", resolution=16))
    check_calm(tab, page.folder.as_uri())


def test_generator_with_classes(tab: Tab, tmp_path: Path) -> None:
    run = write_snapshot(tmp_path / "s", task="pggan", classes=("x", "y", "z"))
    page = write_page(run, tmp_path / "site")
    model = load_as(Generator, run)
    ready(tab, page.index.as_uri(), width=390, height=844)
    for number, label in ((0, 0), (7, 2)):
        change(tab, "number", number)
        change(tab, "class", label)
        tab.wait("document.body.dataset.state === 'ready'")
        expected = model.generate(1, start=number, labels=[label])
        check_near(shown(tab), ((expected[0].permute(1, 2, 0).double() + 1) * 127.5).round().numpy(), most=1)
    assert tab.js("document.documentElement.scrollWidth") <= 390, "it fits a phone"
    check_named(tab)
    a, b = model.latents(2, seed=4)
    both = f"{a.tolist()}, {b.tolist()}"
    np.testing.assert_allclose(tab.js(f"slerp({both}, 0.3)"), slerp(a, b, 0.3), atol=1e-6)
    u, v = a.tanh(), b.tanh()
    through = tab.js(f"(([u, v]) => u.map((x, i) => throughCube(x, v[i], 0.3)))([{u.tolist()}, {v.tolist()}])")
    np.testing.assert_allclose(through, between_uniform(u, v, 0.3), atol=1e-5)
    before = shown(tab)
    tab.js("document.getElementById('walk').click()")
    tab.wait("Number(document.getElementById('between').value) > 0.05")
    tab.js("document.getElementById('walk').click()")
    tab.wait("document.body.dataset.state === 'ready'")
    assert np.abs(shown(tab).astype(int) - before).max() > 0
    check_calm(tab, page.folder.as_uri())


def test_demo(tab: Tab, translators: Path) -> None:
    model = load_as(Translator, translators)
    with serve(Demo(translators.parents[1], examples=1), 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        ready(tab, url)
        image = picture(33, 50)
        check_near(give(tab, image), model.translate(image, "ab", seed=0), most=0)
        check_calm(tab, url)
        server.shutdown()
