"""I-15, I-17: what was sent, how often, and what is left behind."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl

from tests.faults.checker.seen import Seen

PLAIN: Final = re.compile(r"^\d+(\.\d+)?$")
PRICES: Final = ("price", "triggerPrice", "takeProfit", "stopLoss", "tpLimitPrice", "slLimitPrice", "activePrice", "trailingStop")
QUANTITIES: Final = ("qty", "tpSize", "slSize")
OTHERS: Final = ("buyLeverage", "sellLeverage")
PER_SECOND: Final = {
    "/v5/order/create": 10, "/v5/order/amend": 10, "/v5/order/cancel": 10, "/v5/order/cancel-all": 10, "/v5/order/create-batch": 10,
    "/v5/order/cancel-batch": 10, "/v5/order/realtime": 50, "/v5/order/history": 50, "/v5/execution/list": 50, "/v5/position/list": 50,
    "/v5/position/trading-stop": 10, "/v5/account/wallet-balance": 50, "/v5/user/query-api": 10, "/v5/account/info": 50,
    "/v5/account/transaction-log": 25,
}  # fmt: skip
"""The exchange's own budgets, per account."""
PER_ADDRESS: Final = (600, 5_000)
CONNECTS: Final = (20, 299_000)
"""Of one stream in five minutes, less what a handshake may take."""


def numbers(seen: Seen) -> Iterator[str]:
    """I-15: plain decimals on the grid, as text. A zero takes an exit away."""
    for row in _requests(seen):
        for name, value, symbol in _fields(row):
            if not isinstance(value, str) or not PLAIN.match(value):
                yield f"I-15: {row['path']} was sent {name} {value!r}"
                continue
            grid = seen.grids.get(symbol)
            place = 0 if name in PRICES else 1 if name in QUANTITIES else None
            if grid is not None and place is not None and Decimal(value) % Decimal(grid[place]):
                yield f"I-15: {row['path']} was sent {name} {value}, which is not on {grid[place]}"


def _fields(row: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    sent = dict(parse_qsl(row["sent"])) if row["method"] == "GET" else json.loads(row["sent"] or "{}")
    for body in (sent, *sent.get("request", ())):
        for name in (*PRICES, *QUANTITIES, *OTHERS):
            if body.get(name) not in (None, ""):
                yield name, body[name], str(body.get("symbol", ""))


def pace(seen: Seen) -> Iterator[str]:
    """I-17: never more within a second than the exchange allows an account, nor within five than an address; few connections."""
    rows = _requests(seen)
    for path, limit in PER_SECOND.items():
        most = _most([row["received"] for row in rows if row["path"] == path], 1_000)
        if most > limit * seen.rate_factor:
            yield f"I-17: {most} requests for {path} within a second, at most {limit * seen.rate_factor:g}"
    limit, window = PER_ADDRESS
    most = _most([row["received"] for row in (seen.wire or {}).get("requests", ())], window)
    if most > limit * seen.rate_factor:
        yield f"I-17: {most} requests within five seconds, at most {limit * seen.rate_factor:g}"
    connects = (seen.wire or {}).get("connects", ())
    limit, window = CONNECTS
    for channel in sorted({row["channel"] for row in connects}):
        most = _most([row["received"] for row in connects if row["channel"] == channel], window)
        if most > limit:
            yield f"I-17: {most} {channel} connections within five minutes, at most {limit}"


def leaks(seen: Seen) -> Iterator[str]:
    """I-17: no more is held after the run than before it. Less may be: what earlier tests of the process have left is let go some time."""
    for name in sorted({*seen.before, *seen.after}):
        if seen.after.get(name, 0) > seen.before.get(name, 0):
            yield f"I-17: {name}: {seen.before.get(name, 0)} before the run, {seen.after.get(name, 0)} after it"


def _requests(seen: Seen) -> list[dict[str, Any]]:
    return [row for row in (seen.wire or {}).get("requests", ()) if row["account"] == seen.account]


def _most(times: Iterable[int], window_ms: int) -> int:
    """The most within any window."""
    inside: deque[int] = deque()
    most = 0
    for time in sorted(times):
        inside.append(time)
        while inside[0] <= time - window_ms:
            inside.popleft()
        most = max(most, len(inside))
    return most
