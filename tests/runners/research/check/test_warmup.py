"""``keel check warmup``: how far back a value reaches, against what is known of the indicators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keel.runners.research.check.warmup import _difference, _settled

Keel = Callable[..., Any]
LAST = ("--start", "2024-01-24", "--end", "2024-01-28")


def feature(answer: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in answer.data["features"] if entry["name"] == name)
    return found


def test_a_window_of_bars_settles_when_it_is_full(keel: Keel) -> None:
    """ROC over 20 bars reads 21: to the last bit, whatever came before."""
    answer = keel("check", "warmup", "momentum", *LAST, "--set", "warmup_bars=100", "--json")
    assert answer.code == 0, answer.out + answer.err
    roc = feature(answer, "momentum")
    assert (roc["close_after"], roc["equal_after"], roc["difference"]) == (20, 20, 0.0)
    assert answer.data["advice"] == 20 and answer.data["decisions"][0]["changed"] == 0


def test_an_average_without_end_settles_as_its_weights_fall(keel: Keel) -> None:
    """EMA(n) forgets by (1 - 2 / (n + 1)) a bar: 1e-6 of what was there takes between half of and all of ln(1e6) / -ln(that) bars, for
    the difference begins well below the level itself."""
    answer = keel("check", "warmup", "ema_cross", *LAST, "--set", "params={fast: 5, slow: 20}", "--set", "warmup_bars=300", "--json")
    assert answer.code == 0, answer.out + answer.err
    for name, period in (("ema_fast", 5), ("ema_slow", 20)):
        bars = np.log(1e-6) / np.log(1 - 2 / (period + 1))
        assert bars / 2 < feature(answer, name)["close_after"] <= bars + period
    assert feature(answer, "ema_slow")["equal_after"] > feature(answer, "ema_slow")["close_after"]


def test_a_warm_up_that_is_too_short_fails_with_advice(keel: Keel) -> None:
    answer = keel("check", "warmup", "ema_cross", *LAST, "--set", "warmup_bars=60", "--set", "params={fast: 5, slow: 50}")
    assert answer.code == 1
    assert "NO" in answer.out and "advice: warmup_bars: " in answer.out
    advised = int(answer.out.split("advice: warmup_bars: ")[1].split()[0])
    again = keel("check", "warmup", "ema_cross", *LAST, "--set", f"warmup_bars={advised}", "--set", "params={fast: 5, slow: 50}")
    assert again.code == 0, again.out


def test_a_sum_from_the_beginning_never_settles(home: Path, keel: Keel) -> None:
    (home / "systems").mkdir(exist_ok=True)
    text = "system: volume\nstrategy: hold\nsymbols: [BTCUSDT]\ntimeframe: 1h\nwarmup_bars: 100\nfeatures: {flow: {fn: OBV}}\n"
    (home / "systems" / "volume.yaml").write_text(text)
    answer = keel("check", "warmup", "volume", *LAST)
    assert answer.code == 1
    assert "flow: no warm-up settles it" in answer.out


def test_a_decision_that_hangs_on_the_first_bar_is_named(keel: Keel, strategy: Callable[[str, str], str]) -> None:
    body = (
        "class FromFirst(BaseStrategy):\n"
        "    def generate_signal(self, snapshot, params):\n"
        "        first = snapshot.history.close[0]\n"
        "        return Signal(snapshot.symbol, 'LONG' if snapshot.bar_ltf.close > first else 'SHORT')\n"
    )
    answer = keel("check", "warmup", strategy("from_first", body), "--start", "2024-01-10", "--end", "2024-01-28", "--json")
    changed = answer.data["decisions"][0]
    assert answer.code == 1 and changed["changed"] > 0 and {changed["short"], changed["long"]} == {"LONG", "SHORT"}


def test_where_there_is_no_longer_history_it_says_so(keel: Keel) -> None:
    answer = keel("check", "warmup", "ema_cross", "--start", "2024-01-08", "--end", "2024-01-28", "--set", "warmup_bars=168", "--set",
                  "params={fast: 5, slow: 10}")  # fmt: skip
    assert answer.code == 0, answer.out
    assert "no longer history" in answer.out and "decisions: not compared" in answer.out


@pytest.mark.parametrize(
    ("differs", "bars"), [([0, 0, 0], 0), ([1, 1, 0, 0], 2), ([1, 0, 1, 0, 0, 0], 3), ([1] * 100, None), ([0] * 99 + [1], None)]
)
def test_settled_is_after_the_last_difference(differs: list[int], bars: int | None) -> None:
    assert _settled(np.array(differs, dtype=bool)) == bars


def test_a_difference_is_relative_to_the_values_or_to_the_feature_s_size() -> None:
    reference, column = np.array([1.0, 1e-9, np.nan, np.nan, 2.0]), np.array([1.1, 2e-9, np.nan, 1.0, 2.0])
    assert _difference(reference, column, 1.0) == pytest.approx([0.1 / 1.1, 1e-9, 0.0, 1.0, 0.0])
