"""The few endpoints that a panic asks, over markets that the sandbox does not have: USDC and inverse contracts, options, spot holdings.

Answers have the shapes of the exchange's documentation. It checks no signature. ``script``: path -> answers that come before the real one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Row = dict[str, Any]


class FakeExchange:
    """Positions and orders as they are listed; market orders fill at once, a cancel of all ends 500 orders at most."""

    def __init__(self) -> None:
        self.url = ""
        self.rules: dict[str, list[Row]] = {"linear": [], "inverse": [], "spot": [], "option": []}
        self.orders: list[Row] = []
        self.positions: list[Row] = []
        self.coins: dict[str, Decimal] = {}
        self.executions: list[Row] = []
        self.requests: list[tuple[str, Row, dict[str, str]]] = []
        self.script: dict[str, list[Callable[[Row], Any]]] = {}
        self.refuse_order: Callable[[Row, Row | None], tuple[int, str] | None] = lambda order, position: None
        self._lock = threading.Lock()

    # --- making a scene ---

    def contract(self, symbol: str, category: str, coin: str, *, most: str = "100", step: str = "0.1") -> None:
        lots = {"qtyStep": step, "maxMktOrderQty": most, "minOrderQty": step, "minNotionalValue": "5"}
        self.rules[category].append({"symbol": symbol, "settleCoin": coin, "lotSizeFilter": lots})

    def hold(self, symbol: str, category: str, coin: str, side: str, size: str, idx: int = 0) -> None:
        row = {"symbol": symbol, "side": side, "size": size, "positionIdx": idx, "avgPrice": "100", "markPrice": "101"}
        self.positions.append({**row, "_category": category, "_coin": coin})

    def rest(self, symbol: str, category: str, coin: str, count: int = 1, kind: str = "Order") -> None:
        for _ in range(count):
            number = str(len(self.orders))
            row = {"symbol": symbol, "side": "Buy", "qty": "1", "price": "90", "orderId": f"id-{number}", "orderLinkId": ""}
            self.orders.append({**row, "_category": category, "_coin": coin, "_kind": kind})

    def asked(self, name: str) -> list[Row]:
        return [given for path, given, _ in self.requests if path.endswith(name)]

    # --- answering ---

    def answer(self, path: str, given: Row, headers: dict[str, str]) -> Any:
        with self._lock:
            self.requests.append((path, given, headers))
            for each in self.script.get(path, [])[:1]:
                if (scripted := each(given)) is not None:
                    self.script[path].pop(0)
                    return scripted
            made: Callable[[Row], Any] = {
                "/v5/market/time": lambda row: {"timeNano": "0"},
                "/v5/market/instruments-info": lambda row: {"list": self.rules[row["category"]]},
                "/v5/order/cancel-all": self._cancel_all,
                "/v5/order/realtime": lambda row: {"list": [_shown(one) for one in self._matching(self.orders, row)][: int(row["limit"])]},
                "/v5/position/list": lambda row: {"list": [_shown(one) for one in self._matching(self.positions, row)]},
                "/v5/order/create": self._create,
                "/v5/account/wallet-balance": self._wallet,
                "/v5/execution/list": self._executions,
            }.get(path, lambda row: None)  # type: ignore[assignment]
            if path == "/v5/order/create-batch":
                fates = [self._create({**order, "category": given["category"]}) for order in given["request"]]
                rows = [{"code": fate.get("retCode", 0), "msg": fate.get("retMsg", "OK")} for fate in fates]
                return envelope({"list": [{} for _ in fates]}, extra={"list": rows})
            result = made(given)
            return result if "retCode" in (result or {}) else envelope(result) if result is not None else envelope({}, 10017, "no path")

    def _matching(self, rows: list[Row], given: Row) -> list[Row]:
        return [
            row for row in rows
            if row["_category"] == given["category"] and given.get("symbol", row["symbol"]) == row["symbol"]
            and given.get("settleCoin", row["_coin"]) == row["_coin"]
        ]  # fmt: skip

    def _cancel_all(self, given: Row) -> Row:
        if given["category"] in ("linear", "inverse") and not (given.get("symbol") or given.get("settleCoin")):
            return envelope({}, 10001, "symbol, baseCoin or settleCoin is required")
        kind = given.get("orderFilter", "Order")
        chosen = [row for row in self._matching(self.orders, given) if given["category"] != "spot" or row["_kind"] == kind][:500]
        self.orders = [row for row in self.orders if row not in chosen]
        return {"list": [{"orderId": row["orderId"], "orderLinkId": ""} for row in chosen], "success": "1"}

    def _create(self, given: Row) -> Row:
        if given["category"] == "spot":
            return self._sell(given)
        idx, symbol = int(given["positionIdx"]), given["symbol"]
        found = next((row for row in self.positions if row["symbol"] == symbol and row["positionIdx"] == idx), None)
        if refusal := self.refuse_order(given, found):
            return envelope({}, *refusal)
        if found is None or given.get("reduceOnly") is not True or found["side"] == given["side"]:
            return envelope({}, 110017, "current position is zero, cannot fix reduce-only order qty")
        rule = next(row["lotSizeFilter"] for row in self.rules[given["category"]] if row["symbol"] == symbol)
        qty, held = Decimal(given["qty"]), Decimal(found["size"])
        if qty == 0 and given.get("closeOnTrigger") is True:
            qty = min(held, Decimal(rule["maxMktOrderQty"]))
        if qty <= 0 or qty % Decimal(rule["qtyStep"]) or qty > Decimal(rule["maxMktOrderQty"]):
            return envelope({}, 10001, "Qty invalid")
        found["size"] = str(max(0.0, float(held - qty)))
        row = {"symbol": symbol, "side": given["side"], "orderLinkId": given["orderLinkId"], "execQty": format(min(held, qty), "f")}
        row["execPrice"] = "99.5" if given["side"] == "Sell" else "100.5"
        self.executions.append({**row, "_category": given["category"]})
        return {"orderId": "made", "orderLinkId": given["orderLinkId"]}

    def _sell(self, given: Row) -> Row:
        coin, qty = given["symbol"].removesuffix("USDT"), Decimal(given["qty"])
        if qty * 100 < 5:
            return envelope({}, 170140, "Order value exceeded lower limit.")
        if given["side"] != "Sell" or given.get("marketUnit") != "baseCoin" or qty > self.coins[coin]:
            return envelope({}, 170131, "Insufficient balance.")
        self.coins[coin] -= qty
        return {"orderId": "sold", "orderLinkId": given["orderLinkId"]}

    def _executions(self, given: Row) -> Row:
        newest = [row for row in reversed(self.executions) if row["_category"] == given["category"]]
        begin, end = int(given.get("cursor") or 0), int(given.get("cursor") or 0) + int(given["limit"])
        return {"list": newest[begin:end], "nextPageCursor": str(end) if end < len(newest) else ""}

    def _wallet(self, given: Row) -> Row:
        coins = [{"coin": coin, "walletBalance": format(amount, "f")} for coin, amount in self.coins.items()]
        return {"list": [{"accountType": "UNIFIED", "coin": coins}]}


def envelope(result: Any, code: int = 0, text: str = "OK", extra: Any = None) -> Row:
    """The shape of every answer."""
    return {"retCode": code, "retMsg": text, "result": result, "retExtInfo": extra or {}, "time": 0}


def _shown(row: Row) -> Row:
    return {name: value for name, value in row.items() if not name.startswith("_")}


@contextmanager
def fake_exchange() -> Iterator[FakeExchange]:
    """Serve until the block ends."""
    fake = FakeExchange()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer leaves in one piece

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            given = json.loads(body) if body else dict(parse_qsl(parts.query))
            found = fake.answer(parts.path, given, dict(self.headers))
            status, headers, raw = found if isinstance(found, tuple) else (200, {}, json.dumps(found).encode())
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(raw))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)
            self.wfile.flush()

        do_GET = do_POST = _serve

        def log_message(self, format: str, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
