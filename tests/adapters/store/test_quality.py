"""Each check finds its own fault, with the time and the number of rows, and nothing in a clean series."""

from __future__ import annotations

import numpy as np
import pytest

START = 1_735_689_600_000
MINUTE = 60_000


def found(store):
    return {one.check: one for one in store.verify()}


def test_a_clean_series_has_no_findings(store, bars):
    store.upsert_bars("BTCUSDT", "1m", bars(500), source="made")
    assert store.verify() == []


@pytest.mark.parametrize(
    ("sql", "check", "severity", "row", "count"),
    [
        ("INSERT INTO bars SELECT * FROM bars WHERE ts = ?", "duplicate", "error", 100, 1),
        ("UPDATE bars SET close = 'nan' WHERE ts = ?", "not_a_number", "error", 100, 1),
        ("UPDATE bars SET high = low - 1 WHERE ts = ?", "ohlc", "error", 100, 1),
        ("UPDATE bars SET low = -1 WHERE ts = ?", "ohlc", "error", 100, 1),
        ("UPDATE bars SET volume = 0 WHERE ts = ?", "zero_volume", "info", 100, 1),
        ("UPDATE bars SET high = high + 0.05 WHERE ts = ?", "off_grid", "warning", 100, 1),
        ("UPDATE bars SET high = high * 2, close = close * 2 WHERE ts = ?", "outlier", "warning", 100, 2),
        ("DELETE FROM bars WHERE ts = ?", "gap", "warning", 100, 1),
    ],
)
def test_each_fault_is_found(store, bars, sql, check, severity, row, count):
    store.upsert_bars("BTCUSDT", "1m", bars(2000), source="made")
    store._db.run(sql, [START + row * MINUTE])
    finding = found(store)[check]
    assert (finding.severity, finding.count, finding.ts, finding.symbol) == (severity, count, START + row * MINUTE, "BTCUSDT")


def test_rows_stored_out_of_order_are_told_and_read_in_order(store, bars):
    columns = bars(100)
    for part in (slice(50, 100), slice(0, 50)):
        store.upsert_bars("BTCUSDT", "1m", {name: column[part] for name, column in columns.items()}, source="made")
    assert found(store)["disorder"].severity == "info"
    assert store.get_ohlcv("BTCUSDT", "1m").close.tolist() == columns["close"].tolist()


def test_many_silent_bars_are_a_warning_and_a_funding_hole_is_found(store, bars):
    columns = bars(100)
    columns["volume"][10:20] = 0
    store.upsert_bars("BTCUSDT", "1m", columns, source="made")
    ts = START + np.array([0, 1, 2, 4, 5], dtype=np.int64) * 28_800_000
    store.upsert_funding("BTCUSDT", {"ts": ts, "funding_rate": np.zeros(5)}, source="made")
    findings = found(store)
    assert (findings["zero_volume"].severity, findings["zero_volume"].count) == ("warning", 10)
    assert (findings["gap"].kind, findings["gap"].ts) == ("funding", START + 3 * 28_800_000)
    assert store.verify("ETHUSDT") == [] and store.verify(env="demo") == []


def test_built_bars_are_compared_with_stored_ones(store, bars):
    minute = bars(60)
    store.upsert_bars("BTCUSDT", "1m", minute, source="made")
    store.upsert_bars("BTCUSDT", "5m", store.get_ohlcv("BTCUSDT", "5m").to_dict(), source="made")
    assert store.check_built("BTCUSDT", "5m", "1m") is None
    columns = store.get_ohlcv("BTCUSDT", "5m").to_dict()
    columns["volume"] = columns["volume"] + 1e-9
    store.upsert_bars("BTCUSDT", "5m", columns, source="made")
    assert store.check_built("BTCUSDT", "5m", "1m") is None, "volume counts on the quantity step"
    columns["volume"] = columns["volume"] + np.eye(12)[7] * 0.001
    columns["high"] = columns["high"] + np.eye(12)[9] * 0.1
    store.upsert_bars("BTCUSDT", "5m", columns, source="made")
    wrong = store.check_built("BTCUSDT", "5m", "1m")
    assert (wrong.ts, wrong.column) == (START + 7 * 5 * MINUTE, "volume")
