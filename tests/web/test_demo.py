"""The server of ``progcycle demo``: what it answers, and whom it does not."""

import http.client
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sentences import refused
from written_snapshots import write_snapshot

from progcycle.export import Generator, Translator, load_as
from progcycle.web import Demo, serve
from progcycle.web.demo import PATIENCE

LIMIT = 20_000  # bytes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_snapshot(tmp_path_factory.mktemp("run") / "s", latents=3, stage=1, residual_blocks=1)


@pytest.fixture
def demo(run: Path) -> Demo:
    return Demo(run, examples=0, most_bytes=LIMIT, queue=1)


@pytest.fixture
def port(demo: Demo) -> Iterator[int]:
    with serve(demo, 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def ask(port: int, method: str, path: str, content: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, content, headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return buffer.getvalue()


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def test_translations_are_those_of_the_model(port: int, run: Path) -> None:
    model = load_as(Translator, run)
    picture = noise(31, 45)
    for query, expected in (
        ("direction=ab&moment=0&seed=7", model.translate(picture, "ab", seed=7)),
        ("direction=ba&moment=0", model.translate(picture, "ba")),
    ):
        status, content = ask(port, "POST", f"/translate?{query}", png(picture))
        assert status == 200
        np.testing.assert_array_equal(Image.open(io.BytesIO(content)), expected)
    status, page = ask(port, "GET", "/")
    assert status == 200
    assert b'"server":true' in page


def test_generated_pictures_are_those_of_the_model(tmp_path: Path) -> None:
    snapshot = write_snapshot(tmp_path / "s", task="pggan", classes=("x", "y"))
    model, demo = load_as(Generator, snapshot), Demo(snapshot, over="stages")
    latents = model.latents(1, seed=3)
    got = demo.answer("/generate", {"moment": "1", "label": "1"}, latents.numpy().astype("<f4").tobytes())
    with torch.no_grad():
        expected = model(latents, 8, [1]).clamp(-1, 1)[0].permute(1, 2, 0).double()
    np.testing.assert_array_equal(Image.open(io.BytesIO(got)), ((expected + 1) * 127.5).round())


@pytest.mark.parametrize(
    ("path", "content", "status", "words"),
    [
        ("/translate?direction=ab&moment=0&seed=0", b"nothing", 400, "The picture"),
        ("/translate?direction=ab&moment=0&seed=0", b"\0" * (LIMIT + 1), 413, "MB here at most"),
        ("/translate?direction=ab&moment=0&seed=-1", None, 400, "seed must be a whole number from 0."),
        ("/translate?direction=ab&moment=0", None, 400, "seed must be"),
        ("/translate?direction=ab&moment=1", None, 400, "moment must be a whole number from 0 to 0."),
        ("/translate?direction=../etc&moment=0", None, 400, "directions of this model are ab, ba"),
        ("/generate?moment=0", None, 404, "nothing there"),
        ("/elsewhere?moment=0", None, 404, "nothing there"),
    ],
)
def test_requests_that_are_wrong(port: int, path: str, content: bytes | None, status: int, words: str) -> None:
    got, sentence = ask(port, "POST", path, png(noise(9, 9)) if content is None else content)
    assert got == status
    assert words in sentence.decode()
    assert sentence.decode().endswith(".")
    assert b"\n" not in sentence
    assert ask(port, "GET", "/page.css")[0] == 200, "the server goes on"


def test_a_picture_of_too_many_pixels(port: int) -> None:
    few = png(Image.new("1", (1 << 13, 1 << 12)))
    assert len(few) < LIMIT
    status, sentence = ask(port, "POST", "/translate?direction=ba&moment=0", few)
    assert status == 400
    assert b"pixels" in sentence


def test_other_sites_and_other_files(port: int) -> None:
    picture, path = png(noise(9, 9)), "/translate?direction=ba&moment=0"
    assert ask(port, "POST", path, picture, Origin="https://example.org")[0] == 403
    assert ask(port, "GET", "/", Host="example.org")[0] == 403
    assert ask(port, "POST", path, picture, Origin=f"http://127.0.0.1:{port}")[0] == 200
    for path in ("/../pyproject.toml", "/%2e%2e/demo.py", "/engine.js", "/etc/passwd"):
        assert ask(port, "GET", path)[0] == 404


def test_those_who_wait_are_counted(demo: Demo, port: int) -> None:
    with demo._model:  # the model is at work
        first = threading.Thread(target=ask, args=(port, "POST", "/translate?direction=ba&moment=0", png(noise(9, 9))))
        first.start()
        while demo._waiting._value:
            pass
        status, sentence = ask(port, "POST", "/translate?direction=ba&moment=0", png(noise(9, 9)))
    first.join()
    assert (status, sentence) == (503, b"Too many requests are waiting (1); try again in a moment.")
    assert ask(port, "POST", "/translate?direction=ba&moment=0", png(noise(9, 9)))[0] == 200


def test_a_request_that_never_arrives_holds_nobody_up(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"POST /translate?direction=ba&moment=0 HTTP/1.1\r\nContent-Length: 100\r\n")
        assert ask(port, "GET", "/page.js")[0] == 200
    assert PATIENCE <= 60


def test_a_port_that_is_taken(demo: Demo, port: int) -> None:
    assert "--port 0" in refused(lambda: serve(demo, port))


def test_the_command_ends_by_ctrl_c(run: Path) -> None:
    command = [sys.executable, "-m", "progcycle", "demo", str(run), "--port", "0"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Tests in the background of a shell ignore SIGINT, and hand that on.
    pipes["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, env={**os.environ, "PYTHONUNBUFFERED": "1"}, **pipes) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "http://" in line)
            found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
            assert found is not None
            with socket.create_connection(("127.0.0.1", int(found[1]))):  # browsers keep connections open
                assert ask(int(found[1]), "GET", "/")[0] == 200
                process.send_signal(signal.SIGINT)
                rest, errors = process.communicate(timeout=PATIENCE - 5)
        finally:
            process.kill()
    assert (process.returncode, rest) == (0, "stopped\n"), errors
    assert "Traceback" not in errors
