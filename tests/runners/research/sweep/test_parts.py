"""Histories that are packed and columns that are shared are those that a backtest reads, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keel.core.features import VectorEngine
from keel.core.model.frame import Frame
from keel.core.model.time_range import TimeRange
from keel.runners.backtest.preparation import assemble, guarded, load_inputs, make_plan, prepare, shortened
from keel.runners.lifecycle.identity import data_fingerprint
from keel.runners.research.sweep.data import HistoryCache
from keel.runners.research.sweep.study import Row, Study
from keel.runners.research.sweep.workers.columns import FolderShelf, MemoryShelf, SharedColumns
from keel.runners.research.sweep.workers.packing import open_saved, pack, save, unpack
from keel.runners.user_code import load_function
from tests.builders import DAY, START, builtin, sample_store

SYSTEM, STRATEGY = builtin("atr_breakout", "warmup_bars=40", "features={carry: {fn: MULT, input: [funding_rate, mark_close]}}")
WINDOW = TimeRange(START + 12 * DAY, START + 16 * DAY)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, np.ndarray):
        yield path, (value.dtype.str, value.tobytes())
    elif isinstance(value, Frame):
        yield path, (value.symbol, value.timeframe, value.kind, len(value))
        for name, column in value.to_dict().items():
            yield from leaves(column, f"{path}.{name}")
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from leaves(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from leaves(entry, f"{path}[{name}]")
    else:
        yield path, value


def test_a_history_comes_back_from_its_files_as_it_was(tmp_path: Path) -> None:
    with sample_store(days=20) as store:
        loaded = load_inputs(store, make_plan(SYSTEM, WINDOW, STRATEGY(), SYSTEM.params).replay)
    save(tmp_path / "data", loaded)
    meta, arrays = pack(loaded)
    for back in (open_saved(tmp_path / "data"), unpack(meta, arrays)):
        assert dict(leaves(back[0])) == dict(leaves(loaded[0]))
    assert not open_saved(tmp_path / "data")[0].history.execution["close"].flags.writeable
    assert len(arrays) < sum(isinstance(value, tuple) and bytes in map(type, value[-1:]) for _, value in leaves(loaded[0]))  # once each


def test_a_shortened_history_is_what_a_shorter_warm_up_loads() -> None:
    with sample_store(days=20) as store:
        short, long = (
            make_plan(SYSTEM, WINDOW, STRATEGY(), SYSTEM.params, warmup=warmup) for warmup in ({"1h": 40, "4h": 40}, {"1h": 90, "4h": 70})
        )
        wanted = load_inputs(store, short.replay)[0]
        given = shortened(load_inputs(store, long.replay)[0], {"1h": 50, "4h": 30})
    assert dict(leaves(given)) == dict(leaves(wanted))


def test_the_book_gives_each_plan_its_own_and_loads_once() -> None:
    loads: list[str] = []
    with sample_store(days=20) as store:
        book = HistoryCache(store)
        book.add_listener(lambda name, _: loads.append(name))
        plans = [make_plan(SYSTEM, WINDOW, STRATEGY(), SYSTEM.params, warmup={"1h": bars, "4h": 40}).replay for bars in (60, 40, 60)]
        book.expect(plans[0])
        parts = [book.part(plan) for plan in plans]
        assert loads == [parts[0].name] and parts[0] == parts[2]
        for plan, part in zip(plans, parts, strict=True):
            assert part.fingerprint == data_fingerprint([entry.history for entry in load_inputs(store, plan)])


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_shared_columns_are_those_of_a_backtest_and_computed_once(kind: str, tmp_path: Path) -> None:
    computed: list[str] = []
    engine = guarded(VectorEngine(load_function))

    def counting(specs: Any, frame: Frame, first: int) -> dict[str, Any]:
        computed.extend(f"{spec.fn} {dict(spec.params)}" for spec in specs)
        return engine(specs, frame, first)

    shelf = MemoryShelf() if kind == "memory" else FolderShelf(tmp_path)
    shared = SharedColumns(shelf, counting)
    cross, strategy = builtin("ema_cross", "warmup_bars=40", "execution_timeframe=1h")
    with sample_store(days=20) as store:
        for fast, slow in ((5, 20), (20, 5), (5, 20)):
            params = {"fast": fast, "slow": slow}
            plan = make_plan(cross, WINDOW, strategy(), params)
            inputs = load_inputs(store, plan.replay)
            ours = assemble(plan, cross, strategy(), params, inputs, shared.of("d"), refuse_peeks=False)
            theirs = prepare(store, cross, WINDOW, strategy(), params, load_function=load_function)
            assert dict(leaves(ours.columns[0])) == dict(leaves(theirs.columns[0]))
    assert len(computed) == 2  # EMA 5 and EMA 20, whatever they are called


def test_a_memory_shelf_forgets_what_was_used_longest_ago() -> None:
    shelf = MemoryShelf(most_bytes=3 * 80)
    for key in "abcd":
        shelf.put(key, np.zeros(10))
        shelf.get("a")
    assert shelf.get("a") is not None and shelf.get("b") is None and shelf.get("d") is not None


def test_a_study_keeps_all_of_a_batch_or_none(tmp_path: Path) -> None:
    rows = [
        Row(f"p{number}", number, {"params.fast": number}, "BTCUSDT", "train", "done", "actors", 0.5, "", {"sharpe": 1 / 3})
        for number in (1, 0)
    ]
    with Study(tmp_path) as study:
        study.add(rows)
        with pytest.raises(Exception, match="p1"):
            study.add([Row("p2", 2, {}, "", "", "done", "", 0.0, "", {}), rows[0]])
    with Study(tmp_path) as study:
        assert study.rows() == rows[::-1]
