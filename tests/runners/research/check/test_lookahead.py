"""``keel check lookahead`` finds every planted look at a later bar, by name and time, and nothing in what is honest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Keel = Callable[..., Any]
WEEK = ("--start", "2024-01-22", "--end", "2024-01-25")

FUNCTIONS = """
import numpy as np

def next_close(frame):
    return np.append(frame.close[1:], frame.close[-1])

def zscore_of_all(frame):
    return (frame.close - frame.close.mean()) / frame.close.std()

def honest(frame, window):
    sums = np.cumsum(np.insert(frame.close, 0, 0.0))
    out = np.full(len(frame), np.nan)
    out[window - 1 :] = (sums[window:] - sums[:-window]) / window
    return out

def breaks_when_cut(frame):
    return frame.close if len(frame) > 120 else frame.close[:100]
"""


@pytest.fixture
def with_feature(home: Path, tmp_path: Path) -> Callable[..., str]:
    """A system of the built-in breakout whose features are overridden; gives its name."""

    def write(**features: str) -> str:
        (tmp_path / "mine.py").write_text(FUNCTIONS)
        (home / "systems").mkdir(exist_ok=True)
        lines = "".join(f"  {name}: {body.replace('mine.py', str(tmp_path / 'mine.py'))}\n" for name, body in features.items())
        head = "system: probe\nstrategy: atr_breakout\nsymbols: [BTCUSDT]\ntimeframe: 1h\nexecution_timeframe: 5m\nwarmup_bars: 60\n"
        (home / "systems" / "probe.yaml").write_text(
            f"{head}params: {{channel_period: 3, atr_period: 3, trend_period: 3}}\nfeatures:\n{lines}"
        )
        return "probe"

    return write


LIVELY = {
    "ema_cross": ("params={fast: 2, slow: 3}", "warmup_bars=50"),
    "rsi_reversion": ("params={period: 2, oversold: 45, exit_level: 50, overbought: 55}", "warmup_bars=50"),
    "momentum": ("params={momentum_period: 2, threshold: 0.1}", "warmup_bars=50"),
    "hold": ("warmup_bars=0",),
    "atr_breakout": (
        "params={channel_period: 3, atr_period: 3, trend_period: 3, breakout_atr: 0.1}",
        "warmup_bars=50",
        "risk.cooldown_bars=0",
    ),
    "inverse_vol_hold": ("symbols=[BTCUSDT]",),
}


@pytest.mark.parametrize("system", LIVELY)
def test_every_built_in_system_passes(system: str, keel: Keel) -> None:
    answer = keel("check", "lookahead", system, *WEEK, *(f"--set={text}" for text in LIVELY[system]), "--json")
    assert answer.code == 0, answer.err
    assert answer.data["ok"] and answer.data["bars"] == 72
    decisions = next(entry for entry in answer.data["looked"] if entry["kind"] == "decision")
    assert decisions["compared"] == 72 and decisions["differing"] == 0


def test_a_peek_in_a_feature_is_found_with_its_first_bar_and_both_values(
    keel: Keel, with_feature: Callable[..., str], tmp_path: Path
) -> None:
    answer = keel("check", "lookahead", with_feature(channel="{fn: 'mine.py:next_close'}"), *WEEK, "--json")
    assert answer.code == 1
    first = answer.data["found"][0]
    assert (first["kind"], first["name"], first["timeframe"]) == ("feature", "channel", "1h")
    assert first["ts"] == 1_705_885_200_000  # 2024-01-22 01:00, the close of the window's first bar
    assert first["differing"] >= 70 and first["whole"] != first["cut"]
    closes = keel("data", "export", "BTCUSDT", "--timeframe", "1m", "--start", "2024-01-22T00:59", "--end", "2024-01-22T02:00", "--out",
                  str(tmp_path / "c.csv"))  # fmt: skip
    assert closes.code == 0
    rows = (tmp_path / "c.csv").read_text().splitlines()
    place = rows[0].split(",").index("close")
    known, later = (float(rows[row].split(",")[place]) for row in (1, -1))
    assert (float(first["cut"]), float(first["whole"])) == (known, later)


def test_a_peek_in_a_higher_timeframe_is_found_there(keel: Keel, with_feature: Callable[..., str]) -> None:
    answer = keel("check", "lookahead", with_feature(trend="{fn: 'mine.py:next_close', timeframe: 4h}"), *WEEK)
    assert answer.code == 1
    assert "LOOKS AHEAD: feature 'trend' (BTCUSDT 4h), first at 2024-01-22" in answer.out
    assert "trend, as known at 1h" in answer.out
    assert answer.out.rstrip().endswith("FAIL: what looks ahead cannot be traded")


def test_a_value_that_uses_the_whole_series_is_found(keel: Keel, with_feature: Callable[..., str]) -> None:
    answer = keel("check", "lookahead", with_feature(channel="{fn: 'mine.py:zscore_of_all'}"), *WEEK)
    assert answer.code == 1 and "feature 'channel'" in answer.out


@pytest.mark.long
def test_an_honest_function_passes_although_its_sums_run_over_all_rows(keel: Keel, with_feature: Callable[..., str]) -> None:
    features = {"channel": "{fn: 'mine.py:honest', window: 5}", "trend": "{fn: 'mine.py:honest', window: 4, timeframe: 4h}"}
    carry = {"carry": "{fn: MULT, input: [funding_rate, mark_close]}", "crowd": "{fn: SMA, timeperiod: 3, input: open_interest}"}
    answer = keel("check", "lookahead", with_feature(**features, **carry), *WEEK, "--json")
    assert answer.code == 0, answer.out
    assert {entry["name"] for entry in answer.data["looked"] if entry["kind"] == "input"} == {"funding_rate", "mark_close", "open_interest"}


STRATEGIES = {
    "an array that peeks": (
        "import numpy as np\nclass Planted(VectorStrategy):\n"
        "    def signals(self, frame, params):\n"
        "        return np.where(np.append(frame.close[1:], frame.close[-1]) > frame.close, 1, -1).astype(np.int8)\n",
        "array",
    ),
    "a decision out of an array that it kept": (
        "import numpy as np\nclass Planted(VectorStrategy):\n"
        "    def signals(self, frame, params):\n"
        "        self.kept = frame.close\n        return np.zeros(len(frame), dtype=np.int8)\n"
        "    def generate_signal(self, snapshot, params):\n"
        "        later = self.kept[min(snapshot.index + 1, len(self.kept) - 1)]\n"
        "        return Signal(snapshot.symbol, 'LONG' if later > snapshot.bar_ltf.close else 'FLAT')\n",
        "decision",
    ),
    "a decision out of what lies behind a snapshot": (
        "class Planted(BaseStrategy):\n"
        "    def generate_signal(self, snapshot, params):\n"
        "        rows = snapshot._context.series._frame\n"
        "        return Signal(snapshot.symbol, 'LONG' if rows.close[snapshot.index + 1] > rows.close[snapshot.index] else 'SHORT')\n",
        "decision",
    ),
}


@pytest.mark.parametrize(("body", "kind"), STRATEGIES.values(), ids=STRATEGIES)
def test_a_peek_in_a_strategy_is_found(body: str, kind: str, keel: Keel, strategy: Callable[[str, str], str]) -> None:
    answer = keel("check", "lookahead", strategy("planted", body), "--start", "2024-01-22", "--end", "2024-01-23", "--json")
    assert answer.code == 1, answer.err
    first = answer.data["found"][0]
    assert first["kind"] == kind and 0 <= first["ts"] - 1_705_885_200_000 <= 5 * 3_600_000  # at the first bars that go the other way
    assert first["whole"] != first["cut"]


def test_a_strategy_that_raises_by_itself_is_told_as_everywhere(keel: Keel, strategy: Callable[[str, str], str]) -> None:
    body = "class Broken(BaseStrategy):\n    def generate_signal(self, snapshot, params): raise ValueError('no')\n"
    answer = keel("check", "lookahead", strategy("broken", body), "--window", "week")
    head, line, bar = answer.err.splitlines()
    assert answer.code == 1 and head.startswith("error: strategy broken raised ValueError for BTCUSDT at ")
    assert line.endswith("in Broken.generate_signal: def generate_signal(self, snapshot, params): raise ValueError('no')")
    assert bar.strip().startswith("bar of BTCUSDT 1h that closed at ")


@pytest.mark.real_data
@pytest.mark.parametrize("system", ["ema_cross", "rsi_reversion", "momentum", "atr_breakout"])
def test_the_built_in_systems_pass_over_half_a_year_of_real_bars(system: str, real_data: Path, tmp_path: Path) -> None:
    from keel.runners.cli.main import run

    files = [str(real_data / "bybit/linear" / kind / "BTCUSDT.parquet") for kind in ("kline_5m", "kline_1h", "kline_4h", "funding")]
    assert run(["--home", str(tmp_path), "data", "import", *files]) == 0
    assert run(["--home", str(tmp_path), "check", "lookahead", system, "--window", "train"]) == 0
