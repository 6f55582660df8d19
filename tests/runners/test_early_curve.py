"""The curve that is formatted while a run goes on: the blocks are those of the finished curve, and the files the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import keel.runners.curve as curve
from keel.adapters.curve_draft import CurveDraft

Keel = Callable[..., Any]
WINDOW = ("--start", "2024-01-08", "--end", "2024-01-22", "--set", "warmup_bars=100", "--set", "execution_timeframe=1m")
SYSTEMS = {
    "one symbol": (),
    "two symbols": ("--symbol", "BTCUSDT", "--symbol", "ETHUSDT"),
    "liquidations": (
        *("--set", "risk={leverage: 100, policy: none}", "--set", "sizing={model: fixed_usd, usd: 40000}"),
        *("--set", "initial_equity=100000"),
    ),
}


def result_of(answer: Any) -> Any:
    return json.loads((Path(answer.data["artifacts"]) / "result.json").read_text())


@pytest.mark.parametrize("options", SYSTEMS.values(), ids=SYSTEMS)
def test_the_files_are_those_of_a_run_that_writes_at_the_end(
    options: tuple[str, ...], keel: Keel, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    assert keel("data", "synth", "--symbol", "ETHUSDT", "--start", "2024-01-06", "--end", "2024-01-22").code == 0
    taken = []
    take = CurveDraft.take

    def seen(self: CurveDraft, whole: Any) -> Any:
        found = take(self, whole)
        taken.append((found[1], len(self._blocks)))
        return found

    monkeypatch.setattr(CurveDraft, "take", seen)
    contents = []
    for block in (1 << 40, 3000):
        monkeypatch.setattr(curve, "BLOCK", block)
        answer = keel("backtest", "ema_cross", *WINDOW, *options, "--no-report", "--json")
        assert answer.code == 0, answer.err
        contents.append((Path(answer.data["artifacts"]) / "equity.csv").read_bytes())
    assert contents[0] == contents[1]
    assert ("liquidations" not in request.node.name) or result_of(answer)["counts"]["liquidations"] > 0
    (none, blocks), (rows, _) = taken[0], taken[1]
    assert none == blocks == 0
    assert rows == 3000 * taken[1][1] + 1 and taken[1][1] >= 5  # each block was taken; the first has the window's start, too
