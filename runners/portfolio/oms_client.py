"""The account as portfolio strategies know it: balance, positions, history of trades. A face over the portfolio actor; it books nothing.

``OMSClient`` can order, too: what is ordered goes to risk as a target, like any order of the strategy. Strategies and position managers get
its ``view``, which can only be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, overload

from keel.adapters.logging import get_logger
from keel.core.actors.portfolio import Line, Portfolio, spot_fee_value
from keel.core.engine.clock import Clock
from keel.core.errors import ConfigError
from keel.core.model.dust import held_steps
from keel.core.model.instrument import Category
from keel.core.model.messages import Fill, Message
from keel.core.model.money import UNIT, mul_div_floor
from keel.core.model.position import apply_fill
from keel.core.model.time_range import to_datetime, to_ms
from keel.core.strategy.portfolio_order import INSTRUMENT_TYPES, DataView, InstrumentType, TargetPosition, TargetSide, market_symbol
from keel.core.system.suggestions import did_you_mean

Entry = Mapping[str, Any]
_log = get_logger("portfolio")


class OMSClient:
    """names: the strategy's own names of its symbols; positions and trades are keyed by them, and any other name finds the same.

    Money in quote coins, times in UTC. ``values`` holds (time, portfolio value) of each step, before its orders.
    """

    def __init__(
        self,
        portfolio: Portfolio,
        clock: Clock,
        names: Sequence[str],
        category: Category,
        timestep: timedelta,
        emit: Callable[[Message], None],
        data_manager: DataView | None = None,
    ) -> None:
        self._data_manager = data_manager
        self._portfolio, self._clock, self._emit = portfolio, clock, emit
        self._category, self._timestep = category, timestep
        self._names = {market_symbol(name, category): name for name in names}
        self._quote = next(iter(portfolio.lines.values())).instrument.quote
        self._history: list[Entry] = []
        self.values: list[tuple[datetime, float]] = []
        self.view = OMSReader(self)

    # --- what strategies read ---

    @property
    def instrument_type(self) -> InstrumentType:
        """What is traded here: future or spot."""
        return INSTRUMENT_TYPES[self._category]

    @property
    def current_time(self) -> datetime:
        """The close of the last closed bar."""
        return to_datetime(self._clock.now_ms)

    @property
    def timestep(self) -> timedelta:
        """From one step to the next."""
        return self._timestep

    @property
    def data_manager(self) -> DataView:
        """History up to the present, as ``run_strategy`` gets it beside the account. Raises ConfigError for an account without one."""
        if self._data_manager is None:
            raise ConfigError("this account was opened without history: give OMSClient a data_manager")
        return self._data_manager

    @property
    def balance(self) -> Mapping[str, float]:
        """The wallet by coin, the quote coin first. A future's margin is part of it: opening one does not move it."""
        coins = {self._quote: self._portfolio.cash / UNIT}
        if self._category == "spot":
            coins |= {line.instrument.base: line.qty for line in self._portfolio.lines.values() if line.qty}
        return MappingProxyType(coins)

    @property
    def positions(self) -> Mapping[str, Entry]:
        """What is open, by symbol: quantity (unsigned), side, entry_price, value (at the current price), pnl, instrument_type."""
        return MappingProxyType({self._names[s]: self._position(line) for s, line in self._portfolio.lines.items() if self._steps(s)})

    @property
    def trade_history(self) -> Sequence[Entry]:
        """Every execution so far, oldest first; a flip is two entries, a close and an open. It cannot be changed.

        timestamp, symbol, instrument_type, side (of the position), action (open, increase, reduce, close, liquidation), quantity, price,
        value, fee, realized_pnl (before fees), balance (after it).
        """
        return ReadOnlyList(self._history)

    def get_current_price(self, symbol: str) -> float:
        """The latest mark price (spot: the latest close). Raises ConfigError for a symbol that is not traded here."""
        return self._portfolio.mark(self._symbol(symbol))

    def get_total_portfolio_value(self) -> float:
        """Futures: balance and unrealised PnL. Spot: balance and the full value of what is held."""
        return self._portfolio.equity

    def summary(self) -> dict[str, Any]:
        """The account in a few numbers, as plain data."""
        portfolio = self._portfolio
        value, initial = portfolio.equity, portfolio.initial_equity / UNIT
        return {
            "current_time": self.current_time,
            "balance": dict(self.balance),
            "portfolio_value": value,
            "total_return": value / initial - 1.0,
            "open_positions": len(self.positions),
            "trades": len(self._history),
            "realized_pnl": portfolio.realized / UNIT,
            "unrealized_pnl": sum(position["pnl"] for position in self.positions.values()),
            "fees": portfolio.fees / UNIT,
            "funding": portfolio.funding / UNIT,
        }

    def positions_table(self) -> str:
        """What is open as a table of text; one line where nothing is."""
        rows = [("symbol", "side", "quantity", "entry price", "price", "value", "pnl")]
        for name, held in self.positions.items():
            price = self.get_current_price(name)
            rows.append((name, held["side"], f"{held['quantity']:g}", f"{held['entry_price']:.8g}", f"{price:.8g}", f"{held['value']:,.2f}",
                         f"{held['pnl']:,.2f}"))  # fmt: skip
        if len(rows) == 1:
            return "no open positions"
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join("  ".join(cell.rjust(width) if at > 1 else cell.ljust(width) for at, (cell, width) in
                                   enumerate(zip(row, widths, strict=True))).rstrip() for row in rows)  # fmt: skip

    # --- orders ---

    def set_target_position(self, symbol: str, instrument_type: InstrumentType, value: float | None, side: TargetSide) -> None:
        """Order a position of ``value`` (notional in quote coins): opens, moves, flips or, with 0 or CLOSE, closes. It fills at the next
        bar's open. Raises ConfigError for a symbol or market that is not traded here."""
        if instrument_type != self.instrument_type:
            raise ConfigError(f"{symbol}: this account trades {self.instrument_type!r}, not {instrument_type!r}")
        self._emit(TargetPosition(self._symbol(symbol), self._clock.now_ms, side, value, "oms_client"))

    def close_position(self, symbol: str) -> None:
        """Order everything of a symbol to be closed."""
        self.set_target_position(symbol, self.instrument_type, 0.0, "CLOSE")

    # --- from the bus ---

    def begin_step(self, ts: int) -> None:
        """A step of the strategy begins: keep the account's value."""
        value = self._portfolio.equity
        self.values.append((to_datetime(ts), value))
        _log.debug("step", ts=ts, portfolio_value=value, positions=_Later(self.positions_table))

    def on_fill(self, fill: Fill) -> None:
        """Write down an execution; the portfolio has booked it."""
        symbol = fill.symbol
        line = self._portfolio.lines[symbol]
        instrument, value = line.instrument, line.instrument.book_grid.value
        ticks, lots = instrument.price_grid.count(fill.price), instrument.qty_grid.count(fill.qty)
        units = instrument.book_grid.count(fill.qty)
        side, after = 1 if fill.side == "BUY" else -1, line.book.steps
        before = after - side * units + (fill.fee if fill.fee_coin == instrument.base else 0)  # a fee in coins has left the holding
        total = notional = instrument.notional(ticks, lots, up=not line.is_linear and fill.side == "BUY")
        closing, opening, closed, *_ = apply_fill(before, 0, side, units, ticks, total, *instrument.notional_factor)
        fee = spot_fee_value(fill, instrument) if fill.fee_coin == instrument.base else fill.fee
        balance, pnl = self._portfolio.cash, fill.realized_pnl
        if closing:
            is_all = bool(opening) or not held_steps(instrument, after, fill.price)
            action = "liquidation" if fill.kind == "bust" else "close" if is_all else "reduce"
            share_fee = mul_div_floor(fee, closed, total) if opening else fee  # shared as the trade log does it
            self._write(fill, "LONG" if before > 0 else "SHORT", action, value(closing), closed, share_fee, pnl, balance + fee - share_fee)
            notional, fee, pnl = total - closed, fee - share_fee, 0
        if opening:
            action = "open" if closing or not held_steps(instrument, before, fill.price) else "increase"
            self._write(fill, "LONG" if after > 0 else "SHORT", action, value(opening), notional, fee, pnl, balance)

    def _write(
        self, fill: Fill, side: str, action: str, quantity: float, notional: int, fee: int, realized_pnl: int, balance: int
    ) -> None:  # fmt: skip
        entry = {
            "timestamp": to_datetime(fill.ts), "symbol": self._names[fill.symbol], "instrument_type": self.instrument_type, "side": side,
            "action": action, "quantity": quantity, "price": fill.price, "value": notional / UNIT, "fee": fee / UNIT,
            "realized_pnl": realized_pnl / UNIT, "balance": balance / UNIT,
        }  # fmt: skip
        self._history.append(MappingProxyType(entry))

    # --- memory ---

    def state(self) -> list[dict[str, Any]]:
        """The trade history as plain data (times in ms): all that the client itself remembers of what strategies read."""
        return [{**entry, "timestamp": to_ms(entry["timestamp"])} for entry in self._history]

    def restore(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Go on from a ``state()``."""
        self._history[:] = [MappingProxyType({**entry, "timestamp": to_datetime(entry["timestamp"])}) for entry in state]

    # --- parts ---

    def _symbol(self, name: str) -> str:
        symbol = market_symbol(name, self._category)
        if symbol not in self._names:
            raise ConfigError(f"{name!r} is not among the symbols of this run: {did_you_mean(name, self._names.values())}")
        return symbol

    def _steps(self, symbol: str) -> int:
        """The position in steps; dust is none."""
        return self._portfolio.steps(symbol)

    def _position(self, line: Line) -> Entry:
        quantity, price = abs(line.qty), line.mark
        return MappingProxyType({
            "quantity": quantity, "side": "LONG" if line.qty > 0 else "SHORT", "entry_price": line.book.entry_price,
            "value": quantity * price, "pnl": line.book.unrealized(price), "instrument_type": self.instrument_type,
        })  # fmt: skip


class OMSReader:
    """The client as strategies get it: everything that can be read, and nothing else."""

    __slots__ = ("__client",)
    __client: OMSClient

    def __init__(self, client: OMSClient) -> None:
        object.__setattr__(self, "_OMSReader__client", client)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"oms_client can only be read: {name} cannot be set")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"oms_client has no {name!r} for strategies: it can only be read; return orders from run_strategy")

    @property
    def instrument_type(self) -> InstrumentType:
        """See OMSClient."""
        return self.__client.instrument_type

    @property
    def current_time(self) -> datetime:
        """See OMSClient."""
        return self.__client.current_time

    @property
    def timestep(self) -> timedelta:
        """See OMSClient."""
        return self.__client.timestep

    @property
    def data_manager(self) -> DataView:
        """See OMSClient."""
        return self.__client.data_manager

    @property
    def balance(self) -> Mapping[str, float]:
        """See OMSClient."""
        return self.__client.balance

    @property
    def positions(self) -> Mapping[str, Entry]:
        """See OMSClient."""
        return self.__client.positions

    @property
    def trade_history(self) -> Sequence[Entry]:
        """See OMSClient."""
        return self.__client.trade_history

    def get_current_price(self, symbol: str) -> float:
        """See OMSClient."""
        return self.__client.get_current_price(symbol)

    def get_total_portfolio_value(self) -> float:
        """See OMSClient."""
        return self.__client.get_total_portfolio_value()

    def summary(self) -> dict[str, Any]:
        """See OMSClient."""
        return self.__client.summary()

    def positions_table(self) -> str:
        """See OMSClient."""
        return self.__client.positions_table()


class _Later:
    """A text that is made only where it is written."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make

    def __repr__(self) -> str:
        return self._make()


class ReadOnlyList(Sequence[Entry]):
    """A list that can only be read; it shows what is added to it elsewhere."""

    __slots__ = ("__entries",)

    def __init__(self, entries: list[Entry]) -> None:
        self.__entries = entries

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Entry, ...]: ...
    def __getitem__(self, index: int | slice) -> Entry | tuple[Entry, ...]:
        return tuple(self.__entries[index]) if isinstance(index, slice) else self.__entries[index]

    def __len__(self) -> int:
        return len(self.__entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self.__entries))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self.__entries) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        return f"History({[dict(entry) for entry in self.__entries]})"
