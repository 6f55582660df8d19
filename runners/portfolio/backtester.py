"""The portfolio backtester: several symbols, one account, one call of the strategy at each step.

A face over the same actors and the same simulated exchange as every backtest. What it settles is when the strategy is asked, on which
series orders execute, and what the result is called; docs/portfolio.md tells it by walking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, cast

import msgspec

from keel.adapters.logging import get_logger
from keel.adapters.store import HistoricalDataStore
from keel.core.actors.portfolio_risk import OrderFilter
from keel.core.errors import ConfigError, InvariantError, StrategyError
from keel.core.model.instrument import Category
from keel.core.model.money import to_text
from keel.core.model.time_range import Moment, to_iso
from keel.core.model.words import check_number
from keel.core.results.result import BacktestResult
from keel.core.risk.decision import RiskDecision
from keel.core.strategy.portfolio_order import DataView, OMSView, Order
from keel.core.system.config import ExecutionConfig, RiskConfig, SystemConfig
from keel.core.system.suggestions import did_you_mean
from keel.runners.backtest.engine import run_wired
from keel.runners.backtest.outcome import reconcile
from keel.runners.backtest.preparation import Prepared, SymbolColumns
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import BacktestParts, wire_backtest
from keel.runners.portfolio.archive import Archive
from keel.runners.portfolio.desk import PortfolioSetup
from keel.runners.portfolio.figures import SMALLER_IS_BETTER, STATISTICS, Figures, figures_of
from keel.runners.portfolio.market import EXECUTED, PortfolioMarket, Wanted, load_market, with_execution_bars
from keel.runners.portfolio.oms_client import OMSClient
from keel.runners.portfolio.permuted import PermutedArchive
from keel.runners.research.permutation import BarOrder, check_length, common_bars, p_value, permute_bars

MarketType = Literal["futures", "spot"]
Progress = Callable[[int, int], None]
_CATEGORIES: Final[Mapping[str, Category]] = {"futures": "linear", "spot": "spot"}
USUAL_EXECUTION: Final = ExecutionConfig(slippage_bps=0.0, gaps="skip")
"""Bybit's default fees, stored funding, the instrument's grid; a hole in the candles is noted."""
_log = get_logger("backtester")


class Backtester:
    """Runs portfolio strategies over stored history.

    historical_data_dir: a folder of Parquet files (``<symbol>/<kind>_<timeframe>.parquet``), read when it is first needed.  store: a
    store to be read instead; it is left open.  execution: how orders fill; None: Bybit's default fees, the stored funding (none where the
    store has no rates, which is noted) and the instrument's grid. ``ExecutionConfig.frictionless()`` has no costs and no steps, either.
    """

    def __init__(
        self,
        historical_data_dir: Path | str = "./historical_data",
        *,
        store: HistoricalDataStore | None = None,
        execution: ExecutionConfig | None = None,
        leverage: float = 1.0,
        initial_balance: float = 10_000.0,
        env: str = "live",
    ) -> None:
        check_number(leverage, "leverage", at_least=1.0)
        check_number(initial_balance, "initial_balance", above=0.0)
        self._folder, self._store, self._own = Path(historical_data_dir), store, store is None
        self._execution, self._leverage, self._initial, self._env = execution, float(leverage), float(initial_balance), env
        self.portfolio_values: list[tuple[datetime, float]] = []
        """(time, portfolio value) at each step of the last run, before the step's orders."""
        self.oms_client: OMSClient | None = None
        """The account of the last run, as it was at its end."""
        self.result: BacktestResult | None = None
        """The last run in the engine's own form: fills, trades, funding, equity curve, metrics, reconciliation, trust."""

    def run_backtest(
        self,
        strategy: Any,
        position_manager: OrderFilter,
        start_date: Moment,
        end_date: Moment,
        time_step: timedelta,
        market_type: MarketType,
    ) -> dict[str, Any]:
        """Run a strategy (``symbols``, ``lookback_days``, ``run_strategy(oms_client, data_manager)``) over a window.

        Gives total_return, returns, max_drawdown, sharpe_ratio, trade_history, final_balance, final_positions; and notes (what to know of
        the run, a sentence each), order_log (what was refused) and funnel (what became of every order).
        Raises KeelErrors for what a person can mend.
        """
        market = self._load(strategy, position_manager, start_date, end_date, time_step, market_type)
        answer = self._run(market, strategy, position_manager)
        for note in answer["notes"]:
            _log.warning(note)
        return answer

    def run_permutation_backtest(
        self,
        strategy: Any,
        position_manager: OrderFilter,
        start_date: Moment,
        end_date: Moment,
        time_step: timedelta,
        market_type: MarketType,
        permutations: int,
        statistic: str = "total_return",
        seed: int = 0,
        *,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Run the strategy anew on as many permutations of the window's bars (runners/research/permutation.py says which).

        Gives p_value, statistic, observed, permuted (the statistic of each), permutations and result (of the run on the bars as they
        were). Every run has a copy of the strategy and of the position manager as they were given. A run without a Sharpe ratio counts as
        0. Raises ConfigError for fewer than 30 bars, and for a statistic that the observed run does not have.
        """
        if isinstance(permutations, bool) or not isinstance(permutations, int) or permutations < 1:
            raise ConfigError(f"permutations must be a whole number of at least 1, not {permutations!r}")
        if statistic not in STATISTICS:
            raise ConfigError(f"there is no statistic {statistic!r}: {did_you_mean(statistic, STATISTICS)}")
        copies = _copied(strategy, position_manager)
        market = self._load(strategy, position_manager, start_date, end_date, time_step, market_type)
        original = {frame.symbol: frame for frame in common_bars([history.execution for history in market.histories])}
        bars = len(next(iter(original.values())))
        check_length(bars, f"{market.window} in {market.timeframe} bars")
        result = self._run(market, *copies())
        observed = result[statistic]
        if observed is None:
            raise ConfigError(f"the run has no {statistic} to test: it needs 30 days and a value that moves; test total_return")
        values, last_run = [], (self.portfolio_values, self.oms_client, self.result)
        for number in range(permutations):
            figures = self._run_permuted(market, original, BarOrder.draw(bars, seed, number), *copies())
            values.append(float(getattr(figures, statistic) or 0.0))
            if progress is not None:
                progress(number + 1, permutations)
        self.portfolio_values, self.oms_client, self.result = last_run
        return {
            "p_value": p_value(observed, values, smaller_is_better=statistic in SMALLER_IS_BETTER),
            "statistic": statistic,
            "observed": observed,
            "permuted": values,
            "permutations": permutations,
            "result": result,
        }

    def close(self) -> None:
        """Let the history go that was read from the folder."""
        if self._own and self._store is not None:
            self._store.close()
            self._store = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- parts ---

    def _load(
        self, strategy: Any, position_manager: Any, start: Moment, end: Moment, time_step: timedelta, market_type: str
    ) -> PortfolioMarket:  # fmt: skip
        if market_type not in _CATEGORIES:
            raise ConfigError(f"market_type {market_type!r}: use futures or spot")
        if market_type == "spot" and self._leverage != 1.0:
            raise ConfigError(f"spot has no leverage: use leverage=1, not {self._leverage:g}")
        for thing, name in ((strategy, "symbols"), (strategy, "run_strategy"), (position_manager, "filter_orders")):
            if not hasattr(thing, name):
                raise ConfigError(f"{type(thing).__name__} has no {name}: see docs/portfolio.md")
        if self._store is None:
            self._store = HistoricalDataStore.from_parquet(self._folder)
        execution = self._execution if self._execution is not None else USUAL_EXECUTION
        wanted = Wanted(
            names=tuple(strategy.symbols),
            category=_CATEGORIES[market_type],
            start=start,
            end=end,
            time_step=time_step,
            lookback_days=int(getattr(strategy, "lookback_days", 0)),
            execution=execution,
            frictionless=execution == ExecutionConfig.frictionless(),
            no_rates_no_funding=self._execution is None,
            env=self._env,
        )
        return load_market(self._store, wanted)

    def _run(self, market: PortfolioMarket, strategy: Any, position_manager: Any) -> dict[str, Any]:
        """A run whose account and result are kept."""
        if hasattr(position_manager, "on_start"):
            position_manager.on_start()
        prepared = self._prepared(market, market.archive, strategy, position_manager)
        parts, oms = _wired(prepared)
        self.result = run_wired(prepared, parts)
        self.oms_client, self.portfolio_values = oms, oms.values
        figures = self._figures(market, oms)
        notes = [*market.notes, *market.archive.notes, *getattr(position_manager, "notes", ()), *_refusals(parts)]
        if self.result.stop_reason is not None:
            stop = self.result.stop_reason
            notes.insert(0, f"stopped early: {stop.code.replace('_', ' ')} at {to_iso(stop.ts)}; {stop.detail}")
        return {
            "total_return": figures.total_return,
            "returns": figures.returns,
            "max_drawdown": figures.max_drawdown,
            "sharpe_ratio": figures.sharpe_ratio,
            "trade_history": [dict(entry) for entry in oms.trade_history],
            "final_balance": dict(oms.balance),
            "final_positions": {name: dict(position) for name, position in oms.positions.items()},
            "notes": notes,
            "order_log": self.result.order_log,
            "funnel": self.result.funnel.to_plain(),
        }

    def _run_permuted(
        self, market: PortfolioMarket, original: Mapping[str, Any], order: BarOrder, strategy: Any, position_manager: Any
    ) -> Figures:  # fmt: skip
        """A run over permuted bars, of which only the figures are kept; its money adds up like any other's."""
        grids = {history.symbol: history.instrument.price_grid for history in market.histories}
        permuted = {symbol: permute_bars(bars, order, grids[symbol]) for symbol, bars in original.items()}
        archive = PermutedArchive(
            market.archive, EXECUTED[market.wanted.category], original, permuted, order, grids, market.window.start_ms, market.window.end_ms
        )
        histories = [with_execution_bars(each, permuted[each.symbol], market.execution) for each in market.histories]
        prepared = self._prepared(replace(market, histories=histories), archive, strategy, position_manager)
        parts, oms = _wired(prepared)
        replay(parts.feed, parts.engine, parts.venue)
        books = reconcile(parts.portfolio, parts.venue, {each.symbol: each.instrument for each in histories}, parts.venue.fills)
        if books.difference:
            raise InvariantError(f"a permuted run does not add up: {to_text(books.difference)} are missing in {books}")
        return self._figures(market, oms)

    def _prepared(self, market: PortfolioMarket, archive: Archive, strategy: Any, position_manager: Any) -> Prepared:
        """What the actors replay."""
        wanted = market.wanted
        system = SystemConfig(
            system="portfolio_backtest",
            strategy=type(strategy).__name__,
            symbols=market.symbols,
            category=wanted.category,
            timeframe=market.timeframe,
            warmup_bars=0,
            initial_equity=self._initial,
            risk=RiskConfig(policy="none", leverage=self._leverage),
            execution=market.execution,
            benchmark="none",
        )
        setup = PortfolioSetup(
            archive=archive,
            names=wanted.names,
            category=wanted.category,
            timeframe=market.timeframe,
            since=market.since,
            start=market.window.start_ms,
            step_ms=wanted.time_step // timedelta(milliseconds=1),
            position_manager=_Valued(position_manager),
        )
        columns = [SymbolColumns(history.execution, (), {}, None, 0) for history in market.histories]
        params = dict(getattr(strategy, "defaults", {}))
        histories = market.histories
        return Prepared(system, market.window, cast(Any, strategy), params, histories, columns, {market.timeframe: 0}, setup)

    def _figures(self, market: PortfolioMarket, oms: OMSClient) -> Figures:
        return figures_of(oms.values, oms.get_total_portfolio_value(), self._initial, market.window.start_ms)


class _Valued:
    """A position manager whose opening orders must have a value: nobody else gives them one here."""

    def __init__(self, position_manager: OrderFilter) -> None:
        self._inner = position_manager

    @property
    def refusals(self) -> Mapping[str, RiskDecision]:
        """See PositionManager."""
        found: Mapping[str, RiskDecision] = getattr(self._inner, "refusals", {})
        return found

    def filter_orders(self, orders: Sequence[Order], oms_client: OMSView, data_manager: DataView) -> Sequence[Order]:
        """See PositionManager. Raises StrategyError for an order that still has no value."""
        passed = list(self._inner.filter_orders(orders, oms_client, data_manager))
        for order in passed:
            given = order if isinstance(order, Mapping) else msgspec.structs.asdict(order)
            if given.get("side") != "CLOSE" and given.get("value") is None:
                raise StrategyError(f"the order for {given.get('symbol')} has no value: the position manager must give it one")
        return passed


def _wired(prepared: Prepared) -> tuple[BacktestParts, OMSClient]:
    parts = wire_backtest(prepared, "portfolio")
    if parts.desk is None:
        raise InvariantError("a portfolio run has a desk")
    return parts, parts.desk.oms


def _refusals(parts: BacktestParts) -> list[str]:
    """How many orders came to nothing, by reason."""
    return [f"{count} x {kind.replace('_', ' ')}: {reason}" for (kind, reason), count in parts.executor.memory.order_log.counts.items()]


def _copied(strategy: Any, position_manager: Any) -> Callable[[], tuple[Any, Any]]:
    """Copies of both as they are now, as many as are asked for. Raises ConfigError for what cannot be copied."""
    try:
        kept = deepcopy((strategy, position_manager))
    except Exception as error:
        raise ConfigError(
            f"every permutation runs on a copy of {type(strategy).__name__} and {type(position_manager).__name__}, and they cannot be"
            f" copied: {type(error).__name__}: {error}"
        ) from error
    return lambda: deepcopy(kept)
