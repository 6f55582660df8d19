"""Features: named, causal functions of one symbol's bar series.

A declaration (``{fn: EMA, timeperiod: $fast}``) becomes a ``FeatureSpec``; ``VectorEngine`` computes whole columns,
``StreamEngine`` takes one closed bar after another, and both give the same bits. The rules that make it so:

- A series begins at its anchor: exactly the warm-up bars before the window. What a recursive indicator knows begins there.
- Leading NaNs of an input are skipped: a TA-Lib function runs from the first row in which none of its inputs is NaN. From there on
  its inputs must be finite; a NaN or an infinity later is a ``DataError`` that names feature, input and time.
- Before a function's lookback is filled its value is NaN, for whole-number outputs (candle patterns) too. All values are float64.
- A user's own function gets a read-only Frame of the bars (open, high, low, close, volume) and of the inputs it declares, NaNs as they
  are, and returns one number per row. Live it is computed anew at each bar over all rows from the anchor, and its last value counts.
- Nothing here reads files: a user's function is fetched through the ``load`` that a runner passes.
"""

from keel.core.features.functions import Load
from keel.core.features.spec import EXTRA_COLUMNS, FeatureSpec, by_timeframe, extra_columns, parse_features
from keel.core.features.stream import StreamEngine
from keel.core.features.vector import VectorEngine
from keel.core.features.warmup import default_warmup, lead_in, lookback

__all__ = [
    "EXTRA_COLUMNS",
    "FeatureSpec",
    "Load",
    "StreamEngine",
    "VectorEngine",
    "by_timeframe",
    "default_warmup",
    "extra_columns",
    "lead_in",
    "lookback",
    "parse_features",
]
