"""What strategies are shown: up to the present and no further, and nothing of it can be changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from keel.core.errors import ConfigError, DataError, StrategyError
from keel.core.model.time_range import to_ms
from keel.core.strategy.portfolio_order import Order, market_symbol
from keel.runners.portfolio.oms_client import OMSReader
from tests.builders import DAY, MINUTE, START
from tests.builders import HOUR as HOUR_MS
from tests.runners.portfolio.scripted import BEGIN, BTC, ETH, HOUR, Scripted, bars, future, market, run

RISING = [(100.0 + hour, 101.0 + hour) for hour in range(12)]


class Looker(Scripted):
    """Notes at each step what it can see."""

    def __init__(self, symbols: Sequence[str] = (BTC,), lookback_days: int = 0) -> None:
        super().__init__({}, symbols, lookback_days)
        self.seen: list[dict[str, Any]] = []

    def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Order]:
        super().run_strategy(oms_client, data_manager)
        now = oms_client.current_time
        loaded = data_manager.load_data_period(self.symbols[0], "1h", "mark_ohlcv_futures", now - 2 * HOUR, now + timedelta(days=300))
        mapped = data_manager.perpetual_mark_ohlcv_data[self.symbols[0]]
        self.seen.append({"now": to_ms(now), "loaded": loaded, "mapped": mapped, "price": oms_client.get_current_price(self.symbols[0])})
        return []


def test_the_newest_candle_is_the_one_that_has_just_closed() -> None:
    with market({"BTCUSDT": RISING}) as store:
        run(store, looker := Looker(), 12)
    assert [seen["now"] for seen in looker.seen] == [START + hour * HOUR_MS for hour in range(1, 13)]
    for number, seen in enumerate(looker.seen):
        assert seen["loaded"].ts[-1] + HOUR_MS == seen["now"] and len(seen["loaded"]) == min(2, number + 1)
        assert seen["mapped"].ts.tolist() == [START + hour * HOUR_MS for hour in range(number + 1)]
        assert seen["price"] == seen["mapped"].close[-1] == RISING[number][1]


def test_a_step_is_longer_than_a_candle() -> None:
    """Daily steps go over 15m candles: a decision a day, at its end, and the price of the last quarter."""
    prices = [(100.0 + n, 101.0 + n) for n in range(4 * 24 * 3)]
    with market({"BTCUSDT": prices}, timeframe="15m") as store:
        result, _ = run(store, looker := Looker(), 72, step=timedelta(days=1))
    assert [seen["now"] for seen in looker.seen] == [START + day * DAY for day in (1, 2, 3)]
    assert [seen["price"] for seen in looker.seen] == [prices[96 * day - 1][1] for day in (1, 2, 3)]
    assert len(looker.seen[0]["mapped"]) == 96
    assert any("steps are taken over 15m candles" in note for note in result["notes"])


def test_lookback_is_loaded_and_visible() -> None:
    prices = [(100.0, 100.0)] * 72
    with market({"BTCUSDT": prices}) as store:
        run(store, looker := Looker(lookback_days=1), 72, start=BEGIN + timedelta(days=2))
        run(store, without := Looker(), 72, start=BEGIN + timedelta(days=2))
    assert int(looker.seen[0]["mapped"].ts[0]) == START + DAY and len(looker.seen[0]["mapped"]) == 25
    assert int(without.seen[0]["mapped"].ts[0]) == START + 2 * DAY and len(without.seen[0]["mapped"]) == 1


def test_nothing_can_be_written() -> None:
    with market({"BTCUSDT": RISING}) as store:
        run(store, looker := Looker(), 12)
    oms, frame = looker.oms, looker.seen[3]["mapped"]
    assert isinstance(oms, OMSReader)
    for attempt in (
        lambda: oms.set_target_position(BTC, "future", 1.0, "LONG"),
        lambda: oms.close_position(BTC),
        lambda: oms.begin_step(0),
        lambda: setattr(oms, "current_time", BEGIN),
        lambda: setattr(oms, "balance", {}),
    ):
        with pytest.raises(AttributeError, match=r"only be read|cannot be set"):
            attempt()
    for attempt in (
        lambda: oms.balance.__setitem__("USDT", 1.0),
        lambda: oms.positions.__setitem__(BTC, {}),
        lambda: oms.trade_history.append({}),
        lambda: oms.trade_history.__setitem__(0, {}),
    ):
        with pytest.raises((AttributeError, TypeError)):
            attempt()
    for column in (frame.ts, frame["close"], looker.seen[3]["loaded"]["close"]):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1.0
        with pytest.raises(ValueError, match="WRITEABLE"):
            column.flags.writeable = True


def test_history_shows_nothing_later_by_whatever_way() -> None:
    """Not even the memory behind a view holds a row that has not come."""
    with market({"BTCUSDT": RISING}) as store:
        run(store, looker := Looker(), 12)
        later = {price for _, price in RISING[5:]}
    early: np.ndarray[Any, Any] = looker.seen[4]["mapped"]["close"]
    assert early.tolist() == [price for _, price in RISING[:5]]
    with market({"BTCUSDT": RISING}) as store:

        class Digger(Looker):
            def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Order]:
                super().run_strategy(oms_client, data_manager)
                if len(self.times) == 5:
                    base: Any = self.seen[-1]["mapped"]["close"]
                    while getattr(base, "base", None) is not None:
                        base = base.base
                    self.dug = set(np.frombuffer(getattr(base, "obj", base), dtype=np.float64).tolist())
                return []

        run(store, digger := Digger(), 12)
    assert not digger.dug & later


def test_a_trade_history_entry_cannot_be_changed() -> None:
    with market({"BTCUSDT": RISING}) as store:
        run(store, strategy := Scripted({1: [future("LONG", 1000)]}), 12)
    history = strategy.oms.trade_history
    assert len(history) == 1 and history[0]["action"] == "open" and history[:1] == (history[0],)
    with pytest.raises(TypeError):
        history[0]["balance"] = 1e9


NAMES = [("BTC-USDT", "linear", "BTCUSDT"), ("BTC-USDT-PERP", "linear", "BTCUSDT"), ("BTCUSDT", "linear", "BTCUSDT"),
         ("BTC-USDT", "spot", "BTCUSDT"), ("BTCUSDT", "spot", "BTCUSDT"), ("btc-usdt", "spot", "BTCUSDT")]  # fmt: skip


@pytest.mark.parametrize(("name", "category", "symbol"), NAMES)
def test_names(name: str, category: Any, symbol: str) -> None:
    assert market_symbol(name, category) == symbol


@pytest.mark.parametrize(("name", "category"), [("BTC-USDT-PERP", "spot"), ("BTC/USDT", "linear"), ("", "spot")])
def test_what_is_no_name(name: str, category: Any) -> None:
    with pytest.raises(ConfigError, match=r"is a perpetual, and this is spot|is not a symbol"):
        market_symbol(name, category)


@pytest.mark.parametrize("name", ["BTC-USDT", "BTC-USDT-PERP", "BTCUSDT"])
def test_results_are_keyed_by_the_name_that_the_strategy_used_and_any_name_finds_them(name: str) -> None:
    with market({"BTCUSDT": RISING}) as store:
        result, _ = run(store, strategy := Scripted({1: [future("LONG", 1000, "BTC-USDT")]}, (name,)), 12)
    assert list(result["final_positions"]) == [name] and result["trade_history"][0]["symbol"] == name
    assert list(strategy.data.perpetual_mark_ohlcv_data) == [name]
    assert {strategy.oms.get_current_price(any_name) for any_name in ("BTC-USDT", "BTC-USDT-PERP", "BTCUSDT")} == {112.0}


def test_the_mappings_hold_what_there_is() -> None:
    with market({"BTCUSDT": RISING, "ETHUSDT": RISING}) as store:
        store.upsert_bars("BTCUSDT", "1h", bars(RISING), source="test", kind="index")
        store.upsert_funding("BTCUSDT", {"ts": START + 8 * HOUR_MS * np.arange(-1, 3), "funding_rate": np.full(4, 1e-4)}, source="test")
        store.upsert_open_interest("ETHUSDT", {"ts": START + HOUR_MS * np.arange(12), "open_interest": np.full(12, 5.0)}, source="test")
        result, _ = run(store, strategy := Scripted({}, (BTC, ETH)), 12)
        data = strategy.data
        assert {name: len(data.perpetual_index_ohlcv_data[name]) for name in data.perpetual_index_ohlcv_data} == {BTC: 12, ETH: 12}
        assert result["notes"] == []  # nobody had asked for an index yet
        assert list(data.funding_rates_data) == [BTC] and data.funding_rates_data[BTC].ts.tolist() == [START, START + 8 * HOUR_MS]
        assert list(data.open_interest_data) == [ETH] and list(data.spot_ohlcv_data) == []
        rates = data.load_data_period(BTC, "", "funding_rates", BEGIN - 9 * HOUR, BEGIN + HOUR)
        assert rates.ts.tolist() == [START - 8 * HOUR_MS, START]


def test_a_missing_index_is_the_mark_and_said_once() -> None:
    class Indexed(Scripted):
        def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Any]:
            assert len(data_manager.perpetual_index_ohlcv_data[BTC]) == len(self.times) + 1
            return super().run_strategy(oms_client, data_manager)

    with market({"BTCUSDT": RISING}) as store:
        part = bars(RISING)
        result, _ = run(store, Indexed({}), 12)
        store.upsert_bars("BTCUSDT", "1h", {name: column[3:] for name, column in part.items()}, source="test", kind="index")
        partly, _ = run(store, Indexed({}), 12)
    assert result["notes"] == ["BTCUSDT: the store has no 1h index candles; mark candles stand for them"]
    assert partly["notes"] == ["BTCUSDT: 3 of 12 1h index candles are missing; mark candles stand for them"]


QUESTIONS = [
    (("DOGE-USDT", "1h", "mark_ohlcv_futures"), ConfigError, "not among the symbols of this run"),
    ((BTC, "7m", "mark_ohlcv_futures"), ConfigError, "unknown timeframe"),
    ((BTC, "1h", "mark_ohlcv"), ConfigError, "did you mean mark_ohlcv_futures"),
    ((BTC, "1h", "ohlcv_spot"), DataError, "import it"),
]


@pytest.mark.parametrize(("question", "error", "words"), QUESTIONS)
def test_what_cannot_be_asked(question: tuple[str, str, str], error: type[Exception], words: str) -> None:
    with market({"BTCUSDT": RISING}) as store:
        run(store, strategy := Scripted({}), 12)
        with pytest.raises(error, match=words):
            strategy.data.load_data_period(*question, BEGIN, BEGIN + HOUR)


BAD_ORDERS = [
    ([future("LONG", 10.0, "DOGE-USDT")], "which is not among its symbols"),
    ([Order(BTC, "spot", "LONG", 10.0)], "this run trades 'future'"),
    ([{"symbol": BTC, "instrument_type": "future", "side": "LONG", "value": float("nan")}], "value must be a number, not nan"),
    ([future("LONG", -1.0)], "a notional is finite and not negative"),
    ([{"symbol": BTC, "instrument_type": "future", "side": "BUY"}], "side must be one of CLOSE, LONG, SHORT, .* did you mean LONG"),
    ([{"symbol": BTC, "instrument_type": "future", "side": "LONG", "size": 3}], "has the key 'size'"),
    ([{"symbol": BTC, "instrument_type": "perp", "side": "LONG"}], "instrument_type must be one of future, spot, .* did you mean future"),
    ([{"symbol": BTC, "instrument_type": "future", "side": "LONG", "value": "10"}], "value must be a number, not the text '10'"),
    (["BTC"], "is no order"),
    ({"symbol": BTC}, "return a list of orders"),
    ([future("LONG")], "has no value: the position manager must give it one"),
]


@pytest.mark.parametrize(("orders", "words"), BAD_ORDERS)
def test_what_is_no_order_is_refused_with_its_time(orders: Any, words: str) -> None:
    with market({"BTCUSDT": RISING}) as store, pytest.raises(StrategyError, match=words):
        run(store, Scripted({2: orders}), 12)


def test_what_a_strategy_or_a_position_manager_raises_names_the_time() -> None:
    class Trips(Scripted):
        def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Any]:
            return [1 / 0]

    class TripsToo:
        def filter_orders(self, orders: Any, oms_client: Any, data_manager: Any) -> Any:
            raise KeyError("gone")

    with market({"BTCUSDT": RISING}) as store:
        with pytest.raises(StrategyError, match="ZeroDivisionError in run_strategy at 2024-01-01T01:00:00Z"):
            run(store, Trips({}), 12)
        with pytest.raises(StrategyError, match="position manager raised KeyError at 2024-01-01T01:00:00Z"):
            run(store, Scripted({1: [future("LONG", 1.0)]}), 12, manager=TripsToo())


def test_derived_marks_are_known_at_no_earlier_time_than_their_basis() -> None:
    """15m marks out of 15m last prices and 1h marks: the basis of an hour counts from that hour's close on."""
    quarters = [(100.0, 100.0)] * 8
    with market({"BTCUSDT": [(101.0, 101.0), (102.0, 102.0)]}) as store:
        store.upsert_bars("BTCUSDT", "15m", bars(quarters, "15m"), source="test")
        run(store, strategy := Scripted({}), 2)
        marks = strategy.data.load_data_period(BTC, "15m", "mark_ohlcv_futures", BEGIN, BEGIN + 2 * HOUR)
    assert marks["close"].tolist() == pytest.approx([100, 100, 100, 101, 101, 101, 101, 102])
    assert marks["open"].tolist() == pytest.approx([100, 100, 100, 100, 101, 101, 101, 101])
    assert (marks["high"] >= np.maximum(marks["open"], marks["close"])).all()
    assert marks.ts.tolist() == [START + 15 * MINUTE * number for number in range(8)]


def test_times_are_utc() -> None:
    with market({"BTCUSDT": RISING}) as store:
        _, tester = run(store, strategy := Scripted({}), 12)
    assert strategy.times[0] == datetime(2024, 1, 1, 1, tzinfo=UTC) and strategy.oms.timestep == HOUR
    assert [time for time, _ in tester.portfolio_values] == strategy.times
