"""Side endpoints that clients ask when they start: there is nothing to tell, and the answers say so in the exchange's shapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keel.core.model.money import UNIT
from keel.sim.margin.ledger import FREE
from keel.sim.sandbox import texts
from keel.sim.sandbox.account.simulated_account import SimulatedAccount
from keel.sim.sandbox.http.call import Call
from keel.sim.sandbox.http.endpoints.periods import on_grid, points
from keel.sim.sandbox.http.errors import ApiError, params_error
from keel.sim.sandbox.http.parameters import market, text

_ACCOUNT_TYPES = ("UNIFIED", "FUND", "CONTRACT", "SPOT")


def system_status(call: Call) -> dict[str, Any]:
    """GET /v5/system/status: no maintenance is planned."""
    return {"list": []}


def insurance(call: Call) -> dict[str, Any]:
    """GET /v5/market/insurance: the fund of each quote coin is empty in the sandbox's public data."""
    wanted = text(call.params, "coin")
    names = dict.fromkeys(one.instrument.quote for one in call.engine.markets.values() if one.is_linear)
    rows = [{"coin": coin, "symbols": "", "balance": "0", "value": "0"} for coin in names if wanted in ("", coin)]
    return {"updatedTime": str(call.engine.now_ms), "list": rows}


def account_ratio(call: Call) -> dict[str, Any]:
    """GET /v5/market/account-ratio: half of the accounts are long, newest first, back to the first candle (invented)."""
    one = market(call.params, call.engine.markets)

    def halves(step: int, oldest: int, newest: int) -> Iterator[tuple[int, str]]:
        return ((stamp, "0.5") for stamp in on_grid(one, step, oldest, newest))

    kept, cursor = points(call, one, "period", 500, halves)
    rows = [{"symbol": one.symbol, "buyRatio": share, "sellRatio": share, "timestamp": str(stamp)} for stamp, share in kept]
    return {"list": rows, "nextPageCursor": cursor}


def disconnect_protection(call: Call) -> dict[str, Any]:
    """POST /v5/order/disconnected-cancel-all: only institutional accounts may use it, and these are none."""
    raise ApiError(10005, "Permission denied, please check your API key permissions.")  # ASSUMED code and words


def disconnect_protection_info(call: Call) -> dict[str, Any]:
    """GET /v5/account/query-dcp-info: nothing is set."""
    return {"dcpInfos": []}


def deposits(call: Call) -> dict[str, Any]:
    """GET /v5/asset/deposit/query-record: money comes by ``/admin/account``, and stands in the transaction log."""
    return {"rows": [], "nextPageCursor": ""}


def withdrawals(call: Call) -> dict[str, Any]:
    """GET /v5/asset/withdraw/query-record: nothing can be withdrawn."""
    return {"rows": [], "nextPageCursor": ""}


def transfers(call: Call) -> dict[str, Any]:
    """GET /v5/asset/transfer/query-inter-transfer-list: there is one wallet only."""
    return {"list": [], "nextPageCursor": ""}


def coin_balances(call: Call) -> dict[str, Any]:
    """GET /v5/asset/transfer/query-account-coins-balance: of the unified wallet; others are empty."""
    kind = _account_type(call)
    wanted = [coin for coin in text(call.params, "coin").split(",") if coin]
    rows = [_balance(call.account, coin, kind) for coin in wanted or _coins(call.account)]
    return {"memberId": str(call.account.uid), "accountType": kind, "balance": rows}


def coin_balance(call: Call) -> dict[str, Any]:
    """GET /v5/asset/transfer/query-account-coin-balance: one coin."""
    kind, coin = _account_type(call), text(call.params, "coin")
    if not coin:
        raise params_error("coin is required")  # ASSUMED words
    row = {**_balance(call.account, coin, kind), "transferSafeAmount": "", "ltvTransferSafeAmount": ""}
    return {"accountType": kind, "bizType": 1, "accountId": str(call.account.uid), "memberId": str(call.account.uid), "balance": row}


def _account_type(call: Call) -> str:
    kind = text(call.params, "accountType")
    if kind not in _ACCOUNT_TYPES:
        raise params_error("accountType invalid")  # ASSUMED words
    return kind


def _coins(account: SimulatedAccount) -> list[str]:
    return list(account.exchange.ledger.coins)


def _balance(account: SimulatedAccount, coin: str, kind: str) -> dict[str, Any]:
    wallet = free = 0
    unit = UNIT
    ledger = account.exchange.ledger
    if kind == "UNIFIED" and coin in ledger.coins:
        wallet, free, unit = ledger.wallet(coin), ledger.coins[coin][FREE], account.unit_of(coin)
    return {"coin": coin, "walletBalance": texts.coins(wallet, unit), "transferBalance": texts.coins(max(0, free), unit), "bonus": ""}
