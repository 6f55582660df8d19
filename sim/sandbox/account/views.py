"""Positions and wallet as the exchange shows them: computed when asked, from the engine's books and ledger."""

from __future__ import annotations

from typing import Any

from keel.core.model.money import UNIT
from keel.sim.exchange.book import STOP_LOSS, TAKE_PROFIT, TRAILING, Position, SymbolBook
from keel.sim.margin.cross import net_of, shown, value_at_mark
from keel.sim.margin.ledger import FREE, ORDER, POSITION
from keel.sim.sandbox import texts
from keel.sim.sandbox.account.margins import AccountMargins, coin_margins, position_margins, spot_locked
from keel.sim.sandbox.account.simulated_account import SimulatedAccount


def position_row(account: SimulatedAccount, name: str, idx: int) -> dict[str, Any]:
    """One position as REST gives it. ASSUMED: risk and ADL ranks; the status, since a takeover is over before anybody can ask; under cross
    margin the balance, which is the initial margin."""
    book, market = account.exchange.books[name], account.markets[name]
    position = book.position(idx) or book.positions[0]
    state = account.statement.position(market, position.idx)
    steps = position.steps
    side = 0 if not steps else 1 if steps > 0 else -1
    exits = {child.role: child for child in position.children if child.is_full}
    initial, maintenance = position_margins(book, position)
    entry = texts.decimal(position.entry_price)
    held, liquidation_price = shown(book, position)
    liquidation = market.price(liquidation_price) if liquidation_price else ""
    return {
        "positionIdx": position.idx, "riskId": 1, "riskLimitValue": texts.money(_tier_limit(book, position)), "symbol": market.symbol,
        "side": {1: "Buy", -1: "Sell", 0: ""}[side], "size": market.qty(abs(steps)), "avgPrice": entry,
        "positionValue": texts.money(position.cost), "autoAddMargin": int(name in account.adds_margin), "positionStatus": "Normal",
        "leverage": texts.money(book.leverage), "breakEvenPrice": _break_even(book, position, state.current),
        "markPrice": market.price(book.mark),
        "liqPrice": liquidation, "positionIM": texts.money(initial), "positionIMByMp": texts.money(initial),
        "positionMM": texts.money(maintenance), "positionMMByMp": texts.money(maintenance),
        "takeProfit": _exit(market, exits.get(TAKE_PROFIT)),
        "stopLoss": _exit(market, exits.get(STOP_LOSS)),
        "trailingStop": market.price(exits[TRAILING].distance) if TRAILING in exits else "0", "sessionAvgPrice": "",
        "unrealisedPnl": texts.decimal(position.unrealized(book.mark)) if steps else "0", "curRealisedPnl": texts.money(state.current),
        "cumRealisedPnl": texts.money(state.realised), "adlRankIndicator": 2 if steps else 0,
        "createdTime": str(state.created or account.clock.now_ms),
        "updatedTime": str(state.updated or account.clock.now_ms), "openTime": state.open_time if steps else 0, "seq": state.seq,
        "isReduceOnly": False, "mmrSysUpdatedTime": "", "leverageSysUpdatedTime": "", "tpslMode": "Full",
        "bustPrice": _bust(book, position),
        "positionBalance": texts.money(held), "tradeMode": 0,
    }  # fmt: skip


def position_push(account: SimulatedAccount, name: str, idx: int) -> dict[str, Any]:
    """A position as the private stream shows it: ``entryPrice`` instead of ``avgPrice``."""
    row = position_row(account, name, idx)
    return {"category": account.markets[name].category, "entryPrice": row.pop("avgPrice"), **row}


def wallet_row(account: SimulatedAccount, coins: list[str] | None = None) -> dict[str, Any]:
    """The account as wallet-balance gives it; values in USD with one USDT as one USD (ASSUMED). With isolated margin the rates, which
    mean nothing there, are those of the equity (ASSUMED)."""
    by_coin = {coin: coin_margins(account, coin) for coin in account.quotes}
    margins = AccountMargins(*(sum(part) for part in zip(*by_coin.values(), strict=True)))
    rows = {coin: _coin_row(account, coin, by_coin.get(coin)) for coin in account.exchange.ledger.coins}
    equity = sum(float(row["usdValue"]) for row in rows.values())
    unrealised = sum(_unrealised(account, coin) for coin in account.quotes)
    is_cross = account.margin_mode == "cross"
    total = texts.decimal(equity)
    initial = margins.position + margins.order
    against = margins.balance / UNIT if is_cross else equity
    figures = {
        "accountIMRate": _rate(initial, against), "accountMMRate": _rate(margins.maintenance, against),
        "totalInitialMargin": texts.money(initial), "totalMaintenanceMargin": texts.money(margins.maintenance),
    }  # fmt: skip
    return {
        "accountType": "UNIFIED", "accountLTV": "0", "totalEquity": total, "totalWalletBalance": texts.decimal(equity - unrealised),
        "totalMarginBalance": texts.money(margins.balance) if is_cross else total,
        "totalAvailableBalance": texts.money(sum(account.available(coin) for coin in account.quotes)),
        "totalPerpUPL": texts.decimal(unrealised),
        **figures, **{f"{name}ByMp": value for name, value in figures.items()},
        "coin": [row for coin, row in rows.items() if coins is None or coin in coins],
    }  # fmt: skip


def _rate(margin: int, against: float) -> str:
    return texts.decimal(margin / UNIT / (against if against > 0.0 else 1.0), 4)


def _coin_row(account: SimulatedAccount, coin: str, margins: AccountMargins | None) -> dict[str, Any]:
    """margins: of what settles in the coin, if anything does."""
    ledger = account.exchange.ledger.coins[coin]
    is_quote = coin in account.quotes
    unit = account.unit_of(coin)
    wallet = ledger[FREE] + ledger[ORDER] + ledger[POSITION]
    unrealised = _unrealised(account, coin)
    price = 1.0 if is_quote else _coin_price(account, coin)
    equity = wallet / unit + unrealised
    locked = spot_locked(account, coin)
    return {
        "coin": coin, "equity": texts.decimal(equity, 8 if unit == UNIT else 10), "usdValue": texts.decimal(equity * price),
        "walletBalance": texts.coins(wallet, unit), "locked": texts.coins(locked, unit), "spotHedgingQty": "0", "borrowAmount": "0",
        "accruedInterest": "0", "totalOrderIM": texts.coins(ledger[ORDER] - locked, unit),
        "totalPositionIM": texts.money(margins.position if margins is not None else 0),
        "totalPositionMM": texts.money(margins.maintenance if margins is not None else 0), "unrealisedPnl": texts.decimal(unrealised),
        "cumRealisedPnl": texts.money(account.statement.realised.get(coin, 0)), "bonus": "0", "collateralSwitch": is_quote,
        "marginCollateral": is_quote, "colRes": "", "spotBorrow": "0", "free": "", "availableToWithdraw": "", "availableToBorrow": "",
    }  # fmt: skip


def _unrealised(account: SimulatedAccount, coin: str) -> float:
    total = 0.0
    for name, market in account.markets.items():
        if market.is_linear and market.instrument.quote == coin:
            book = account.exchange.books[name]
            total += sum(position.unrealized(book.mark) for position in book.positions if position.steps)
    return total


def _coin_price(account: SimulatedAccount, coin: str) -> float:
    return next((market.index for market in account.markets.values() if market.instrument.base == coin), 0.0)


def _exit(market: Any, child: Any) -> str:
    return market.price(child.trigger) if child is not None and child.trigger is not None else "0"


def _bust(book: SymbolBook, position: Position) -> str:
    """The bankruptcy price; under cross margin a position has none of its own."""
    if not position.steps or book.account is not None:
        return ""
    side = 1 if position.steps > 0 else -1
    extra = position.margin - book.margin.to_hold(position.cost, side)
    return texts.decimal(book.margin.bankruptcy_price(side, abs(position.qty), position.cost, extra), book.instrument.price_grid.decimals)


def _tier_limit(book: SymbolBook, position: Position) -> int:
    value = position.cost if book.account is None else abs(value_at_mark(book, net_of(book)[0]))
    return next((tier.limit for tier in book.margin.tiers if value <= tier.limit), book.margin.tiers[-1].limit)


def _break_even(book: SymbolBook, position: Position, realised: int) -> str:
    """(entry x qty - realised) / (qty - |qty| x max(taker, 0.00055)); "" when flat."""
    if not position.steps:
        return ""
    qty = position.qty
    rate = max(book.taker_fee / UNIT, 0.00055)
    return texts.decimal((position.entry_price * qty - realised / UNIT) / (qty - abs(qty) * rate))
