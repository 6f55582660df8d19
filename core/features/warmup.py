"""How many bars features need before they can be believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from keel.core.features.indicators import indicator_lookback
from keel.core.features.spec import FeatureSpec

_LEAST_WARMUP = 500  # RSI 14 and EMA 20 opened 500 bars back equal the full history to the last bit
_PERIODS = 5
_PERIOD_WORDS = ("period", "window", "length", "lookback", "bars")


def lookback(spec: FeatureSpec) -> int:
    """Bars before the feature's own first value, its inputs being there.

    Of a user's function this is unknown: its largest whole-number parameter whose name contains period, window, length, lookback or bars.
    """
    return _largest_period(spec) if spec.is_user_function else indicator_lookback(spec.fn, dict(spec.params))


def lead_in(specs_by_timeframe: Mapping[str, Iterable[FeatureSpec]]) -> dict[str, int]:
    """Bars of each timeframe before every feature has a value: the longest chain of lookbacks, feature upon feature.

    Specs in the order of parse_features, grouped by by_timeframe. Series that begin late themselves (funding) come on top.
    """
    return {timeframe: _longest_chain(specs) for timeframe, specs in specs_by_timeframe.items()}


def default_warmup(specs: Iterable[FeatureSpec]) -> int:
    """Warm-up bars for the features of one timeframe: the largest of 500, 5 x the largest period, and the lead-in."""
    specs = list(specs)
    period = max((_largest_period(spec) for spec in specs), default=0)
    return max(_LEAST_WARMUP, _PERIODS * period, _longest_chain(specs))


def _longest_chain(specs: Iterable[FeatureSpec]) -> int:
    bars: dict[str, int] = {}
    for spec in specs:
        bars[spec.name] = lookback(spec) + max((bars.get(name, 0) for name in spec.inputs), default=0)
    return max(bars.values(), default=0)


def _largest_period(spec: FeatureSpec) -> int:
    periods = [value for key, value in spec.params if type(value) is int and any(word in key for word in _PERIOD_WORDS)]
    return max(periods, default=0)
