"""An export is whole or not there, and an import of it gives the same rows."""

from __future__ import annotations

import numpy as np
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import DataError

START = 1_735_689_600_000


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_rows_survive_the_way_out_and_in(store, bars, tmp_path, suffix):
    store.upsert_bars("BTCUSDT", "1h", bars(50, "1h"), source="made", kind="mark", category="spot")
    columns = {"price": np.array([1.5, 1.25]), "qty": np.array([1e-5, 2.0]), "side": np.array([1, -1], dtype=np.int8)}
    store.upsert_trades("BTCUSDT", {"ts": np.array([START, START]), **columns, "trade_id": np.array(["b", "a"], object)}, source="made")
    store.upsert_funding("BTCUSDT", {"ts": np.array([START]), "funding_rate": np.array([1e-7])}, source="made")
    series = [("1h", "mark", "spot"), ("", "trades", "linear"), ("", "funding", "linear")]
    with HistoricalDataStore(":memory:") as other:
        for number, (timeframe, kind, category) in enumerate(series):
            path = tmp_path / f"{number}{suffix}"
            assert store.export(path, "BTCUSDT", timeframe, kind, category=category) == {"mark": 50, "trades": 2, "funding": 1}[kind]
            report = other.import_file(path)
            assert (report.kind, report.category, report.timeframe) == (kind, category, timeframe)
            same = [one.fingerprint("BTCUSDT", timeframe, kind, category=category) for one in (store, other)]
            assert same[0] == same[1]


def test_a_failed_export_leaves_the_old_file(store, bars, tmp_path):
    store.upsert_bars("BTCUSDT", "1m", bars(5), source="made")
    target = tmp_path / "x.csv"
    target.write_text("old")
    with pytest.raises(DataError, match="ETHUSDT"):
        store.export(target, "ETHUSDT", "1m")
    assert target.read_text() == "old"
    for path, message in ((tmp_path / "x.xlsx", "ends in"), (tmp_path / "no" / "x.csv", "does not exist")):
        with pytest.raises(DataError, match=message):
            store.export(path, "BTCUSDT", "1m")
    assert [found.name for found in tmp_path.iterdir()] == ["x.csv"]
    assert store.export(target, "BTCUSDT", "5m") == 1, "bars that the store lacks are built"
    assert target.read_text().startswith("symbol,category,kind,timeframe,ts,open")
