"""A client of a few lines: signed requests over one connection, every header and byte in the test's hand."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import weakref
from typing import Any
from urllib.parse import urlencode

from tests.sim.sandbox.conftest import KEY, SECRET, Sandbox


class Raw:
    """Answers are (HTTP status, headers, decoded body or text)."""

    def __init__(self, sandbox: Sandbox, key: str = KEY, secret: str = SECRET, timeout_s: float = 5.0) -> None:
        self.key, self.secret, self._sandbox = key, secret, sandbox
        self._line = http.client.HTTPConnection(sandbox.url.removeprefix("http://"), timeout=timeout_s)
        weakref.finalize(self, self._line.close)

    def signed_headers(self, payload: str, *, shift_ms: int = 0, window: int = 5000) -> dict[str, str]:
        """The headers of a request whose clock is off by ``shift_ms``."""
        stamp = str(self._sandbox.wall_ms() + shift_ms)
        signature = hmac.new(self.secret.encode(), f"{stamp}{self.key}{window}{payload}".encode(), hashlib.sha256).hexdigest()
        return {
            "X-BAPI-API-KEY": self.key, "X-BAPI-TIMESTAMP": stamp, "X-BAPI-RECV-WINDOW": str(window), "X-BAPI-SIGN": signature,
            "Content-Type": "application/json",
        }  # fmt: skip

    def get(self, path: str, query: str = "", **params: Any) -> tuple[int, dict[str, str], Any]:
        """A signed GET; ``query`` goes as it is."""
        query = query or urlencode(params)
        return self.send("GET", f"{path}?{query}" if query else path, None, self.signed_headers(query))

    def post(self, path: str, body: Any = None, **params: Any) -> tuple[int, dict[str, str], Any]:
        """A signed POST."""
        text = json.dumps(body if body is not None else params)
        return self.send("POST", path, text, self.signed_headers(text))

    def result(self, path: str, **params: Any) -> Any:
        """The result of a signed GET that must succeed."""
        _, _, answer = self.get(path, **params)
        assert answer["retCode"] == 0, answer
        return answer["result"]

    def send(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        """Any request; a line that was cut raises, and the next request opens a new one."""
        if self._sandbox.in_memory is not None:
            return self._sandbox.in_memory(method, path, body, headers)
        try:
            self._line.request(method, path, body, headers)
            answer = self._line.getresponse()
            content = answer.read()
        except (http.client.HTTPException, OSError):
            self._line.close()
            raise
        try:
            decoded = json.loads(content)
        except ValueError:
            decoded = content.decode()
        return answer.status, dict(answer.headers), decoded
