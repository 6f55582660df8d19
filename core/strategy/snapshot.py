"""What a strategy sees: a small view on live state at one bar, and nothing after it.

A run makes one per bar and per symbol; it holds the bar and its index, the rest is read when asked for. A snapshot that a strategy
keeps goes on showing its own bar's features and history; ``position`` and ``equity`` are the account's now, whenever asked.
``history`` is a separate buffer into which rows are copied up to the present: not even a numpy view's ``.base`` shows a later row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from keel.core.errors import ConfigError, DataError
from keel.core.model.frame import Frame
from keel.core.model.messages import Bar
from keel.core.model.time_range import to_iso
from keel.core.strategy.fixture_series import GivenContext


class SeriesReader(Protocol):
    """One symbol and timeframe, revealed bar by bar (market_data implements it)."""

    feature_names: tuple[str, ...]

    def value(self, name: str, index: int) -> float: ...
    def bar_at(self, index: int) -> Bar: ...
    def history_to(self, index: int) -> Frame: ...


class PositionView:
    """The position of one symbol, read at the moment it was asked for. qty is negative when short; money in quote coins."""

    __slots__ = ("entry_price", "mark_price", "notional", "qty", "symbol", "unrealized_pnl")

    def __init__(self, symbol: str, qty: float, entry_price: float, mark_price: float, unrealized_pnl: float) -> None:
        self.symbol, self.qty, self.entry_price = symbol, qty, entry_price
        self.mark_price, self.unrealized_pnl = mark_price, unrealized_pnl
        self.notional = abs(qty) * mark_price

    @property
    def side(self) -> str:
        """LONG, SHORT or FLAT."""
        return "LONG" if self.qty > 0 else "SHORT" if self.qty < 0 else "FLAT"


class SnapshotContext(Protocol):
    """What a snapshot asks when it is read: one per symbol (market_data implements it)."""

    @property
    def series(self) -> SeriesReader: ...
    def htf_reader(self, timeframe: str) -> SeriesReader: ...
    def htf_index(self, timeframe: str, ts_close: int) -> int: ...
    @property
    def htf_timeframes(self) -> tuple[str, ...]: ...
    def position(self) -> PositionView: ...
    def equity(self) -> float: ...
    def mark_price(self) -> float: ...
    def funding_rate(self) -> float | None: ...


class FeatureView(Mapping[str, float]):
    """Feature values at one bar, by name. A value that its history does not yet allow is nan."""

    __slots__ = ("_index", "_reader")

    def __init__(self, reader: SeriesReader, index: int) -> None:
        self._reader = reader
        self._index = index

    def __getitem__(self, name: str) -> float:
        reader = self._reader
        if name not in reader.feature_names:
            raise KeyError(f"no feature {name!r}; declared are: {', '.join(reader.feature_names) or 'none'}")
        return reader.value(name, self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self._reader.feature_names)

    def __len__(self) -> int:
        return len(self._reader.feature_names)


class TimeframeView:
    """The last closed bar of a higher timeframe, its features and its history."""

    __slots__ = ("_index", "_reader", "bar")

    def __init__(self, reader: SeriesReader, index: int) -> None:
        self._reader = reader
        self._index = index
        self.bar = reader.bar_at(index)

    @property
    def features(self) -> FeatureView:
        """Features at that bar."""
        return FeatureView(self._reader, self._index)

    @property
    def history(self) -> Frame:
        """Bars up to and including that bar, with feature columns, copied."""
        return self._reader.history_to(self._index)


class HtfViews(Mapping[str, TimeframeView]):
    """Higher timeframes by name: ``snapshot.htf["4h"]``."""

    __slots__ = ("_context", "_ts_close")

    def __init__(self, context: SnapshotContext, ts_close: int) -> None:
        self._context = context
        self._ts_close = ts_close

    def __getitem__(self, timeframe: str) -> TimeframeView:
        if timeframe not in self._context.htf_timeframes:
            raise ConfigError(
                f"the system has no timeframe {timeframe!r}; it has {', '.join(self._context.htf_timeframes) or 'no higher one'}"
                " (a feature that names a timeframe adds it)"
            )
        index = self._context.htf_index(timeframe, self._ts_close)
        if index < 0:
            raise DataError(f"no {timeframe} bar has closed by {to_iso(self._ts_close)}: give the system warm-up bars (warmup_bars)")
        return TimeframeView(self._context.htf_reader(timeframe), index)

    def __iter__(self) -> Iterator[str]:
        return iter(self._context.htf_timeframes)

    def __len__(self) -> int:
        return len(self._context.htf_timeframes)


class RuntimeSnapshot:
    """One symbol at the close of one decision bar.

    In a run market_data makes it (``RunSnapshot``). For a unit test of a strategy it is made by hand, out of what the test is about:

        RuntimeSnapshot(bar_ltf=bar, features={"fast": 101.0, "slow": 100.0}, position=0.5)

    Only the bar must be given. ``ts_close`` and ``symbol`` are the bar's. ``history``: a Frame that ends with this bar, feature columns
    included (None: the bar alone); ``features``: values at this bar, which win over the history's columns. ``htf``: by timeframe, the last
    closed Bar, or a Frame of bars and features that ends with it. ``position``: signed quantity, entered at the bar's close, or a
    PositionView (0: flat). ``equity`` in quote coins; ``mark_price`` None: the bar's close. ``index`` counts the bars of the series from
    the first warm-up bar; ``target``: what a vector strategy's array says at this bar. Raises ConfigError for parts that do not fit.
    """

    __slots__ = ("_context", "bar_ltf", "index", "target")

    def __init__(
        self,
        *,
        bar_ltf: Bar,
        ts_close: int | None = None,
        symbol: str | None = None,
        features: Mapping[str, float] | None = None,
        htf: Mapping[str, Bar | Frame] | None = None,
        history: Frame | None = None,
        position: PositionView | float = 0.0,
        equity: float = 10_000.0,
        mark_price: float | None = None,
        funding_rate: float | None = None,
        target: int = 0,
    ) -> None:
        for name, given, own in (("ts_close", ts_close, bar_ltf.ts_close), ("symbol", symbol, bar_ltf.symbol)):
            if given is not None and given != own:
                raise ConfigError(f"a snapshot of {name} {given!r} holds a bar of {name} {own!r}: leave {name} out, it is the bar's")
        mark = bar_ltf.close if mark_price is None else mark_price
        if not isinstance(position, PositionView):
            position = PositionView(bar_ltf.symbol, position, bar_ltf.close if position else 0.0, mark, position * (mark - bar_ltf.close))
        standing = GivenContext(bar_ltf, history, features or {}, htf or {}, position, equity, mark, funding_rate)
        self._context: SnapshotContext = standing
        self.bar_ltf, self.index, self.target = bar_ltf, standing.series.index, target

    @property
    def ts_close(self) -> int:
        """The decision time, ms UTC: the close of the bar."""
        return self.bar_ltf.ts_close

    @property
    def symbol(self) -> str:
        """The symbol."""
        return self.bar_ltf.symbol

    @property
    def features(self) -> FeatureView:
        """Features at this bar, by name; those declared on a higher timeframe are under ``htf``, too."""
        return FeatureView(self._context.series, self.index)

    @property
    def htf(self) -> HtfViews:
        """Last closed bars of higher timeframes. At a common close the higher bar that closes now is included."""
        return HtfViews(self._context, self.bar_ltf.ts_close)

    @property
    def history(self) -> Frame:
        """Bars of this timeframe from the first warm-up bar up to and including this one, with feature columns, copied."""
        return self._context.series.history_to(self.index)

    @property
    def position(self) -> PositionView:
        """The account's position in this symbol, now."""
        return self._context.position()

    @property
    def equity(self) -> float:
        """The account's equity in quote coins, now."""
        return self._context.equity()

    @property
    def mark_price(self) -> float:
        """The latest mark price known (the last price where there is no mark)."""
        return self._context.mark_price()

    @property
    def funding_rate(self) -> float | None:
        """The rate that was settled last, as a fraction per interval; None when none is known."""
        return self._context.funding_rate()


class RunSnapshot(RuntimeSnapshot):
    """The snapshot of a run: a view on live series at this bar. Nothing is copied until it is asked for.

    One is made per bar, so its maker is as plain as it can be: the hand-made kind's checks would cost a sixth of a quiet run.
    """

    __slots__ = ()

    def __init__(self, context: SnapshotContext, bar: Bar, index: int, target: int = 0) -> None:
        self._context = context
        self.bar_ltf = bar
        self.index = index
        self.target = target
