"""Invented history for the users' snippets: a home with a store, and a folder of Parquet files beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import duckdb
import numpy as np
import pytest

from keel.adapters.store import HistoricalDataStore
from tests.builders import DAY, START, coarser, grow, sample

SYMBOLS = ("BTCUSDT", "ETHUSDT")
DAYS = 40


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/keel.duckdb: forty days of 5m bars, marks, index, funding, open interest; historical_data/: the same as 15m files."""
    root = tmp_path_factory.mktemp("seeds")
    (root / "data").mkdir()
    with HistoricalDataStore(root / "data" / "keel.duckdb") as store:
        for series in sample(SYMBOLS, DAYS).series.values():
            store.upsert_instrument(series.instrument)
        grow(store, SYMBOLS, DAYS, START, START + DAYS * DAY)
    for symbol, series in sample(SYMBOLS, DAYS).series.items():
        folder = root / "historical_data" / symbol.replace("USDT", "-USDT")
        for kind in ("mark", "index"):
            _write(folder / f"{kind}_15m.parquet", coarser(getattr(series, kind), 15))
        _write(folder / "spot_15m.parquet", coarser(series.last, 15))
        _write(folder / "funding.parquet", series.funding)
    return root


@pytest.fixture
def home(made_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a copy of its own."""
    shutil.copytree(made_home, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.delenv("KEEL_HOME", raising=False)
    return tmp_path / "home"


def _write(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.register("columns", dict(columns))
        connection.sql("SELECT * FROM columns").write_parquet(str(path))
