"""Python's own waits are short while a session trades, and as before after it."""

from __future__ import annotations

import gc
import sys

import pytest

from keel.runners.process.attentive import MOST_YOUNG, YOUNG, attentive, collect_quietly


def test_threads_wait_less_and_what_was_there_is_not_collected_again() -> None:
    before, thresholds = sys.getswitchinterval(), gc.get_threshold()
    with pytest.raises(KeyError), attentive():
        assert sys.getswitchinterval() == pytest.approx(0.0005)
        assert gc.get_freeze_count() > 10_000
        raise KeyError
    assert sys.getswitchinterval() == before
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == thresholds


def test_collections_wait_for_a_quiet_moment_and_take_what_is_old_now_and_then() -> None:
    collected: list[int] = []

    def note(phase: str, of: dict[str, int]) -> None:
        if phase == "start":
            collected.append(of["generation"])

    gc.collect()
    gc.callbacks.append(note)
    try:
        with attentive():
            gc.collect(1)
            collected.clear()
            kept = [[number] for number in range(MOST_YOUNG // 2)]
            assert collected == []
            collect_quietly()
            assert collected == [1]
            collect_quietly()
            assert collected == [1], "there is nothing new"
            for _ in range(60):
                kept += [[number] for number in range(2 * YOUNG)]
                collect_quietly()
            assert collected.count(2) >= 2 and 0 not in collected
    finally:
        gc.callbacks.remove(note)
