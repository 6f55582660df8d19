"""The sample history: invented, labelled synthetic, and put into a home's store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from keel.adapters.store import HistoricalDataStore
from keel.adapters.synthetic import SOURCE, SyntheticSeries, generate_sample
from keel.core.errors import ConfigError
from keel.core.model.time_range import Moment, TimeRange
from keel.runners.home import Home

_BARS = ("last", "mark", "index")


class Sampled(msgspec.Struct, frozen=True):
    """One series that was written: rows, and how many of them the store did not have."""

    symbol: str
    kind: str
    timeframe: str
    rows: int
    inserted: int


@dataclass(frozen=True, slots=True)
class WrittenSample:
    """What was written."""

    label: str
    span: TimeRange
    series: list[Sampled]


def write_sample(
    home: Home,
    symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"),
    start: Moment = "2024-01-01",
    end: Moment = "2025-01-01",
    seed: int = 7,
    progress: Callable[[str, int, int], None] | None = None,
) -> WrittenSample:
    """Invent history and write it. Raises ConfigError, before anything is written, where a symbol's stored bars are not synthetic."""
    steps = 1 + 5 * len(symbols)
    tell = progress or (lambda label, done, total: None)
    tell("inventing the sample", 0, steps)
    sample = generate_sample(seed, start, end, list(symbols))
    written: list[Sampled] = []
    with HistoricalDataStore(home.store) as store:
        _refuse_real(store, symbols)
        for symbol, series in sample.series.items():
            store.upsert_instrument(series.instrument)
            for kind in (*_BARS, "funding", "open_interest"):
                tell(f"writing {symbol} {kind}", 1 + len(written), steps)
                written.append(_write(store, symbol, kind, series))
    tell("the sample is written", steps, steps)
    return WrittenSample(SOURCE, sample.span, written)


def has_history(home: Home) -> bool:
    """Whether a home's store has any series. Raises DataError when the store is damaged or in use."""
    if not home.store.exists():
        return False
    with HistoricalDataStore(home.store, read_only=True) as store:
        return bool(store.coverage())


def _write(store: HistoricalDataStore, symbol: str, kind: str, series: SyntheticSeries) -> Sampled:
    columns = getattr(series, kind)
    if kind in _BARS:
        report = store.upsert_bars(symbol, series.timeframe, columns, source=SOURCE, kind=kind)
    elif kind == "funding":
        report = store.upsert_funding(symbol, columns, source=SOURCE)
    else:
        report = store.upsert_open_interest(symbol, columns, source=SOURCE)
    timeframe = series.timeframe if kind in _BARS else ""
    return Sampled(symbol, kind, timeframe, report.inserted + report.replaced + report.unchanged, report.inserted)


def _refuse_real(store: HistoricalDataStore, symbols: Sequence[str]) -> None:
    """Invented prices never mix with real ones: a symbol that has bars from elsewhere keeps them."""
    for entry in store.coverage():
        real = [source for source in entry.sources if source != SOURCE and not source.startswith("built:")]
        if entry.symbol in symbols and entry.category == "linear" and real:
            raise ConfigError(
                f"{entry.symbol} {entry.kind} {entry.timeframe} in {store.path} is from {', '.join(real)}: invented history would mix with"
                " it; use another home (--home DIR) or another symbol (--symbol)"
            )
