"""The store over real market data: everything imports without options, and two series of one market agree."""

from __future__ import annotations

import duckdb
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import DataError
from keel.core.model.instrument import Grid
from keel.core.model.time_range import to_ms

pytestmark = pytest.mark.real_data
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


@pytest.fixture(scope="module")
def linear(real_data):
    """A store with every file of the linear perpetuals, and the reports by path."""
    with HistoricalDataStore(":memory:") as store:
        files = sorted(path for path in (real_data / "bybit" / "linear").rglob("*.parquet") if path.parent.name != "depth_l2")
        yield store, {path: store.import_file(path) for path in files}


def test_every_file_says_itself_what_it_is(linear):
    store, reports = linear
    for path, report in reports.items():
        folder, _, timeframe = path.parent.name.rpartition("_")
        kind = {"kline": "last", "mark": "mark", "open": "open_interest", "open_interest": "open_interest", "": "funding"}[folder]
        assert (report.symbol, report.kind, report.category) == (path.stem, kind, "linear")
        assert report.timeframe == (timeframe if kind in ("last", "mark") else "")
        assert report.inserted == report.rows and not report.duplicates and not report.sorted_rows
    assert sum(one.rows for one in store.coverage()) == sum(report.rows for report in reports.values())


def test_importing_again_changes_nothing(linear):
    store, reports = linear
    again = store.import_file(next(path for path in reports if path.parent.name == "kline_5m"))
    assert (again.inserted, again.replaced, again.unchanged) == (0, 0, again.rows)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_one_minute_bars_make_the_five_minute_bars(linear, symbol):
    store, _ = linear
    start, end = store.span(symbol, "1m")
    assert len(store.find(symbol, "5m", start, end)) > 8000
    assert store.check_built(symbol, "5m", "1m") is None


def test_grids_are_those_of_the_exchange(linear):
    store, _ = linear
    at = to_ms("2025-06-15")
    found = {symbol: store.instrument(symbol, at=at) for symbol in (*SYMBOLS, "WIFUSDT")}
    assert {symbol: (one.price_grid, one.qty_grid) for symbol, one in found.items()} == {
        "BTCUSDT": (Grid(1, 10), Grid(1, 1000)),
        "ETHUSDT": (Grid(1, 100), Grid(1, 100)),
        "SOLUSDT": (Grid(1, 100), Grid(1, 10)),
        "WIFUSDT": (Grid(1, 10_000), Grid(1, 1)),
    }


def test_no_error_is_found_in_clean_data(linear):
    store, _ = linear
    assert [one for one in store.verify() if one.severity == "error"] == []


def test_dirty_bars_import_and_their_gaps_are_counted(real_data, store):
    path = real_data / "bitget" / "linear" / "kline_1h" / "BTCUSDT.parquet"
    store.import_file(path)
    sql = "SELECT ts_open FROM read_parquet(?) QUALIFY ts_open - lag(ts_open) OVER (ORDER BY ts_open) > 3600000"
    after_a_hole = duckdb.execute(sql, [str(path)])
    assert [gap.end for gap in store.find_gaps("BTCUSDT", "1h")] == sorted(row[0] for row in after_a_hole.fetchall())
    assert {"gap", "zero_volume"} <= {one.check for one in store.verify()}


def test_trades_and_spot_bars_import_and_order_books_are_refused(real_data, store):
    for path in ("binance/linear/trades/BTCUSDT", "binance/linear/agg_trades/APEUSDT", "bybit/spot/kline_5m/BTCUSDT"):
        assert store.import_file(real_data / f"{path}.parquet").inserted > 20_000
    assert len(store.get_trades("BTCUSDT")) == 21_313
    assert store.timeframes("BTCUSDT", category="spot") == ["5m"]
    for path in ("bybit/linear/depth_l2/XRPUSDT", "binance/linear/depth_l2/BTCUSDT", "binance/linear/book_ticker/BTCUSDT"):
        with pytest.raises(DataError, match="order book"):
            store.import_file(real_data / f"{path}.parquet")
