"""A hub on this machine: serves folders as Hugging Face repositories, and fails on request.

Speaks the part of the hub's protocol that downloads use: repository and tree listings, resolving a
revision to a commit, files with their commit and etag.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

# What the hub answers, besides files: status, error code in its header, message.
NOT_FOUND = (404, "RepoNotFound", "Repository not found")
UNAUTHORIZED = (401, "RepoNotFound", "Invalid username or password.")
GATED = (403, "GatedRepo", "Access to this repository is restricted")
BUSY = (429, "", "We had to rate limit you")
DOWN = (503, "", "Service Unavailable")
HANGS = (0, "", "")
DROPS = (-1, "", "")


@dataclass
class Hub:
    """Repositories by kind and id (`models/owner/name`), and how each of them fails.

    Arguments:
        url: for `HF_ENDPOINT`.
        revisions: `models/owner/name` or `datasets/owner/name` -> revision -> commit.
        folders: commit -> the folder it holds.
        failures: a key of `revisions`, or `` for every request -> one of the answers above.
        requests: methods and paths asked for, in order.
    """

    url: str = ""
    revisions: dict[str, dict[str, str]] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    failures: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def serve(self, key: str, folder: Path, revision: str = "main") -> str:
        """Serve `folder` as a revision of `key`; return its commit."""
        commit = hashlib.sha1(f"{key} {folder}".encode()).hexdigest()
        self.revisions.setdefault(key, {})[revision] = commit
        self.revisions[key][commit] = commit
        self.folders[commit] = folder
        return commit

    def entries(self, commit: str) -> list[dict[str, Any]]:
        folder = self.folders[commit]
        return [
            {
                "type": "directory" if path.is_dir() else "file",
                "path": path.relative_to(folder).as_posix(),
                "size": path.stat().st_size if path.is_file() else 0,
                "oid": hashlib.sha1(str(path).encode()).hexdigest(),
            }
            for path in sorted(folder.rglob("*"))
        ]


def split(path: str) -> tuple[str, list[str]]:
    """Split a path into the key of the repository and what follows its name."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api":
        kind, rest = parts[1], parts[2:]
    elif parts[0] == "datasets":
        kind, rest = parts[0], parts[1:]
    else:
        kind, rest = "models", parts
    verbs = {"revision", "tree", "paths-info", "resolve", "refs"}
    at = next((i for i, part in enumerate(rest) if part in verbs and i), len(rest))
    return f"{kind}/{'/'.join(rest[:at])}", rest[at:]


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    hub: Hub
    released: threading.Event

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        key, rest = split(path)
        failure = self.hub.failures.get(key, self.hub.failures.get(""))
        if failure is None and key not in self.hub.revisions:
            failure = NOT_FOUND
        if failure is HANGS:
            self.released.wait(60)
            self.close_connection = True
        elif failure is DROPS:
            self.close_connection = True
        elif failure is not None:
            self.fail(*failure)
        else:
            verb, revision, parts = self.asked(rest)
            commit = self.hub.revisions[key].get(revision)
            if commit is None:
                self.fail(404, "RevisionNotFound", "Invalid rev id")
            else:
                self.serve(verb, key, commit, parts, body)

    def asked(self, rest: list[str]) -> tuple[str, str, list[str]]:
        if not rest:
            return "revision", "main", []
        # A revision may hold slashes: refs/convert/parquet.
        n = 4 if rest[1:2] == ["refs"] else 2
        return rest[0], "/".join(rest[1:n]), rest[n:]

    def serve(self, verb: str, key: str, commit: str, parts: list[str], body: str) -> None:
        listed = self.hub.entries(commit)
        if verb == "resolve":
            self.send_resolved(commit, parts)
        elif verb == "tree":
            inside = [e for e in listed if e["path"].split("/")[: len(parts)] == parts]
            recursive = "recursive=true" in self.path.lower()
            self.send_json([e for e in inside if recursive or e["path"].count("/") == len(parts)])
        elif verb == "paths-info":
            wanted = parse_qs(body)["paths"] if body.startswith("paths") else json.loads(body)["paths"]
            self.send_json([e for e in listed if e["path"] in wanted])
        else:
            siblings = [{"rfilename": e["path"]} for e in listed if e["type"] == "file"]
            self.send_json({"id": key.partition("/")[2], "sha": commit, "siblings": siblings, "tags": []})

    def send_resolved(self, commit: str, parts: list[str]) -> None:
        path = self.hub.folders[commit] / "/".join(parts)
        if not path.is_file():
            self.fail(404, "EntryNotFound", "Entry not found", commit)
            return
        content = path.read_bytes()
        total = len(content)
        status, headers = 200, {}
        if (wanted := self.headers.get("Range")) and self.command == "GET":
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first or 0), min(int(last or total - 1), total - 1)
            content = content[start : stop + 1]
            status, headers = 206, {"Content-Range": f"bytes {start}-{stop}/{total}"}
        self.send(
            status,
            content,
            {
                **headers,
                "ETag": f'"{hashlib.sha1(path.read_bytes()).hexdigest()}"',
                "X-Repo-Commit": commit,
                "Accept-Ranges": "bytes",
            },
        )

    def send_json(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def fail(self, status: int, code: str, message: str, commit: str | None = None) -> None:
        headers = {"X-Error-Message": message, "Content-Type": "application/json"}
        if code:
            headers["X-Error-Code"] = code
        if commit:
            headers["X-Repo-Commit"] = commit
        self.send(status, json.dumps({"error": message}).encode(), headers)

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a hub on a free port of this machine."""
    hub = Hub()
    handler = type("BoundHandler", (Handler,), {"hub": hub, "released": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        handler.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
