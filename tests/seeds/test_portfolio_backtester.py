"""The first two documents: ``Backtester.run_backtest`` and "Backtest Engine: Structure and Workflow", from top to bottom.

Which passage is held by which test stands in README.md of this folder.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keel.core.risk.position_manager import PositionManager
from keel.core.strategy.portfolio_order import Order
from keel.runners.portfolio.backtester import Backtester
from keel.runners.portfolio.data_collector import HistoricalDataCollector
from keel.runners.portfolio.oms_client import OMSClient
from keel.strategies.base import PortfolioStrategy
from keel.strategies.hold import HoldStrategy
from tests.runners.portfolio.scripted import BEGIN, BTC, ETH, HOUR, AsGiven, Scripted, future, market, run, spot
from tests.seeds.snippet import Change, run_snippet

# --- document 1: minimal usage, whole ---

MINIMAL_USAGE = """
from datetime import datetime, timedelta, timezone
from backtester import Backtester
from position_manager import PositionManager
from keel.strategies.v1_hold import HoldStrategy

bt = Backtester(historical_data_dir="./historical_data")
strategy = HoldStrategy(symbols=["BTC-USDT","ETH-USDT"], lookback_days=0)
pm = PositionManager()
start_date = datetime.now(timezone.utc)-timedelta(days=30)
end_date = datetime.now(timezone.utc)
results = bt.run_backtest(
    strategy=strategy,
    position_manager=pm,
    start_date=start_date,
    end_date=end_date,
    time_step=timedelta(hours=1),
    market_type="futures",
)


results = backtester.run_permutation_backtest(
    strategy=strategy,
    position_manager=pm,
    start_date=start_date,
    end_date=end_date,
    time_step=timedelta(days = 1),
    market_type="futures",
    permutations=3,
)
print("p_value:", results.get("p_value"))
"""

IMPORTS_AND_NAME: list[Change] = [
    ("from backtester import", "from keel.runners.portfolio.backtester import", "import"),
    ("from position_manager import", "from keel.core.risk.position_manager import", "import"),
    ("from keel.strategies.v1_hold import", "from keel.strategies.hold import", "import"),
    ("results = backtester.run", "first = results\nresults = bt.run", "undefined name: the object is called bt; the first result is kept"),
]
DATES: list[Change] = [
    ("datetime.now(timezone.utc)-timedelta(days=30)", "datetime(2024, 2, 9, tzinfo=timezone.utc)-timedelta(days=30)", "date"),
    ("datetime.now(timezone.utc)", "datetime(2024, 2, 9, tzinfo=timezone.utc)", "date"),
]
RESULTS = {"total_return", "returns", "max_drawdown", "sharpe_ratio", "trade_history", "final_balance", "final_positions"}


def test_minimal_usage(home: Path) -> None:
    """The data folder is the document's own: ./historical_data, with Parquet files of invented candles."""
    names, printed = run_snippet(MINIMAL_USAGE, [*IMPORTS_AND_NAME, *DATES])
    first, tested = names["first"], names["results"]
    assert set(first) >= RESULTS
    assert [(entry["action"], entry["side"], entry["symbol"]) for entry in first["trade_history"]] == [
        ("open", "LONG", BTC),
        ("open", "LONG", ETH),
    ]
    assert 900 < sum(entry["value"] for entry in first["trade_history"]) <= 1000  # 10 % of 10,000 USDT, down to steps
    assert len(first["returns"]) == 30 * 24 - 1 and set(first["final_positions"]) == {BTC, ETH}
    assert printed == f"p_value: {tested['p_value']}\n" and tested["p_value"] in (0.25, 0.5, 0.75, 1.0)
    assert len(tested["permuted"]) == tested["permutations"] == 3


@pytest.mark.real_data
@pytest.mark.long
def test_minimal_usage_over_real_history(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """September 2025 of Bybit. Further changes: the dates, and a data folder of links to the captured files."""
    for symbol in ("BTC", "ETH"):
        folder = tmp_path / "historical_data" / f"{symbol}-USDT"
        folder.mkdir(parents=True)
        for kind, name in (("kline_15m", "last_15m"), ("mark_1h", "mark_1h"), ("funding", "funding")):
            (folder / f"{name}.parquet").symlink_to(real_data / "bybit" / "linear" / kind / f"{symbol}USDT.parquet")
    monkeypatch.chdir(tmp_path)
    dates = [(old, new.replace("2024, 2, 9", "2025, 9, 30"), why) for old, new, why in DATES]
    names, printed = run_snippet(MINIMAL_USAGE, [*IMPORTS_AND_NAME, *dates])
    first = names["first"]
    assert [entry["symbol"] for entry in first["trade_history"]] == [BTC, ETH]
    assert 880 < sum(entry["value"] for entry in first["trade_history"]) <= 1000  # a step of 0.001 BTC is worth 110 USDT
    assert names["bt"].result.reconciliation.difference == 0 and printed.startswith("p_value: ")


# --- document 0 ---


def test_the_signature_of_run_backtest() -> None:
    parameters = list(inspect.signature(Backtester.run_backtest).parameters)[1:]
    assert parameters == ["strategy", "position_manager", "start_date", "end_date", "time_step", "market_type"]


def test_what_a_strategy_exposes_and_a_position_manager_has() -> None:
    """Anything with these does: no base class is asked for."""
    assert isinstance(HoldStrategy([BTC], 3), PortfolioStrategy)
    assert HoldStrategy([BTC], 3).symbols == (BTC,) and HoldStrategy([BTC], 3).lookback_days == 3
    assert list(inspect.signature(HoldStrategy.run_strategy).parameters) == ["self", "oms_client", "data_manager"]
    assert list(inspect.signature(PositionManager.filter_orders).parameters) == ["self", "orders", "oms_client", "data_manager"]
    with market({"BTCUSDT": [(100.0, 100.0)] * 6}) as store:
        results, _ = run(store, Scripted({1: [future("LONG", 1000.0)]}), 6)
    assert len(results["trade_history"]) == 1


def test_start_and_end_are_utc_and_the_start_moves_to_the_earliest_candle_that_all_have() -> None:
    with market({"BTCUSDT": [(100.0, 100.0)] * 24}) as store:
        market({"ETHUSDT": [(10.0, 10.0)] * 24}, store=store)
        results, tester = run(store, Scripted({}, (BTC, ETH)), 24, start=BEGIN - timedelta(days=3))
    assert tester.portfolio_values[0][0] == BEGIN + HOUR and tester.portfolio_values[0][0].tzinfo is UTC
    assert any("start" in note for note in results["notes"])


def test_what_is_returned() -> None:
    """Up 10 % with everything in it: fractions, floats per step, balances by coin, positions by the strategy's own names."""
    prices = [(100.0, 100.0), (100.0, 110.0), (110.0, 99.0)]
    with market({"BTCUSDT": prices}) as store:
        results, _ = run(store, Scripted({1: [future("LONG", 10_000.0)]}), 3)
    assert set(results) >= RESULTS
    assert results["returns"] == pytest.approx([0.1, -0.1]) and results["total_return"] == pytest.approx(-0.01)
    assert results["max_drawdown"] == pytest.approx(0.1) and results["sharpe_ratio"] is None  # under 30 days
    assert results["final_balance"] == {"USDT": 10_000.0} and results["final_positions"][BTC]["pnl"] == pytest.approx(-100.0)


class Looks:
    """Looks at everything that the documents name, at every step."""

    def __init__(self, symbols: Sequence[str] = (BTC, ETH), lookback_days: int = 0) -> None:
        self.symbols, self.lookback_days = list(symbols), lookback_days
        self.seen: list[dict[str, Any]] = []

    def run_strategy(self, oms_client: Any, data_manager: Any) -> list[dict[str, Any]]:
        mappings = (
            "spot_ohlcv_data",
            "perpetual_index_ohlcv_data",
            "perpetual_mark_ohlcv_data",
            "funding_rates_data",
            "open_interest_data",
        )
        self.seen.append({
            "time": oms_client.current_time, "timestep": oms_client.timestep, "same": oms_client.data_manager is data_manager,
            "price": oms_client.get_current_price(self.symbols[0]), "value": oms_client.get_total_portfolio_value(),
            "balance": dict(oms_client.balance), "positions": {name: dict(entry) for name, entry in oms_client.positions.items()},
            **{name: {symbol: frame.ts[-1] for symbol, frame in getattr(data_manager, name).items() if len(frame)} for name in mappings},
        })  # fmt: skip
        return (
            [] if len(self.seen) > 1 else [{"symbol": BTC, "instrument_type": oms_client.instrument_type, "side": "LONG", "value": 500.0}]
        )


@pytest.mark.parametrize(
    ("market_type", "there"),
    [("futures", ("perpetual_index_ohlcv_data", "perpetual_mark_ohlcv_data", "funding_rates_data")), ("spot", ("spot_ohlcv_data",))],
)
def test_the_data_storage_map_and_the_current_price_by_market_type(home: Path, market_type: Any, there: tuple[str, ...]) -> None:
    """By symbol, cut at the present: the newest candle is the one that has just closed."""
    looker, tester = Looks(), Backtester(historical_data_dir="./historical_data")
    tester.run_backtest(looker, AsGiven(), datetime(2024, 1, 20, tzinfo=UTC), datetime(2024, 1, 21, tzinfo=UTC), HOUR, market_type)
    last = looker.seen[-1]
    for name in there:
        assert set(last[name]) == {BTC, ETH}, name
    hour_before = int(last["time"].timestamp() * 1000) - 3_600_000
    assert last[there[0]][BTC] == hour_before  # stamped by its open
    assert last["same"] and last["timestep"] == HOUR
    assert tester.oms_client is not None  # prices are marks for futures and closes for spot: of the candle that closed at current_time
    assert last["price"] == getattr(tester.oms_client.data_manager, there[-2] if market_type == "futures" else there[0])[BTC]["close"][-1]
    tester.close()


def test_the_context_at_each_step_and_the_order_of_its_parts() -> None:
    """Revalue, ask the strategy, filter, execute, advance: what was ordered at a step is held at the next, and valued then."""
    asked: list[str] = []

    class Filter:
        def filter_orders(self, orders: Sequence[Order], oms_client: Any, data_manager: Any) -> Sequence[Order]:
            asked.append(f"filter {oms_client.current_time:%H}")
            return orders

    class Strategy(Scripted):
        def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Any]:
            asked.append(f"strategy {oms_client.current_time:%H} {len(oms_client.positions)}")
            return super().run_strategy(oms_client, data_manager)

    prices = [(100.0, 100.0), (100.0, 110.0), (110.0, 120.0)]
    with market({"BTCUSDT": prices}) as store:
        _, tester = run(store, Strategy({1: [future("LONG", 1000.0)]}), 3, manager=Filter())
    assert asked[:3] == ["strategy 01 0", "filter 01", "strategy 02 1"]
    assert [(when.hour, value) for when, value in tester.portfolio_values] == [(1, 10_000.0), (2, 10_100.0), (3, 10_200.0)]


@pytest.mark.parametrize(("market_type", "side", "balance"), [("futures", future, 10_000.0), ("spot", spot, 9_000.0)])
def test_futures_add_unrealised_pnl_and_spot_the_full_notional(market_type: Any, side: Any, balance: float) -> None:
    """1,000 USDT at 100, up to 110: the value is 10,100 in both; only spot's cash has gone."""
    with market({"BTCUSDT": [(100.0, 100.0), (100.0, 110.0)]}, market_type) as store:
        results, tester = run(store, Scripted({1: [side("LONG", 1000.0)]}), 2, market_type)
    assert tester.portfolio_values[-1][1] == pytest.approx(10_100.0)
    assert results["final_balance"]["USDT"] == pytest.approx(balance)


# --- document 1 ---


def test_the_components_and_their_methods() -> None:
    wanted: Mapping[type, tuple[str, ...]] = {
        Backtester: ("run_backtest", "run_permutation_backtest"),
        OMSClient: ("balance", "positions", "trade_history", "get_current_price", "set_target_position", "close_position",
                    "get_total_portfolio_value", "current_time", "timestep", "data_manager", "summary", "positions_table"),
        HistoricalDataCollector: ("load_data_period", "spot_ohlcv_data", "perpetual_index_ohlcv_data", "perpetual_mark_ohlcv_data",
                                  "funding_rates_data", "open_interest_data"),
        PositionManager: ("filter_orders",),
        HoldStrategy: ("run_strategy",),
    }  # fmt: skip
    for component, names in wanted.items():
        assert [name for name in names if not hasattr(component, name)] == [], component.__name__
    assert list(inspect.signature(HistoricalDataCollector.load_data_period).parameters)[1:] == [
        "symbol",
        "timeframe",
        "data_type",
        "start",
        "end",
    ]
    assert list(inspect.signature(OMSClient.set_target_position).parameters)[1:] == ["symbol", "instrument_type", "value", "side"]


class Account:
    """An OMS and a data manager that stand still: cash, and 15m closes by symbol."""

    instrument_type = "future"
    current_time = datetime(2024, 1, 1, 4, tzinfo=UTC)
    positions: Mapping[str, Any] = {}

    def __init__(self, cash: float, **closes: Sequence[float]) -> None:
        self.balance, self._closes = {"USDT": cash}, closes
        self.asked: list[tuple[Any, ...]] = []

    def load_data_period(self, *asked: Any) -> dict[str, np.ndarray]:
        self.asked.append(asked)
        return {"close": np.array(self._closes[asked[0]])}


WAVE = [100.0, 101.0] * 8
"""Fifteen log returns of +-0.995 %: a deviation of 1.0266 %, 0.1006 a day."""
CALM, CALMER = [100.0, 100.5] * 8, [100.0, 100.25] * 8
ORDERS = [Order("A", "future", "LONG"), Order("B", "future", "SHORT")]


def test_the_risk_screen_reads_the_last_four_hours_of_15m_marks() -> None:
    account = Account(10_000.0, A=WAVE, B=CALM)
    orders = PositionManager().filter_orders(ORDERS, account, account)
    assert [(order.symbol, order.value) for order in orders] == [("A", 0.0), ("B", 1000.0)]
    assert account.asked[0] == ("A", "15m", "mark_ohlcv_futures", datetime(2024, 1, 1, 0, tzinfo=UTC), account.current_time)


def test_inverse_volatility_weights_share_a_tenth_of_the_cash() -> None:
    """B moves half as much as A, so it gets twice as much: a third and two thirds of 1,000 (log returns are not quite in proportion)."""
    account = Account(10_000.0, A=CALM, B=CALMER)
    first, second = PositionManager().filter_orders(ORDERS, account, account)
    assert (first.value, second.value) == (pytest.approx(333.3, abs=0.6), pytest.approx(666.7, abs=0.6))
    assert first.value + second.value == pytest.approx(1000.0)  # type: ignore[operator]


def test_opens_beyond_the_cash_leave_the_closes_alone() -> None:
    account = Account(1_000.0, A=CALM, B=CALM)
    orders = [Order("A", "future", "LONG", 900.0), Order("B", "future", "CLOSE"), Order("B", "future", "LONG", 200.0)]
    assert PositionManager().filter_orders(orders, account, account) == [orders[1]]
    kept = PositionManager().filter_orders(orders[:2], account, account)
    assert kept == [orders[1], orders[0]]


ORDER_SCHEMA = """
{
  "symbol": "BTC-USDT",                // or base + -PERP-normalized internally for futures
  "instrument_type": "future",
  "side": "LONG" | "SHORT" | "CLOSE",
  "value": 1234.56                      // USDT notional; PM supplies, it is possible to rewrite for the strategy to supply it as well
}
"""


@pytest.mark.parametrize("side", ["LONG", "SHORT", "CLOSE"])
@pytest.mark.parametrize("name", ["BTC-USDT", "BTC-USDT-PERP", "BTCUSDT"])
@pytest.mark.covering(1)
def test_the_order_schema(side: str, name: str) -> None:
    """A dict of the schema's keys is an order (changed: comments left out, one of the sides chosen, each of the names)."""
    text = ORDER_SCHEMA.replace('"LONG" | "SHORT" | "CLOSE"', json.dumps(side)).replace('"BTC-USDT"', json.dumps(name))
    order = json.loads("\n".join(line.partition("//")[0] for line in text.splitlines()))
    with market({"BTCUSDT": [(100.0, 100.0)] * 4}) as store:
        results, _ = run(store, Scripted({1: [order]}, (name,)), 4)
    assert [(entry["side"], entry["symbol"]) for entry in results["trade_history"]] == ([] if side == "CLOSE" else [(side, name)])
    if side != "CLOSE":
        assert results["trade_history"][0]["value"] == pytest.approx(1234.56, abs=0.1)


def test_positions_and_trade_history_have_the_documents_fields() -> None:
    with market({"BTCUSDT": [(100.0, 100.0)] * 4}) as store:
        results, tester = run(store, Scripted({1: [future("LONG", 1000.0)], 2: [future("CLOSE")]}), 4)
        _, open_one = run(store, Scripted({1: [future("LONG", 1000.0)]}), 4)
    assert tester.oms_client is not None and open_one.oms_client is not None
    assert set(open_one.oms_client.positions[BTC]) == {"quantity", "side", "entry_price", "value", "pnl", "instrument_type"}
    opened, closed = results["trade_history"]
    assert {"timestamp", "balance"} <= set(opened) and (opened["action"], closed["action"]) == ("open", "close")
    history: Any = tester.oms_client.trade_history
    assert history == results["trade_history"]
    with pytest.raises(TypeError):
        history[0]["balance"] = 0.0
    with pytest.raises(TypeError):
        history[0] = closed


STEPS = [
    (timedelta(minutes=1), "1m"), (timedelta(minutes=5), "5m"), (timedelta(minutes=15), "15m"), (timedelta(minutes=30), "30m"),
    (timedelta(hours=1), "1h"), (timedelta(days=1), "15m"), (timedelta(hours=4), "15m"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "timeframe"), STEPS, ids=[str(step) for step, _ in STEPS])
def test_the_timeframe_follows_from_the_time_step(step: timedelta, timeframe: str) -> None:
    """{1m, 5m, 15m, 30m, 1h}, else 15m, which is said."""
    minutes = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60}[timeframe]
    rows = 2 * 1440 // minutes
    with market({"BTCUSDT": [(100.0, 100.0)] * rows}, timeframe=timeframe) as store:
        results, tester = run(store, Scripted({}), 48, step=step)
    assert tester.result is not None and tester.result.system.timeframe == timeframe
    assert any("15m" in note for note in results["notes"]) == (step not in {given for given, _ in STEPS[:5]})


def test_set_target_position_opens_adjusts_flips_and_closes() -> None:
    """``value`` is USDT at the current price; a future moves no principal."""
    script = {
        1: [future("LONG", 1000.0)],
        2: [future("LONG", 1500.0)],
        3: [future("SHORT", 500.0)],
        4: [future("SHORT", 500.0)],
        5: [future("CLOSE")],
    }
    with market({"BTCUSDT": [(100.0, 100.0)] * 8}) as store:
        results, _ = run(store, Scripted(script), 8)
    told = [(entry["action"], entry["side"], entry["value"]) for entry in results["trade_history"]]
    assert told == [
        ("open", "LONG", 1000.0),
        ("increase", "LONG", 500.0),
        ("close", "LONG", 1500.0),
        ("open", "SHORT", 500.0),
        ("close", "SHORT", 500.0),
    ]
    assert {entry["balance"] for entry in results["trade_history"]} == {10_000.0}


def test_hold_emits_once_per_symbol() -> None:
    strategy = HoldStrategy([BTC, ETH])
    account = Account(1.0)
    assert [(order.symbol, order.instrument_type, order.side, order.value) for order in strategy.run_strategy(account, account)] == [  # type: ignore[arg-type]
        (BTC, "future", "LONG", None),
        (ETH, "future", "LONG", None),
    ]
    assert strategy.run_strategy(account, account) == []  # type: ignore[arg-type]
