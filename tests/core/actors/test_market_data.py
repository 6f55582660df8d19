"""Bars in, snapshots out: series that are revealed, what a snapshot shows of them, and when there is one."""

from __future__ import annotations

import numpy as np
import pytest

from keel.core.actors.market_data import HistoryBuffer, MarketData, ReplaySeries, SymbolContext
from keel.core.actors.portfolio import Portfolio
from keel.core.errors import ConfigError, DataError, InvariantError
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.messages import Bar
from keel.core.model.money import to_units
from keel.core.strategy.snapshot import RuntimeSnapshot
from tests.builders import HOUR, START, bar, perpetual

BTC = "BTCUSDT"


def frame_of(rows: int, timeframe: str = "1h", skip: tuple[int, ...] = ()) -> Frame:
    """Closes 100, 101, ...; with a feature ``double``. skip: rows that are not there."""
    numbers = np.array([row for row in range(rows) if row not in skip])
    length = 4 * HOUR if timeframe == "4h" else HOUR
    columns = dict.fromkeys(BAR_COLUMNS[:4], 100.0 + numbers)
    return Frame(START + length * numbers, {**columns, "volume": 1.0 + numbers, "double": 2.0 * numbers}, symbol=BTC, timeframe=timeframe)


def series(rows: int = 8, timeframe: str = "1h", skip: tuple[int, ...] = (), targets: list[int] | None = None) -> ReplaySeries:
    return ReplaySeries(frame_of(rows, timeframe, skip), ["double"], None if targets is None else np.array(targets, dtype=np.int8))


def market(*contexts: SymbolContext) -> tuple[MarketData, list[RuntimeSnapshot]]:
    out: list[RuntimeSnapshot] = []
    return MarketData(contexts, out.append), out


def context(own: ReplaySeries, changes: list[int] | None = None, symbol: str = BTC, **higher: ReplaySeries) -> SymbolContext:
    account = Portfolio([perpetual(symbol)], to_units("1000"))
    return SymbolContext(symbol, "1h", own, {name.lstrip("_"): above for name, above in higher.items()}, account, changes=changes)


# --- replayed series ---


def test_rows_are_revealed_one_by_one() -> None:
    rows = series(targets=[0, 1, 1, -1, 0, 2, 2, 0])
    assert (rows.index, len(rows), rows.row_closed_by(START + 99 * HOUR)) == (-1, 8, -1)
    with pytest.raises(DataError, match="BTCUSDT 1h: row 0 is not known yet"):
        rows.bar_at(0)
    assert [rows.advance(bar(number, 0.0)) for number in range(4)] == [0, 1, 1, -1]
    assert rows.bar_at(3) == Bar(BTC, "1h", START + 3 * HOUR, START + 4 * HOUR, 103.0, 103.0, 103.0, 103.0, 4.0)
    assert (rows.value("double", 3), rows.value("close", 0)) == (6.0, 100.0)
    for row in (4, 7, -1):
        for read in (rows.bar_at, rows.history_to, lambda at: rows.value("double", at)):
            with pytest.raises(DataError, match=f"row {row} is not known yet"):
                read(row)
    assert [rows.row_closed_by(START + hours * HOUR) for hours in (0, 1, 4, 6)] == [-1, 0, 3, 3]
    assert rows.rows_closed_at(START + 6 * HOUR) == 6


def test_values_are_plain_numbers() -> None:
    """numpy's scalars are slow, and leak into JSON."""
    rows = series(targets=[1] * 8)
    target = rows.advance(bar(0, 0.0))
    shown = rows.bar_at(0)
    assert {type(value) for value in (shown.close, shown.volume, rows.value("double", 0))} == {float}
    assert {type(value) for value in (shown.ts_open, shown.ts_close, target, rows.index)} == {int}


def test_bars_between_may_be_passed_over_and_foreign_ones_are_refused() -> None:
    rows = series(skip=(3,), targets=[0, 0, 0, 5, 1, 0, 0])
    assert rows.advance(bar(5, 0.0)) == 1  # the fifth row: the one of hour 3 does not exist
    assert rows.index == 4
    for number in (5, 2, 3, 99):
        with pytest.raises(DataError, match="is not a later one of its series"):
            rows.advance(bar(number, 0.0))
    assert rows.index == 4


def test_it_never_goes_back() -> None:
    rows = series()
    rows.reveal_to(4)
    for row in (3, 8):
        with pytest.raises(InvariantError, match=f"cannot go from row 4 to {row} of 8"):
            rows.reveal_to(row)


def test_where_the_target_changes() -> None:
    """From flat; what was revealed before counts as nothing: a strategy starts flat in its window."""
    rows = series(targets=[1, 1, 1, 2, 2, -1, -1, 0])
    opens = lambda *numbers: [START + number * HOUR for number in numbers]  # noqa: E731
    assert rows.changes() == opens(0, 3, 5, 7)
    rows.reveal_to(1)
    assert rows.changes() == opens(2, 3, 5, 7)
    assert series(targets=[0, 0, 0, 0, 0, 0, 0, 1]).changes() == opens(7)
    assert series().changes() == []


def test_history_is_copied_as_far_as_asked() -> None:
    rows = series()
    rows.reveal_to(5)
    first = rows.history_to(2)
    assert (len(first), first.columns, first.symbol, first.timeframe) == (3, (*BAR_COLUMNS, "double"), BTC, "1h")
    assert first.close.tolist() == [100.0, 101.0, 102.0] and first.ts[-1] == START + 2 * HOUR
    assert set(np.asarray(first.close.base).tolist()) == {0.0, 100.0, 101.0, 102.0}
    assert rows.history_to(5).double.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert first.close.tolist() == [100.0, 101.0, 102.0]
    with pytest.raises(ValueError, match="read-only"):
        first.close[0] = 1.0


def test_nobody_can_write_to_history() -> None:
    own = series()
    own.reveal_to(5)
    close = own.history_to(5).close
    for write in (
        lambda: close.__setitem__(0, 1.0),
        lambda: close.setflags(write=True),
        lambda: close.base.__setitem__(0, 1.0),
        lambda: close.base.setflags(write=True),
        lambda: own.history_to(5).ts.__setitem__(0, 1),
    ):
        with pytest.raises(ValueError, match=r"read-only|WRITEABLE"):
            write()


def test_a_buffer_grows_row_by_row_or_in_stretches() -> None:
    rows = 3000
    source = frame_of(rows)
    one, other = HistoryBuffer(BTC, "1h", ["close"]), HistoryBuffer(BTC, "1h", ["close"])
    for row in range(rows):
        one.append(int(source.ts[row]), {"close": float(source["close"][row])})
    for upto in (1, 1024, 1025, rows):
        other.extend_to(upto, source.ts, source.to_dict())
    for buffer in (one, other):
        assert buffer.frame(rows).ts.tobytes() == source.ts.tobytes() == buffer.ts.tobytes()
        assert buffer.frame(rows).close.tobytes() == source["close"].tobytes()
        assert buffer.value("close", rows - 1) == 100.0 + rows - 1


# --- snapshots ---


def test_a_snapshot_for_each_decision_bar() -> None:
    """In the order in which the bars came, once the instant is closed; bars of a finer timeframe make none."""
    mine, other = context(series()), context(series(), symbol="ETHUSDT")
    data, out = market(mine, other)
    other.on_bar(bar(0, 100.0, symbol="ETHUSDT"))
    mine.on_bar(bar(0, 100.0))
    mine.on_bar(bar(0, 100.0, tf="5m"))
    assert out == []
    data.on_instant(START + HOUR)
    data.on_instant(START + 2 * HOUR)
    assert [(each.symbol, each.index, each.ts_close, each.target) for each in out] == [
        ("ETHUSDT", 0, START + HOUR, 0), (BTC, 0, START + HOUR, 0),
    ]  # fmt: skip


def test_only_changes_make_snapshots_where_the_array_decides() -> None:
    rows = series(targets=[0, 1, 1, 2, -1, -1, -1, 0])
    mine = context(rows, changes=rows.changes())
    data, out = market(mine)
    for number in range(8):
        mine.on_bar(bar(number, 100.0 + number))
        data.on_instant(START + (number + 1) * HOUR)
    assert [(each.index, each.target, each.features["double"]) for each in out] == [(1, 1, 2.0), (3, 2, 6.0), (4, -1, 8.0), (7, 0, 14.0)]


def test_what_a_snapshot_shows() -> None:
    rows, above = series(), series(2, "4h")
    mine = context(rows, _4h=above)
    data, out = market(mine)
    for number in range(5):
        mine.on_bar(bar(number, 100.0 + number))
        if number == 3:
            mine.on_bar(bar(0, 100.0, tf="4h"))
        data.on_instant(START + (number + 1) * HOUR)
    early, common, late = out[2], out[3], out[4]
    assert dict(late.features) == {"double": 8.0} and len(late.features) == 1
    assert list(late.htf) == ["4h"]
    assert late.htf["4h"].bar.ts_close == START + 4 * HOUR == common.htf["4h"].bar.ts_close  # at a common close it counts
    assert late.htf["4h"].features["double"] == 0.0 and len(late.htf["4h"].history) == 1
    with pytest.raises(DataError, match="no 4h bar has closed by 2024-01-01T03:00:00Z: give the system warm-up bars"):
        early.htf["4h"]
    assert len(late.history) == 5 and late.history.close[-1] == late.bar_ltf.close == 104.0
    assert (late.position.side, late.position.qty, late.equity, late.mark_price, late.funding_rate) == ("FLAT", 0.0, 1000.0, 0.0, None)
    with pytest.raises(KeyError, match="no feature 'ema'; declared are: double"):
        late.features["ema"]
    with pytest.raises(ConfigError, match="the system has no timeframe '1d'; it has 4h"):
        late.htf["1d"]
    assert data.read_feature(BTC, "double") == 8.0
