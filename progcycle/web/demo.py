"""``progcycle demo``: the page of a model on this computer, with the whole model behind it; loopback only."""

import errno
import io
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import torch

from progcycle.data.decode import decode_picture
from progcycle.errors import UserError
from progcycle.export import Autoencoder, Generator, SnapshotModel, Translator, to_pil
from progcycle.export.tensor_images import from_pixels
from progcycle.output import LOGGER
from progcycle.web.content import Content, Names
from progcycle.web.moments import Moment, Moments, Over
from progcycle.web.page import INDEX, SCRIPT_FILE, STYLE, name_of, page_files

HOST = "127.0.0.1"
MEGABYTE = 1 << 20
PATIENCE = 30  # seconds that a request may take to arrive
MOST_PIXELS = 1 << 24  # of an uploaded picture
KINDS = {INDEX: "text/html", STYLE: "text/css", SCRIPT_FILE: "text/javascript"}


class RefusedError(Exception):
    """A request that is answered with a sentence.

    Args:
        status: of the answer.
        sentence: what is wrong.
    """

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass
class Demo:
    """What a server answers with: the files of the page, and pictures that the model makes.

    Args:
        run: a run folder, or a snapshot.
        over: what the page's slider moves over.
        names: what people read for A and B.
        title: default: the name of the run.
        examples: pictures of each domain at most.
        device: of the model.
        queue: requests that may wait for the model, with the one that it works on.
        most_bytes: of a request.

    Raises:
        UserError: there is no snapshot, or it is none for a browser.
    """

    run: str | Path
    over: Over = "snapshots"
    names: tuple[str, str] = ("A", "B")
    title: str | None = None
    examples: int = 8
    device: str = "cpu"
    queue: int = 8
    most_bytes: int = 20 * MEGABYTE
    moments: Moments = field(init=False)
    chosen: list[Moment] = field(init=False)
    files: Mapping[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.moments = Moments(self.run, self.over, self.device)
        self.chosen = self.moments.all
        content = Content(self.moments, self.chosen, Names(self.title or name_of(self.run), self.names), self.examples)
        self.files = {name: text.encode() for name, text in page_files(content.as_json(server=True)).items()}
        self._waiting, self._model = threading.BoundedSemaphore(self.queue), threading.Lock()

    def answer(self, path: str, values: Mapping[str, str], content: bytes) -> bytes:
        """The picture that a request asks for, as PNG.

        Args:
            path: ``/translate`` (``content`` is a picture) or ``/generate`` (latents: float32, little end first).
            values: moment, and direction and seed, or label.
            content: of the request.

        Raises:
            RefusedError: something about it is wrong, or too many are waiting.
        """
        if not self._waiting.acquire(blocking=False):
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, f"Too many requests are waiting ({self.queue}); try again in a moment."
            )
        try:
            with self._model:
                return self._made(path, values, content)
        except UserError as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from None
        finally:
            self._waiting.release()

    def _made(self, path: str, values: Mapping[str, str], content: bytes) -> bytes:
        moment = self.chosen[_number(values, "moment", len(self.chosen))]
        model = self.moments.model_at(moment.path)
        if path == "/generate" and isinstance(model, Generator):
            pixels = self._generated(model, moment, values, content)
        elif path == "/translate" and not isinstance(model, Generator):
            pixels = self._translated(model, moment, values, content)
        else:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"{path}: {model.kind} has nothing there.")
        buffer = io.BytesIO()
        to_pil(pixels)[0].save(buffer, "png", compress_level=1)
        return buffer.getvalue()

    def _generated(
        self, model: Generator, moment: Moment, values: Mapping[str, str], content: bytes
    ) -> torch.Tensor:  # [1, C, H, W]
        size = model.latent_form(moment.resolution).size
        if len(content) != 4 * size:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"The latents of this model have {4 * size} bytes.")
        latents = torch.from_numpy(np.frombuffer(content, "<f4").astype(np.float32))[None]
        if not bool(latents.isfinite().all()):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "Latents must be finite numbers.")
        labels = [_number(values, "label", len(model.classes))] if model.classes else None
        with torch.no_grad():
            pictures: torch.Tensor = model(latents, moment.resolution, labels)
        return pictures.float().clamp(-1, 1).cpu()

    def _translated(
        self, model: SnapshotModel, moment: Moment, values: Mapping[str, str], content: bytes
    ) -> torch.Tensor:  # [1, C, H, W]
        graphs = {graph.name: graph for graph in model.graphs(resolution=moment.resolution)}
        name = values.get("direction", "")
        if name not in graphs:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"The directions of this model are {', '.join(graphs)}.")
        form: Any = graphs[name].inputs["input"]
        levels = decode_picture(
            io.BytesIO(content),
            channels=form.channels,
            background=form.background,
            name="The picture",
            max_pixels=MOST_PIXELS,
        )
        if isinstance(model, Autoencoder):
            return model.restore(from_pixels(levels))
        assert isinstance(model, Translator)
        way: Any = name
        seed = _number(values, "seed", None) if model.latent_size(way) else None
        return from_pixels(model.translate(levels, way, resolution=moment.resolution, seed=seed))


def _number(values: Mapping[str, str], name: str, count: int | None) -> int:
    """A whole number from 0 to below ``count``."""
    text = values.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 10) or (count is not None and int(text) >= count):
        most = "" if count is None else f" to {count - 1}"
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{name} must be a whole number from 0{most}.")
    return int(text)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "progcycle", ""
    timeout = PATIENCE

    def __init__(self, demo: Demo, *arguments: Any) -> None:
        self.demo = demo
        super().__init__(*arguments)

    def do_GET(self) -> None:  # named by the base class
        """Answer with a file of the page."""
        self._guarded(self._file)

    def do_POST(self) -> None:
        """Answer with a picture."""
        self._guarded(self._picture)

    def _guarded(self, make: Callable[[], tuple[str, bytes]]) -> None:
        try:
            self._check_sender()
            kind, content = make()
            status = HTTPStatus.OK
        except RefusedError as refused:
            status, kind, content = refused.status, "text/plain", str(refused).encode()
            self.close_connection = True  # what else was sent is not read
        self.send_response(status)
        self.send_header("Content-Type", kind if kind.startswith("image") else f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def _check_sender(self) -> None:
        """Pages of other sites must not use the model, be it by a name that leads to this computer."""
        own = {f"{host}:{self.server.server_port}" for host in (HOST, "localhost")}  # type: ignore[attr-defined]
        origin = self.headers.get("Origin")
        if self.headers.get("Host") not in own or (origin is not None and urlsplit(origin).netloc not in own):
            raise RefusedError(HTTPStatus.FORBIDDEN, "This server answers its own page only.")

    def _file(self) -> tuple[str, bytes]:
        name = urlsplit(self.path).path.removeprefix("/") or INDEX
        if name not in self.demo.files:
            raise RefusedError(HTTPStatus.NOT_FOUND, "There is no such file.")
        return KINDS[name], self.demo.files[name]

    def _picture(self) -> tuple[str, bytes]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "A request must say its length.")
        if int(length) > self.demo.most_bytes:
            most = self.demo.most_bytes / MEGABYTE
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A picture may have {most:g} MB here at most.")
        content = self.rfile.read(int(length))
        parts = urlsplit(self.path)
        return "image/png", self.demo.answer(parts.path, dict(parse_qsl(parts.query)), content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are shown with --verbose."""
        LOGGER.debug(format, *arguments)


class _Server(ThreadingHTTPServer):
    """A thread for each connection; all of them have ended when the server is closed."""

    daemon_threads = False
    allow_reuse_address = True

    def __init__(self, *arguments: Any) -> None:
        self._open = set[socket.socket]()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """End the connections too, which browsers keep open, and wait for what the model works on."""
        for request in list(self._open):
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong in a line; the server goes on."""
        LOGGER.debug("a request has failed", exc_info=True)


def serve(demo: Demo, port: int) -> ThreadingHTTPServer:
    """A server on loopback, which answers as soon as its ``serve_forever`` runs.

    Args:
        demo: what to answer.
        port: 0 takes any that is free.

    Raises:
        UserError: the port is taken, or not allowed.
    """
    try:
        return _Server((HOST, port), partial(_Handler, demo))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        what = "is taken" if error.errno == errno.EADDRINUSE else "is not for everyone"
        raise UserError(f"Port {port} {what}; give another with --port, or --port 0 for any that is free.") from None
