"""A small Hugging Face hub on this machine: the routes that huggingface_hub calls, and the ways in which they fail.

Repositories are kept in memory, as commits that map paths to bytes. What is pushed can be downloaded again.
"""

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_good"
READ_ONLY = "hf_read"
USER = "somebody"
MAIN = "main"


class Cut(Exception):
    """The connection is to be closed at once."""


@dataclass
class Repo:
    """A repository: its commits, oldest first, and who may read it."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    def commit(self, files: dict[str, bytes]) -> str:
        listing = sorted((name, hashlib.sha256(content).hexdigest()) for name, content in files.items())
        sha = hashlib.sha1(json.dumps([len(self.commits), listing]).encode()).hexdigest()
        self.commits[sha] = files
        return sha

    def resolve(self, revision: str) -> str | None:
        """The commit of a branch or of itself."""
        return list(self.commits)[-1] if revision == MAIN else revision if revision in self.commits else None


@dataclass
class Hub:
    """The hub's state, and what it is told to do wrong.

    Attributes:
        endpoint: its address.
        repos: the repositories, by name.
        requests: what was asked: "GET config.json", "HEAD manifest.json", "POST commit".
        cut: for a path, after how many bytes each of its next downloads breaks off.
        wrong: for a path, what is sent in place of its content, of the same length.
        down: answer everything with this status.
    """

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    cut: dict[str, list[int]] = field(default_factory=dict)
    wrong: dict[str, bytes] = field(default_factory=dict)
    down: int = 0

    def add(self, name: str, folder: Path, **how: Any) -> Repo:
        """Put a folder's files into a repository, as one more commit."""
        repo = self.repos.setdefault(name, Repo())
        for key, value in how.items():
            setattr(repo, key, value)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        repo.commit({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})
        return repo

    def downloads(self) -> list[str]:
        """The files that were downloaded, in order."""
        return [request.removeprefix("GET ") for request in self.requests if request.startswith("GET ")]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing on standard error."""

    def answer(self, status: int = 200, content: Any = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        length = headers.pop("Content_Length", str(len(body)))
        for name, value in {"Content-Length": length, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str = "", message: str = "") -> None:
        headers = {"X_Error_Code": code, "X_Error_Message": message}
        self.answer(status, {"error": message}, **{name: value for name, value in headers.items() if value})

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def handle_any(self) -> None:
        sent = self.body() if self.command in ("POST", "PUT") else b""
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        try:
            if self.hub.down:
                self.refuse(self.hub.down, message="out of order")
            elif self.token not in ("", TOKEN, READ_ONLY):
                self.refuse(401, message="Invalid credentials in Authorization header")
            else:
                self.route(parts, sent)
        except Cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_WR)  # what was sent arrives, and then the end

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def route(self, parts: list[str], sent: bytes) -> None:
        """Find what a path means: the hub's own calls, or a file of a repository."""
        if parts[:1] == ["lfs"]:
            self.hub.large[parts[1]] = sent
            self.answer()
        elif parts[:2] == ["api", "validate-yaml"]:
            self.answer(content={"errors": [], "warnings": []})
        elif parts == ["api", "repos", "create"]:
            self.create(json.loads(sent))
        elif parts[:2] == ["api", "models"]:
            verb = next(
                (i for i, part in enumerate(parts) if part in ("revision", "tree", "preupload", "commit")), None
            )
            name = "/".join(parts[2:verb])
            self.api(name, parts[verb] if verb else "revision", parts[verb + 1] if verb else MAIN, sent)
        elif parts[-4:] == ["info", "lfs", "objects", "batch"]:
            self.batch(json.loads(sent))
        elif "resolve" in parts:
            verb = parts.index("resolve")
            self.file("/".join(parts[:verb]), parts[verb + 1], "/".join(parts[verb + 2 :]))
        else:
            self.refuse(404)

    def readable(self, name: str) -> Repo | None:
        """The repository, if it may be read; else what the hub answers."""
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self.token):
            if self.token:
                self.refuse(404, "RepoNotFound", "Repository not found")
            else:
                self.refuse(401, "RepoNotFound", "Invalid username or password.")  # the code: the library needs https
            return None
        if repo.gated and self.command in ("GET", "HEAD") and "/resolve/" in self.path:
            self.refuse(403, "GatedRepo", f"Access to model {name} is restricted.")
            return None
        return repo

    def file(self, name: str, revision: str, path: str) -> None:
        self.hub.requests.append(f"{self.command} {path}")
        if (repo := self.readable(name)) is None:
            return
        if (commit := repo.resolve(revision)) is None:
            self.refuse(404, "RevisionNotFound", "Invalid rev id")
        elif path not in repo.commits[commit]:
            self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        else:
            self.send(repo.commits[commit][path], path, commit)

    def send(self, content: bytes, path: str, commit: str) -> None:
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X_Repo_Commit": commit}
        content = self.hub.wrong.get(path, content)
        if self.command == "HEAD":
            self.answer(content=b"", Content_Length=str(len(content)), **headers)
            return
        start = 0
        if asked := self.headers.get("Range"):
            self.hub.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").split("-")[0])
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        if self.hub.cut.get(path):
            after = self.hub.cut[path].pop(0)
            self.answer(206 if start else 200, body[:after], Content_Length=str(len(body)), **headers)
            self.wfile.flush()
            raise Cut
        self.answer(206 if start else 200, body, **headers)

    def create(self, asked: dict[str, Any]) -> None:
        self.hub.requests.append("POST create")
        if self.token != TOKEN:
            self.refuse(403 if self.token else 401, message="You don't have the rights to create a model here")
            return
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        there = name in self.hub.repos
        if not there:
            private = asked.get("visibility") == "private" or asked.get("private", False)
            self.hub.repos[name] = Repo(private=private)
            self.hub.repos[name].commit({".gitattributes": b"*.onnx filter=lfs\n"})
        self.answer(409 if there else 200, {"url": f"{self.hub.endpoint}/{name}", "id": name, "name": name})

    def api(self, name: str, verb: str, revision: str, sent: bytes) -> None:
        self.hub.requests.append(f"{self.command} api/{verb}" if self.command == "POST" else f"INFO {verb}")
        if (repo := self.readable(name)) is None:
            return
        if self.command == "POST" and self.token != TOKEN:
            self.refuse(403, message="You don't have the rights to write here")
            return
        commit = repo.resolve(revision)
        if commit is None:
            self.refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        answers: dict[str, Callable[[], Any]] = {
            "revision": lambda: _info(name, repo, commit),
            "tree": lambda: [_entry(path, content) for path, content in repo.commits[commit].items()],
            "preupload": lambda: {"files": [_mode(file) for file in json.loads(sent)["files"]]},
            "commit": lambda: self.commit(name, repo, sent),
        }
        self.answer(content=answers[verb]())

    def commit(self, name: str, repo: Repo, sent: bytes) -> dict[str, Any]:
        files = dict(repo.commits[repo.resolve(MAIN) or ""])
        for line in map(json.loads, sent.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = repo.commit(files)
        return {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{sha}"}

    def batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for wanted in asked["objects"]:
            action = {"upload": {"href": f"{self.hub.endpoint}/lfs/{wanted['oid']}"}}
            known = wanted["oid"] in self.hub.large
            objects.append({"oid": wanted["oid"], "size": wanted["size"], **({} if known else {"actions": action})})
        self.answer(content={"transfer": "basic", "objects": objects})


def _info(name: str, repo: Repo, commit: str) -> dict[str, Any]:
    files = [{"rfilename": path} for path in repo.commits[commit]]
    return {"id": name, "modelId": name, "sha": commit, "private": repo.private, "siblings": files, "tags": []}


def _entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


def _mode(file: dict[str, Any]) -> dict[str, Any]:
    mode = "lfs" if file["path"].endswith((".onnx", ".npz")) else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}


@contextmanager
def running() -> Iterator[Hub]:
    """A hub, for as long as the context lasts."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
