"""A store that one test has used is to the next as one that was just made."""

from __future__ import annotations

from typing import Any

import numpy as np

from keel.adapters.store import HistoricalDataStore
from tests.builders import START, emptied, grow, perpetual, sample_store


def contents(store: HistoricalDataStore) -> dict[str, list[tuple[Any, ...]]]:
    names = [name for (name,) in store._db.rows("SELECT table_name FROM duckdb_tables() ORDER BY table_name")]
    return {name: store._db.rows(f"FROM {name}") for name in names}


def test_an_emptied_store_has_nothing_in_any_table_but_its_version() -> None:
    """Of tables that a later schema brings, too: nobody keeps a list of them here."""
    with HistoricalDataStore(":memory:") as fresh, sample_store(days=1, until=START + 3_600_000) as store:
        new = contents(fresh)
        trade = {"ts": np.array([START]), "price": np.array([1.0]), "qty": np.array([1.0]), "side": np.array([1], dtype=np.int8)}
        store.upsert_trades("BTCUSDT", trade | {"trade_id": np.array(["t"], dtype=object)}, source="test")
        store._db.run("CREATE TABLE later (value INTEGER); INSERT INTO later VALUES (1); INSERT INTO meta VALUES ('later', '1')")
        assert all(rows for rows in contents(store).values())
        emptied(store)
        assert contents(store) == {**new, "later": []}
        store.upsert_instrument(perpetual())
        grow(store, ("BTCUSDT",), 1, START, START + 3_600_000)
        assert len(store.find("BTCUSDT", "5m", START, START + 3_600_000) or ()) == 12
