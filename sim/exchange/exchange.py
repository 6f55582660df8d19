"""The simulated exchange: a small Bybit that takes the commands of the live venue and answers with its events.

Thin: ``step`` reads as the order of the steps of one bar; each question of it is answered in a module of its own. Commands are stamped
with their arrival and queued; nothing is answered before the next bar of their symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, get_args

import msgspec

from keel.core.actors.portfolio import Portfolio
from keel.core.costs import CostModels
from keel.core.engine.clock import Clock, ReplayClock
from keel.core.errors import ConfigError
from keel.core.model.frame import Frame
from keel.core.model.instrument import PERPETUAL_MAKER, PERPETUAL_TAKER, Grid, Instrument, generic_tiers
from keel.core.model.messages import (
    AmendOrder,
    Bar,
    CancelAll,
    CancelOrder,
    Fill,
    FundingPayment,
    FundingRate,
    Liquidation,
    Message,
    SetTradingStop,
    SubmitOrder,
)
from keel.core.model.money import UNIT, to_units
from keel.core.model.trade import Trade, Trades
from keel.core.model.words import check_again, check_fields, check_number, check_word
from keel.core.results.result import StopReason
from keel.core.strategy.order_calls import OrderCalls
from keel.core.system.config import ConstantFunding, ExecutionConfig, MarginMode, RiskConfig
from keel.sim.exchange.alone import EquityLog, Span, check_bars
from keel.sim.exchange.book import Command, SymbolBook
from keel.sim.exchange.book_costs import BookCosts
from keel.sim.exchange.events import Numbering, Outbox, UsedIds
from keel.sim.exchange.exhaustion import ExhaustionCheck
from keel.sim.exchange.metrics import ExchangeMetrics, PositionChange
from keel.sim.exchange.order_entry import OrderEntry
from keel.sim.exchange.rewind import Shared
from keel.sim.margin.cross import CrossAccount, shown
from keel.sim.margin.cross_settlement import CrossSettlement
from keel.sim.margin.isolated import IsolatedMargin
from keel.sim.margin.ledger import ACCOUNTS, FREE, ORDER, POSITION, Accounts, Ledger
from keel.sim.margin.settlement import LinearSettlement
from keel.sim.margin.spot import SpotSettlement
from keel.sim.matching.execution import volume_cap_steps
from keel.sim.matching.fast_path import FastPath
from keel.sim.matching.matching import Matching
from keel.sim.matching.resting import RestingPath
from keel.sim.matching.walk import Walk, must_walk, refresh_wake


class RiskProfileConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The account: equity to begin with (quote coins), leverage, margin mode, and fee rates (fractions) over the instrument's."""

    initial_equity: float = 10_000.0
    leverage: float = 1.0
    margin_mode: MarginMode = "isolated"
    taker_fee_rate: float | None = None
    maker_fee_rate: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def from_risk(cls, risk: RiskConfig, initial_equity: float) -> RiskProfileConfig:
        """The account of a system file's ``risk`` and ``initial_equity``."""
        return cls(initial_equity=initial_equity, leverage=risk.leverage, margin_mode=risk.margin_mode)


DEFAULT_EXECUTION: Final = ExecutionConfig()
DEFAULT_PROFILE: Final = RiskProfileConfig()


class LedgerUpdate(msgspec.Struct, frozen=True, gc=False):
    """How one account of one coin changed, in 1e-8 (or the coin's own unit)."""

    coin: str
    account: str
    change: int


class StepResult(msgspec.Struct, frozen=True):
    """What one bar did."""

    fills: list[Fill]
    funding: list[FundingPayment]
    liquidation: Liquidation | None
    ledger_updates: list[LedgerUpdate]
    warnings: list[str] = []
    """What needs someone's hand, such as a side of a hedge that a liquidation of the other left without exits."""


class SimulatedExchange(OrderCalls):
    """Implements ``keel.core.engine.ports.Venue``, with the calls of ``OrderCalls``. With ``emit`` it publishes events there; without, it
    also keeps an account for stand-alone use.

    ``initial_capital`` (quote coins) wins over the profile's initial equity. Without ``instruments`` a symbol is a generic linear
    perpetual (tick 0.01, step 0.001). ``costs``: the models that ``execution_config.costs`` names, or others. Raises ConfigError for what
    it cannot simulate.
    """

    def __init__(
        self,
        symbol: str | Sequence[str],
        initial_capital: float = 10_000.0,
        execution_config: ExecutionConfig = DEFAULT_EXECUTION,
        risk_profile: RiskProfileConfig = DEFAULT_PROFILE,
        *,
        instruments: Mapping[str, Instrument] | None = None,
        clock: Clock | None = None,
        emit: Callable[[Message], None] | None = None,
        hedge_mode: bool = False,
        costs: CostModels | None = None,
    ) -> None:
        symbols = [symbol] if isinstance(symbol, str) else list(symbol)
        _check_account(symbols, initial_capital, risk_profile)
        _check_costs(execution_config, costs)
        self.execution_config, self.risk_profile = execution_config, risk_profile
        self.clock: Clock = clock if clock is not None else ReplayClock()
        self.ledger = Ledger()
        self.metrics = ExchangeMetrics()
        self.events: list[Message] = []
        """Everything emitted, in order; only without ``emit``."""
        self._outbox = Outbox(emit if emit is not None else self.events.append)
        self.fills, self.funding_payments, self.liquidations = (
            self._outbox.fills,
            self._outbox.funding_payments,
            self._outbox.liquidations,
        )
        found = {name: _find(name, instruments) for name in symbols}
        self.cross_accounts: dict[str, CrossAccount] = {}
        """By quote coin; none with isolated margin."""
        fees = {name: self._fees_of(instrument) for name, instrument in found.items()}
        asked = {name: (taker if costs is None else costs.reserved_fee_rate(name, taker), maker) for name, (taker, maker) in fees.items()}
        self.books = {name: self._make_book(instrument, asked[name], hedge_mode) for name, instrument in found.items()}
        takers = {name: taker for name, (taker, _) in fees.items()}
        book_costs = None if costs is None else BookCosts(costs, execution_config, self._outbox.fills, takers)
        self._fee_costs = book_costs if costs is not None and costs.has_fees else None
        self.woken: dict[str, None] = {}
        """Symbols for which commands were queued since whoever steps their bars cleared this."""
        one_way_alone = emit is None and not hedge_mode
        self._account = Portfolio(found.values(), to_units(initial_capital)) if one_way_alone else None
        self._equity_log = EquityLog(self.books, initial_capital)
        for coin in sorted({instrument.quote for instrument in found.values()}):
            self.ledger.deposit(coin, to_units(initial_capital))
        self._latency_ms = execution_config.latency_ms
        numbering = Numbering()
        self._used_ids = used_ids = UsedIds()
        self._stop = ExhaustionCheck(self.books, self.ledger)
        settlements = self._margin_by(risk_profile.margin_mode)
        self._matching = Matching(
            execution_config, self._outbox, self.metrics, settlements, used_ids, numbering.next, self._stop,
            book_costs if costs is not None and costs.has_prices else None,
        )  # fmt: skip
        self._order_entry = OrderEntry(self._matching, self._outbox, self.metrics, used_ids, numbering.next)
        shared = Shared(self.ledger, self._outbox, self.metrics, used_ids, numbering, self._stop)
        funding_costs = book_costs if costs is not None and costs.has_funding else None
        self._walk = Walk(self._order_entry, self._matching, shared, execution_config.path == "pessimistic", funding_costs)
        self._touch = self._matching.touch
        has_fast_path = FastPath.is_open_to(execution_config, costs, hedge_mode=hedge_mode)
        self._isolated_fast_path = FastPath(self._matching, self.metrics, used_ids) if has_fast_path else None
        self._fast_path = None if self.cross_accounts else self._isolated_fast_path
        self._resting: RestingPath | None = RestingPath(self._order_entry, self._matching)
        share = execution_config.max_volume_share
        self._volume_share = None if share == "none" else share

    # --- commands ---

    def submit_order(self, command: SubmitOrder) -> None:
        """Queue an order; it arrives after the latency. This and the next raise FieldError for what a command must not hold."""
        check_again(command, SubmitOrder)
        self.queue_order(command)

    def queue_order(self, command: SubmitOrder) -> None:
        """``submit_order`` for a command that was checked when it was made, and has not left our own hands since."""
        self._queue(command.symbol, command)

    def amend_order(self, command: AmendOrder) -> None:
        """Queue an amendment."""
        check_again(command, AmendOrder)
        self._queue(command.symbol, command)

    def cancel_order(self, command: CancelOrder) -> None:
        """Queue a cancellation."""
        check_again(command, CancelOrder)
        self._queue(command.symbol, command)

    def _cancel_all(self, command: CancelAll) -> None:
        """Queue the cancellation of a symbol's orders, or of all."""
        check_again(command, CancelAll)
        for symbol in [command.symbol] if command.symbol is not None else self.books:
            self._queue(symbol, command)

    def set_trading_stop(self, command: SetTradingStop) -> None:
        """Queue the exits of an open position."""
        check_again(command, SetTradingStop)
        self._queue(command.symbol, command)

    def _queue(self, symbol: str, command: Command) -> None:
        book = self._book(symbol)
        book.pending.append((self.clock.now_ms + self._latency_ms, command))
        book.wake_ts = -1
        self.woken[symbol] = None

    # --- what orders by hand ask ---

    def _book(self, symbol: str) -> SymbolBook:
        try:
            return self.books[symbol]
        except KeyError:
            raise ConfigError(f"the simulated exchange does not trade {symbol}; it has {', '.join(self.books)}") from None

    def _traded(self, symbol: str) -> Instrument:
        return self._book(symbol).instrument

    def _latest_price(self, symbol: str) -> float:
        return self._book(symbol).last

    def _held(self, symbol: str, position_idx: int) -> int:
        book = self._book(symbol)
        position = book.position(position_idx)
        if position is None:
            raise ConfigError(f"{symbol}: there is no position_idx {position_idx}; it is 0 one-way, 1 (long) or 2 (short) in hedge mode")
        return position.steps // book.lot if position.steps > 0 else -(-position.steps // book.lot)

    def _has_order(self, client_order_id: str) -> bool:
        return client_order_id in self._used_ids or any(
            isinstance(command, SubmitOrder) and command.client_order_id == client_order_id
            for book in self.books.values()
            for _, command in book.pending
        )

    def _stamp(self) -> int:
        return self.clock.now_ms

    # --- bars ---

    def step(
        self, book: SymbolBook, ts_open: int, ts_close: int, open: float, high: float, low: float, close: float, volume: float,
        mark_open: float, mark_high: float, mark_low: float, mark_close: float,
        index_open: float, index_high: float, index_low: float, index_close: float, volatility_bps: float = 0.0,
    ) -> None:  # fmt: skip
        """One bar of one symbol: what is due at its open, then along its path; prices as plain floats, volume in base units."""
        book.last, book.mark, book.index = open, mark_open, index_open
        book.volume, book.volatility_bps = volume, volatility_bps
        if book.account is not None:
            book.account.begin(ts_open, ts_close)
        if self._volume_share is not None:
            book.volume_left, book.is_capped = volume_cap_steps(self._volume_share, volume, book.instrument.qty_grid), False
        fast_path, resting = self._fast_path, self._resting
        if fast_path is not None and fast_path.take(book, ts_open):
            refresh_wake(book, self._touch)
        elif resting is None or not resting.take(book, ts_open):
            self._walk.begin(book, ts_open)
            self._walk.moment(book, ts_open)
            refresh_wake(book, self._touch)
        below, above = book.wake_low, book.wake_high
        if (
            ts_close > book.wake_ts
            or low <= below or mark_low <= below or index_low <= below
            or high >= above or mark_high >= above or index_high >= above
        ) and (
            book.account is None
            or must_walk(book, ts_close, min(low, mark_low, index_low), max(high, mark_high, index_high), mark_low, mark_high)
        ):  # fmt: skip
            self._walk.along(
                book, ts_open, ts_close, (open, high, low, close), (mark_open, mark_high, mark_low, mark_close),
                (index_open, index_high, index_low, index_close),
            )  # fmt: skip
            refresh_wake(book, self._touch)
        if book.ambiguous:
            self.metrics.ambiguous_bars += 1
        book.last, book.mark, book.index, book.ts = close, mark_close, index_close, ts_close

    def instant(self, book: SymbolBook, ts: int, last: float, mark: float, index: float, volume: float) -> None:
        """A moment between bars in which no price moves: what has arrived is answered. ``volume``: what a share of it may be taken of."""
        resting = self._resting
        if resting is not None and self._volume_share is None:
            book.last, book.mark, book.index = last, mark, index
            book.volume, book.volatility_bps = volume, 0.0
            if resting.take(book, ts):
                book.ts = ts + 1
                return
        self.step(
            book, ts, ts + 1, last, last, last, last, volume, mark, mark, mark, mark, index, index, index, index
        )  # fmt: skip

    def set_funding(self, symbol: str, stamps: list[int], rates: list[int], marks: list[int]) -> None:
        """The whole funding schedule of a symbol: stamps in ms, rates and marks at the stamps in 1e-8."""
        book = self.books[symbol]
        book.funding.load(symbol, stamps, rates, marks)
        book.funding.seek(book.ts)
        refresh_wake(book, self._touch)

    def set_margin_mode(self, mode: MarginMode) -> None:
        """Margin positions this way from now on. Raises ConfigError while a position or an order is open, and changes nothing then."""
        for book in self.books.values():
            if book.orders or book.pending or book.waiting or (not book.is_spot and any(position.steps for position in book.positions)):
                raise ConfigError(f"{book.symbol}: the margin mode is changed without positions and orders only; close and cancel first")
        self._matching.settle_by(self._margin_by(mode))
        self._fast_path = None if self.cross_accounts else self._isolated_fast_path

    def process_bar(
        self,
        bar: Bar,
        prev_bar: Bar | None = None,
        mark: Bar | None = None,
        index: Bar | None = None,
        funding_rates: Sequence[FundingRate] = (),
    ) -> StepResult:
        """One bar for stand-alone use: orders placed before it meet it. The clock goes to its close.

        Without mark or index the last price stands for them. ``prev_bar`` gives the impact model its volatility. Raises FieldError for
        what is no bar, and changes nothing then.
        """
        check_bars(bar=bar, prev_bar=prev_bar, mark=mark, index=index)
        book = self._book(bar.symbol)
        marked = mark if mark is not None else bar
        indexed = index if index is not None else marked
        self._add_funding(book, funding_rates, marked)
        before = {coin: list(accounts) for coin, accounts in self.ledger.coins.items()}
        seen = (len(self.fills), len(self.funding_payments), len(self.liquidations), len(self.events), len(self.warnings))
        volatility = abs(bar.open / prev_bar.open - 1.0) * 1e4 if prev_bar is not None else 0.0
        self.step(
            book, bar.ts_open, bar.ts_close, bar.open, bar.high, bar.low, bar.close, bar.volume,
            marked.open, marked.high, marked.low, marked.close, indexed.open, indexed.high, indexed.low, indexed.close, volatility,
        )  # fmt: skip
        self.clock.now_ms = max(self.clock.now_ms, bar.ts_close)
        valued = bar if book.is_spot else marked
        self._keep_account(bar, (bar.ts_open, bar.ts_close, valued.low, valued.high), self.events[seen[3] :])
        liquidations = self.liquidations[seen[2] :]
        return StepResult(
            self.fills[seen[0] :], self.funding_payments[seen[1] :], liquidations[-1] if liquidations else None, self._changes(before),
            self.warnings[seen[4] :],
        )  # fmt: skip

    # --- what others read ---

    @property
    def stop_reason(self) -> StopReason | None:
        """Why no further order makes sense, once that is so."""
        return self._stop.reason

    def should_stop(self) -> StopReason | None:
        """``stop_reason`` as a method."""
        return self._stop.reason

    @property
    def warnings(self) -> list[str]:
        """What needs someone's hand, in sentences: a side of a hedge that the liquidation of the other left without exits."""
        return self._outbox.warnings

    @property
    def ambiguous_bars(self) -> int:
        """Bars whose outcome depended on the order of two prices inside them."""
        return self.metrics.ambiguous_bars

    @property
    def insurance_paid(self) -> int:
        """What the insurance fund had to add, in 1e-8."""
        return self.metrics.insurance_paid

    @property
    def position_log(self) -> dict[str, list[PositionChange]]:
        """(ts, steps, cost, margin, liquidation price) at every change of a position, by symbol; under cross margin, its initial margin
        at mark and the estimate as of then."""
        return {symbol: book.position_log for symbol, book in self.books.items()}

    def balance(self, symbol_or_coin: str) -> int:
        """Wallet balance of a coin, or of a symbol's quote coin: free cash, order margin and position margin, in its units."""
        book = self.books.get(symbol_or_coin)
        return self.ledger.wallet(book.instrument.quote if book is not None else symbol_or_coin)

    def equity(self, symbol_or_coin: str) -> float:
        """Balance and what open positions (at mark) and spot holdings (at last) are worth, as of the bars processed, in quote coins."""
        given = self.books.get(symbol_or_coin)
        coin = given.instrument.quote if given is not None else symbol_or_coin
        value = self.ledger.wallet(coin) / UNIT
        for book in self.books.values():
            if book.instrument.quote == coin:
                for position in book.positions:
                    value += position.qty * book.last if book.is_spot else position.unrealized(book.mark)
        return value

    @property
    def state(self) -> dict[str, Any]:
        """Balances, positions and live orders as plain data, and what a RiskManager reads (ts, prices, and with one quote coin equity and
        cash); under cross margin a position's margin is its initial margin at mark, and its liquidation price the present estimate."""
        coins = {book.instrument.quote for book in self.books.values()}
        account = (
            {"equity": self.equity(coin), "cash": self.balance(coin) / UNIT} if len(coins) == 1 and (coin := next(iter(coins))) else {}
        )
        return {
            **account,
            "ts": self.clock.now_ms,
            "prices": {symbol: book.last for symbol, book in self.books.items()},
            "balances": {
                coin: {ACCOUNTS[account]: accounts[account] for account in (FREE, ORDER, POSITION)}
                for coin, accounts in self.ledger.coins.items()
            },
            "positions": [
                {
                    "symbol": book.symbol, "position_idx": position.idx, "qty": position.qty, "entry_price": position.entry_price,
                    "mark_price": book.last if book.is_spot else book.mark, "margin": margin, "liquidation_price": liquidation_price,
                }
                for book in self.books.values() for position in book.positions if position.steps
                for margin, liquidation_price in [shown(book, position)]
            ],
            "orders": [order.client_order_id for book in self.books.values() for order in book.orders.values()],
        }  # fmt: skip

    @property
    def equity_curve(self) -> Frame:
        """The account after each ``process_bar``: a Frame with the columns of ``BacktestResult.equity_curve``, its first row the first
        bar's open. Raises ConfigError where symbols have different quote coins: there is no one equity then."""
        coins = {book.instrument.quote for book in self.books.values()}
        if len(coins) > 1:
            raise ConfigError(f"equity in {' and '.join(sorted(coins))} makes no one curve: simulate each quote coin by itself")
        return self._equity_log.frame()

    @property
    def trades(self) -> Trades:
        """Closed round trips of stand-alone use, one-way; its ``open`` holds the others. Raises ConfigError elsewhere: there the portfolio
        of the run tells them."""
        if self._account is None:
            raise ConfigError("round trips are kept in stand-alone one-way use only (without emit and hedge_mode)")
        return Trades(self._account.trade_log.closed, self._account.trade_log.open)

    @property
    def open_trades(self) -> list[Trade]:
        """Round trips of stand-alone use that are not closed yet. Raises ConfigError as ``trades`` does."""
        return self.trades.open

    # --- inside ---

    def _margin_by(self, mode: MarginMode) -> tuple[LinearSettlement | CrossSettlement, SpotSettlement]:
        """Hang the books on their accounts as a margin mode wants it; returns how fills are then booked, linear and spot."""
        check_word(mode, get_args(MarginMode), "margin mode")
        is_cross = mode == "cross"
        coins = dict.fromkeys(book.instrument.quote for book in self.books.values() if not book.is_spot)
        accounts = {coin: self.ledger.on_credit(coin, is_allowed=is_cross) for coin in coins}
        self.cross_accounts = {coin: CrossAccount(accounts[coin]) for coin in coins if is_cross}
        for book in self.books.values():
            book.accounts, book.base_accounts = self.ledger.accounts(book.instrument.quote), self._base_accounts(book.instrument)
            book.account = None if book.is_spot else self.cross_accounts.get(book.instrument.quote)
            if book.account is not None:
                book.account.books.append(book)
        outbox, metrics, cross, costs = self._outbox, self.metrics, self.cross_accounts, self._fee_costs
        linear = CrossSettlement(outbox, metrics, cross, costs) if is_cross else LinearSettlement(outbox, metrics, costs)
        return linear, SpotSettlement(outbox, cross, costs)

    def _fees_of(self, instrument: Instrument) -> tuple[int, int]:
        """The rates of a taker and of a maker that profile, configuration or instrument say, in 1e-8."""
        profile, config = self.risk_profile, self.execution_config
        taker = _fee(profile.taker_fee_rate, config.taker_fee, instrument.taker_fee)
        return taker, _fee(profile.maker_fee_rate, config.maker_fee, instrument.maker_fee)

    def _make_book(self, instrument: Instrument, fees: tuple[int, int], hedge_mode: bool) -> SymbolBook:
        """fees: the rates of a taker and of a maker; the taker's is what margin sets aside."""
        leverage = to_units(self.risk_profile.leverage)
        if instrument.category == "linear" and leverage > instrument.max_leverage:
            raise ConfigError(
                f"{instrument.symbol}: leverage {self.risk_profile.leverage:g} is more than its {instrument.max_leverage / UNIT:g}"
            )
        if instrument.category == "spot" and (leverage != UNIT or hedge_mode):
            raise ConfigError(f"{instrument.symbol}: spot has neither leverage nor hedge mode; set risk.leverage to 1")
        margin = IsolatedMargin(leverage, fees[0], instrument.tiers or generic_tiers())
        return SymbolBook(instrument, margin, self.ledger.accounts(instrument.quote), self._base_accounts(instrument), fees, hedge_mode)

    def _base_accounts(self, instrument: Instrument) -> Accounts:
        return self.ledger.accounts(instrument.base) if instrument.category == "spot" else self.ledger.accounts(instrument.quote)

    def _add_funding(self, book: SymbolBook, funding_rates: Sequence[FundingRate], mark: Bar) -> None:
        chosen = self.execution_config.funding
        if chosen == "none":
            return
        for rate in funding_rates:
            if rate.symbol == book.symbol:
                fraction = chosen.constant if isinstance(chosen, ConstantFunding) else rate.rate
                book.funding.append(rate.ts, to_units(fraction), round(mark.open * UNIT))

    def _keep_account(self, bar: Bar, span: Span, events: list[Message]) -> None:
        if self._account is not None:
            for event in events:
                if isinstance(event, Fill):
                    self._account.on_fill(event)
                elif isinstance(event, FundingPayment):
                    self._account.on_funding(event)
        self._equity_log.note(self.books[bar.symbol], span, self.equity(bar.symbol))

    def _changes(self, before: dict[str, Accounts]) -> list[LedgerUpdate]:
        return [
            LedgerUpdate(coin, ACCOUNTS[number], now - then)
            for coin, accounts in self.ledger.coins.items()
            for number, (then, now) in enumerate(zip(before[coin], accounts, strict=True))
            if now != then
        ]


def default_instrument(symbol: str) -> Instrument:
    """A generic linear perpetual, for use without an instrument table."""
    return Instrument(
        symbol, "linear", symbol.removesuffix("USDT"), "USDT", Grid.from_text("0.01"), Grid.from_text("0.001"), 0.001, 1e9, 1e9,
        to_units("5"), PERPETUAL_TAKER, PERPETUAL_MAKER, tiers=generic_tiers(), source="default",
    )  # fmt: skip


def _find(symbol: str, instruments: Mapping[str, Instrument] | None) -> Instrument:
    if instruments is None:
        return default_instrument(symbol)
    if symbol not in instruments:
        raise ConfigError(f"no instrument for {symbol}; there are {', '.join(instruments) or 'none'}")
    return instruments[symbol]


def _fee(profile: float | None, config: float | None, instrument: int) -> int:
    chosen = profile if profile is not None else config
    return instrument if chosen is None else to_units(chosen)


def _check_costs(config: ExecutionConfig, costs: CostModels | None) -> None:
    if costs is None and config.costs.named:
        named = ", ".join(f"{kind}: {chosen.model}" for kind, chosen in config.costs.named.items())
        raise ConfigError(
            f"execution.costs names models ({named}), and whoever made this exchange has not loaded them: a sandbox has none but the"
            " built-in ones; in Python give costs=keel.core.costs.CostModels(fees=..., ...)"
        )


def _check_account(symbols: list[str], initial_capital: float, profile: RiskProfileConfig) -> None:
    if not symbols:
        raise ConfigError("the simulated exchange needs at least one symbol")
    check_number(initial_capital, "initial_capital", above=0)
    if not profile.leverage >= 1:
        raise ConfigError(f"leverage {profile.leverage:g}: it must be at least 1")
