"""A vector strategy's derived signals: only changes, symbol by symbol, and nothing lost over a restart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.model.messages import Bar, Signal
from keel.core.strategy.snapshot import RunSnapshot, RuntimeSnapshot
from keel.strategies.base import HOLD, BaseStrategy, PortfolioStrategy, VectorStrategy


def test_the_package_gives_what_a_strategy_is_written_with_and_nothing_else() -> None:
    import keel.strategies

    from_package = (keel.strategies.HOLD, keel.strategies.BaseStrategy, keel.strategies.PortfolioStrategy, keel.strategies.VectorStrategy)
    assert from_package == (HOLD, BaseStrategy, PortfolioStrategy, VectorStrategy)
    with pytest.raises(AttributeError, match="no attribute 'BaseStrategie'"):
        _ = keel.strategies.BaseStrategie  # type: ignore[attr-defined]  # that there is none is the point


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, keel.strategies; print('numpy' in sys.modules, 'keel.strategies.base' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout == "False False\n"


def snapshot(symbol: str, target: int, index: int = 0) -> RuntimeSnapshot:
    bar = Bar(symbol, "1h", 3_600_000 * index, 3_600_000 * (index + 1), 1.0, 1.0, 1.0, 1.0, 1.0)
    return RunSnapshot(None, bar, index, target)  # type: ignore[arg-type]  # a vector strategy reads bar and target only


def decide(strategy: VectorStrategy, targets: list[tuple[str, int]]) -> list[str | None]:
    signals = [strategy.generate_signal(snapshot(symbol, target), {}) for symbol, target in targets]
    return [None if signal is None else f"{signal.symbol} {signal.direction}" for signal in signals]


CHANGES = [
    ([0, 0, 0], [None, None, None]),  # it starts flat
    ([HOLD, HOLD, 1], [None, None, "LONG"]),
    ([1, 1, HOLD, 1, 0], ["LONG", None, None, None, "FLAT"]),
    ([1, -1, HOLD, 0, -1], ["LONG", "SHORT", None, "FLAT", "SHORT"]),
    ([-1, HOLD, 0, 0, 1], ["SHORT", None, "FLAT", None, "LONG"]),
]


@pytest.mark.parametrize(("targets", "expected"), CHANGES)
def test_a_signal_arises_only_where_the_value_changes(targets: list[int], expected: list[str | None]) -> None:
    decided = decide(VectorStrategy(), [("A", target) for target in targets])
    assert decided == [None if direction is None else f"A {direction}" for direction in expected]


def test_symbols_are_kept_apart() -> None:
    decided = decide(VectorStrategy(), [("A", 1), ("B", 1), ("A", 1), ("B", -1), ("A", 0)])
    assert decided == ["A LONG", "B LONG", None, "B SHORT", "A FLAT"]


def test_instances_are_kept_apart_and_on_start_begins_flat() -> None:
    first, second = VectorStrategy(), VectorStrategy()
    assert decide(first, [("A", 1)]) == decide(second, [("A", 1)]) == ["A LONG"]
    first.on_start({})
    assert decide(first, [("A", 1)]) == ["A LONG"]
    assert decide(second, [("A", 1)]) == [None]


@given(st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from([-1, 0, 1, HOLD])), max_size=30), st.data())
def test_a_restart_with_state_changes_nothing(targets: list[tuple[str, int]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(targets)))
    before, after = VectorStrategy(), VectorStrategy()
    decided = decide(before, targets[:cut])
    after.on_start({})
    after.restore(msgspec.json.decode(msgspec.json.encode(before.state())))
    assert decided + decide(after, targets[cut:]) == decide(VectorStrategy(), targets)


def test_what_a_strategy_must_define_is_said() -> None:
    with pytest.raises(TypeError, match="BaseStrategy must define generate_signal"):
        BaseStrategy().generate_signal(snapshot("A", 0), {})
    with pytest.raises(TypeError, match="VectorStrategy must define signals"):
        VectorStrategy().signals(None, {})  # type: ignore[arg-type]  # it never gets so far as to read it
    with pytest.raises(TypeError, match="PortfolioStrategy must define run_strategy"):
        PortfolioStrategy().run_strategy(None, None)  # type: ignore[arg-type]  # neither here


def test_a_numpy_value_serves_as_a_target() -> None:
    target = int(np.array([1], dtype=np.int8)[0])
    assert VectorStrategy().generate_signal(snapshot("A", target), {}) == Signal("A", "LONG")
