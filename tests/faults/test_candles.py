"""Candles that are late, doubled, changed, missing or not closed: each is decided on once, as it closed; decisions stay the same."""

from __future__ import annotations

from typing import Any

import pytest

from keel.core.engine.instant import InstantClosed
from keel.core.model.messages import Bar, FeedGap
from tests.faults.conftest import Stage, fills_of, http, ws

KLINE = "kline"


def changed(path: str, value: object) -> dict[str, Any]:
    return {"kind": "mutate", "patch": [{"op": "replace", "path": path, "value": value}]}


FAULTS: dict[str, list[dict[str, Any]]] = {
    "late": [ws({"kind": "delay", "ms": 800}, KLINE, prob=0.5)],
    "doubled": [ws({"kind": "dup", "n": 3}, KLINE)],
    "doubled later": [ws({"kind": "dup", "n": 1, "gap_ms": 300}, KLINE)],
    "missing": [ws("drop", KLINE, nth=3, times=4)],
    "missing, and the list fails": [
        ws("drop", KLINE, nth=3),
        http({"kind": "error", "http": 503}, "/v5/market/kline", "before_apply", nth=1),
    ],
    "not closed": [ws(changed("/data/0/confirm", False), KLINE, nth=3, times=3)],
    "nonsense": [ws(changed("/data/0/close", "NaN"), KLINE, nth=2, times=3)],
    "truncated": [ws({"kind": "truncate", "bytes": 80}, KLINE, nth=4)],
    "cut": [ws("abort", KLINE, nth=5)],
    "closed": [ws({"kind": "close", "code": 1001}, KLINE, nth=5)],
}


@pytest.mark.parametrize("name", FAULTS)
def test_decisions_stay_the_same(name: str, stage: Stage) -> None:
    played = stage.play(*FAULTS[name]).check()
    well = stage.without_faults()
    assert fills_of(played) == fills_of(well)
    assert played.of(Bar) == well.of(Bar)
    stamps = [closed.ts for closed in played.of(InstantClosed)]
    assert stamps == sorted(set(stamps))
    assert not played.of(FeedGap)


def test_a_candle_that_is_pushed_again_with_other_values_is_told_and_not_acted_on(stage: Stage) -> None:
    """The copy comes behind the true one, by the next bar's push: the first stands."""
    well = stage.without_faults()
    third = well.of(Bar)[3]
    patch = [
        {"op": "add", "path": "/data/-", "value": {
            "start": third.ts_open, "end": third.ts_close - 1, "interval": "1", "open": "1", "close": "2", "high": "3", "low": "1",
            "volume": "1", "turnover": "1", "confirm": True, "timestamp": third.ts_close,
        }},
    ]  # fmt: skip
    played = stage.play(ws({"kind": "mutate", "patch": patch}, KLINE, nth=2, times=6)).check()
    assert fills_of(played) == fills_of(well)
    assert "candle_changed" in played.codes()
    assert played.of(Bar) == well.of(Bar)
