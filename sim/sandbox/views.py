"""Positions and wallet as the exchange shows them: computed when asked, from the engine's books and ledger."""

from __future__ import annotations

from typing import Any

from core.money import UNIT, mul_div_ceil
from sim.book import STOP_LOSS, TAKE_PROFIT, TRAILING, Position, SymbolBook
from sim.ledger import FREE, ORDER, POSITION
from sim.sandbox import texts
from sim.sandbox.account import Account


def position_row(account: Account, name: str, idx: int) -> dict[str, Any]:
    """One position as REST gives it."""
    book, market = account.exchange.books[name], account.markets[name]
    position = book.position(idx) or book.positions[0]
    state = account.statement.position(market, position.idx)
    steps = position.steps
    side = 0 if not steps else 1 if steps > 0 else -1
    exits = {child.role: child for child in position.children if child.is_full}
    initial, maintenance = margins(book, position)
    entry = texts.decimal(position.entry_price)
    held = texts.money(position.margin)
    liquidation = market.price(position.liquidation_price) if position.liquidation_price else ""
    return {
        "positionIdx": position.idx, "riskId": 1, "riskLimitValue": texts.money(_tier_limit(book, position)), "symbol": market.symbol,
        "side": {1: "Buy", -1: "Sell", 0: ""}[side], "size": market.qty(abs(steps)), "avgPrice": entry,
        "positionValue": texts.money(position.cost), "autoAddMargin": 0, "positionStatus": "Normal",
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
        "positionBalance": held, "tradeMode": 0,
    }  # fmt: skip


def position_push(account: Account, name: str, idx: int) -> dict[str, Any]:
    """The same for the private stream: ``entryPrice`` instead of ``avgPrice``."""
    row = position_row(account, name, idx)
    return {"category": account.markets[name].category, "entryPrice": row.pop("avgPrice"), **row}


def margins(book: SymbolBook, position: Position) -> tuple[int, int]:
    """(initial, maintenance) margin of a position in 1e-8, fee to close included."""
    if not position.steps:
        return 0, 0
    side = 1 if position.steps > 0 else -1
    policy = book.margin
    initial = mul_div_ceil(position.cost, UNIT, book.leverage)
    closing_fee = policy.to_hold(position.cost, side) - initial
    value = round(book.mark * abs(position.qty) * UNIT)
    return policy.to_hold(position.cost, side), max(0, policy.maintenance(value, closing_fee))


def wallet_row(account: Account, coins: list[str] | None = None) -> dict[str, Any]:
    """The account as wallet-balance gives it; values in USD with one USDT as one USD (ASSUMED)."""
    rows = [_coin_row(account, coin) for coin in account.exchange.ledger.coins if coins is None or coin in coins]
    everything = [_coin_row(account, coin) for coin in account.exchange.ledger.coins]
    equity = sum(float(row["usdValue"]) for row in everything)
    unrealised = _unrealised(account)
    initial, maintenance = _account_margins(account)
    wallet = equity - unrealised
    ledger = account.exchange.ledger.accounts("USDT")
    total = texts.decimal(equity)
    margin_balance = equity if equity > 0 else 1.0
    figures = {
        "accountIMRate": texts.decimal(initial / UNIT / margin_balance, 4),
        "accountMMRate": texts.decimal(maintenance / UNIT / margin_balance, 4),
        "totalInitialMargin": texts.money(initial), "totalMaintenanceMargin": texts.money(maintenance),
    }  # fmt: skip
    return {
        "accountType": "UNIFIED", "accountLTV": "0", "totalEquity": total, "totalWalletBalance": texts.decimal(wallet),
        "totalMarginBalance": total, "totalAvailableBalance": texts.money(ledger[FREE]), "totalPerpUPL": texts.decimal(unrealised),
        **figures, **{f"{name}ByMp": value for name, value in figures.items()}, "coin": rows,
    }  # fmt: skip


def _coin_row(account: Account, coin: str) -> dict[str, Any]:
    ledger = account.exchange.ledger.coins[coin]
    quotes = {market.instrument.quote for market in account.markets.values()}
    is_quote = coin in quotes
    unit = UNIT
    if not is_quote:
        unit = next(one.instrument.base_unit for one in account.markets.values() if not one.is_linear and one.instrument.base == coin)
    wallet = ledger[FREE] + ledger[ORDER] + ledger[POSITION]
    unrealised = _unrealised(account) if is_quote else 0.0
    price = 1.0 if is_quote else _coin_price(account, coin)
    equity = wallet / unit + unrealised
    initial, maintenance = _account_margins(account) if is_quote else (0, 0)
    spot_locked = _spot_locked(account, coin)
    return {
        "coin": coin, "equity": texts.decimal(equity, 8 if unit == UNIT else 10), "usdValue": texts.decimal(equity * price),
        "walletBalance": texts.coins(wallet, unit), "locked": texts.coins(spot_locked, unit), "spotHedgingQty": "0", "borrowAmount": "0",
        "accruedInterest": "0", "totalOrderIM": texts.coins(ledger[ORDER] - spot_locked, unit),
        "totalPositionIM": texts.money(initial - (ledger[ORDER] - spot_locked) if is_quote else 0),
        "totalPositionMM": texts.money(maintenance), "unrealisedPnl": texts.decimal(unrealised),
        "cumRealisedPnl": texts.money(account.statement.realised.get(coin, 0)), "bonus": "0", "collateralSwitch": True,
        "marginCollateral": True, "colRes": "", "spotBorrow": "0", "free": "", "availableToWithdraw": "", "availableToBorrow": "",
    }  # fmt: skip


def _spot_locked(account: Account, coin: str) -> int:
    """What open spot orders hold of a coin."""
    held = 0
    for name, market in account.markets.items():
        if market.is_linear:
            continue
        for order in account.exchange.books[name].orders.values():
            if (market.instrument.quote if order.side > 0 else market.instrument.base) == coin:
                held += order.reserve
    return held


def _unrealised(account: Account) -> float:
    total = 0.0
    for name, market in account.markets.items():
        if market.is_linear:
            book = account.exchange.books[name]
            total += sum(position.unrealized(book.mark) for position in book.positions if position.steps)
    return total


def _account_margins(account: Account) -> tuple[int, int]:
    """(initial with order margin, maintenance) of all linear positions and orders, in 1e-8."""
    initial = account.exchange.ledger.accounts("USDT")[ORDER] - _spot_locked(account, "USDT")
    maintenance = 0
    for name, market in account.markets.items():
        if market.is_linear:
            book = account.exchange.books[name]
            for position in book.positions:
                if position.steps:
                    initial += position.margin
                    maintenance += margins(book, position)[1]
    return initial, maintenance


def _coin_price(account: Account, coin: str) -> float:
    return next((market.index for market in account.markets.values() if market.instrument.base == coin), 0.0)


def _exit(market: Any, child: Any) -> str:
    return market.price(child.trigger) if child is not None and child.trigger is not None else "0"


def _bust(book: SymbolBook, position: Position) -> str:
    if not position.steps:
        return ""
    side = 1 if position.steps > 0 else -1
    extra = position.margin - book.margin.to_hold(position.cost, side)
    return texts.decimal(book.margin.bankruptcy_price(side, abs(position.qty), position.cost, extra), book.instrument.price_grid.decimals)


def _tier_limit(book: SymbolBook, position: Position) -> int:
    return next((tier.limit for tier in book.margin.tiers if position.cost <= tier.limit), book.margin.tiers[-1].limit)


def _break_even(book: SymbolBook, position: Position, realised: int) -> str:
    """(entry x qty - realised) / (qty - |qty| x max(taker, 0.00055)); "" when flat."""
    if not position.steps:
        return ""
    qty = position.qty
    rate = max(book.taker_fee / UNIT, 0.00055)
    return texts.decimal((position.entry_price * qty - realised / UNIT) / (qty - abs(qty) * rate))
