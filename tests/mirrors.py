"""Mirrors of a data set: a real HTTP server on this machine that misbehaves in every way known to us."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Contents = dict[str, bytes]  # a file's name, and what is in it unzipped
Behaviour = Callable[[BaseHTTPRequestHandler, bytes], None]


def flipped(data: bytes) -> bytes:
    """Change one bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def respond(handler: BaseHTTPRequestHandler, body: bytes, announced: int | None = None) -> None:
    handler.send_response(200)
    if announced is not None:
        handler.send_header("Content-Length", str(announced))
    handler.end_headers()
    handler.wfile.write(body)


def trickle(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    respond(handler, b"", len(body))
    for position in range(100):
        handler.wfile.write(body[position : position + 1])
        time.sleep(0.02)


def endless(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    respond(handler, b"")
    for _ in range(1000):
        handler.wfile.write(body)


BAD: dict[str, tuple[Behaviour, str]] = {  # ways in which a mirror fails, and what the message says of each
    "interrupted": (lambda h, body: respond(h, body[: len(body) // 2], len(body)), "the connection closed after"),
    "cut": (lambda h, body: respond(h, body[: len(body) // 2]), "the gzip data is damaged"),
    "flipped": (lambda h, body: respond(h, flipped(body), len(body)), "the gzip data is damaged"),
    "other": (lambda h, body: respond(h, gzip.compress(flipped(gzip.decompress(body)))), "md5"),
    "portal": (lambda h, body: respond(h, b"<html>Please log in</html>"), "the IDX magic number"),
    "empty": (lambda h, body: respond(h, b"", 0), "an IDX header"),
    "lost": (lambda h, body: h.send_error(404), "404"),
    "broken": (lambda h, body: h.send_error(503), "503"),
    "mute": (lambda h, body: None, "RemoteDisconnected"),
    "silent": (lambda h, body: time.sleep(5), "timed out"),
    "trickle": (trickle, "too slow"),
    "endless": (endless, "more came than"),
}


class Mirrors(ThreadingHTTPServer):
    """A server with one mirror for each behaviour: ``<address>/<behaviour>/<file>.gz``."""

    daemon_threads = True

    def __init__(self, contents: Contents) -> None:
        super().__init__(("127.0.0.1", 0), MirrorHandler)
        self.bodies = {f"{name}.gz": gzip.compress(content) for name, content in contents.items()}
        self.behaviours: dict[str, Behaviour] = {name: behaviour for name, (behaviour, _) in BAD.items()}
        self.behaviours["good"] = lambda h, body: respond(h, body, len(body))
        self.requests: list[tuple[str, str]] = []

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{behaviour}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up on the bad mirrors are what is tested."""


class MirrorHandler(BaseHTTPRequestHandler):
    server: Mirrors

    def do_GET(self) -> None:
        _, behaviour, name = self.path.split("/")
        self.server.requests.append((behaviour, name))
        self.server.behaviours[behaviour](self, self.server.bodies[name])

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's stderr clean."""
