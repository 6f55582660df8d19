"""A journal through the engine again: every decision as it was recorded, or the first that is another one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from keel.adapters.journal import Journal, SessionStarted, read
from keel.core.errors import ConfigError, DataError, StrategyError
from keel.core.model.messages import Bar, Fill, Message, Signal, SignalDenied, SubmitOrder
from keel.runners.home import Home
from keel.runners.live.memory.recorder import Recorder
from keel.runners.live.memory.records import TYPES, Decided, Opened, ProgramStarted, WarmUpBars
from keel.runners.live.session.decisions import decision_text
from keel.runners.live.session_journal import find_session, load_code
from keel.runners.research.compare_live.whole import compare_live
from keel.runners.research.session_replay import Replayed, by_todays_names, replay_session
from keel.runners.systems import loaded_now
from keel.runners.tools.registry import ToolContext
from keel.runners.tools.trading.compare_live import CompareLiveRequest, session_compare_tool
from keel.runners.tools.trading.replay import ReplayRequest, session_replay_tool
from tests.builders import DAY, START, builtin
from tests.runners.live.conftest import Ran, plan_of, run_session, stored_sandbox
from tests.runners.live.elsewhere import NEWEST, replayed_elsewhere
from tests.runners.live.test_same_decisions import marked_store

FROM, TO = START + 20 * DAY, START + 20 * DAY + DAY // 2
EMA = ("params.fast=2", "params.slow=5", "warmup_bars=50", "exits={stop_loss: {percent: 0.4}, take_profit: {percent: 1}}")
LONG = pytest.mark.long
SYSTEMS = [
    pytest.param("ema_cross", EMA, marks=LONG),
    pytest.param("rsi_reversion", ("params.oversold=40", "params.overbought=60", "warmup_bars=50", "exits={max_bars: 3}"), marks=LONG),
    pytest.param("atr_breakout", ("warmup_bars=60",), marks=LONG),
    pytest.param(
        "ema_cross", (*EMA, "risk={daily_loss_percent: 1, max_position_usd: 5000}", "timeframe=15m", "execution_timeframe=5m"), marks=LONG
    ),
    ("momentum", ("params.threshold=1", "warmup_bars=50", "features={rate: {input: funding_rate, fn: SMA, timeperiod: 2}}")),
]


def traded(folder: Path, name: str, overrides: tuple[str, ...], *sessions: int | None, kept: Callable[[int], None] = lambda n: None) -> Ran:
    """Sessions one after the other over one sandbox, each of so many bars; ``kept``: called after each with its number."""
    system, strategy = builtin(name, *overrides)
    with marked_store() as store, stored_sandbox(store, system, FROM, TO) as sandbox:
        for number, bars in enumerate(sessions or (None,), 1):
            ran = run_session(plan_of(system, strategy, store, sandbox.url, folder), max_bars=bars)
            assert ran.ending.failure is None
            kept(number)
    return ran


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Two sessions of one journal."""
    yield traded(tmp_path_factory.mktemp("journals"), "ema_cross", EMA, 60, None)


def replayed(folder: Path, home: Path) -> Replayed:
    journal = find_session(str(folder), Home(home))
    return replay_session(journal, load_code(journal, Home(home), with_current_code=False).loaded)


class _Clock(SimpleNamespace):
    now_ms = 0


def rewritten(folder: Path, into: Path, change: Callable[[int, Message], Message | None]) -> Path:
    """A whole journal whose records are those of another, changed; None drops one."""
    clock = _Clock()
    journal: Journal | None = None
    for record in read(folder, types=TYPES):
        clock.now_ms = record.ts
        message = change(record.seq, record.message)
        if isinstance(message, SessionStarted):
            if journal is not None:
                journal.close()
            journal = Journal.open(into, clock=cast("Any", clock), session=message.about, types=TYPES, disk_reserve_bytes=0)
        elif message is not None and journal is not None:
            journal.append(message)
    assert journal is not None
    journal.close()
    return into


@pytest.mark.parametrize(("name", "overrides"), SYSTEMS)
def test_every_decision_is_made_again(name: str, overrides: tuple[str, ...], tmp_path: Path) -> None:
    ran = traded(tmp_path / "journals", name, overrides)
    found = replayed(ran.live.journal.folder, tmp_path)
    assert found.difference is None and found.notes == []
    assert found.compared.total() == len(ran.of(Decided)) > 1
    assert found.compared["SubmitOrder"] >= len(ran.of(SubmitOrder)) > 0 and found.compared["Signal"] > 0 and ran.of(Fill)
    assert found.records == len(ran.journal)


def test_restarts_go_on_in_one_replay_and_use_the_warm_up_that_was_written_down(ran: Ran, tmp_path: Path) -> None:
    found = replayed(ran.live.journal.folder, tmp_path)
    assert (found.sessions, found.difference, found.notes) == (2, None, [])
    assert len(ran.of(WarmUpBars)) == 1 and len(ran.of(ProgramStarted)) == 2
    for path in ran.live.journal.folder.glob("*.snapshot"):
        path.unlink()
    assert replayed(ran.live.journal.folder, tmp_path).compared == found.compared  # a snapshot is not needed


def test_a_changed_decision_a_changed_bar_and_a_lost_message_are_found(ran: Ran, tmp_path: Path) -> None:
    folder = ran.live.journal.folder
    records = list(read(folder, types=TYPES))
    orders = [record for record in records if isinstance(record.message, Decided) and '"SubmitOrder"' in record.message.made]
    one = orders[len(orders) // 2]

    def another_side(seq: int, message: Message) -> Message:
        if seq != one.seq:
            return message
        made = json.loads(message.made)  # type: ignore[attr-defined]
        made["qty"] += 1.0
        return msgspec.structs.replace(message, made=json.dumps(made))

    found = replayed(rewritten(folder, tmp_path / "order", another_side), tmp_path).difference
    assert found is not None and found.seq == one.seq and found.recorded != found.replayed
    assert json.loads(found.recorded or "")["qty"] == json.loads(found.replayed or "")["qty"] + 1.0

    decided_at = json.loads(one.message.made)["ts"]
    bar = [record for record in records if isinstance(record.message, Bar) and record.message.ts_close == decided_at][-1]

    def higher(seq: int, message: Message) -> Message:
        return msgspec.structs.replace(message, close=message.close * 0.5) if seq == bar.seq else message  # type: ignore[attr-defined]

    found = replayed(rewritten(folder, tmp_path / "bar", higher), tmp_path).difference
    assert found is not None and found.seq > bar.seq

    fill = next(record for record in records if isinstance(record.message, Fill))
    found = replayed(rewritten(folder, tmp_path / "lost", lambda seq, message: None if seq == fill.seq else message), tmp_path).difference
    assert found is not None and found.seq >= fill.seq and found.after

    signal = next(record for record in records if isinstance(record.message, Decided) and '"Signal"' in record.message.made)
    found = replayed(rewritten(folder, tmp_path / "none", lambda seq, message: None if seq == signal.seq else message), tmp_path).difference
    assert found is not None and found.replayed == signal.message.made  # made again, and what comes next in the journal is another one


def test_a_denial_by_its_name_of_version_0_1_is_the_same_decision() -> None:
    names = ("gate_closed", "trading_reducing", "no_equity")
    before, today, other = (decision_text(SignalDenied("BTCUSDT", 1, reason)) for reason in names)
    assert (by_todays_names(before), by_todays_names(today), by_todays_names(other)) == (today, today, other)


def test_a_process_that_was_killed_in_the_middle_of_an_instant_is_no_difference(ran: Ran, tmp_path: Path) -> None:
    records = list(read(ran.live.journal.folder, types=TYPES))
    first = next(record for record in records if isinstance(record.message, Decided))
    cut = rewritten(ran.live.journal.folder, tmp_path / "cut", lambda seq, message: message if seq < first.seq else None)
    found = replayed(cut, tmp_path)
    assert found.difference is None and len(found.notes) == 1 and "cut off" in found.notes[0]


def test_what_breaks_before_the_books_are_there_is_told_as_it_is(tmp_path: Path) -> None:
    told: list[BaseException] = []
    with Journal.open(tmp_path / "journal", clock=cast("Any", _Clock()), session={}, types=TYPES, disk_reserve_bytes=0) as journal:
        recorder, error = Recorder(journal, told.append), ValueError("early")
        recorder.fail(error)
    assert told == [error] and recorder.failure is error


def test_what_a_strategy_notes_beside_a_signal_is_recorded_as_far_as_it_is_plain_data() -> None:
    from keel.runners.live.session.decisions import decision_text

    plain = Signal("BTCUSDT", "LONG", metadata={"z": 1.5, "a": [1, "x"]})
    assert json.loads(decision_text(plain))["metadata"] == {"z": 1.5, "a": [1, "x"]}
    odd = decision_text(Signal("BTCUSDT", "LONG", metadata={"z": 1.5, "o": object()}))
    assert json.loads(odd)["metadata"] == {"z": 1.5, "o": "not plain data: object"}


@pytest.mark.long
def test_another_process_with_another_hash_seed_decides_the_same(ran: Ran, tmp_path: Path) -> None:
    answer = replayed_elsewhere(ran.live.journal.folder, tmp_path, "12345")
    assert answer["identical"] and answer["sessions"] == 2 and answer["compared"]["SubmitOrder"] > 0


@pytest.mark.long
def test_another_python_decides_the_same(ran: Ran, tmp_path: Path) -> None:
    if not NEWEST.exists():
        pytest.skip("no other Python with the dependencies is here: .ci/run makes one (.venv-newest) where a newer Python is installed")
    answer = replayed_elsewhere(ran.live.journal.folder, tmp_path, "777", NEWEST)
    assert answer["identical"] and answer["compared"]["SubmitOrder"] > 0


# --- what is refused ---


def test_what_is_no_session_is_refused_with_the_way_out(ran: Ran, tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(ConfigError, match=r"there are no sessions in .*keel demo"):
        find_session("last", home)
    with pytest.raises(ConfigError, match=r"there is no run 'run-nothing'.*keel runs list"):
        find_session("run-nothing", home)
    with pytest.raises(ConfigError):
        find_session("", home)
    old = rewritten(ran.live.journal.folder, tmp_path / "old", lambda _, message: None if isinstance(message, ProgramStarted) else message)
    with pytest.raises(DataError, match=r"did not write down what it ran.*--fresh"):
        find_session(str(old), home)
    refused = rewritten(
        ran.live.journal.folder, tmp_path / "refused", lambda seq, message: message if seq < 2 and not isinstance(message, Opened) else None
    )
    with pytest.raises(DataError, match="ends before its books were opened"):
        find_session(str(refused), home)


def test_a_journal_is_found_as_the_list_calls_it_and_what_is_none_is_told_so(ran: Ran, tmp_path: Path) -> None:
    home = Home(tmp_path)
    for account in ("one", "two"):
        shutil.copytree(ran.live.journal.folder, home.runs / "journals" / account / "ema-0123")
    for reference in ("one/ema-0123", "one", str(home.runs / "journals" / "one" / "ema-0123")):
        assert find_session(reference, home).folder == home.runs / "journals" / "one" / "ema-0123"
    with pytest.raises(ConfigError, match="fits 2 journals: one/ema-0123, two/ema-0123"):
        find_session("ema", home)
    with pytest.raises(ConfigError, match=r"nor that of a run; keel journal list"):
        find_session(str(tmp_path / "nothing"), home)
    with pytest.raises(ConfigError, match="is a file: give its folder"):
        find_session(str(max((home.runs / "journals" / "one" / "ema-0123").glob("*.journal"))), home)


def test_what_a_killed_process_had_half_written_is_told(ran: Ran, tmp_path: Path) -> None:
    shutil.copytree(ran.live.journal.folder, tmp_path / "torn")
    last = max((tmp_path / "torn").glob("*.journal"))
    with last.open("ab") as file:
        file.write(b"\x10\x00\x00")
    answer = session_replay_tool.run(ReplayRequest(str(tmp_path / "torn")), ToolContext(Home(tmp_path)))
    assert answer.identical and "a write that was cut short" in answer.notes[-1]


STRATEGY = """
from keel.strategies.base import BaseStrategy
from keel.core.model.messages import Signal

class Flipper(BaseStrategy):
    defaults = {"every": 7}

    def on_start(self, params):
        self.seen = 0

    def generate_signal(self, snapshot, params):
        self.seen += 1
        if self.seen == FAIL_AT:
            raise ValueError("as it happens")
        if self.seen % params["every"]:
            return None
        return Signal(snapshot.symbol, "LONG" if self.seen % (2 * params["every"]) else "SHORT", metadata={"seen": self.seen})
"""


def own(home: Path, fail_at: int = 0, text: str = STRATEGY, **changes: Any) -> Ran:
    """A session of a strategy that the user wrote, and that keeps something in its attributes."""
    (home / "strategies").mkdir(exist_ok=True)
    (home / "strategies" / "flipper.py").write_text(text.replace("FAIL_AT", str(fail_at)))
    system, _ = builtin("hold", "warmup_bars=10", "timeframe=5m")
    system = msgspec.structs.replace(system, strategy="flipper", params={"every": 7})
    loaded = loaded_now(system, "", Home(home))
    with marked_store() as store, stored_sandbox(store, system, FROM, TO) as sandbox:
        return run_session(plan_of(loaded.config, loaded.strategy, store, sandbox.url, home / "journals", **changes), max_bars=60)


def test_code_that_has_changed_is_not_run_unless_it_is_wanted(tmp_path: Path) -> None:
    ran = own(tmp_path)
    folder, strategy = ran.live.journal.folder, tmp_path / "strategies" / "flipper.py"
    assert replayed(folder, tmp_path).difference is None
    marker = tmp_path / "ran"
    strategy.write_text(f"open({str(marker)!r}, 'w').close()\n" + strategy.read_text().replace('"LONG" if', '"FLAT" if'))
    with pytest.raises(DataError, match=r"the code of strategy flipper has changed since.*--with-current-code"):
        replayed(folder, tmp_path)
    assert not marker.exists()
    journal = find_session(str(folder), Home(tmp_path))
    code = load_code(journal, Home(tmp_path), with_current_code=True)
    assert "flipper has changed since" in code.changed
    found = replay_session(journal, code.loaded).difference
    assert found is not None and '"LONG"' in (found.recorded or "") and '"FLAT"' in (found.replayed or "")
    beside = compare_live(journal, code.loaded, Home(tmp_path))  # what the session earned does not hang on the code that is there now
    assert sum(beside.parts.values()) == beside.difference and beside.parts["extra"] and any(row.backtest is None for row in beside.rows)


def test_a_strategy_that_draws_is_found_by_a_replay_and_told_by_compare_live(tmp_path: Path) -> None:
    (tmp_path / "marker").write_text("7")
    drawn = f"int(__import__('pathlib').Path({str(tmp_path / 'marker')!r}).read_text())"
    ran = own(tmp_path, text=STRATEGY.replace('params["every"]', drawn))
    request, context = CompareLiveRequest(str(ran.live.journal.folder), page=False), ToolContext(Home(tmp_path))
    assert "may be chance" not in session_compare_tool.run(request, context).note
    (tmp_path / "marker").write_text("5")
    answer = session_compare_tool.run(request, context)
    assert f"keel replay {ran.live.journal.folder} shows the first that differs" in answer.note
    assert not session_replay_tool.run(ReplayRequest(request.run), context).identical


def test_a_strategy_that_failed_fails_again_at_the_same_record(tmp_path: Path) -> None:
    ran = own(tmp_path, fail_at=50)
    assert isinstance(ran.ending.failure, StrategyError)
    found = replayed(ran.live.journal.folder, tmp_path)
    assert found.difference is None and found.compared["Signal"] == 7
    assert any("broke at record" in note and "as it happens" in note for note in found.notes)
