"""Every endpoint: its handler, whether it needs a key, its request budget, and whether the demo profile has it ("Rate Limit Rules")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from keel.core.model.timeframe import MINUTE_MS
from keel.sim.sandbox.http.call import Call
from keel.sim.sandbox.http.endpoints import account as private
from keel.sim.sandbox.http.endpoints import market as public
from keel.sim.sandbox.http.endpoints import side as side
from keel.sim.sandbox.http.request_limits import SECOND_MS

Handler = Callable[[Call], dict[str, Any]]


class Route(msgspec.Struct, frozen=True):
    """One endpoint. ``limit``: requests per account within ``window_ms``; ``spot``: the same for spot, where it differs."""

    handler: Handler
    limit: int = 0
    spot: int = 0
    on_demo: bool = True
    is_order: bool = False
    """Whether its item is an order: batches count each."""
    message: str = "OK"
    window_ms: int = SECOND_MS

    @property
    def needs_key(self) -> bool:
        """Public endpoints have no budget of their own."""
        return self.limit > 0


ROUTES: Final[dict[tuple[str, str], Route]] = {
    ("GET", "/v5/market/time"): Route(public.time),
    ("GET", "/v5/market/instruments-info"): Route(public.instruments_info),
    ("GET", "/v5/market/kline"): Route(public.kline),
    ("GET", "/v5/market/mark-price-kline"): Route(public.mark_kline),
    ("GET", "/v5/market/index-price-kline"): Route(public.index_kline),
    ("GET", "/v5/market/premium-index-price-kline"): Route(public.premium_kline),
    ("GET", "/v5/market/funding/history"): Route(public.funding_history),
    ("GET", "/v5/market/open-interest"): Route(public.open_interest),
    ("GET", "/v5/market/tickers"): Route(public.tickers),
    ("GET", "/v5/market/orderbook"): Route(public.orderbook),
    ("GET", "/v5/market/recent-trade"): Route(public.recent_trade),
    ("GET", "/v5/market/risk-limit"): Route(public.risk_limit),
    ("GET", "/v5/market/price-limit"): Route(public.price_limit, message=""),
    ("GET", "/v5/market/account-ratio"): Route(side.account_ratio),
    ("GET", "/v5/market/insurance"): Route(side.insurance),
    ("GET", "/v5/system/status"): Route(side.system_status, message=""),
    ("POST", "/v5/order/create"): Route(private.create, 10, 20),
    ("POST", "/v5/order/amend"): Route(private.amend, 10),
    ("POST", "/v5/order/cancel"): Route(private.cancel, 10, 20),
    ("POST", "/v5/order/cancel-all"): Route(private.cancel_all, 10, 20),
    ("POST", "/v5/order/create-batch"): Route(private.create_batch, 10, 20, is_order=True),
    ("POST", "/v5/order/amend-batch"): Route(private.amend_batch, 10, is_order=True),
    ("POST", "/v5/order/cancel-batch"): Route(private.cancel_batch, 10, 20, is_order=True),
    ("GET", "/v5/order/realtime"): Route(private.realtime, 50),
    ("GET", "/v5/order/history"): Route(private.history, 50),
    ("GET", "/v5/execution/list"): Route(private.executions, 50),
    ("GET", "/v5/position/list"): Route(private.positions, 50),
    ("POST", "/v5/position/set-leverage"): Route(private.set_leverage, 10),
    ("POST", "/v5/position/switch-mode"): Route(private.switch_mode, 10),
    ("POST", "/v5/position/trading-stop"): Route(private.trading_stop, 10),
    ("POST", "/v5/position/add-margin"): Route(private.add_margin, 10),
    ("POST", "/v5/position/set-auto-add-margin"): Route(private.set_auto_add_margin, 10),
    ("POST", "/v5/position/switch-isolated"): Route(private.switch_isolated, 10, on_demo=False),
    ("GET", "/v5/position/closed-pnl"): Route(private.closed_pnl, 50),
    ("GET", "/v5/position/symbol-info"): Route(private.symbol_info, 50, on_demo=False),
    ("GET", "/v5/account/wallet-balance"): Route(private.wallet_balance, 50),
    ("GET", "/v5/account/info"): Route(private.account_info, 50),
    ("POST", "/v5/account/set-margin-mode"): Route(private.set_margin_mode, 5),
    ("GET", "/v5/account/fee-rate"): Route(private.fee_rate, 5, on_demo=False),
    ("GET", "/v5/account/transaction-log"): Route(private.transaction_log, 25),
    ("GET", "/v5/account/user-setting-config"): Route(private.user_setting, 50, on_demo=False),
    ("POST", "/v5/account/demo-apply-money"): Route(private.apply_demo_money, 1, window_ms=MINUTE_MS),
    ("GET", "/v5/user/query-api"): Route(private.query_api, 10, message=""),
    ("GET", "/v5/asset/coin/query-info"): Route(private.coin_info, 5, on_demo=False),
    ("GET", "/v5/asset/transfer/query-account-coins-balance"): Route(side.coin_balances, 5, on_demo=False),
    ("GET", "/v5/asset/transfer/query-account-coin-balance"): Route(side.coin_balance, 5, on_demo=False),
    ("GET", "/v5/asset/transfer/query-inter-transfer-list"): Route(side.transfers, 5, on_demo=False),
    ("GET", "/v5/asset/deposit/query-record"): Route(side.deposits, 5, on_demo=False),
    ("GET", "/v5/asset/withdraw/query-record"): Route(side.withdrawals, 5, on_demo=False),
    ("POST", "/v5/order/disconnected-cancel-all"): Route(side.disconnect_protection, 5, on_demo=False),
    ("GET", "/v5/account/query-dcp-info"): Route(side.disconnect_protection_info, 5, on_demo=False),
}
UNUSED_CATEGORIES: Final = ("inverse", "option")
"""What no account has anything in here."""
CANCEL_ALL: Final = "/v5/order/cancel-all"
TICKERS: Final = "/v5/market/tickers"
LISTS: Final = frozenset({
    "/v5/market/instruments-info", TICKERS, "/v5/order/realtime", "/v5/order/history", "/v5/execution/list", "/v5/position/list",
    "/v5/position/closed-pnl", CANCEL_ALL,
})  # fmt: skip
"""Endpoints that answer with an empty list for a category that an account does not use."""
NOT_SIMULATED: Final = frozenset({
    "/v5/order/pre-check", "/v5/order/spot-borrow-check", "/v5/position/confirm-pending-mmr",
    "/v5/position/set-tpsl-mode", "/v5/position/set-risk-limit", "/v5/account/smp-group",
    "/v5/account/set-limit-px-action", "/v5/account/instruments-info", "/v5/asset/transfer/inter-transfer",
    "/v5/asset/transfer/universal-transfer",
})  # fmt: skip
"""Endpoints of the exchange that are not simulated and that demo trading is not listed with: 10032 there, 404 as all others elsewhere."""
TRADE_OPS: Final = {
    "order.create": "/v5/order/create", "order.amend": "/v5/order/amend", "order.cancel": "/v5/order/cancel",
    "order.create-batch": "/v5/order/create-batch", "order.amend-batch": "/v5/order/amend-batch",
    "order.cancel-batch": "/v5/order/cancel-batch",
}  # fmt: skip
"""Operations of the trade stream, and the endpoint that each is."""
