"""Starts the Hub on the loopback. A test says

    with Hub(tmp_path) as hub:
        hub.fail("POST", "/commit/", status=503)
        subprocess.run([...], env=hub.env(tmp_path / "home", token=hub.token))
        assert hub.repo("you/model").files()["config.json"] == ...

The client reads `HF_ENDPOINT` and `HF_HOME` when it is imported, so it must be a process of its own. The Hub lives in
the test's process: what it knows survives every client that is killed. Large files are served as by a content network,
under another name of the same server (`localhost` instead of `127.0.0.1`), which refuses requests with a token.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from .endpoints import Answer, answer
from .faults import Fault
from .store import Blobs, Refusal, Repo, User
from .xet import ChunkStore


@dataclass(frozen=True)
class Request:
    """A request as it came: the path is quoted, the names of headers are lower-case.

    `status` is 0 where the connection was closed without an answer.
    """

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    query: Mapping[str, list[str]]


class Hub:
    """A Hub with one user, `you`, whose token is `hub.token`.

    Args:
        folder: Where the contents of files are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.blobs = Blobs(folder / "hub-blobs")
        self.xet = ChunkStore(self.blobs)
        self.repos: dict[tuple[str, str], Repo] = {}
        self.users: dict[str, User] = {}
        self.parts: dict[tuple[str, int], tuple[str, bytes]] = {}
        self.faults: list[Fault] = []
        self.log: list[Request] = []
        self.lock = threading.RLock()
        self.page_size = 1000
        self.part_size = 8_000_000  # what is larger is uploaded in parts of this size
        self.token = self.add_user("you")
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.hub = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.outside = f"http://localhost:{self.server.server_port}"  # where large files are

    def __enter__(self) -> Hub:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    # What a test says.

    def env(self, home: Path, token: str | None = None, xet: bool = False) -> dict[str, str]:
        """The whole environment of a client: this one's, with the Hub, an empty home and a token, without proxies."""
        outside = ("HF_", "HUGGING", "XDG_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(outside) and "proxy" not in k.lower()}
        return {
            **kept,
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": token or "",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "0" if xet else "1",
            "HF_XET_XORB_COMPRESSION_POLICY": "none",  # the chunk store cannot unpack
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def add_user(self, name: str, token: str | None = None, orgs: tuple[str, ...] = (), role: str = "write") -> str:
        """A user, who is a member of organisations; returns the token. A `role` of "read" may change nothing."""
        token = token or f"hf_{name}{'x' * 30}"
        self.users[token] = User(name, orgs, role)
        return token

    def fail(self, method: str, path_regex: str, **what: Any) -> Fault:
        """Arm a fault, whose words are those of `Fault`; its `met` counts the requests it has met."""
        self.faults.append(Fault(method, path_regex, **what))
        return self.faults[-1]

    def create(
        self, id: str, files: Mapping[str, bytes] | None = None, private: bool = False, kind: str = "model"
    ) -> Repo:
        """A repository made by somebody else, with a commit of these files after the Hub's initial one."""
        self.repos[kind, id] = Repo(id, kind, self.blobs, private)
        self.repos[kind, id].commit(files or {})
        return self.repos[kind, id]

    def repo(self, id: str, kind: str = "model") -> Repo:
        """The repository; KeyError where there is none."""
        return self.repos[kind, id]

    # What the endpoints ask.

    def who(self, headers: Mapping[str, str]) -> User | None:
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if not token or token.startswith("xet"):
            return None
        if token not in self.users:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.users[token]

    def member(self, user: User | None, namespace: str) -> bool:
        return user is not None and namespace in (user.name, *user.orgs)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # many clients at once
    hub: Hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away; errors of the Hub itself are told."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Reads a request, lets faults happen, and sends the answer."""

    protocol_version = "HTTP/1.1"
    server: Server

    def handle_request(self) -> None:
        hub, (path, _, query) = self.server.hub, self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        with hub.lock:
            faults = [fault for fault in hub.faults if fault.meets(self.command, path)]
        cuts = [fault.cut for fault in faults if fault.cut is not None]
        said = self.work(headers, faults, cuts)
        # Before the answer is sent: a test looks as soon as its client has ended.
        hub.log.append(Request(self.command, path, said.status if said else 0, headers, parse_qs(query)))
        if said:
            self.send(said, faults, cuts)
        if cuts or not said:
            self.close_connection = True
            with suppress(OSError):  # the client may be gone
                self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request  # noqa: N815

    def work(self, headers: Mapping[str, str], faults: list[Fault], cuts: list[int]) -> Answer | None:
        """Do what is asked; None where there will be no answer."""
        if cuts and self.command != "GET":
            self.rfile.read(min(cuts[0], int(headers.get("content-length", cuts[0]))))
            return None
        body = self.receive(headers)
        if body is None:
            return None
        for fault in faults:
            time.sleep(fault.delay)
            if fault.before:
                fault.before()
            if fault.status:
                return Answer(fault.status, dict(fault.headers or {}), fault.body or b"")
        hub = self.server.hub
        with hub.lock:
            said = answer(hub, self.command, self.path, dict(headers), body)
        return None if any(fault.lose_answer for fault in faults) else said

    def receive(self, headers: Mapping[str, str]) -> bytes | None:
        """The whole body; None where the client has gone before its end."""
        if headers.get("transfer-encoding", "").lower() != "chunked":
            size = int(headers.get("content-length", 0))
            content = self.rfile.read(size)
            return content if len(content) == size else None
        content = b""
        while line := self.rfile.readline():
            size = int(line.split(b";")[0], 16)
            content += self.rfile.read(size)
            self.rfile.readline()
            if size == 0:
                return content
        return None

    def send(self, said: Answer, faults: list[Fault], cuts: list[int]) -> None:
        lines = [f"HTTP/1.1 {said.status} {self.responses.get(said.status, ('',))[0]}"]
        lines += [f"{name}: {value}" for name, value in {"Content-Length": len(said.body), **said.headers}.items()]
        body = b"" if self.command == "HEAD" else said.body
        for fault in faults:
            body = fault.damage(body)
        # In one piece: in two, the second would wait for the client's delayed acknowledgement of the first.
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (body[: cuts[0]] if cuts else body))
