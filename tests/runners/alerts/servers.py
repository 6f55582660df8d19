"""Servers of this machine that take alerts, or do not: HTTP in every bad mood, and a mail server."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HttpServer:
    """``mood``: "ok", a status, "stalled", "drips" or "redirects". What came in is kept."""

    def __init__(self) -> None:
        self.mood: Any = "ok"
        self.body = b"{}"
        self.bodies: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                return

            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.requests.append((self.command, self.path))
                outer.headers.append(dict(self.headers))
                outer.bodies.append(json.loads(raw) if raw else {})
                if outer.mood == "stalled":
                    outer.over.wait(30)
                    return
                if outer.mood == "drips":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    while not outer.over.wait(0.1):
                        self.wfile.write(b"X-More: 1\r\n")
                    return
                if outer.mood == "redirects":
                    self.send_response(302)
                    self.send_header("Location", f"http://127.0.0.1:{outer.port}/elsewhere")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(200 if outer.mood == "ok" else outer.mood)
                self.send_header("Content-Type", "application/json")
                self.send_header("Retry-After", "7")
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self, count: int, timeout_s: float = 10.0) -> list[dict[str, Any]]:
        """Until so many requests have come."""
        until = time.monotonic() + timeout_s
        while len(self.bodies) < count:
            assert time.monotonic() < until, f"{len(self.bodies)} of {count} came"
            time.sleep(0.005)
        return self.bodies

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def http_server() -> Iterator[HttpServer]:
    server = HttpServer()
    try:
        yield server
    finally:
        server.close()


class MailServer:
    """Takes mail by SMTP, without TLS and without a password. refuses: every recipient is refused."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], str]] = []
        self.refuses = False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, line: socket.socket) -> None:
        file = line.makefile("rwb")

        def say(text: str) -> None:
            file.write(f"{text}\r\n".encode())
            file.flush()

        say("220 here")
        to: list[str] = []
        for raw in file:
            word = raw.decode().strip()
            verb = word[:4].upper()
            if verb in ("EHLO", "HELO"):
                say("250 here")
            elif verb == "RCPT":
                to.append(word.split("<")[1].split(">")[0])
                say("550 no such box" if self.refuses else "250 ok")
            elif verb == "DATA":
                say("354 go on")
                lines: list[str] = []
                while (text := file.readline().decode().rstrip("\r\n")) != ".":
                    lines.append(text)
                self.mails.append((to, "\n".join(lines)))
                to = []
                say("250 kept")
            elif verb == "QUIT":
                say("221 bye")
                break
            else:
                say("250 ok")
        line.close()

    def close(self) -> None:
        self._socket.close()


@contextmanager
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    try:
        yield server
    finally:
        server.close()


def unused_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
