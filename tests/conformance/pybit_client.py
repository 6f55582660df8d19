"""pybit's own clients, unmodified: only their URLs are set. Calls by pybit's names, and what its streams brought."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pybit._websocket_trading as pybit_trading
import pybit.unified_trading as pybit
from pybit.exceptions import InvalidRequestError

from tests.sim.sandbox.conftest import KEY, SECRET, Sandbox, until


class RequestRefused(Exception):
    """The exchange said no."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code, self.text = code, text


class Pybit:
    """REST, private, public and trade streams of one account."""

    def __init__(self, sandbox: Sandbox, key: str = KEY, secret: str = SECRET) -> None:
        self._key, self._secret = key, secret
        self.http = pybit.HTTP(testnet=False, api_key=key, api_secret=secret, max_retries=1)
        self.http.endpoint = sandbox.url
        pybit.PUBLIC_WSS = sandbox.ws + "/v5/public/{CHANNEL_TYPE}"
        pybit.PRIVATE_WSS = sandbox.ws + "/v5/private"
        pybit_trading.TRADE_WSS = sandbox.ws + "/v5/trade"
        self._sockets: list[Any] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        """(topic, row) of the private stream, in order of arrival."""
        self.frames = 0
        """Frames of the private stream."""
        self.public: dict[str, list[dict[str, Any]]] = {}

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A REST call by pybit's name of it; its ``result``. Raises RequestRefused."""
        try:
            answer: dict[str, Any] = getattr(self.http, method)(**params)
        except InvalidRequestError as error:
            raise RequestRefused(error.status_code, error.message) from error
        result: dict[str, Any] = answer["result"]
        return result

    def listen(self) -> None:
        """Hear orders, executions, positions and wallet."""
        socket = pybit.WebSocket(testnet=False, channel_type="private", api_key=self._key, api_secret=self._secret, private_auth_expire=10)
        self._sockets.append(socket)
        for name in ("order", "execution", "position", "wallet"):
            getattr(socket, f"{name}_stream")(self._heard(name))
        until(lambda: socket.auth, "the private stream's authentication")

    def _heard(self, name: str) -> Callable[[dict[str, Any]], None]:
        def keep(message: dict[str, Any]) -> None:
            self.events.extend((name, row) for row in message["data"])
            self.frames += 1

        return keep

    def watch(self, category: str, stream: str, symbol: str, *first: Any) -> None:
        """Subscribe to a public stream by pybit's name of it."""
        socket = pybit.WebSocket(testnet=False, channel_type=category)
        self._sockets.append(socket)
        kept = self.public.setdefault(f"{category}.{stream}.{symbol}", [])
        getattr(socket, f"{stream}_stream")(*first, symbol, kept.append)

    def trade(self, method: str, **params: Any) -> dict[str, Any]:
        """A request on the trade stream; its whole answer."""
        if not hasattr(self, "_trading"):
            self._trading = pybit.WebSocketTrading(testnet=False, api_key=self._key, api_secret=self._secret, private_auth_expire=10)
            self._sockets.append(self._trading)
            until(lambda: self._trading.auth, "the trade stream's authentication")
        answers: list[dict[str, Any]] = []
        has_come = threading.Event()

        def keep(answer: dict[str, Any]) -> None:
            answers.append(answer)
            has_come.set()

        getattr(self._trading, method)(keep, keep, **params)
        assert has_come.wait(5.0), f"no answer to {method}"
        return answers[0]

    def of(self, topic: str, **fields: Any) -> list[dict[str, Any]]:
        """Rows of the private stream with these values."""
        return [row for name, row in list(self.events) if name == topic and all(row.get(key) == value for key, value in fields.items())]

    def close(self) -> None:
        """Leave."""
        for socket in self._sockets:
            socket.exit()
