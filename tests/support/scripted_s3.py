"""An HTTP server that speaks just enough S3 to fail in the ways a test asks for."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SIP = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """One answer. Without a status the connection is cut; ``cut_after`` cuts it within the body."""

    status: int = 200
    body: bytes = b""
    cut_after: int | None = None
    silent_s: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


def refusal(status: int, code: str, **headers: str) -> Answer:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode(), headers=named)


CUT = Answer(status=0)


@dataclass
class Asked:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Script:
    """Answers to give, one to each request; the last is repeated. And what was asked."""

    answers: list[Answer]
    asked: list[Asked] = field(default_factory=list[Asked])
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    pause_s: float = 0.0
    """A slow line: so long goes by before each ``SIP`` bytes of a body are taken."""

    most_at_once: int = 0
    """Requests that were under way at a time."""
    under_way: int = 0

    def next(self, asked: Asked) -> Answer:
        with self.lock:
            self.asked.append(asked)
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def _serve(self) -> None:
        self._take(int(self.headers.get("Content-Length", 0)))
        answer = self.script.next(Asked(self.command, self.path, dict(self.headers.items())))
        if answer.silent_s:
            self.script.stop.wait(answer.silent_s)
        with self.script.lock:
            self.script.under_way -= 1
        if not answer.status:
            self._cut()
            return
        # An upload that succeeds is answered without a body.
        body = b"" if self.command == "PUT" and answer.status == 200 else answer.body
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[: answer.cut_after])
        if answer.cut_after is not None:
            self.wfile.flush()
            self._cut()

    def _take(self, length: int) -> None:
        while length > 0:
            if self.script.pause_s:
                self.script.stop.wait(self.script.pause_s)
            length -= len(self.rfile.read(min(length, SIP))) or length

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _cut(self) -> None:
        """Reset the connection as a failing network does."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Stay silent."""

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            return  # the connection was cut on purpose


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the play."""


@contextmanager
def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> Generator[tuple[Script, int]]:
    """Serve these answers on loopback; gives the script and the port."""
    script = Script(list(answers))
    handler = type("Handler", (_Handler,), {"script": script})
    server = _Server(("127.0.0.1", 0), handler)
    # Little is taken that nobody asked for.
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SIP)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield script, server.server_address[1]
    finally:
        script.stop.set()
        server.shutdown()
        thread.join()
        server.server_close()


def unused_port() -> int:
    """A port at which nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
