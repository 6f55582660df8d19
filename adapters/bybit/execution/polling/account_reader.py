"""The account by REST: what rests, what was executed, what is held; and its settings, read, checked, and set only where that is safe.

A setting that is so already is a success, whatever code says it (110043, 110025, 110026, 34040); after a change it is read back.
"""

from __future__ import annotations

from collections.abc import Container
from decimal import Decimal
from typing import Any

from keel.adapters.bybit.execution.tracking.queries import OrderView
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.transport.rest import Answer, RestClient
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import SUCCESS, PayloadError
from keel.core.errors import SafetyError
from keel.core.model.instrument import Category
from keel.core.model.timeframe import WEEK_MS

MarginMode = translate.MarginMode


class AccountReader:
    """Reads and settings of one account and category. ``settle_coin`` bounds linear lists, which the exchange demands."""

    def __init__(self, rest: RestClient, category: Category, notify: Notify = lambda notice: None, *, settle_coin: str = "USDT") -> None:
        self._rest, self._category, self._notify = rest, category, notify
        self._settle_coin = settle_coin

    # --- reads ---

    async def open_orders(self) -> list[wire.OrderRow]:
        """Everything that rests, conditional orders and brackets included, oldest first. Raises PayloadError for a row that cannot be
        read: a list with a hole is no evidence of absence."""
        rows = await self._rest.rows(wire.OrderRow, "/v5/order/realtime", self._scope() | {"openOnly": 0, "limit": 50}, _fail)
        return sorted(rows, key=lambda row: int(translate.number(row.createdTime, "createdTime") or 0))

    async def order(self, symbol: str, client_order_id: str | None, order_id: str | None = None) -> OrderView:
        """One order by everything that may know it: open, lately closed, history, executions. Raises when any of them cannot be read."""
        scope: dict[str, Any] = {"category": self._category, "symbol": symbol}
        scope |= {"orderId": order_id} if order_id else {"orderLinkId": client_order_id}
        row: wire.OrderRow | None = None
        for path, more in (
            ("/v5/order/realtime", {"openOnly": 0}),
            ("/v5/order/realtime", {"openOnly": 1}),
            ("/v5/order/history", {}),
        ):
            listing = await self._rest.read(wire.Listing, path, scope | more)
            rows = [wire.decode(wire.OrderRow, raw) for raw in listing.rows]
            row = next((row for row in rows if _matches(row, client_order_id, order_id)), None)
            if row is not None:
                break
        if row is not None and not translate.number(row.cumExecQty, "cumExecQty"):
            return OrderView(row, [])
        if row is not None:
            scope = {"category": self._category, "symbol": symbol, "orderId": row.orderId}
        executions = await self._rest.rows(wire.ExecutionRow, "/v5/execution/list", scope | {"limit": 100}, _fail)
        mine = [one for one in executions if _is_of(one, client_order_id, order_id or (row.orderId if row else None))]
        return OrderView(row, sorted(mine, key=translate.execution_order))

    async def exit(self, symbol: str, parent_id: str, role: str, known: Container[str]) -> OrderView:
        """An exit that the exchange made out of an order's bracket and of which only parent and role are known, by lists of what has ended:
        it has no client id there. The latest one that is not among the ``known`` order ids. Raises when a list cannot be read."""
        scope = {"category": self._category, "symbol": symbol, "limit": 50}
        for path, more in (("/v5/order/realtime", {"openOnly": 1}), ("/v5/order/history", {})):
            rows = await self._rest.rows(wire.OrderRow, path, scope | more, _fail)
            mine = [row for row in rows if translate.ROLES.get(row.stopOrderType or "") == role and row.orderId not in known]
            found = [row for row in mine if row.parentOrderLinkId == parent_id] or [row for row in mine if not row.parentOrderLinkId]
            if found:
                return await self.order(symbol, None, max(found, key=lambda row: translate.time_ms(row.updatedTime, "updatedTime")).orderId)
        return OrderView(None, [])

    async def executions(self, since_ms: int, until_ms: int) -> list[wire.ExecutionRow]:
        """All executions of the category in [since, until], oldest first, in windows of a week. Rows that cannot be read raise."""
        found: list[wire.ExecutionRow] = []
        begin = since_ms
        while begin <= until_ms:
            end = min(until_ms, begin + WEEK_MS - 1)
            params = {"category": self._category, "startTime": begin, "endTime": end, "limit": 100}
            found += await self._rest.rows(wire.ExecutionRow, "/v5/execution/list", params, _fail)
            begin = end + 1
        return sorted(found, key=translate.execution_order)

    async def positions(self) -> list[wire.PositionRow]:
        """Every open position of the settle coin; spot has none."""
        if self._category != "linear":
            return []
        return await self._rest.rows(wire.PositionRow, "/v5/position/list", self._scope() | {"limit": 200}, _fail)

    async def position_rows(self, symbol: str) -> list[wire.PositionRow]:
        """A symbol's rows, also when it is flat: one in one-way mode, two in hedge mode."""
        return await self._rest.rows(wire.PositionRow, "/v5/position/list", {"category": self._category, "symbol": symbol}, _fail)

    async def wallet(self) -> wire.WalletRow:
        """The unified account's wallet."""
        listing = await self._rest.read(wire.Listing, "/v5/account/wallet-balance", {"accountType": "UNIFIED"})
        if not listing.rows:
            raise PayloadError("wallet-balance: no account in the answer")
        return wire.decode(wire.WalletRow, listing.rows[0])

    async def info(self) -> wire.AccountInfo:
        """Margin mode and kind of the account."""
        return await self._rest.read(wire.AccountInfo, "/v5/account/info")

    async def key_info(self) -> wire.KeyInfo:
        """What the key may do."""
        return await self._rest.read(wire.KeyInfo, "/v5/user/query-api")

    # --- settings ---

    async def check_key(self, *, live: bool) -> wire.KeyInfo:
        """Raises SafetyError for a key that may not trade, that may move funds (withdraw, transfer), or (live) that no address binds."""
        key = await self.key_info()
        group = "ContractTrade" if self._category == "linear" else "Spot"
        if key.readOnly or not (
            key.permissions.get(group) or key.permissions.get("Derivatives" if group == "ContractTrade" else "Exchange")
        ):
            raise SafetyError(f"the API key may not trade {self._category}: give it order and position rights, or use another")
        moving = key.permissions.get("Wallet") or []
        if moving:
            rights = ", ".join(moving)
            raise SafetyError(f"the API key may move funds ({rights}): make one without these rights, a trading program needs none")
        if live and not [address for address in key.ips if address not in ("", "*")]:
            raise SafetyError("the API key is bound to no address: bind it, or it expires and works from anywhere")
        if key.deadlineDay is not None and 0 <= key.deadlineDay < 14:
            self._notify(Notice(self._rest.clock.now_ms, "key_expires", f"the API key expires in {key.deadlineDay} days"))
        return key

    async def ensure_margin_mode(self, mode: MarginMode) -> None:
        """Cross or isolated for the whole account. Raises SafetyError, with the choices, when the account refuses."""
        found = (await self.info()).marginMode
        if found == translate.MARGIN_MODES[mode]:
            return
        answer = await self._rest.command("/v5/account/set-margin-mode", {"setMarginMode": translate.MARGIN_MODES[mode]})
        now = (await self.info()).marginMode
        if now != translate.MARGIN_MODES[mode]:
            raise SafetyError(
                f"the account is in {now} and refuses {translate.MARGIN_MODES[mode]} ({answer.reason}): close positions and orders and try"
                f" again, or run the system under the account's own mode (demo: {{margin_mode: {_ours(now)}}})"
            )

    async def ensure_one_way(self, symbol: str, *, may_switch: bool = False) -> None:
        """One-way positions, as the whole system assumes. Switches only when told to; the exchange refuses while anything is open."""
        if self._category != "linear" or not await self._is_hedged(symbol):
            return
        reason = ""
        if may_switch:
            answer = await self._rest.command("/v5/position/switch-mode", {"category": "linear", "symbol": symbol, "mode": 0})
            if answer.outcome in SUCCESS and not await self._is_hedged(symbol):
                return
            reason = f" ({answer.reason})"
        raise SafetyError(
            f"{symbol} is in hedge mode{reason}: close its positions and orders and switch it to one-way mode, then start again"
        )

    async def ensure_leverage(self, symbol: str, leverage: float) -> None:
        """The leverage of a symbol. Raises SafetyError when the exchange refuses it or another one is read back."""
        if self._category != "linear" or await self._leverage_is(symbol, leverage):
            return
        text = format(Decimal(repr(leverage)).normalize(), "f")
        body = {"category": "linear", "symbol": symbol, "buyLeverage": text, "sellLeverage": text}
        answer = await self._rest.command("/v5/position/set-leverage", body)
        if not await self._leverage_is(symbol, leverage):
            raise SafetyError(
                f"{symbol}: leverage {text} was not set ({answer.reason}): choose one that the exchange allows (risk.leverage)"
            )

    async def ensure_no_added_margin(self, symbol: str) -> None:
        """Margin is not added to a position by itself: switched off where it is on. Raises SafetyError when it stays on."""
        if self._category != "linear" or not any(row.autoAddMargin for row in await self.position_rows(symbol)):
            return
        body = {"category": "linear", "symbol": symbol, "autoAddMargin": 0, "positionIdx": 0}
        answer = await self._rest.command("/v5/position/set-auto-add-margin", body)
        if any(row.autoAddMargin for row in await self.position_rows(symbol)):
            raise SafetyError(
                f"{symbol}: margin is added to the position by itself, and that was not switched off ({answer.reason}): do it there"
            )

    async def cancel_all(self, symbol: str | None) -> Answer:
        """Cancel what rests of a symbol, or of the category: at most 500 orders at once, so the caller looks again."""
        body = {"category": self._category, "symbol": symbol} if symbol is not None else self._scope()
        return await self._rest.command("/v5/order/cancel-all", body)

    def _scope(self) -> dict[str, Any]:
        return {"category": self._category} | ({"settleCoin": self._settle_coin} if self._category == "linear" else {})

    async def _is_hedged(self, symbol: str) -> bool:
        return any(row.positionIdx for row in await self.position_rows(symbol))

    async def _leverage_is(self, symbol: str, leverage: float) -> bool:
        rows = await self.position_rows(symbol)
        stated = [translate.number(row.leverage, "leverage") for row in rows]
        return bool(stated) and all(value is not None and float(value) == leverage for value in stated)


def _ours(mode: str) -> str:
    return next((name for name, theirs in translate.MARGIN_MODES.items() if theirs == mode), mode)


def _matches(row: wire.OrderRow, client_order_id: str | None, order_id: str | None) -> bool:
    return row.orderId == order_id if order_id else row.orderLinkId == client_order_id


def _is_of(row: wire.ExecutionRow, client_order_id: str | None, order_id: str | None) -> bool:
    return row.orderId == order_id if order_id else row.orderLinkId == client_order_id


def _fail(error: PayloadError) -> None:
    raise error
