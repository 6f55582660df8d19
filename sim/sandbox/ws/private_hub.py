"""The private streams: rows of an account's outbox to those of its connections that asked for them (topics: docs/sandbox.md)."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from keel.sim.sandbox.account.ids import IdSource
from keel.sim.sandbox.account.simulated_account import SimulatedAccount
from keel.sim.sandbox.ws.websocket import WebSocketConnection

PLAIN: Final = ("order", "execution", "position", "wallet", "greeks", "execution.fast")
CATEGORISED: Final = tuple(
    f"{topic}.{category}"
    for topic in ("order", "execution", "position", "execution.fast")
    for category in ("linear", "inverse", "option", "spot")
)
"""Greeks are accepted and never come: there are no options here."""


class PrivateHub:
    """Who hears which account."""

    def __init__(self, ids: IdSource) -> None:
        self._connections: dict[int, list[WebSocketConnection]] = {}
        self._ids = ids
        self.frames: dict[int, int] = {}
        """Frames made per account, whether anyone heard them or not."""

    def add(self, connection: WebSocketConnection, account: SimulatedAccount) -> None:
        """A connection has authenticated."""
        self._connections.setdefault(account.uid, []).append(connection)
        account.is_heard = True

    def remove(self, connection: WebSocketConnection) -> None:
        """It has gone."""
        account = connection.account
        if account is None or connection not in self._connections.get(account.uid, ()):
            return
        self._connections[account.uid].remove(connection)
        account.is_heard = bool(self._connections[account.uid])

    def topics(self, account: SimulatedAccount) -> list[str]:
        """What is subscribed to, over all connections of an account."""
        return [topic for connection in self._connections.get(account.uid, ()) for topic in connection.topics]

    def flush(self, account: SimulatedAccount) -> None:
        """Send what an account has to say, in order; rows of one topic that follow each other share a frame."""
        rows, account.outbox = account.outbox, []
        connections = self._connections.get(account.uid, ())
        for topic, group in groupby(rows, key=_topic):
            self.frames[account.uid] = self.frames.get(account.uid, 0) + 1
            if not connections:
                continue
            told = [row for _, row in group if row]
            if not told:
                continue
            stamp = max(_time_of(row) for row in told) or account.clock.now_ms
            base = {"id": f"{account.uid}_{self._ids.next('frame')}", "topic": topic, "creationTime": stamp}
            for connection in list(connections):
                self._send(connection, base, topic, told)

    def _send(self, connection: WebSocketConnection, base: dict[str, Any], topic: str, rows: list[dict[str, Any]]) -> None:
        first = rows[0]
        about: dict[str, Any] = {"symbol": str(first.get("symbol", "")), "state": str(first.get("orderStatus", ""))}
        clean = [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]
        if topic in connection.topics:
            connection.send({**base, "data": clean}, topic, **about)
        else:
            for category in dict.fromkeys(str(row.get("category")) for row in clean):
                name = f"{topic}.{category}"
                if name in connection.topics:
                    connection.send(
                        {**base, "topic": name, "data": [row for row in clean if row.get("category") == category]}, name, **about
                    )
        if topic == "execution":
            self._send_fast(connection, base, clean, about)

    @staticmethod
    def _send_fast(connection: WebSocketConnection, base: dict[str, Any], rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
        """Trades only, few fields; a maker's client id is empty."""
        names = [name for name in connection.topics if name.startswith("execution.fast")]
        for name in names:
            category = name.removeprefix("execution.fast").removeprefix(".")
            data = [
                {
                    "category": row["category"], "symbol": row["symbol"], "execId": row["execId"], "execPrice": row["execPrice"],
                    "execQty": row["execQty"], "orderId": row["orderId"], "isMaker": row["isMaker"],
                    "orderLinkId": "" if row["isMaker"] else row["orderLinkId"], "side": row["side"], "execTime": row["execTime"],
                    "seq": row["seq"],
                }
                for row in rows
                if row["execType"] == "Trade" and category in ("", row["category"])
            ]  # fmt: skip
            if data:
                connection.send({"topic": name, "creationTime": base["creationTime"], "data": data}, name, **about)


_topic = itemgetter(0)


def _time_of(row: dict[str, Any]) -> int:
    return int(row.get("updatedTime") or row.get("execTime") or 0)
