"""The history of a run: alignment, holes, costs, Parquet folders; each change is said, and what cannot be is refused in one line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from keel.core.errors import ConfigError, DataError
from keel.core.risk.position_manager import PositionManager
from keel.core.system.config import ExecutionConfig
from keel.runners.portfolio.backtester import Backtester
from keel.strategies.hold import HoldStrategy
from tests.builders import DAY, START, perpetual, sample_store
from tests.builders import HOUR as HOUR_MS
from tests.runners.portfolio.scripted import BEGIN, BTC, ETH, HOUR, AsGiven, Scripted, bars, future, market, run, spot

FLAT = [(100.0, 100.0)] * 24


def test_a_symbol_whose_history_starts_later_moves_the_start_and_is_said() -> None:
    with market({"BTCUSDT": FLAT}) as store:
        store.upsert_bars("ETHUSDT", "1h", bars([(50.0, 50.0)] * 15, first=5), source="test", kind="mark")
        result, tester = run(store, Scripted({}, (BTC, ETH)), 24)
    assert [time for time, _ in tester.portfolio_values] == [BEGIN + hour * HOUR for hour in range(6, 21)]
    assert result["notes"] == [
        "the start moved from 2024-01-01T00:00:00Z to 2024-01-01T05:00:00Z, the first candle of ETHUSDT",
        "the end moved from 2024-01-02T00:00:00Z to 2024-01-01T20:00:00Z, where the candles of ETHUSDT end",
    ]


def test_an_odd_start_waits_for_the_next_candle_and_the_end_is_a_whole_step() -> None:
    with market({"BTCUSDT": FLAT}) as store:
        tester = Backtester(store=store)
        tester.run_backtest(Scripted({}), AsGiven(), BEGIN + timedelta(minutes=17), BEGIN + timedelta(hours=9, minutes=50), HOUR, "futures")
    assert [time for time, _ in tester.portfolio_values] == [BEGIN + hour * HOUR for hour in range(2, 10)]


def test_a_hole_is_an_error_where_execution_says_so_and_else_a_note() -> None:
    """Hours 5 to 7 are missing: the steps of 6, 7 and 8 o'clock are taken together when the next candle has closed."""
    with market({"BTCUSDT": FLAT[:5]}) as store:
        store.upsert_bars("BTCUSDT", "1h", bars(FLAT[:4], first=8), source="test", kind="mark")
        with pytest.raises(DataError, match="BTCUSDT 1h: 3 candles are missing in the window, the first from 2024-01-01T05:00:00Z"):
            run(store, Scripted({}), 12)
        result, tester = run(store, Scripted({}), 12, execution=ExecutionConfig(gaps="skip", funding="none"))
    assert [(time - BEGIN) // HOUR for time, _ in tester.portfolio_values] == [1, 2, 3, 4, 5, 9, 10, 11, 12]
    assert "BTCUSDT: 3 1h candles are missing" in result["notes"][0]


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"market_type": "options"}, ConfigError, "use futures or spot"),
    ({"time_step": 3600}, ConfigError, "positive timedelta"),
    ({"time_step": timedelta(0)}, ConfigError, "positive timedelta"),
    ({"time_step": timedelta(days=1)}, DataError, "BTCUSDT mark_ohlcv_futures 15m: there is nothing from"),
    ({"end_date": BEGIN + timedelta(minutes=80), "time_step": timedelta(minutes=90)}, DataError, "15m: there is nothing"),
    ({"end_date": BEGIN}, ConfigError, "is empty"),
    ({"end_date": BEGIN + timedelta(minutes=5)}, ConfigError, "holds no whole 1h candle"),
    ({"start_date": BEGIN + timedelta(days=300), "end_date": BEGIN + timedelta(days=301)}, DataError, "nothing from 2024-10-26"),
    ({"strategy": HoldStrategy([])}, ConfigError, "names no symbols"),
    ({"strategy": HoldStrategy([BTC, "BTCUSDT"])}, ConfigError, "names BTCUSDT twice"),
    ({"strategy": HoldStrategy(["DOGE-USDT"])}, DataError, "DOGEUSDT mark_ohlcv_futures 1h: there is nothing"),
    ({"strategy": HoldStrategy([BTC]), "market_type": "spot"}, DataError, "BTCUSDT ohlcv_spot 1h: there is nothing"),
    ({"strategy": object()}, ConfigError, "object has no symbols"),
    ({"position_manager": None}, ConfigError, "NoneType has no filter_orders"),
]


@pytest.mark.parametrize(("changes", "error", "words"), REFUSED)
def test_what_cannot_be_run_is_refused_in_one_line(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    asked = {
        "strategy": HoldStrategy([BTC]), "position_manager": PositionManager(), "start_date": BEGIN, "end_date": BEGIN + 24 * HOUR,
        "time_step": HOUR, "market_type": "futures",
    }  # fmt: skip
    with market({"BTCUSDT": FLAT}) as store, pytest.raises(error, match=words) as caught:
        Backtester(store=store).run_backtest(**{**asked, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("options", "words"), [({"leverage": 0.5}, "at least 1"), ({"initial_balance": 0}, "must be a number above 0")])
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Backtester(**options)


def test_a_window_without_a_step() -> None:
    with market({"BTCUSDT": FLAT}, timeframe="15m") as store, pytest.raises(ConfigError, match="holds no step of 1 day"):
        run(store, Scripted({}), 6, step=timedelta(days=1))


def test_spot_has_no_leverage() -> None:
    with market({"BTCUSDT": FLAT}, "spot") as store, pytest.raises(ConfigError, match="spot has no leverage"):
        run(store, Scripted({}), 24, "spot", leverage=2)


# --- costs ---


def test_the_usual_costs_are_fees_steps_and_minimums() -> None:
    """1000.07 at 100 are 10.0007, floored to 10.000; a fee of 0.055 % of 1000; an order under the least value is refused and logged."""
    with market({"BTCUSDT": FLAT}) as store:
        tester = Backtester(store=store)
        orders = {1: [future("LONG", 1000.07)], 2: [future("LONG", 1000.2)], 3: [future("LONG", 1004.0)]}
        store.upsert_instrument(perpetual(min_notional=5 * 10**8))
        result = tester.run_backtest(Scripted(orders), AsGiven(), BEGIN, BEGIN + 24 * HOUR, HOUR, "futures")
    assert [(entry["quantity"], entry["fee"]) for entry in result["trade_history"]] == [(10.0, 0.55)]
    assert [(entry["reason"], entry["value"]) for entry in result["order_log"]] == [
        ("below_min_notional", 0.2),
        ("below_min_notional", 4.0),
    ]
    assert "2 x signal denied: below_min_notional" in result["notes"]
    assert result["final_balance"] == {"USDT": 9999.45}


def test_stored_funding_is_charged_and_its_absence_is_said() -> None:
    """Long 10 x 100 over the stamps of 08:00 and 16:00 at 1 bp: 2 x 0.1. That of the end, 24:00, is not paid."""
    with market({"BTCUSDT": FLAT}) as store:
        without = Backtester(store=store).run_backtest(
            Scripted({1: [future("LONG", 1000)]}), AsGiven(), BEGIN, BEGIN + 24 * HOUR, HOUR, "futures"
        )
        store.upsert_funding("BTCUSDT", {"ts": START + 8 * HOUR_MS * np.arange(-3, 8), "funding_rate": np.full(11, 1e-4)}, source="test")
        tester = Backtester(store=store)
        charged = tester.run_backtest(Scripted({1: [future("LONG", 1000)]}), AsGiven(), BEGIN, BEGIN + 24 * HOUR, HOUR, "futures")
        with pytest.raises(DataError, match="no funding rates"):
            run(market({"ETHUSDT": FLAT}), Scripted({}, (ETH,)), 24, execution=ExecutionConfig())
    assert "no funding is charged: the store has no rates of BTCUSDT" in without["notes"]
    assert without["final_balance"]["USDT"] - charged["final_balance"]["USDT"] == pytest.approx(0.2)
    assert tester.oms_client is not None and tester.oms_client.summary()["funding"] == pytest.approx(0.2)


@pytest.mark.parametrize("market_type", ["futures", "spot"])
@pytest.mark.parametrize("costs", [None, ExecutionConfig(slippage_bps=2.5, half_spread_bps=1.0, latency_ms=700, gaps="skip")])
def test_the_money_adds_up_to_the_last_unit(market_type: Any, costs: ExecutionConfig | None) -> None:
    """A strategy that turns about at random over three weeks of two symbols, with stored marks, funding and costs."""
    generator = np.random.default_rng(3)
    make = future if market_type == "futures" else spot
    sides = ["LONG", "SHORT", "CLOSE", "LONG"]
    orders = {
        step: [
            make(sides[generator.integers(4)], float(generator.uniform(0, 4000)), name) for name in (BTC, ETH) if generator.random() < 0.3
        ]
        for step in range(1, 400)
    }
    pair = ("BTCUSDT", "ETHUSDT")
    with sample_store(pair, 20, until=START + 20 * DAY) as store:
        if market_type == "spot":
            for symbol in pair:
                columns = store.get_ohlcv(symbol, "5m").to_dict()
                store.upsert_bars(symbol, "5m", columns, source="test", category="spot")
        tester = Backtester(store=store, execution=costs)
        result = tester.run_backtest(Scripted(orders, (BTC, ETH)), AsGiven(), BEGIN, BEGIN + timedelta(days=18), HOUR, market_type)
    books = tester.result
    assert books is not None and books.reconciliation.difference == 0 and len(result["trade_history"]) > 100
    history, funding = result["trade_history"], books.reconciliation.funding / 1e8
    assert sum(entry["fee"] for entry in history) == pytest.approx(books.reconciliation.fees / 1e8, abs=1e-6)
    if market_type == "futures":
        earned = sum(entry["realized_pnl"] - entry["fee"] for entry in history) - funding
        assert result["final_balance"]["USDT"] == pytest.approx(10_000 + earned, abs=1e-6) and funding != 0
    assert tester.portfolio_values[-1][1] == pytest.approx(books.reconciliation.final_equity / 1e8)
    assert result["total_return"] == pytest.approx(books.metrics["total_return"])


def test_leverage_lets_a_small_account_carry_more() -> None:
    with market({"BTCUSDT": FLAT}) as store:
        refused, _ = run(store, Scripted({1: [future("LONG", 20_000)]}), 5)
        carried, tester = run(store, Scripted({1: [future("LONG", 20_000)]}), 5, leverage=3)
    assert refused["trade_history"] == [] and "110007" in refused["order_log"][0]["reason"]
    assert carried["final_positions"][BTC]["value"] == 20_000.0
    assert tester.result is not None and tester.result.equity_curve["margin"][-1] == pytest.approx(20_000 / 3)


# --- a folder of Parquet files ---


def write(path: Path, columns: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.register("columns", columns)
        connection.sql("SELECT * FROM columns").write_parquet(str(path))


@pytest.mark.parametrize("folder", ["BTC-USDT", "BTCUSDT", "BTC-USDT-PERP"])
def test_a_folder_of_parquet_files(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quarters = [(100.0 + number % 2, 100.0 + (number + 1) % 2) for number in range(4 * 24)]
    for kind in ("mark", "index"):
        write(tmp_path / "historical_data" / folder / f"{kind}_15m.parquet", {**bars(quarters, "15m"), "volume": np.zeros(len(quarters))})
    stamps = START + 8 * HOUR_MS * np.arange(-3, 8)
    write(tmp_path / "historical_data" / folder / "funding.parquet", {"ts": stamps, "funding_rate": np.full(len(stamps), 1e-4)})
    monkeypatch.chdir(tmp_path)
    with Backtester() as tester:
        result = tester.run_backtest(HoldStrategy([BTC]), PositionManager(), BEGIN, BEGIN + 24 * HOUR, HOUR, "futures")
    assert len(result["trade_history"]) == 1 and result["trade_history"][0]["value"] == pytest.approx(1000, rel=0.02)
    assert result["notes"][0].startswith("BTC-USDT was not screened")  # at the first step there are four candles


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        Backtester(tmp_path / "none").run_backtest(HoldStrategy([BTC]), PositionManager(), BEGIN, BEGIN + HOUR, HOUR, "futures")


def test_a_run_leaves_a_store_that_it_was_given_open() -> None:
    with market({"BTCUSDT": FLAT}) as store:
        with Backtester(store=store) as tester:
            tester.run_backtest(HoldStrategy([BTC]), PositionManager(), BEGIN, BEGIN + 24 * HOUR, HOUR, "futures")
        assert store.span("BTCUSDT", "1h", "mark") == (START, START + DAY - HOUR_MS)


def test_hold_orders_once_and_the_next_run_begins_anew() -> None:
    with market({"BTCUSDT": FLAT, "ETHUSDT": FLAT}) as store:
        strategy = HoldStrategy([BTC, ETH])
        first, _ = run(store, strategy, 24, manager=PositionManager())
        second, _ = run(store, strategy, 24, manager=PositionManager())
    assert [(entry["symbol"], entry["value"]) for entry in first["trade_history"]] == [(BTC, 500.0), (ETH, 500.0)]
    assert first["trade_history"] == second["trade_history"]
