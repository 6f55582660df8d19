"""The life cycle's rules, trades logged by hand, and events of several processes at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.errors import ConfigError, SafetyError
from keel.runners.epoch import LifeCycle, StrategyEpoch, StrategyEpochTracker
from keel.runners.home import Home
from keel.runners.lifecycle.events import read_events

IDEA, CREATION, BACKTEST, DEMO, LIVE, ARCHIVED = StrategyEpoch
Tracker = Callable[..., StrategyEpochTracker]


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    """Makes trackers over one home; each knows only what is on the disk, as another process would."""
    ticks = count(1_765_503_298_000, 1000)
    return lambda strategy_id="momentum-v1": StrategyEpochTracker(strategy_id, home=tmp_path, now=lambda: next(ticks))


def started(epoch: StrategyEpoch) -> dict[str, str]:
    return {"event": "epoch_started", "epoch": epoch}


def promoted(epoch: StrategyEpoch) -> dict[str, str]:
    return {"event": "epoch_promoted", "next_epoch": epoch}


OUT, BACK = {"event": "strategy_archived"}, {"event": "strategy_restored"}

STEPS: list[tuple[list[dict[str, str]], set[StrategyEpoch]]] = [
    ([], {IDEA, CREATION, BACKTEST, DEMO, LIVE}),  # a strategy enters where it will
    ([started(IDEA)], {IDEA, CREATION, BACKTEST}),
    ([started(BACKTEST)], {IDEA, CREATION, BACKTEST}),
    ([started(BACKTEST), promoted(DEMO)], {IDEA, CREATION, BACKTEST, DEMO}),
    ([started(BACKTEST), promoted(DEMO), started(DEMO), started(BACKTEST)], {IDEA, CREATION, BACKTEST, DEMO}),
    ([started(DEMO)], {IDEA, CREATION, BACKTEST, DEMO}),
    ([started(DEMO), promoted(LIVE)], {IDEA, CREATION, BACKTEST, DEMO, LIVE}),
    ([started(LIVE), started(IDEA)], {IDEA, CREATION, BACKTEST, DEMO, LIVE}),
    ([started(LIVE), OUT], set()),
    ([OUT], set()),
    ([started(DEMO), OUT, BACK], {IDEA, CREATION, BACKTEST, DEMO}),
]


@pytest.mark.parametrize(("events", "allowed"), STEPS)
def test_where_a_strategy_may_run(events: list[dict[str, str]], allowed: set[StrategyEpoch]) -> None:
    state = LifeCycle.derived("s", events)
    for epoch in StrategyEpoch:
        if epoch in allowed:
            state.check_run(epoch)
        else:
            with pytest.raises((SafetyError, ConfigError)):
                state.check_run(epoch)


UP = {(IDEA, CREATION), (IDEA, BACKTEST), (CREATION, BACKTEST), (BACKTEST, DEMO), (DEMO, LIVE)}


@pytest.mark.parametrize("epoch", list(StrategyEpoch)[:5])
@pytest.mark.parametrize("next_epoch", list(StrategyEpoch))
def test_promotions_go_up_and_into_demo_and_live_one_step_at_a_time(epoch: StrategyEpoch, next_epoch: StrategyEpoch) -> None:
    state = LifeCycle("s", epoch, epoch)
    if (epoch, next_epoch) in UP:
        state.check_promotion(epoch, next_epoch)
    else:
        with pytest.raises((SafetyError, ConfigError)):
            state.check_promotion(epoch, next_epoch)


EVENTS = st.sampled_from([*(started(epoch) for epoch in (IDEA, CREATION, BACKTEST, DEMO, LIVE)), promoted(DEMO), promoted(LIVE), OUT, BACK])


@given(st.lists(EVENTS, max_size=12))
def test_live_is_never_reached_but_by_entry_or_promotion(events: list[dict[str, str]]) -> None:
    """Whatever is tried, what the rules let through holds a promotion to LIVE, or began there."""
    state, kept = LifeCycle("s"), []
    for event in events:
        try:
            if event["event"] == "epoch_started":
                state.check_run(StrategyEpoch(event["epoch"]))
            elif event["event"] == "epoch_promoted" and state.reached is not None:
                state.check_promotion(state.reached, StrategyEpoch(event["next_epoch"]))
            elif event["event"] == "epoch_promoted":
                continue
        except (SafetyError, ConfigError):
            continue
        state = state.after(event)
        kept.append(event)
    runs = [place for place, event in enumerate(kept) if event["event"] == "epoch_started"]
    for gate in (DEMO, LIVE):
        first = next((place for place in runs if kept[place]["epoch"] == gate), None)
        if first is not None and first != runs[0] and StrategyEpoch(kept[runs[0]]["epoch"]).rank < gate.rank:
            assert any(event == promoted(gate) for event in kept[:first]) or any(
                event == started(LIVE) or event == promoted(LIVE) for event in kept[:first]
            )


def test_another_process_knows_what_was_promoted_and_archived(tracker: Tracker) -> None:
    run_id = tracker().epoch_start(BACKTEST, "BTCUSDT", ["1h"])
    tracker().epoch_complete(run_id, "backtest", "BTCUSDT", {"sharpe": 2.0}, passed=True, next_epoch="demo", promotion_reason="by eye")
    assert tracker().state == LifeCycle("momentum-v1", BACKTEST, DEMO)
    tracker().epoch_start(DEMO, "BTCUSDT")
    with pytest.raises(SafetyError):
        tracker().epoch_start(LIVE, "BTCUSDT")
    tracker().promote("live", reason="fourteen good days")
    tracker().epoch_start(LIVE, "BTCUSDT")
    tracker().archive("edge is gone")
    for refused in (lambda: tracker().epoch_start(BACKTEST, "BTCUSDT"), lambda: tracker().promote(LIVE), lambda: tracker().archive()):
        with pytest.raises(SafetyError, match="archived"):
            refused()
    tracker().restore()
    tracker().epoch_start(BACKTEST, "BTCUSDT")
    with pytest.raises(ConfigError, match="not archived"):
        tracker().restore()


def test_strategies_do_not_share_a_life(tracker: Tracker) -> None:
    tracker("a").epoch_start(DEMO, "X")
    tracker('a"b').epoch_start(BACKTEST, "X")
    assert tracker("a").state.reached == DEMO
    assert tracker('a"b').state.reached == BACKTEST
    with pytest.raises(ConfigError, match="has not run yet"):
        tracker("c").promote(DEMO)


def test_nothing_is_promoted_from_where_it_never_was(tracker: Tracker) -> None:
    tracker().epoch_start(BACKTEST, "X")
    with pytest.raises(SafetyError, match="has reached backtest"):
        tracker().promote(LIVE, epoch=DEMO)


def test_trades_logged_by_hand_are_numbered_lines(tracker: Tracker, tmp_path: Path) -> None:
    first = tracker()
    run_id = first.epoch_start(BACKTEST, "BTCUSDT", "1h")
    first.log_trade(run_id, "BTCUSDT", "LONG", 1000.0, 94_000.1, 12.5, ts=1)
    first.log_trade(run_id, "BTCUSDT", "SHORT", 1000.0, 94_100.0, -3.0)
    tracker().log_trade(run_id, "BTCUSDT", "LONG", 1000.0, 94_000.0, 0.0)
    (path,) = tmp_path.glob(f"backtests/*/{run_id}/trades.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3]
    when = {"ts": 1, "time": "1970-01-01T00:00:00.001Z"}
    trade = {"symbol": "BTCUSDT", "side": "LONG", "size_usd": 1000.0, "price": 94_000.1, "pnl": 12.5}
    assert lines[0] == {"number": 1, **when, **trade}
    with pytest.raises(ConfigError, match="pnl is nan"):
        first.log_trade(run_id, "BTCUSDT", "LONG", 1000.0, 94_000.0, float("nan"))
    assert len(path.read_text().splitlines()) == 3


def test_every_logged_trade_has_its_time(tmp_path: Path) -> None:
    """The one that is given, in any form, else that of the call."""
    now = iter(range(1_735_689_600_000, 1_735_689_700_000, 1000))
    tracker = StrategyEpochTracker("timed", home=tmp_path, now=lambda: next(now))
    run_id = tracker.epoch_start(BACKTEST, "BTCUSDT", "1h")
    for moment in (None, "2025-03-01T08:00", datetime(2025, 3, 1, 9, tzinfo=UTC), 1_740_823_200_000):
        tracker.log_trade(run_id, "BTCUSDT", "LONG", 1000.0, 94_000.0, 12.5, **({} if moment is None else {"ts": moment}))
    (path,) = tmp_path.glob(f"backtests/*/{run_id}/trades.jsonl")
    times = [json.loads(line)["time"] for line in path.read_text().splitlines()]
    assert times[0].startswith("2025-01-01T00:00:0")
    assert times[1:] == ["2025-03-01T08:00:00Z", "2025-03-01T09:00:00Z", "2025-03-01T10:00:00Z"]
    with pytest.raises(ConfigError, match="not a time"):
        tracker.log_trade(run_id, "BTCUSDT", "LONG", 1000.0, 94_000.0, 12.5, ts="noon")
    assert len(path.read_text().splitlines()) == 4


MISUSE: list[tuple[Callable[[StrategyEpochTracker, str], Any], str]] = [
    (lambda t, r: t.epoch_complete("run-000000000000", BACKTEST, "X", {}), "there is no run"),
    (lambda t, r: t.epoch_complete(r, DEMO, "X", {}), "started with epoch backtest, not demo"),
    (lambda t, r: t.epoch_complete(r, BACKTEST, "Y", {}), "started with symbol X, not Y"),
    (lambda t, r: t.epoch_complete(r, BACKTEST, "X", [1]), "mapping"),  # type: ignore[arg-type]
    (lambda t, r: t.epoch_failed(r[:8], BACKTEST, "X", "no"), "there is no run"),
]


@pytest.mark.parametrize(("misuse", "words"), MISUSE)
def test_a_call_about_another_run_changes_nothing(
    tracker: Tracker, tmp_path: Path, misuse: Callable[[StrategyEpochTracker, str], Any], words: str
) -> None:
    run_id = tracker().epoch_start(BACKTEST, "X")
    with pytest.raises(ConfigError, match=words):
        misuse(tracker(), run_id)
    assert [path.name for path in tmp_path.glob("backtests/*/*/*")] == ["config.json"]


def test_a_run_ends_once(tracker: Tracker) -> None:
    run_id = tracker().epoch_start(BACKTEST, "X")
    assert tracker().epoch_failed(run_id, BACKTEST, "X", "power cut").error == "Error: power cut"
    for again in (
        lambda: tracker().epoch_complete(run_id, BACKTEST, "X", {}),
        lambda: tracker().epoch_failed(run_id, BACKTEST, "X", "again"),
        lambda: tracker().log_trade(run_id, "X", "LONG", 1.0, 1.0, 1.0),
    ):
        with pytest.raises(ConfigError, match="has ended already"):
            again()


def test_hand_logged_trades_and_a_backtests_own_do_not_mix(tracker: Tracker, small_result: Any) -> None:
    one = tracker()
    run_id = one.epoch_start(BACKTEST, "X")
    one.log_trade(run_id, "X", "LONG", 1.0, 1.0, 1.0)
    with pytest.raises(ConfigError, match="use one of the two"):
        one.epoch_complete(run_id, BACKTEST, "X", small_result())


def test_events_of_two_processes_are_all_there_and_whole(tmp_path: Path) -> None:
    """They begin at the same moment, and write as fast as they can: 200 events each, and 3,000 lines that do not wait for the disk."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from keel.adapters.whole_file import append_line\n"
        "from keel.runners.lifecycle.events import append_event\n"
        "from keel.runners.home import Home\n"
        "home, name = Home.find(sys.argv[1]), sys.argv[2]\n"
        "(home.root / name).touch()\n"
        "while not ((home.root / 'a').exists() and (home.root / 'b').exists()): pass\n"
        "for number in range(3000):\n"
        "    append_line(home.logs / 'lines', f'{name} {number} {name * (number % 700)}'.encode(), durable=False)\n"
        "for number in range(200):\n"
        "    append_event(home, 0, 'x', {'strategy_id': name, 'number': number, 'filler': 'f' * (number * 40)})\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in ("a", "b")]
    assert [worker.wait() for worker in workers] == [0, 0]
    lines = [line for line in (tmp_path / "logs" / "lines").read_text().splitlines() if line]
    events = [json.loads(line) for line in (tmp_path / "logs" / "events_19700101.jsonl").read_text().splitlines() if line]
    for name in ("a", "b"):
        assert [line for line in lines if line[0] == name] == [f"{name} {number} {name * (number % 700)}" for number in range(3000)]
        assert [event["number"] for event in events if event["strategy_id"] == name] == list(range(200))


def test_a_torn_line_is_as_if_it_had_never_been(tracker: Tracker, tmp_path: Path) -> None:
    tracker().epoch_start(BACKTEST, "X")
    (log,) = (tmp_path / "logs").glob("events_*.jsonl")
    with log.open("ab") as file:
        file.write(b'{"event":"epoch_promoted","strategy_id":"momentum-v1","next_ep')
    assert tracker().state.reached == BACKTEST
    tracker().epoch_start(BACKTEST, "X")
    assert len(read_events(Home(tmp_path), "momentum-v1")) == 2
