"""A stand-in of the Hugging Face Hub on loopback: repositories, branches, commits, LFS by basic transfer, no xet."""

import base64
import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_of_the_test"
REPO, COMMIT = "RepoNotFound", "RevisionNotFound"


@dataclass
class Repository:
    """Branches lead to commits, and commits hold files."""

    private: bool
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {}})
    messages: list[str] = field(default_factory=list)

    def at(self, revision: str) -> str | None:
        """The commit of a branch, or the commit itself."""
        found = self.branches.get(revision, revision)
        return found if found in self.commits else None


@dataclass
class Hub:
    """What the server has, and what it was asked."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    """Answers in the words of the Hub's interface."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str = "") -> None:
        self.answer({"error": code}, status, **({"X_Error_Code": code} if code else {}))

    def handle_any(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).strip("/").split("/")
        self.hub.asked.append(f"{self.command} {'/'.join(path)}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        knows = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if self.command == "PUT":
            assert hashlib.sha256(body).hexdigest() == path[-1]
            self.hub.objects[path[-1]] = body
            return self.answer({})
        if self.command == "POST" and path[:2] != ["api", "validate-yaml"] and not knows:
            return self.refuse(401)
        if path[:3] == ["api", "repos", "create"]:
            return self.create(json.loads(body))
        if path[:2] == ["api", "validate-yaml"]:
            return self.validate(json.loads(body)["content"])
        name = "/".join(path[2:4] if path[0] == "api" else path[:2]).removesuffix(".git")
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not knows):
            return self.refuse(404 if knows else 401, REPO)
        what = path[4] if path[0] == "api" and len(path) > 4 else path[2] if path[0] != "api" else "revision"
        rest = path[5:] if path[0] == "api" else path[3:]
        return getattr(self, f"do_{what}")(name, repository, rest, body)

    do_GET = do_POST = do_HEAD = do_PUT = handle_any  # noqa: N815

    def create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.hub.repositories:
            return self.answer({"error": "exists", "url": f"{self.hub.url}/{name}"}, 409)
        self.hub.repositories[name] = Repository(wanted.get("visibility") == "private" or wanted.get("private") is True)
        return self.answer({"url": f"{self.hub.url}/{name}"})

    def validate(self, content: str) -> None:
        """As strict as the Hub about what a card of ours may get wrong."""
        front = yaml.safe_load(content.split("---\n")[1])
        known = isinstance(front["license"], str) and (front["license"] != "other" or front.get("license_name"))
        for model in front.get("model-index", []):
            for result in model["results"]:
                known = known and result["task"]["type"] and result["dataset"]["type"] and result["dataset"]["name"]
                known = known and all({"type", "value"} <= metric.keys() for metric in result["metrics"])
        self.answer({"errors": [], "warnings": []} if known else {"errors": [{"message": "no"}]}, 200 if known else 400)

    def do_branch(self, _: str, repository: Repository, rest: list[str], __: bytes) -> None:
        branch = "/".join(rest)
        if branch in repository.branches:
            return self.refuse(409)
        repository.branches[branch] = repository.branches["main"]
        return self.answer({})

    def do_revision(self, name: str, repository: Repository, rest: list[str], _: bytes) -> None:
        commit = repository.at("/".join(rest) or "main")
        if commit is None:
            return self.refuse(404, COMMIT)
        files = [{"rfilename": path} for path in repository.commits[commit]]
        return self.answer({"id": name, "sha": commit, "siblings": files, "private": repository.private})

    def do_tree(self, _: str, repository: Repository, rest: list[str], __: bytes) -> None:
        commit = repository.at(rest[0])
        if commit is None:
            return self.refuse(404, COMMIT)
        return self.answer(
            [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in repository.commits[commit].items()
            ]
        )

    def do_preupload(self, _: str, __: Repository, ___: list[str], body: bytes) -> None:
        wanted = json.loads(body)["files"]
        modes = {True: "lfs", False: "regular"}
        self.answer(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": modes[file["path"].endswith(".safetensors")],
                        "shouldIgnore": False,
                    }
                    for file in wanted
                ]
            }
        )

    def do_info(self, _: str, __: Repository, ___: list[str], body: bytes) -> None:
        objects = json.loads(body)["objects"]
        uploads = [
            {**o, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{o['oid']}", "header": {}}}} for o in objects
        ]
        self.answer({"transfer": "basic", "objects": uploads}, Content_Type="application/vnd.git-lfs+json")

    def do_commit(self, name: str, repository: Repository, rest: list[str], body: bytes) -> None:
        branch = "/".join(rest)
        if branch not in repository.branches:
            return self.refuse(404, COMMIT)
        files = dict(repository.commits[repository.branches[branch]])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                repository.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            else:
                assert line["key"] == "deletedFile"
                del files[value["path"]]
        sha = hashlib.sha1(repr((len(repository.commits), sorted(files))).encode()).hexdigest()
        repository.commits[sha] = files
        repository.branches[branch] = sha
        return self.answer({"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha})

    def do_resolve(self, _: str, repository: Repository, rest: list[str], __: bytes) -> None:
        commit = repository.at(rest[0])
        content = None if commit is None else repository.commits[commit].get("/".join(rest[1:]))
        if commit is None or content is None:
            return self.refuse(404, COMMIT if commit is None else "EntryNotFound")
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return self.answer(content, X_Repo_Commit=commit, ETag=etag)


@contextmanager
def stand_in() -> Iterator[Hub]:
    """A server that runs meanwhile."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
