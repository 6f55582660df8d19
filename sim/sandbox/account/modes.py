"""Leverage, position mode, margin mode and added margin: what an account changes about its positions beside orders."""

from __future__ import annotations

from typing import Any, Final

from keel.core.errors import ConfigError
from keel.core.model.instrument import generic_tiers
from keel.core.model.money import UNIT, mul_div_ceil, to_units
from keel.core.system.config import MarginMode
from keel.sim.exchange.book import Position, SymbolBook, WorkingOrder
from keel.sim.margin.cross import CrossAccount, net_of, value_at_mark
from keel.sim.margin.isolated import IsolatedMargin, max_leverage
from keel.sim.margin.ledger import FREE, post
from keel.sim.margin.liquidation import is_touched
from keel.sim.margin.settlement import liquidation_price
from keel.sim.sandbox.account.simulated_account import SimulatedAccount
from keel.sim.sandbox.http.errors import ApiError, params_error
from keel.sim.sandbox.market.symbol_market import SymbolMarket

MARGIN_MODES: Final[dict[MarginMode, str]] = {"isolated": "ISOLATED_MARGIN", "cross": "REGULAR_MARGIN"}
_MODE_NAMES: Final = {name: mode for mode, name in MARGIN_MODES.items()}
_IN_CROSS: Final = (110015, "the position is in cross_margin")


def set_leverage(account: SimulatedAccount, market: SymbolMarket, leverage: float) -> None:
    """Change a symbol's leverage; what open positions and resting orders hold changes at once. Raises ApiError."""
    book, instrument = account.exchange.books[market.name], market.instrument
    wanted = to_units(leverage)
    if not UNIT <= wanted <= instrument.max_leverage or wanted % (UNIT // 100):
        raise ApiError(10001, "leverage invalid")  # ASSUMED words
    if wanted == book.leverage:
        raise ApiError(110043, "leverage not modified")
    policy = IsolatedMargin(wanted, book.taker_fee, instrument.tiers or generic_tiers())
    if any(value and wanted > max_leverage(value, policy.tiers) for value in _tier_values(book)):
        raise ApiError(110013, "cannot set leverage gt maxLeverage by risk limit")  # ASSUMED words
    if book.account is not None:
        _count_by(book, policy, book.account)
    else:
        _hold_by(book, policy)


def _tier_values(book: SymbolBook) -> list[int]:
    """What a symbol's risk tier goes by: each position's cost; under cross margin the net value at mark."""
    return [position.cost for position in book.positions] if book.account is None else [abs(value_at_mark(book, net_of(book)[0]))]


def _count_by(book: SymbolBook, policy: IsolatedMargin, cross: CrossAccount) -> None:
    """Cross margin: orders hold what the new leverage wants of them, positions need it. Raises ApiError when nothing would be left."""
    orders, before, available = _order_changes(book, policy), book.margin, cross.available()
    for_orders = sum(change for _, change in orders)
    book.margin = policy
    left = cross.available() - for_orders
    if left <= 0 and left < available:
        refusal = ApiError(110044, "available margin is insufficient")  # ASSUMED words
    elif cross.is_due():
        refusal = ApiError(110011, "position would be liquidated immediately")  # ASSUMED words
    else:
        post(book.accounts, free=-for_orders, order=for_orders)
        _keep(book, policy, orders)
        return
    book.margin = before
    raise refusal


def _hold_by(book: SymbolBook, policy: IsolatedMargin) -> None:
    """Move margin as the new leverage wants it, all of it or nothing. Raises ApiError."""
    orders, positions = _order_changes(book, policy), _position_changes(book, policy)
    for_orders, for_positions = sum(change for _, change in orders), sum(change for _, change in positions)
    if for_orders + for_positions > book.accounts[FREE]:
        raise ApiError(110044, "available margin is insufficient")  # ASSUMED words
    before, saved = book.margin, [(position, position.margin, position.liquidation_price) for position in book.positions]
    book.margin = policy
    for position, change in positions:
        position.margin += change
        position.liquidation_price = liquidation_price(book, position, position.margin)
    if any(position.margin < 0 or is_touched(position.steps, book.mark, position.liquidation_price) for position, _ in positions):
        book.margin = before
        for position, margin, price in saved:
            position.margin, position.liquidation_price = margin, price
        raise ApiError(110011, "position would be liquidated immediately")  # ASSUMED words
    post(book.accounts, free=-for_orders - for_positions, order=for_orders, position=for_positions)
    _keep(book, policy, orders)


def _keep(book: SymbolBook, policy: IsolatedMargin, orders: list[tuple[WorkingOrder, int]]) -> None:
    for order, change in orders:
        order.reserve += change
    book.leverage = policy.leverage


def _order_changes(book: SymbolBook, policy: IsolatedMargin) -> list[tuple[WorkingOrder, int]]:
    """By how much what resting orders hold changes with the leverage, in proportion."""
    changes = []
    for order in book.orders.values():
        if order.reserve:
            old, new = book.margin.to_order(UNIT * 10_000, order.side), policy.to_order(UNIT * 10_000, order.side)
            changes.append((order, mul_div_ceil(order.reserve, new, old) - order.reserve))
    return changes


def _position_changes(book: SymbolBook, policy: IsolatedMargin) -> list[tuple[Position, int]]:
    """The margin changes of open positions: margin that was added, or used up by funding, stays."""
    changes = []
    for position in book.positions:
        if position.steps:
            side = 1 if position.steps > 0 else -1
            changes.append((position, policy.to_hold(position.cost, side) - book.margin.to_hold(position.cost, side)))
    return changes


def add_to_margin(book: SymbolBook, position: Position, amount: int) -> None:
    """Move cash between free and a position's margin (1e-8; negative: back), and recompute its liquidation price."""
    post(book.accounts, free=-amount, position=amount)
    position.margin += amount
    position.liquidation_price = liquidation_price(book, position, position.margin)


def add_margin(account: SimulatedAccount, market: SymbolMarket, idx: int, amount: float) -> None:
    """Add margin to (or take it from) an isolated position. Raises ApiError."""
    book = account.exchange.books[market.name]
    position = book.position(idx)
    if position is None:
        raise ApiError(10001, "position idx not match position mode")
    if book.account is not None:
        raise ApiError(*_IN_CROSS)
    if not position.steps:
        raise ApiError(10001, "position is zero")  # ASSUMED words
    units = to_units(amount)
    if units == 0 or units % 10_000:
        raise params_error("margin invalid")
    if units > book.accounts[FREE]:
        raise ApiError(110044, "available margin is insufficient")  # ASSUMED words
    side = 1 if position.steps > 0 else -1
    if units < 0 and position.margin + units < book.margin.to_hold(position.cost, side):
        raise ApiError(110011, "position would be liquidated immediately")  # ASSUMED: only added margin can be taken back
    add_to_margin(book, position, units)


def set_auto_add_margin(account: SimulatedAccount, market: SymbolMarket, idx: int, wanted: int) -> None:
    """Margin is never added by itself here: 0 switches the setting off, 1 is refused. Raises ApiError."""
    if wanted not in (0, 1):
        raise params_error("autoAddMargin invalid")
    book = account.exchange.books[market.name]
    if book.position(idx) is None:
        raise ApiError(10001, "position idx not match position mode")
    if book.account is not None:
        raise ApiError(*_IN_CROSS)
    if wanted:
        raise ApiError(10001, "sandbox: margin is not added automatically; use add-margin")
    account.adds_margin.discard(market.name)


def switch_mode(account: SimulatedAccount, market: SymbolMarket, mode: int) -> None:
    """One-way (0) or hedge (3) for a symbol. Raises ApiError: 110025 where it has it, 110024 and 110028 with a position or an order."""
    wanted = _is_hedge(mode)
    if account.is_hedge[market.name] == wanted:
        raise ApiError(110025, "Position mode is not modified")
    book = account.exchange.books[market.name]
    if any(position.steps for position in book.positions):
        raise ApiError(110024, "You have an existing position, so position mode cannot be switched")  # ASSUMED words
    if _has_orders(book):
        raise ApiError(110028, "There are existing open orders, so position mode cannot be switched")  # ASSUMED words
    _set_mode(account, market, wanted)


def switch_modes(account: SimulatedAccount, markets: list[SymbolMarket], mode: int) -> None:
    """Switch the position mode of all symbols of a settle coin that have neither position nor order; the others stay as they are, and
    nothing to change is no error."""
    wanted = _is_hedge(mode)
    for market in markets:
        book = account.exchange.books[market.name]
        is_free = not any(position.steps for position in book.positions) and not _has_orders(book)
        if is_free and account.is_hedge[market.name] != wanted:
            _set_mode(account, market, wanted)


def _is_hedge(mode: int) -> bool:
    if mode not in (0, 3):
        raise params_error("mode invalid")
    return mode == 3


def _has_orders(book: SymbolBook) -> bool:
    return bool(book.orders or book.pending or book.waiting)


def _set_mode(account: SimulatedAccount, market: SymbolMarket, wanted: bool) -> None:
    book = account.exchange.books[market.name]
    book.positions = [Position(book.instrument, idx) for idx in ((1, 2) if wanted else (0,))]
    account.is_hedge[market.name] = wanted


def set_margin_mode(account: SimulatedAccount, mode: str, *, has_isolated: bool) -> dict[str, Any]:
    """Account-wide margin mode. Raises ApiError: the one it has (110026), isolated where there is none (110073), or 3400045 with reasons:
    portfolio margin, and an account that has positions or orders (ASSUMED)."""
    wanted = _MODE_NAMES.get(mode)
    if wanted is None and mode != "PORTFOLIO_MARGIN":
        raise params_error("setMarginMode invalid")
    if wanted == account.margin_mode:
        raise ApiError(110026, "Cross/isolated margin mode is not modified")
    if wanted == "isolated" and not has_isolated:
        raise ApiError(110073, "Set margin mode failed")
    if wanted is None:
        raise _not_switched("sandbox: portfolio margin is not simulated")
    try:
        account.exchange.set_margin_mode(wanted)
    except ConfigError as error:
        raise _not_switched(str(error)) from error
    account.margin_mode = wanted
    return {"reasons": []}


def _not_switched(reason: str) -> ApiError:
    return ApiError(3400045, "Set margin mode failed", result={"reasons": [{"reasonCode": "3400045", "reasonMsg": reason}]})
