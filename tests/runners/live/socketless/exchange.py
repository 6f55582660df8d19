"""The sandbox as an exchange that is asked by calls, and whose pushes come as told: heard, lost, doubled, late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, cast

import msgspec

from keel.adapters.bybit.wire.parsing import units
from keel.adapters.machine import wall_ms
from keel.core.model.instrument import Instrument
from keel.core.model.timeframe import DAY_MS
from keel.sim.sandbox.account import out_of_band
from keel.sim.sandbox.account.oracle import of_account
from keel.sim.sandbox.account.views import position_row
from keel.sim.sandbox.engine import Engine
from keel.sim.sandbox.http.gateway import Gateway
from keel.sim.sandbox.http.routes import ROUTES
from keel.sim.sandbox.market.feeds import WalkFeed
from keel.sim.sandbox.settings import SandboxSettings
from keel.sim.sandbox.ws.public_hub import PublicHub
from tests.sim.sandbox.conftest import KEY

START_MS: Final = 1_750_000_000_000 - 1_750_000_000_000 % DAY_MS + DAY_MS - 20_000
"""Twenty seconds before a UTC day and its first funding."""
S: Final = "BTCUSDT"
OTHER: Final = "ETHUSDT"
Hearing = Literal["heard", "lost", "doubled", "late"]


class Exchange:
    """The sandbox's engine and endpoints of one account, whose market moves once a second."""

    def __init__(self) -> None:
        settings = SandboxSettings(pace="real", limit_factor=1_000.0)
        self._feed = WalkFeed([S, OTHER], START_MS, 7, bars=5, spot=False)
        self._engine = Engine(settings, self._feed, wall_ms)
        self._gateway = Gateway(self._engine, PublicHub(self._engine))
        self.account = self._engine.accounts[KEY]
        self.hears: Callable[[str, list[dict[str, Any]]], None] | None = None
        """Takes what is pushed: (topic, rows)."""
        self.hearing: Hearing = "heard"
        self.lies: dict[str, int] = {}
        """What lists and pushes say otherwise than is so: "position" in steps of BTCUSDT, "wallet" in 1e-8."""
        self._late: list[tuple[str, dict[str, Any]]] = []
        self.entries: list[str] = []
        """Names of the entries that came here by the trader's own hand."""

    @property
    def now_ms(self) -> int:
        """Market time."""
        return self._engine.now_ms

    def instruments(self) -> dict[str, Instrument]:
        """Of the perpetuals."""
        return {name: market.instrument for name, market in self._engine.markets.items()}

    def ask(self, method: str, path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One request, as its envelope; what it causes is pushed."""
        plain = {name: value if method == "POST" else str(value) for name, value in params.items() if value is not None}
        envelope, _ = self._gateway.apply(ROUTES[method, path], path, plain, self.account, self._gateway.wall_ms())
        self.tell()
        return self._lied(path, cast("dict[str, Any]", msgspec.json.decode(msgspec.json.encode(envelope))))

    def by_hand(self, path: str, **body: Any) -> dict[str, Any]:
        """What a person does with the same key, elsewhere; an answer that is a no is one."""
        return self.ask("POST", path, {"category": "linear", "symbol": S, **body})

    def happen(self, do: str, **values: Any) -> None:
        """What nobody asked for."""
        out_of_band.change(self._engine, msgspec.json.encode({"do": do, **values}))
        self.tell()

    def jump(self, factor: float) -> None:
        """The market goes to so much of its price with its next move."""
        self._feed._walks[S]._index *= factor

    def move(self) -> None:
        """The market moves up to now."""
        due = self._engine.due_ms()
        while self._engine.played_to + 1_000 <= due:
            self._engine.move(1_000)
        self.tell()

    def tell(self) -> None:
        """Push what the account has to say, as it is heard at the moment."""
        rows, self.account.outbox = self.account.outbox, []
        if self.hears is None or self.hearing == "lost":
            return
        for topic, row in rows:
            if self.hearing == "late":
                self._late.append((topic, row))
                continue
            self.hears(topic, [self._lied_row(topic, row)])
            if self.hearing == "doubled":
                self.hears(topic, [self._lied_row(topic, row)])

    def tell_late(self) -> None:
        """What was held back comes now, the latest first."""
        rows, self._late = self._late, []
        for topic, row in reversed(rows):
            if self.hears is not None:
                self.hears(topic, [self._lied_row(topic, row)])

    def truth(self) -> dict[str, Any]:
        """What is so."""
        return of_account(self.account, 0)

    def held(self) -> int:
        """Steps of BTCUSDT that the account holds."""
        return self.account.exchange.books[S].positions[0].steps

    def _lied(self, path: str, envelope: dict[str, Any]) -> dict[str, Any]:
        if not self.lies:
            return envelope
        rows = envelope["result"].get("list", [])
        if path == "/v5/position/list":
            if self.lies.get("position") and all(row["symbol"] != S for row in rows):
                rows = [*rows, position_row(self.account, S, 0)]
            envelope["result"]["list"] = [self._lied_row("position", row) for row in rows]
        elif path == "/v5/account/wallet-balance":
            envelope["result"]["list"] = [self._lied_row("wallet", row) for row in rows]
        return envelope

    def _lied_row(self, topic: str, row: dict[str, Any]) -> dict[str, Any]:
        row = {name: value for name, value in row.items() if not name.startswith("_")}
        if topic == "position" and row["symbol"] == S and self.lies.get("position"):
            grid = self.account.markets[S].instrument.qty_grid
            steps = self.held() + self.lies["position"]
            entry = {name: row.get(name) if row.get(name, "0") not in ("0", "") else "30000" for name in ("avgPrice", "entryPrice")}
            return {**row, **entry, "size": grid.text(abs(steps)), "side": "Buy" if steps > 0 else "Sell" if steps else ""}
        if topic == "wallet" and self.lies.get("wallet"):
            coins = [dict(coin) for coin in row["coin"]]
            for coin in coins:
                coin["walletBalance"] = f"{(units(coin['walletBalance']) + self.lies['wallet']) / 1e8:.8f}"
            return {**row, "coin": coins}
        return row
