"""What the exchange knows, for a checker that trusts nobody else: orders, executions, positions, balances; and whether it adds up."""

from __future__ import annotations

from typing import Any

import msgspec

from keel.core.model.money import to_text
from keel.sim.margin.cross import shown
from keel.sim.margin.ledger import ACCOUNTS, POSITION
from keel.sim.sandbox.account.simulated_account import SimulatedAccount
from keel.sim.sandbox.account.views import position_row, wallet_row
from keel.sim.sandbox.engine import Engine


def truth(engine: Engine, frames: dict[int, int]) -> dict[str, Any]:
    """Everything, by API key."""
    return {
        "market_time": engine.now_ms,
        "bars_left": engine.feed.bars_left(),
        "prices": {name: {"last": market.last, "mark": market.mark, "index": market.index} for name, market in engine.markets.items()},
        "accounts": {key: of_account(account, frames.get(account.uid, 0)) for key, account in engine.accounts.items()},
    }


def of_account(account: SimulatedAccount, frames: int) -> dict[str, Any]:
    """One account. ``ledger`` and ``wallet_units`` are integers of 1e-8 (spot base coins: of their own unit)."""
    exchange = account.exchange
    records = sorted(account.orders.values(), key=lambda record: record.number)
    books = {
        name: {
            "positions": [
                {"idx": position.idx, "steps": position.steps, "cost": position.cost, "margin": held, "liquidation_price": price}
                for position in book.positions for held, price in [shown(book, position)]
            ],
            "live_orders": list(book.orders), "pending": len(book.pending),
        }
        for name, book in exchange.books.items()
    }  # fmt: skip
    return {
        "uid": account.uid,
        "margin_mode": account.margin_mode,
        "orders": [{**record.push(), "_sim_id": record.sim_id, "_refusal": record.refusal} for record in records],
        "creates": account.creates,
        "story": list(account.story),
        "executions": account.statement.executions,
        "positions": [
            position_row(account, name, position.idx)
            for name, market in account.markets.items() if market.is_linear
            for position in exchange.books[name].positions
        ],
        "books": books,
        "ledger": {coin: dict(zip(ACCOUNTS, accounts, strict=True)) for coin, accounts in exchange.ledger.coins.items()},
        "wallet_units": dict(account.statement.wallet),
        "balances": wallet_row(account),
        "log": account.statement.log,
        "closed_pnl": [entry.row() for entry in account.statement.closed_pnl],
        "fills": [msgspec.to_builtins(fill) for fill in exchange.fills],
        "funding": [msgspec.to_builtins(payment) for payment in exchange.funding_payments],
        "liquidations": [msgspec.to_builtins(liquidation) for liquidation in exchange.liquidations],
        "private_frames": frames,
        "problems": problems(account),
    }  # fmt: skip


def problems(account: SimulatedAccount) -> list[str]:
    """Sentences on what does not add up; none when all is well.

    Each coin's ledger sums to zero; the wallet that the transaction log adds up to is the ledger's; each position is the signed sum of its
    executions; each order's executions are what it says was filled. Under cross margin no account is left that should have been
    liquidated, and none owes anything when nothing is open.
    """
    found = []
    exchange = account.exchange
    for coin, accounts in exchange.ledger.coins.items():
        if sum(accounts):
            found.append(f"ledger of {coin} is off by {sum(accounts)}")
        wallet = sum(accounts[:3])
        if wallet != account.statement.wallet.get(coin, 0):
            found.append(f"wallet of {coin}: ledger {wallet}, log {account.statement.wallet.get(coin, 0)}")
    for (name, idx), state in account.statement.positions.items():
        position = exchange.books[name].position(idx)
        held = 0 if position is None else position.steps
        if held != state.steps:
            found.append(f"position {name}/{idx}: engine {held}, executions {state.steps}")
        if position is not None and position.cost != state.cost:
            found.append(f"cost {name}/{idx}: engine {to_text(position.cost)}, executions {to_text(state.cost)}")
    for coin, cross in exchange.cross_accounts.items():
        balance, _, maintenance, is_open = cross.totals()
        if cross.accounts[POSITION]:
            found.append(f"{coin}: positions hold {to_text(cross.accounts[POSITION])} of their own under cross margin")
        if is_open and maintenance >= balance:
            found.append(f"{coin}: maintenance margin {to_text(maintenance)} of {to_text(balance)}, and the account was not liquidated")
        if not is_open and cross.wallet < 0:
            found.append(f"{coin}: the wallet is at {to_text(cross.wallet)} with nothing open")
    filled: dict[str, float] = {}
    for row in account.statement.executions:
        if row["execType"] != "Funding":
            filled[row["orderId"]] = filled.get(row["orderId"], 0.0) + float(row["execQty"])
    for record in account.orders.values():
        lots = record.market.instrument.qty_grid
        if lots.count(filled.get(record.order_id, 0.0)) != record.filled:
            found.append(f"order {record.order_id}: filled {record.filled} steps, executions {filled.get(record.order_id, 0.0)}")
    live = {name for book in exchange.books.values() for name in book.orders}
    waiting = {getattr(command, "client_order_id", "") for book in exchange.books.values() for _, command in book.pending}
    for record in account.open_orders.values():
        if record.sim_id not in live and record.sim_id not in waiting:
            found.append(f"order {record.order_id} is said to be {record.status}, and the engine does not have it")
    return found
