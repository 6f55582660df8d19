"""The store of history. ``HistoricalDataStore`` is what the other rooms use; the modules beside it are its parts."""

from keel.adapters.store.store import HistoricalDataStore

__all__ = ["HistoricalDataStore"]
