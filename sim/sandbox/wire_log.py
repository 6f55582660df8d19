"""What came in from clients, for a checker: every request as it was sent, whatever became of it, and every connection."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

KEPT: Final = 50_000
"""Of each kind; ``forgotten`` counts what was older."""
_REQUEST: Final = ("received", "account", "method", "path", "sent")


class WireLog:
    """Requests and connections, oldest first. Times are the server's clock, ms."""

    def __init__(self) -> None:
        self._requests: deque[tuple[int, str, str, str, str]] = deque(maxlen=KEPT)
        self._connects: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._forgotten = 0

    def request(self, received: int, account: str, method: str, path: str, sent: str) -> None:
        """A request (over the trade stream: method WS and the endpoint that the operation is). sent: query or body, as text."""
        self._forgotten += len(self._requests) == KEPT
        self._requests.append((received, account, method, path, sent))

    def connect(self, received: int, channel: str, address: str) -> None:
        """A WebSocket was asked for."""
        self._forgotten += len(self._connects) == KEPT
        self._connects.append({"received": received, "channel": channel, "address": address})

    def state(self) -> dict[str, Any]:
        """All of it, as plain data."""
        requests = [dict(zip(_REQUEST, request, strict=True)) for request in self._requests]
        return {"requests": requests, "connects": list(self._connects), "forgotten": self._forgotten}
