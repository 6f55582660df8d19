"""The permutation test: what a permutation keeps and what it breaks, and whether its p-value means what it says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError
from keel.core.features.aggregate import aggregate
from keel.core.model.frame import Frame
from keel.core.model.instrument import Grid
from keel.core.risk.position_manager import PositionManager
from keel.core.strategy.portfolio_order import Order
from keel.core.system.config import ExecutionConfig
from keel.runners.portfolio.archive import StoredArchive
from keel.runners.portfolio.backtester import Backtester
from keel.runners.portfolio.permuted import PermutedArchive
from keel.runners.research.permutation import MIN_BARS, PRICES, BarOrder, common_bars, follow, p_value, permute_bars, travel
from keel.strategies.hold import HoldStrategy
from tests.builders import HOUR as HOUR_MS
from tests.builders import START, perpetual
from tests.runners.portfolio.scripted import BEGIN, BTC, HOUR, AsGiven, future, market

TENTH = Grid.from_text("0.1")


def walk(seed: int, rows: int, timeframe_ms: int = HOUR_MS, timeframe: str = "1h", scale: float = 1000.0, symbol: str = "X") -> Frame:
    """A random walk on the grid of 0.1 with gaps, wicks and volumes that are all different."""
    generator = np.random.default_rng(seed)
    close = scale * np.exp(np.cumsum(generator.standard_normal(rows) * 0.01))
    opens = np.concatenate([[scale], close[:-1]]) * np.exp(generator.standard_normal(rows) * 0.002)
    spread = np.exp(np.abs(generator.standard_normal((2, rows))) * 0.003)
    columns = {"open": opens, "high": np.maximum(opens, close) * spread[0], "low": np.minimum(opens, close) / spread[1], "close": close}
    rounded = {name: np.rint(column * 10) / 10 for name, column in columns.items()}
    ts = START + timeframe_ms * np.arange(rows, dtype=np.int64)
    return Frame(ts, {**rounded, "volume": np.arange(1.0, rows + 1)}, symbol=symbol, timeframe=timeframe)


def moves(frame: Frame, name: str) -> np.ndarray[Any, Any]:
    """Log moves: of the gap (open against the close before), or of a price against its bar's open."""
    if name == "gap":
        return np.log(frame["open"][1:] / frame["close"][:-1])
    return np.log(frame[name] / frame["open"])[1:]


@given(st.integers(0, 2**32), st.integers(30, 120))
def test_what_a_permutation_keeps(seed: int, rows: int) -> None:
    """The first bar, the last close, the times; the set of gaps and of bodies; volume with its body. What it breaks: their order."""
    original = walk(seed, rows, scale=50_000.0)
    order = BarOrder.draw(rows, seed, 1)
    permuted = permute_bars(original, order, TENTH)
    assert (permuted.ts == original.ts).all() and len(permuted) == rows
    for name in PRICES:
        assert permuted[name][0] == original[name][0]
        assert (permuted[name] == np.rint(permuted[name] * 10) / 10).all()  # on the grid
    assert permuted["close"][-1] == original["close"][-1]
    assert (permuted["high"] >= np.maximum(permuted["open"], permuted["close"])).all()
    assert (permuted["low"] <= np.minimum(permuted["open"], permuted["close"])).all()
    for name in ("gap", "high", "low", "close"):
        assert np.sort(moves(permuted, name)) == pytest.approx(np.sort(moves(original, name)), abs=2e-5)  # a tick of 0.1 in 10,000 or more
    body_of = dict(zip(original["volume"][1:], moves(original, "close"), strict=True))
    assert moves(permuted, "close") == pytest.approx([body_of[volume] for volume in permuted["volume"][1:]], abs=2e-5)
    assert sorted(permuted["volume"]) == sorted(original["volume"]) and permuted["volume"][0] == original["volume"][0]


def test_gaps_and_bodies_are_permuted_apart_and_jointly_over_symbols() -> None:
    order = BarOrder.draw(500, 0, 0)
    assert (order.gaps != order.bodies).mean() > 0.9 and order.gaps[0] == order.bodies[0] == 0
    one, other = walk(1, 500), walk(2, 500)
    permuted = [permute_bars(each, order, TENTH) for each in (one, other)]
    assert (permuted[0]["volume"] == permuted[1]["volume"]).all()  # of the same bars
    same_before = np.corrcoef(moves(one, "close"), moves(other, "close"))[0, 1]
    assert np.corrcoef(moves(permuted[0], "close"), moves(permuted[1], "close"))[0, 1] == pytest.approx(same_before, abs=0.01)


def test_an_order_depends_on_seed_and_number_alone() -> None:
    draws = [BarOrder.draw(100, seed, number) for seed, number in ((0, 3), (0, 3), (0, 4), (1, 3))]
    assert (draws[0].gaps == draws[1].gaps).all() and (draws[0].bodies == draws[1].bodies).all()
    assert not (draws[0].gaps == draws[2].gaps).all() and not (draws[0].gaps == draws[3].gaps).all()


def test_other_prices_follow_at_their_ratio_in_calendar_order() -> None:
    original = walk(1, 60)
    premium = 1 + 0.001 * np.arange(60)
    other = Frame(original.ts, {**{name: original[name] * premium for name in PRICES}, "volume": np.zeros(60)}, timeframe="1h")
    permuted = permute_bars(original, BarOrder.draw(60, 5, 0), TENTH)
    followed = follow(other, original, permuted)
    assert followed["close"] / permuted["close"] == pytest.approx(premium)
    assert followed["high"] / permuted["high"] == pytest.approx(premium)


def test_finer_candles_travel_inside_their_bar() -> None:
    """Built to hours again they are the permuted hours, to a tick."""
    quarters = walk(3, 4 * 50, HOUR_MS // 4, "15m", scale=50_000.0)
    hours = aggregate(quarters, "1h")
    order = BarOrder.draw(50, 1, 1)
    permuted = permute_bars(hours, order, TENTH)
    finer = travel(quarters, hours, permuted, order, TENTH)
    rebuilt = aggregate(finer, "1h")
    assert (finer.ts == quarters.ts).all() and (rebuilt["volume"] == permuted["volume"]).all()
    for name in PRICES:
        assert np.abs(rebuilt[name] - permuted[name]).max() <= 0.1 + 1e-6
        assert (finer[name][:4] == quarters[name][:4]).all()


def test_symbols_are_permuted_over_the_bars_that_all_have() -> None:
    one, other = walk(1, 60), walk(2, 60)
    holed = Frame(np.delete(other.ts, [7, 8]), {name: np.delete(other[name], [7, 8]) for name in other}, timeframe="1h")
    first, second = common_bars([one, holed])
    assert (first.ts == second.ts).all() and len(first) == 58


def test_an_archive_of_a_permutation(tmp_path: Any) -> None:
    """Before the window everything is as it was; in it own, finer, coarser and other series agree with the permuted one; points stay."""
    rows = 24 * 4
    quarters = walk(4, rows * 4, HOUR_MS // 4, "15m", scale=50_000.0, symbol="BTCUSDT")
    hours = aggregate(quarters, "1h")
    with HistoricalDataStore(":memory:") as store:
        store.upsert_instrument(perpetual())
        for frame in (quarters, hours):
            store.upsert_bars("BTCUSDT", frame.timeframe, frame.to_dict(), source="test", kind="mark")
            index = {**frame.to_dict(), **{name: frame[name] * 1.01 for name in PRICES}}
            store.upsert_bars("BTCUSDT", frame.timeframe, index, source="test", kind="index")
        store.upsert_funding("BTCUSDT", {"ts": hours.ts[::8], "funding_rate": np.arange(len(hours.ts[::8])) * 1e-5}, source="test")
        start, end = START + 26 * HOUR_MS, START + rows * HOUR_MS
        archive = StoredArchive(store, START, end)
        original = {"BTCUSDT": archive.series("BTCUSDT", "1h", "mark_ohlcv_futures", START).between(start, end)}
        order = BarOrder.draw(len(original["BTCUSDT"]), 0, 0)
        permuted = {"BTCUSDT": permute_bars(original["BTCUSDT"], order, TENTH)}
        made = PermutedArchive(archive, "mark_ohlcv_futures", original, permuted, order, {"BTCUSDT": TENTH}, start, end)
        mark = {tf: made.series("BTCUSDT", tf, "mark_ohlcv_futures", START) for tf in ("15m", "1h", "4h")}
        index = {tf: made.series("BTCUSDT", tf, "index_ohlcv_futures", START) for tf in ("15m", "1h", "4h")}
        assert made.series("BTCUSDT", "", "funding_rates", START) is archive.series("BTCUSDT", "", "funding_rates", START)
        untouched = archive.series("BTCUSDT", "1h", "mark_ohlcv_futures", START).between(START, start)
    assert (mark["1h"].between(START, start)["close"] == untouched["close"]).all()
    assert (mark["1h"].between(start, end)["close"] == permuted["BTCUSDT"]["close"]).all()
    assert (mark["4h"].ts == START + 4 * HOUR_MS * np.arange(24)).all()
    for coarse in (mark, index):
        assert coarse["4h"]["close"] == pytest.approx(aggregate(coarse["1h"], "4h")["close"])
        assert aggregate(coarse["15m"], "1h")["close"] == pytest.approx(coarse["1h"]["close"], abs=0.2)
    assert index["1h"]["close"] / mark["1h"]["close"] == pytest.approx(np.full(rows, 1.01))


@pytest.mark.parametrize(
    ("observed", "permuted", "smaller", "p"),
    [
        (1.0, [0.0, 0.5, 0.9], False, 0.25),
        (1.0, [1.0, 2.0, 0.0], False, 0.75),  # at least as good: an equal one counts
        (-1.0, [0.0, 0.5, 0.9], False, 1.0),
        (0.1, [0.05, 0.2, 0.3], True, 0.5),
    ],
)
def test_p_is_one_more_of_both(observed: float, permuted: list[float], smaller: bool, p: float) -> None:
    assert p_value(observed, permuted, smaller_is_better=smaller) == p


# --- the whole test ---

NO_COSTS = ExecutionConfig.frictionless()
FROM, TO = BEGIN + 24 * HOUR, BEGIN + 8 * 24 * HOUR


class Foresight:
    """Holds what was planted: the sign of the next hour's move, known for the history as it was."""

    def __init__(self, known: Any) -> None:
        self.symbols, self.lookback_days, self._known = [BTC], 0, known

    def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Order]:
        side = self._known(oms_client, data_manager)
        return [future("LONG" if side > 0 else "SHORT", 1000.0)] if side else []


def trending(seed: int) -> HistoricalDataStore:
    """Hours in which a large move is always followed by one of the same direction: a pattern that a permutation breaks."""
    generator = np.random.default_rng(seed)
    sign = generator.choice([-1.0, 1.0], size=24 * 8 // 2 + 1)
    steps = np.repeat(sign, 2)[: 24 * 8] * 0.005 + generator.standard_normal(24 * 8) * 0.0005
    closes = 1000 * np.exp(np.cumsum(steps))
    return market({"BTCUSDT": [(1000.0 if not n else closes[n - 1], closes[n]) for n in range(len(closes))]})


def follow_the_first_of_a_pair(oms: Any, data: Any) -> int:
    """After an odd hour (the first of a pair) hold its direction for the second; then the same for the next pair's first: nothing."""
    closes = data.perpetual_mark_ohlcv_data[BTC]["close"]
    hour = int(oms.current_time.timestamp() // 3600)
    return int(np.sign(closes[-1] - closes[-2])) if hour % 2 and len(closes) > 1 else 0


def test_a_strategy_that_knows_something_has_a_small_p() -> None:
    with trending(1) as store:
        answer = Backtester(store=store, execution=NO_COSTS).run_permutation_backtest(
            Foresight(follow_the_first_of_a_pair), AsGiven(), FROM, TO, HOUR, "futures", permutations=39
        )
    assert answer["p_value"] == 1 / 40 and answer["observed"] > max(answer["permuted"])
    assert set(answer) == {"p_value", "statistic", "observed", "permuted", "permutations", "result"}
    assert answer["result"]["total_return"] == answer["observed"] and len(answer["permuted"]) == answer["permutations"] == 39


@pytest.mark.long
def test_a_strategy_that_knows_nothing_has_a_p_that_is_uniform() -> None:
    """A rule that depends on the hour alone, over twenty histories: p is spread evenly over (0, 1]."""
    values = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        closes = 1000 * np.exp(np.cumsum(generator.standard_normal(24 * 3) * 0.005))
        prices = [(1000.0 if not n else closes[n - 1], closes[n]) for n in range(len(closes))]
        with market({"BTCUSDT": prices}) as store:
            tester = Backtester(store=store, execution=NO_COSTS)
            rule = Foresight(lambda oms, data: 1 if int(oms.current_time.timestamp() // 3600) % 3 else -1)
            answer = tester.run_permutation_backtest(rule, AsGiven(), BEGIN, BEGIN + 72 * HOUR, HOUR, "futures", permutations=19, seed=seed)
        values.append(answer["p_value"])
    ranks = np.sort(values)
    expected = np.arange(1, 21) / 20
    assert np.abs(ranks - expected).max() < 0.37  # Kolmogorov and Smirnov: beyond it once in a hundred for 20 uniform draws


def test_everything_depends_on_the_seed_alone_and_the_given_objects_stay_as_they_were() -> None:
    with trending(2) as store:
        tester = Backtester(store=store, execution=NO_COSTS)
        strategy, manager = HoldStrategy([BTC]), PositionManager()
        asked = (strategy, manager, FROM, TO, timedelta(hours=1), "futures", 5, "max_drawdown")
        first, again = (tester.run_permutation_backtest(*asked) for _ in range(2))
        other = tester.run_permutation_backtest(*asked, seed=1)
        assert manager.notes == []
        alone = tester.run_backtest(*asked[:-2])
    assert first["permuted"] == again["permuted"] != other["permuted"]
    assert first["result"]["trade_history"] == alone["trade_history"] and len(alone["trade_history"]) == 1
    assert tester.portfolio_values[-1][1] == pytest.approx(10_000 * (1 + alone["total_return"]))


def test_the_kept_run_is_that_of_the_bars_as_they_were() -> None:
    with trending(2) as store:
        tester = Backtester(store=store, execution=NO_COSTS)
        answer = tester.run_permutation_backtest(HoldStrategy([BTC]), PositionManager(), FROM, TO, HOUR, "futures", 3, "max_drawdown")
    assert tester.portfolio_values[-1][1] == pytest.approx(10_000 * (1 + answer["result"]["total_return"]))
    assert answer["observed"] == answer["result"]["max_drawdown"] and answer["statistic"] == "max_drawdown"


REFUSED = [
    ({"end_date": BEGIN + 10 * HOUR}, "a permutation test needs at least 30 bars, and .* in 1h bars has 10"),
    ({"permutations": 0}, "permutations must be a whole number of at least 1"),
    ({"permutations": 2.5}, "permutations must be a whole number"),
    ({"statistic": "sharp_ratio"}, "there is no statistic 'sharp_ratio': did you mean sharpe_ratio"),
    ({"statistic": "sharpe_ratio"}, "the run has no sharpe_ratio to test: it needs 30 days"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_cannot_be_tested_is_refused_in_one_line(changes: dict[str, Any], words: str) -> None:
    asked: dict[str, Any] = {
        "strategy": HoldStrategy([BTC]), "position_manager": PositionManager(), "start_date": BEGIN, "end_date": TO, "time_step": HOUR,
        "market_type": "futures", "permutations": 3,
    }  # fmt: skip
    with trending(1) as store, pytest.raises(ConfigError, match=words) as caught:
        Backtester(store=store).run_permutation_backtest(**{**asked, **changes})
    assert "\n" not in str(caught.value)


def test_what_cannot_be_copied_is_refused() -> None:
    strategy = HoldStrategy([BTC])
    strategy.lock = (step for step in range(3))  # type: ignore[attr-defined]  # a generator cannot be copied
    with trending(1) as store, pytest.raises(ConfigError, match="HoldStrategy and PositionManager, and they cannot be copied: TypeError"):
        Backtester(store=store).run_permutation_backtest(strategy, PositionManager(), BEGIN, TO, HOUR, "futures", 3)


def test_thirty_bars_are_enough() -> None:
    assert MIN_BARS == 30
    with trending(1) as store:
        answer = Backtester(store=store).run_permutation_backtest(
            HoldStrategy([BTC]), PositionManager(), BEGIN, BEGIN + 30 * HOUR, HOUR, "futures", 2
        )
    assert answer["p_value"] in (1 / 3, 2 / 3, 1.0)
