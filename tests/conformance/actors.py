"""The actors of a session, with one bus: what the adapter's client and the in-process exchange's have in common.

Orders go the only way there is: an OrderIntent (as risk makes them) to the executor, which makes the command; a symbol that nobody trades
is asked for by a Signal. Amendments, cancels and exits are commands on the same bus. Every fill goes through executor and portfolio, whose
books must be the exchange's: an InvariantError of theirs fails the case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from keel.core.actors.executor import Executor
from keel.core.actors.live_series import LiveSeries
from keel.core.actors.market_data import SymbolContext
from keel.core.actors.portfolio import Portfolio
from keel.core.engine.bus import Bus
from keel.core.engine.clock import ReplayClock
from keel.core.engine.ports import Venue
from keel.core.errors import InvariantError
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.instrument import Instrument
from keel.core.model.messages import (
    AmendOrder,
    Bar,
    Bracket,
    CancelOrder,
    Fill,
    FundingPayment,
    FundingRate,
    MarkPrice,
    Message,
    OrderIntent,
    OrderUpdate,
    SetTradingStop,
    Signal,
    SignalDenied,
    SubmitOrder,
)
from keel.core.model.messages import CancelAll as CancelAllOrders
from keel.core.model.money import UNIT, to_text, to_units
from keel.core.model.orders import OrderState, advance, trading_stop_id
from keel.core.system.config import RiskConfig, SystemConfig
from keel.runners.actors import make_actors, subscribe
from tests.conformance.words import (
    SYMBOL,
    Account,
    Act,
    Again,
    Amend,
    Batch,
    Cancel,
    CancelAll,
    Exits,
    Place,
    Seen,
    SetExits,
    Step,
    fill_text,
    life_text,
    meaning,
    open_text,
    plain,
    position_text,
)
from tests.sim.sandbox.conftest import START


class Quiet:
    """A strategy that has nothing to say: the case's script decides."""

    def generate_signal(self, snapshot: object, params: Mapping[str, Any]) -> Signal | None:
        return None


class Actors:
    """Executor, portfolio, risk, market data and strategy over one symbol, and everything that they heard of the venue."""

    def __init__(self, instrument: Instrument, account: Account) -> None:
        instruments = {instrument.symbol: instrument}
        self.instrument = instrument
        self.bus, self.clock = Bus(), ReplayClock(START)
        self.executor = Executor("c", instruments, self.clock, self.bus.publish)
        self.portfolio = Portfolio(instruments.values(), to_units(account.usdt), order_number=self.executor.order_number)
        system = SystemConfig(
            system="conformance", strategy="quiet", symbols=[SYMBOL], category=account.category, timeframe="1m",
            risk=RiskConfig(leverage=float(account.leverage) if account.category == "linear" else 1.0),
        )  # fmt: skip
        empty = Frame(np.array([], dtype=np.int64), {name: np.array([]) for name in BAR_COLUMNS}, symbol=SYMBOL, timeframe="1m")
        series = LiveSeries(empty, [], load=_no_features)
        contexts = [SymbolContext(SYMBOL, "1m", series, {}, self.portfolio)]
        self.actors = make_actors(system, Quiet(), {}, instruments, contexts, self.executor, self.portfolio, self.bus, self.clock)
        self.bars: list[Bar] = []
        self.fills: list[Fill] = []
        self.funding: list[FundingPayment] = []
        self.updates: list[OrderUpdate] = []
        self.denials: list[SignalDenied] = []
        self.submitted: list[SubmitOrder] = []

    def connect(self, venue: Venue) -> None:
        """Subscribe everybody, as a session does, and take notes."""
        subscribe(self.bus, self.actors, venue, {
            SubmitOrder: self.submitted.append, OrderUpdate: self.updates.append, Fill: self.fills.append,
            FundingPayment: self.funding.append, SignalDenied: self.denials.append,
        })  # fmt: skip
        self.actors.strategy.start()

    def hear(self, message: Message) -> None:
        """A message from outside, or a command of the script: its time becomes the clock's, and everybody hears it."""
        ts = message.ts_close if isinstance(message, Bar) else getattr(message, "ts", 0)
        self.clock.now_ms = max(self.clock.now_ms, ts)
        self.bus.deliver(message)

    def close(self, bar: Bar, rates: Iterable[FundingRate], mark: float | None = None) -> None:
        """The end of a bar, as a session and a backtest have it: rates, mark, bar; then account, limits, strategy, and what follows."""
        for rate in rates:
            self.hear(rate)
        if mark is not None:
            self.hear(MarkPrice(bar.symbol, bar.ts_close, mark))
        self.hear(bar)
        self.bars.append(bar)
        self.portfolio.on_instant(bar.ts_close)
        self.actors.risk.on_instant(bar.ts_close)
        self.actors.market_data.on_instant(bar.ts_close)
        self.bus.drain()


class ActorsClient:
    """Acts by the bus, and looks at what the actors have heard. Implements all of ``Client`` but the venue's own part."""

    actors: Actors
    instrument: Instrument

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._ids: dict[str, str] = {}
        self._refused: list[str] = []
        self._heard = 0
        self.has_stopped = False

    # --- the venue's own part ---

    def _step(self) -> None:
        raise NotImplementedError

    def _after(self, act: Act) -> None:
        """Let what an act caused come to its answer, where answers come before the next bar."""

    def _resting(self) -> Iterable[tuple[str, str, str, float | None, float | None]]:
        """(client id, side, quantity, limit, trigger) of what rests at the venue."""
        raise NotImplementedError

    def _check_books(self) -> None:
        """Whether the venue's books are those of the actors."""

    def _why(self, client_order_id: str, reason: str) -> str:
        """The reason of a refusal, where the venue may have had no word for it."""
        return reason

    # --- acts ---

    def act(self, act: Act) -> None:
        if isinstance(act, Step):
            for _ in range(act.bars):
                self._step()
        elif isinstance(act, (Place, Batch)):
            for place in [act] if isinstance(act, Place) else act.orders:
                self._place(place)
        elif isinstance(act, Amend):
            order, now = self._ids.get(act.order, act.order), self.actors.clock.now_ms
            self._say(AmendOrder(order, SYMBOL, now, _number(act.qty), _number(act.limit), _number(act.stop)))
        elif isinstance(act, Cancel):
            self._say(CancelOrder(self._ids.get(act.order, act.order), SYMBOL, self.actors.clock.now_ms))
        elif isinstance(act, CancelAll):
            self._say(CancelAllOrders(self.actors.clock.now_ms, SYMBOL))
        elif isinstance(act, SetExits):
            bracket = _bracket(act.exits) or Bracket()
            self._say(SetTradingStop(SYMBOL, self.actors.clock.now_ms, bracket))
        elif isinstance(act, Again):
            raise AssertionError("an executor gives no name twice: this case is not for actors")
        self._after(act)

    def _place(self, place: Place) -> None:
        now = self.actors.clock.now_ms
        if place.symbol != SYMBOL:
            self._say(Signal(place.symbol, "LONG" if place.side == "BUY" else "SHORT", strategy="quiet", ts=now))
            self._refused += [f"{place.order}: {meaning(denial.reason)}" for denial in self.actors.denials]
            return
        kind: Any = ("stop_" if place.stop is not None else "") + ("market" if place.limit is None else "limit")
        limit, stop = _number(place.limit), _number(place.stop)
        made = len(self.actors.submitted)
        try:
            self._say(OrderIntent(
                SYMBOL, place.side, float(place.qty), now, kind, limit, stop, time_in_force=place.tif, reduce_only=place.reduce_only,
                bracket=_bracket(place.exits),
            ))  # fmt: skip
        except InvariantError as error:
            if "not a positive quantity on the grid" not in str(error):
                raise
            self._refused.append(f"{place.order}: off the quantity step")  # our own no: no such order is made, and trading stops
            self.has_stopped = True
            return
        command = self.actors.submitted[made]
        self._ids[place.order], self._labels[command.client_order_id] = command.client_order_id, place.order

    def _say(self, message: Message) -> None:
        self.actors.hear(message)

    # --- what is seen ---

    def look(self) -> Seen:
        actors, portfolio = self.actors, self.actors.portfolio
        self._check_books()
        self._hear_refusals()
        resting = sorted(self._resting(), key=lambda row: self._label(row[0]))
        ours = {record.client_order_id for record in (*actors.executor.open_orders(), *actors.executor.bracket_orders())}
        assert {row[0] for row in resting} == ours, "executor and venue differ in what rests"
        entry = Decimal(portfolio.lines[SYMBOL].book.cost) / UNIT / (abs(Decimal(plain(portfolio.position_qty(SYMBOL)))) or 1)
        is_spot = self.instrument.category == "spot"
        return Seen(
            fills=[self._fill(fill) for fill in actors.fills],
            orders=self._orders(),
            lives=self._lives(),
            open=[open_text(self._label(row[0]), *row[1:]) for row in resting],
            position=self._holding() if is_spot else position_text(portfolio.position_qty(SYMBOL), plain(entry)),
            balance=to_text(portfolio.cash),
            funding=[to_text(payment.amount) for payment in actors.funding],
            refused=list(self._refused),
            closes=[plain(bar.close) for bar in actors.bars],
        )

    def _holding(self) -> str:
        return plain(Decimal(self.actors.portfolio.lines[SYMBOL].book.steps) / self.instrument.base_unit)

    def _fill(self, fill: Fill) -> str:
        unit = self.instrument.base_unit if fill.fee_coin == self.instrument.base else UNIT
        name = "liquidation" if fill.kind == "bust" else self._label(fill.client_order_id)
        paid = plain(Decimal(fill.fee) / unit)
        return fill_text(name, fill.side, plain(fill.qty), plain(fill.price), maker=fill.maker, fee=paid, coin=fill.fee_coin)

    def _orders(self) -> dict[str, str]:
        filled: dict[str, float] = {}
        for update in self.actors.updates:
            name = self._label(update.client_order_id)
            filled[name] = max(filled.get(name, 0.0), update.filled_qty)
        return {name: f"{life.rpartition(' ')[2]} {plain(filled[name])}" for name, life in self._lives().items()}

    def _lives(self) -> dict[str, str]:
        states: dict[str, list[OrderState]] = {}
        for update in self.actors.updates:
            name = update.client_order_id
            if name in self._labels or update.parent_id is not None:
                told = states.setdefault(name, [])
                told.append(advance(told[-1] if told else "accepted" if update.parent_id else "pending_submit", update.status))
        return {self._label(name): life_text(told) for name, told in states.items() if told[-1] != "rejected"}

    def _hear_refusals(self) -> None:
        for update in self.actors.updates[self._heard :]:
            name = update.client_order_id
            if update.status in ("rejected", "cancel_rejected", "amend_rejected", "expired"):
                label = "exits" if name == trading_stop_id(SYMBOL) else self._label(name)
                self._refused.append(f"{label}: {meaning(self._why(name, update.reason))}")
        self._heard = len(self.actors.updates)

    def _label(self, client_order_id: str) -> str:
        parent, dash, role = client_order_id.rpartition("-")
        if client_order_id in self._labels or parent not in self._labels:
            return self._labels.get(client_order_id, client_order_id)
        return f"{self._labels[parent]}{dash}{role}"


def terms_text(instrument: Instrument) -> str:
    """Tick, step, least quantity and value, taker and maker fee."""
    steps = (plain(instrument.price_grid.text(1)), plain(instrument.qty_grid.text(1)), plain(instrument.min_qty))
    return " ".join((*steps, *(to_text(units) for units in (instrument.min_notional, instrument.taker_fee, instrument.maker_fee))))


def _no_features(name: str) -> Any:
    raise AssertionError(f"no features here, and {name} was asked for")


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _bracket(exits: Exits | None) -> Bracket | None:
    if exits is None:
        return None
    return Bracket(
        _number(exits.stop_loss), _number(exits.take_profit), _number(exits.trailing), _number(exits.activation), mode=exits.mode,
        take_profit_limit=_number(exits.take_profit_limit),
    )  # fmt: skip
