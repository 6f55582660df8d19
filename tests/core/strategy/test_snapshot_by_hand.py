"""A RuntimeSnapshot made by hand, for the unit test of a strategy: it answers as a run's does, and its parts must fit together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from keel.core.errors import ConfigError
from keel.core.model.frame import Frame
from keel.core.model.messages import Bar, Signal
from keel.core.strategy.snapshot import PositionView, RuntimeSnapshot
from keel.strategies.base import HOLD
from keel.strategies.ema_cross import EmaCross
from keel.strategies.hold import Hold
from tests.builders import HOUR, START, bar

BAR = bar(3, 101.0, high=102.0, low=99.0, open=100.0)


def frame(rows: int, timeframe: str = "1h", step: int = HOUR, **features: list[float]) -> Frame:
    """Bars that close at 98, 99, ...; features as further columns."""
    close = 98.0 + np.arange(rows)
    columns = {"open": close, "high": close, "low": close, "close": close, "volume": np.ones(rows)}
    more = {name: np.array(values) for name, values in features.items()}
    return Frame(START + step * np.arange(rows), columns | more, symbol="BTCUSDT", timeframe=timeframe)


def test_a_bar_is_enough() -> None:
    snapshot = RuntimeSnapshot(bar_ltf=BAR)
    assert (snapshot.symbol, snapshot.ts_close, snapshot.index, snapshot.target) == ("BTCUSDT", START + 4 * HOUR, 0, 0)
    assert (snapshot.equity, snapshot.mark_price, snapshot.funding_rate) == (10_000.0, 101.0, None)
    assert (snapshot.position.side, snapshot.position.qty, snapshot.position.entry_price) == ("FLAT", 0.0, 0.0)
    assert dict(snapshot.features) == {} and dict(snapshot.htf) == {}
    assert snapshot.history.ts.tolist() == [START + 3 * HOUR] and snapshot.history.close.tolist() == [101.0]


def test_as_the_documents_write_it() -> None:
    snapshot = RuntimeSnapshot(ts_close=BAR.ts_close, symbol="BTCUSDT", bar_ltf=BAR)
    assert snapshot.ts_close == BAR.ts_close


def test_everything_may_be_given() -> None:
    snapshot = RuntimeSnapshot(
        bar_ltf=BAR, features={"fast": 2.0}, history=frame(4, fast=[0.1, 0.2, 0.3, 0.4], slow=[1.0, 2.0, 3.0, 4.0]),
        htf={"2h": frame(2, "2h", 2 * HOUR, trend=[7.0, 8.0]), "1d": bar(-1, 50.0, tf="1d")},
        position=-0.5, equity=500.0, mark_price=103.0, funding_rate=0.0001, target=-1,
    )  # fmt: skip
    assert dict(snapshot.features) == {"fast": 2.0, "slow": 4.0}
    assert snapshot.history["fast"].tolist() == [0.1, 0.2, 0.3, 2.0] and snapshot.index == 3
    assert (snapshot.htf["2h"].bar.close, snapshot.htf["2h"].features["trend"]) == (99.0, 8.0)
    assert snapshot.htf["2h"].history["trend"].tolist() == [7.0, 8.0] and snapshot.htf["1d"].bar.close == 50.0
    position = snapshot.position
    assert (position.side, position.qty, position.entry_price, position.mark_price) == ("SHORT", -0.5, 101.0, 103.0)
    assert position.unrealized_pnl == -1.0  # short half a coin, and the mark is 2 above the entry
    assert (snapshot.equity, snapshot.mark_price, snapshot.funding_rate, snapshot.target) == (500.0, 103.0, 0.0001, -1)
    own = PositionView("BTCUSDT", 1.0, 90.0, 103.0, 13.0)
    assert RuntimeSnapshot(bar_ltf=BAR, position=own).position is own


def test_features_of_earlier_bars_are_unknown_unless_the_history_has_them() -> None:
    history = RuntimeSnapshot(bar_ltf=BAR, history=frame(4), features={"rsi": 30.0}).history
    assert math.isnan(history["rsi"][0]) and history["rsi"][-1] == 30.0


def test_the_history_is_a_copy() -> None:
    given = frame(4)
    snapshot = RuntimeSnapshot(bar_ltf=BAR, history=given)
    snapshot.history["close"][:] = 0.0
    assert given["close"][-1] == 101.0 and snapshot.history["close"][-1] == 101.0


def test_a_feature_that_is_not_given_is_named() -> None:
    with pytest.raises(KeyError, match="no feature 'slow'; declared are: fast"):
        RuntimeSnapshot(bar_ltf=BAR, features={"fast": 1.0}).features["slow"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"symbol": "ETHUSDT"}, "symbol"),
    ({"ts_close": START}, "ts_close"),
    ({"history": frame(3)}, "ends with the bar of 2024-01-01T02:00:00Z, and its bar opened at 2024-01-01T03:00:00Z"),
    ({"history": frame(0)}, "is empty"),
    ({"htf": {"4h": frame(2, "4h", 4 * HOUR)}}, "after the snapshot's"),
    ({"htf": {"4h": frame(0, "4h")}}, "no bar"),
    ({"features": {"close": 1.0}}, "close"),
]


@pytest.mark.parametrize(("parts", "words"), WRONG, ids=[next(iter(parts)) for parts, _ in WRONG])
def test_parts_that_do_not_fit_are_refused(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RuntimeSnapshot(bar_ltf=BAR, **parts)


def test_a_strategy_is_asked_without_an_engine() -> None:
    assert Hold().generate_signal(RuntimeSnapshot(bar_ltf=BAR, target=1), {}) == Signal("BTCUSDT", "LONG")
    assert EmaCross().generate_signal(RuntimeSnapshot(bar_ltf=BAR, target=HOLD), {}) is None


def test_a_bar_of_another_length_knows_its_own_close() -> None:
    odd = Bar("BTCUSDT", "4h", START, START + 4 * HOUR, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert RuntimeSnapshot(bar_ltf=odd).ts_close == START + 4 * HOUR
