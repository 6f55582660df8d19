"""What happens to an account without any request of its own: money that comes and goes, auto-deleveraging, settings on the exchange's page.

``POST /admin/account`` asks for it. What another client can do by REST (trade, cancel, set leverage and modes) is not here: do it by REST.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from keel.core.errors import ConfigError
from keel.core.model.messages import Side, SubmitOrder
from keel.core.model.money import UNIT, to_units
from keel.core.system.suggestions import did_you_mean
from keel.sim.sandbox.account.records import ADL, SandboxOrder
from keel.sim.sandbox.account.simulated_account import SIDES, SimulatedAccount
from keel.sim.sandbox.account.statement import QUOTE
from keel.sim.sandbox.engine import Engine
from keel.sim.sandbox.http.errors import ApiError
from keel.sim.sandbox.market.symbol_market import SymbolMarket

_CHEAPEST, _DEAREST = 1e-6, 1e9
"""A coin's price in USDT: fees stay numbers, and something."""
_AMOUNT: Final = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,8})?")
_QTY: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
_TYPE: Final = re.compile(r"[A-Z][A-Z_]{1,39}")


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to happen. account: a key; "": the first.

    transfer: ``amount`` of USDT as text (negative: out), or of the ``coin`` of a spot pair; ``type``: of its row in the transaction log.
    adl: ``qty`` (all of it when "") of the position in ``symbol`` is taken, at the market.  auto_add_margin: ``on`` or off, for ``symbol``.
    fee_coin: fees of perpetuals are taken in ``coin`` from now on, at ``price`` USDT a coin; "": in USDT again.
    """

    do: Literal["transfer", "adl", "auto_add_margin", "fee_coin"]
    account: str = ""
    amount: str = ""
    type: str = ""
    symbol: str = ""
    qty: str = ""
    on: bool = True
    coin: str = ""
    price: float = 1.0


def change(engine: Engine, body: bytes) -> None:
    """Let it happen. Raises ConfigError for what cannot."""
    try:
        wanted = msgspec.json.decode(body, type=Change)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"what is to happen to an account: {error}") from error
    key = wanted.account or next(iter(engine.accounts))
    if key not in engine.accounts:
        raise ConfigError(f"no account has the key {key!r}: {did_you_mean(key, engine.accounts)}")
    account = engine.accounts[key]
    engine.clock.now_ms = engine.now_ms
    if wanted.do == "transfer":
        _transfer(account, wanted)
    elif wanted.do == "fee_coin":
        held = account.exchange.ledger.coins
        if wanted.coin in held or not _CHEAPEST <= wanted.price <= _DEAREST:
            raise ConfigError(
                f"fee_coin wants a coin that has no wallet here (not {', '.join(held)}), such as MNT, and a price from {_CHEAPEST:g} to"
                f" {_DEAREST:g}"
            )
        account.fee_coin = (wanted.coin, wanted.price) if wanted.coin else None
    elif wanted.do == "auto_add_margin":
        _auto_add_margin(account, _linear(account, wanted.symbol), is_on=wanted.on)
    else:
        _deleverage(engine, account, wanted)
    engine.settle(account)


def _transfer(account: SimulatedAccount, wanted: Change) -> None:
    if not _AMOUNT.fullmatch(wanted.amount) or not to_units(wanted.amount):
        raise ConfigError(f'transfer wants an amount as text, such as "-50.25", not {wanted.amount!r}')
    if wanted.type and not _TYPE.fullmatch(wanted.type):
        raise ConfigError(f"a row's type is written in capitals, such as FEE_REFUND, not {wanted.type!r}")
    try:
        if wanted.coin in ("", *account.quotes):
            account.transfer(to_units(wanted.amount), wanted.type, wanted.coin or QUOTE)
        else:
            market = _spot(account, wanted.coin)
            account.transfer_coins(market, to_units(wanted.amount) * (market.instrument.base_unit // UNIT), wanted.type)
    except ApiError as error:
        raise ConfigError(error.text) from error


def _auto_add_margin(account: SimulatedAccount, market: SymbolMarket, *, is_on: bool) -> None:
    """The setting alone: margin is never added by itself here."""
    account.adds_margin.discard(market.name)
    if is_on:
        account.adds_margin.add(market.name)
    account.touch(market)


def _deleverage(engine: Engine, account: SimulatedAccount, wanted: Change) -> None:
    """Part of a position is taken for somebody who is bankrupt. ASSUMED: at the market's price, for the taker fee."""
    market = _linear(account, wanted.symbol)
    position = next((one for one in account.exchange.books[market.name].positions if one.steps), None)
    if position is None:
        raise ConfigError(f"{wanted.symbol} has no position that could be reduced")
    steps = _steps(market, wanted.qty) if wanted.qty else abs(position.steps)
    if steps > abs(position.steps):
        raise ConfigError(f"{wanted.symbol} has {market.qty(abs(position.steps))}: less than {wanted.qty}")
    side: Side = "SELL" if position.steps > 0 else "BUY"
    order_id = account.ids.next("order")
    record = SandboxOrder(
        account.next_number(), market, order_id, order_id, "", SIDES[side], "Market", "IOC", steps, "", engine.now_ms, engine.now_ms,
        position_idx=position.idx, reduce_only=True, create_type=ADL, last_price=market.price(market.last), leaves=steps,
    )  # fmt: skip
    account.register(record)
    quantity = market.instrument.qty_grid.value(steps)
    account.exchange.submit_order(
        SubmitOrder(order_id, market.name, side, "market", quantity, engine.now_ms, reduce_only=True, position_idx=position.idx)
    )
    if not engine.is_lockstep:
        engine.answer_at(account, market.name, engine.now_ms)


def _steps(market: SymbolMarket, qty: str) -> int:
    """Raises ConfigError for what is no quantity of the symbol: nothing is rounded here."""
    grid = market.instrument.qty_grid
    value = float(qty) if _QTY.fullmatch(qty) else 0.0
    if not value or not grid.is_on(value):
        raise ConfigError(f'adl wants a qty as text in steps of {market.qty(1)} {market.symbol}, such as "{market.qty(5)}", not {qty!r}')
    return grid.count(value)


def _spot(account: SimulatedAccount, coin: str) -> SymbolMarket:
    pairs = {each.instrument.base: each for each in account.markets.values() if not each.is_linear}
    if coin not in pairs:
        raise ConfigError(f"no spot pair trades {coin!r}: {did_you_mean(coin, pairs)}")
    return pairs[coin]


def _linear(account: SimulatedAccount, symbol: str) -> SymbolMarket:
    market = account.markets.get(symbol)
    if market is None or not market.is_linear:
        known = [name for name, each in account.markets.items() if each.is_linear]
        raise ConfigError(f"no perpetual is called {symbol!r}: {did_you_mean(symbol, known)}")
    return market
