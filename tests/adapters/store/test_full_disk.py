"""A disk that fills up while importing: one clear error, and the store as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from keel.adapters.store import HistoricalDataStore

ROOT = Path(__file__).parents[3]
_IMPORT = """
import resource, sys
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import DataError
store = HistoricalDataStore(sys.argv[1])
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    store.import_file(sys.argv[2])
    store.close()
except DataError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("limit_kb", [pytest.param(8, marks=pytest.mark.long), 300, pytest.param(1500, marks=pytest.mark.long)])
def test_nothing_is_lost_when_files_cannot_grow(tmp_path, bars, limit_kb):
    path, source = tmp_path / "keel.duckdb", tmp_path / "BTCUSDT_1m.parquet"
    with HistoricalDataStore(path) as store:
        store.upsert_bars("ETHUSDT", "1m", bars(500), source="made")
        before = store.fingerprint("ETHUSDT", "1m")
    connection = duckdb.connect()
    connection.register("made", bars(200_000))
    connection.sql("SELECT * FROM made").write_parquet(str(source))
    limit = path.stat().st_size + limit_kb * 1024
    done = subprocess.run([sys.executable, "-c", _IMPORT, str(path), str(source), str(limit)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "disk is full" in done.stdout and "Traceback" not in done.stderr
    with HistoricalDataStore(path) as store:
        assert store.fingerprint("ETHUSDT", "1m") == before
        assert [one.symbol for one in store.coverage()] == ["ETHUSDT"]
        assert store.import_file(source).inserted == 200_000
