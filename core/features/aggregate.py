"""Coarser bars out of finer ones: the first open, the highest high, the lowest low, the last close, the sum of the volume."""

from __future__ import annotations

import numpy as np

from keel.core.errors import ConfigError
from keel.core.model.frame import Frame
from keel.core.model.timeframe import WEEK_MS, floor_ts, is_finer, tf_ms


def aggregate(frame: Frame, timeframe: str, *, complete: bool = True) -> Frame:
    """Bars of ``timeframe`` out of a finer frame of bars.

    complete: only bars whose every fine bar is there; otherwise each bar is made of the fine bars that exist; a stretch without any gives
    no bar. Raises ConfigError where the timeframe cannot be built of the frame's.
    """
    if not is_finer(frame.timeframe, timeframe):
        raise ConfigError(f"{timeframe} bars cannot be built out of {frame.timeframe} bars")
    if not len(frame):
        return Frame(frame.ts, {name: frame[name] for name in frame}, symbol=frame.symbol, timeframe=timeframe, kind=frame.kind)
    duration = tf_ms(timeframe)
    origin = floor_ts(0, timeframe) if duration == WEEK_MS else 0
    buckets = frame.ts - (frame.ts - origin) % duration
    starts = np.flatnonzero(np.concatenate([[True], buckets[1:] != buckets[:-1]]))
    ends = np.concatenate([starts[1:], [len(frame)]])
    columns = {
        "open": frame["open"][starts],
        "high": np.maximum.reduceat(frame["high"], starts),
        "low": np.minimum.reduceat(frame["low"], starts),
        "close": frame["close"][ends - 1],
        "volume": np.add.reduceat(frame["volume"], starts),
    }
    opens = buckets[starts]
    if complete:
        whole = ends - starts == duration // tf_ms(frame.timeframe)
        opens, columns = opens[whole], {name: column[whole] for name, column in columns.items()}
    return Frame(opens, columns, symbol=frame.symbol, timeframe=timeframe, kind=frame.kind)
