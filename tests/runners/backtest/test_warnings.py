"""What a run must say before its figures: liquidations, limits, holes, guesses; and nothing where nothing was."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest

from keel.core.model.messages import Direction, Halt, Resume, Signal
from keel.core.model.money import UNIT
from keel.core.model.time_range import TimeRange
from keel.core.results.funnel import Counted, Funnel
from keel.core.results.reasons import CONTROLS, DENIALS, VENUE, meaning_of
from keel.core.results.result import BacktestResult, StopReason
from keel.core.risk.controls.table import TABLE
from keel.core.risk.decision import RENAMED, ControlReason, Reason
from keel.core.risk.gate.causes import CAUSES
from keel.core.system.config import ExecutionConfig, ExitsConfig, RiskConfig, SizingConfig
from keel.runners.backtest.warnings import run_warnings
from keel.strategies.base import BaseStrategy
from tests.builders import HOUR, START, plain_system, run, store_of
from tests.runners.backtest.test_outcome import Script

Keel = Callable[..., Any]
Make = Callable[..., BacktestResult]
FLAT = (100.0, 100.0, 100.0, 100.0)
FALL = (100.0, 100.0, 80.0, 80.0)
LOW = (80.0, 80.0, 80.0, 80.0)


def warned(bars: list[tuple[float, float, float, float]], script: dict[int, Any], **settings: Any) -> BacktestResult:
    with store_of(bars) as store:
        return run(store, plain_system(**settings), START, START + len(bars) * HOUR, Script(script))


def test_a_run_in_which_nothing_went_wrong_warns_of_nothing() -> None:
    assert warned([FLAT] * 12, {2: "LONG", 6: "FLAT"}).warnings == []


def test_a_liquidation_is_counted_with_its_time_and_its_whole_margin() -> None:
    """1 x 100 at a leverage of 10 without fees: 10 of margin, all of it lost at the bankruptcy price of 90."""
    result = warned([*[FLAT] * 3, FALL, *[LOW] * 8], {2: "LONG"}, risk=RiskConfig(policy="none", leverage=10))
    (warning,) = result.warnings
    assert warning.startswith("liquidated: 1 position (BTCUSDT) was taken over by the exchange at 2024-01-01 03:")
    assert warning.endswith("10.00 USDT of margin was lost")
    assert result.reconciliation.margin_lost == 10 * UNIT and result.reconciliation.difference == 0


@pytest.mark.parametrize(("on_limit", "done"), [("flatten", "closed (flatten)"), ("hold", "kept (hold)")])
def test_a_limit_that_broke_says_which_when_and_what_it_cost(on_limit: Any, done: str) -> None:
    """Half a coin of 100 on an equity of 100: the fall to 80 takes 10 %, told at the close of the fourth bar."""
    (warning,) = warned(
        [*[FLAT] * 3, FALL, *[LOW] * 8],
        {2: "LONG", 6: "SHORT", 9: "SHORT"},
        initial_equity=100.0,
        sizing=SizingConfig(model="fixed_qty", qty=0.5),
        risk=RiskConfig(max_drawdown_percent=5, on_limit=on_limit),
    ).warnings
    assert warning == (
        f"limit broke: the limit max_drawdown_percent (5 %) at 2024-01-01 04:00 UTC: positions were {done};"
        " 2 signals were denied after it until 2024-01-01 12:00 UTC, the end of the run"
    )


def test_a_limit_that_broke_on_several_days_is_one_sentence(small_result: Make) -> None:
    begin = small_result().window.start_ms
    result = small_result(window=TimeRange(begin, begin + 240 * HOUR))
    halts: list[Halt | Resume] = []
    for day in (1, 3):
        halts += [Halt(begin + (24 * day + 5) * HOUR, "daily_loss_percent", flatten=True)]
        halts += [Resume(begin + 24 * (day + 1) * HOUR, "daily_loss_percent")]
    (warning,) = run_warnings(result, halts, {("signal_denied", "daily_loss_percent"): 1, ("expired", "other"): 9}, quote="USDT")
    assert warning == (
        "limit broke: the limit daily_loss_percent 2 times, first at 2025-01-02 05:00 UTC: positions were closed (flatten);"
        " 1 signal was denied after it, the last time until 2025-01-05 00:00 UTC"
    )


def test_missing_bars_are_told_as_a_share_with_the_longest_hole_and_an_early_end() -> None:
    """Of 24 bars, the 3rd, the 9th to 13th and the last two are not there: 8, a third of them."""
    rows = [row for row in range(24) if row not in (3, 9, 10, 11, 12, 13, 22, 23)]
    prices = {name: np.full(len(rows), 100.0) for name in ("open", "high", "low", "close")}
    columns = {"ts": START + HOUR * np.array(rows), **prices, "volume": np.full(len(rows), 1.0)}
    with store_of(columns) as store:
        system = plain_system(execution=ExecutionConfig(gaps="skip", funding="none"))
        result = run(store, system, START, START + 24 * HOUR, Script({1: "LONG"}))
    assert result.warnings == [
        "bars missing: BTCUSDT 1h lacks 8 of 24 bars of the window (33.3 %);"
        " the longest hole is from 2024-01-01 09:00 UTC to 2024-01-01 14:00 UTC",
        "data end early: BTCUSDT 1h ends at 2024-01-01 22:00 UTC, the window at 2024-01-02 00:00 UTC",
    ]


def test_guesses_and_odd_prices_are_told(small_result: Make) -> None:
    facts = {"BTCUSDT": {"bars": 1440, "off_grid_prices": 12}, "ETHUSDT": {"bars": 1440, "off_grid_prices": 0}}
    ambiguous, off_grid = run_warnings(small_result(trust={"ambiguous_bars": 1, "symbols": facts}), [], {}, quote="USDT")
    assert ambiguous.startswith("ambiguous bars: in 1 bar the outcome hung") and "2 closed trades" in ambiguous
    assert off_grid.startswith("prices off the grid: 12 of 1,440 closes of BTCUSDT")
    assert run_warnings(small_result(trust={"ambiguous_bars": 0}), [], {}, quote="USDT") == []


def test_orders_that_arrive_on_the_way_are_told_apart(small_result: Make) -> None:
    plain = small_result(trust={"ambiguous_bars": 1})
    late = small_result(
        trust={"ambiguous_bars": 1}, system=msgspec.structs.replace(plain.system, execution=ExecutionConfig(latency_ms=250))
    )
    ((told,), (told_late,)) = (run_warnings(result, [], {}, quote="USDT") for result in (plain, late))
    assert "latency_ms" not in told and "with latency_ms nearly every bar with an order counts, if only by a tick" in told_late


def test_a_stop_comes_first(small_result: Make) -> None:
    stop = StopReason("account_blown", small_result().window.start_ms + HOUR, "equity 1.20 USDT")
    (warning,) = run_warnings(small_result(stop_reason=stop), [], {}, quote="USDT")
    assert warning == "stopped early: account blown at 2025-01-01 01:00 UTC, the window goes on to 2025-01-02 00:00 UTC; equity 1.20 USDT"


def test_warnings_stand_everywhere_where_a_run_is_read(keel: Keel) -> None:
    """A limit so narrow that it breaks: on the terminal, in JSON, in both files, in runs show and list, at the top of the report."""
    command = ("backtest", "ema_cross", "--start", "2024-01-15", "--end", "2024-01-29", "--set", "warmup_bars=250")
    narrow = ("--set", "risk.max_drawdown_percent=0.1", "--set", "sizing.percent=100")
    told = keel(*command, *narrow, "--no-report").out
    data = keel(*command, *narrow, "--json").data
    (warning,) = data["warnings"]
    assert warning.startswith("limit broke: the limit max_drawdown_percent (0.1 %) at 2024-01-") and f"WARNING {warning}" in told
    folder = Path(data["artifacts"])
    for name in ("results.json", "summary.json"):
        assert json.loads((folder / name).read_text())["warnings"] == [warning]
    assert f"WARNING {warning}" in keel("runs", "show", "last").out
    assert keel("runs", "show", "last", "--json").data["run"]["warnings"] == [warning]
    assert "completed (1 warning)" in keel("runs", "list").out
    header = (folder / "report.html").read_text().split("</header>")[0]
    assert "LIMIT BROKE" in header and "max_drawdown_percent (0.1 %)" in header


# --- what refused, and why nothing traded ---


ALWAYS: dict[int, Direction] = dict.fromkeys(range(1, 12), "LONG")


class Stopped(Script):
    """Long at the hours of its script, with a stop-loss above the price."""

    def generate_signal(self, snapshot: Any, params: Any) -> Signal | None:
        signal = super().generate_signal(snapshot, params)
        return signal and Signal(signal.symbol, signal.direction, stop_loss=120.0)


def told(strategy: BaseStrategy, bars: list[tuple[float, float, float, float]], **settings: Any) -> list[str]:
    with store_of(bars) as store:
        return run(store, plain_system(**settings), START, START + len(bars) * HOUR, strategy).warnings


def test_nothing_traded_says_why_with_an_example_and_what_to_look_at() -> None:
    assert told(Stopped(ALWAYS), [FLAT] * 12) == [
        "nothing traded: all 11 signals were denied (invalid_stop_loss); the stop-loss lay on the wrong side of the entry price;"
        " the first for BTCUSDT at 2024-01-01 01:00 UTC: stop-loss 120, entry 100;"
        " a LONG needs its stop_loss below the price, a SHORT above it"
    ]
    assert told(Script({}), [FLAT] * 12) == [
        "nothing traded: no signal in 12 bars;"
        " look at the strategy's conditions and parameters, and whether its features have values in this window"
    ]


def test_an_order_that_waits_to_the_end_is_told_where_it_waits() -> None:
    class Low(Script):
        def generate_signal(self, snapshot: Any, params: Any) -> Signal | None:
            signal = super().generate_signal(snapshot, params)
            return signal and Signal(signal.symbol, signal.direction, order_type="limit", limit_price=50.0)

    assert told(Low({2: "LONG"}), [FLAT] * 6) == [
        "nothing traded: the only order was not filled by the end;"
        " the price did not come to them: put limit_price nearer to it, or use order_type market"
    ]


def test_orders_that_were_all_rejected_are_one_warning() -> None:
    """Twice the balance at a leverage of 1: the case of the 105 refused orders."""
    (warning,) = told(Script(ALWAYS), [FLAT] * 12, initial_equity=50.0)
    assert warning.startswith("nothing traded: all 11 orders were rejected (110007 ab not enough for new order); the free balance does")
    assert "the first for BTCUSDT at 2024-01-01 01:00 UTC; lower sizing" in warning


def test_a_fifth_may_be_refused_and_more_is_told_once() -> None:
    """Of five signals that want something one is denied: a fifth. FLAT while flat wants nothing."""
    fifth: dict[int, Direction] = {1: "LONG", 3: "FLAT", 4: "LONG", 6: "LONG", 8: "FLAT", 9: "FLAT"}
    cooled = RiskConfig(policy="rules", cooldown_bars=2)
    assert told(Script(fifth), [FLAT] * 14, risk=cooled) == []
    (warning,) = told(Script({**fifth, 9: "LONG"}), [FLAT] * 14, risk=cooled)
    assert warning == (
        "denied: 2 of 6 signals (33.3 %), all cooldown_bars; the symbol had been left too few bars before;"
        " the first for BTCUSDT at 2024-01-01 04:00 UTC: 1 bars after the exit, 2 are wanted; look at risk.cooldown_bars"
    )


def test_a_reason_that_a_limit_tells_is_not_told_twice() -> None:
    """The drawdown limit denies 2 of 3 signals, and says so itself."""
    warnings = told(
        Script({2: "LONG", 6: "SHORT", 9: "SHORT"}), [*[FLAT] * 3, FALL, *[LOW] * 8], initial_equity=100.0,
        sizing=SizingConfig(model="fixed_qty", qty=0.5), risk=RiskConfig(max_drawdown_percent=5),
    )  # fmt: skip
    assert [warning.split(":")[0] for warning in warnings] == ["limit broke"]


def test_a_guessed_instrument_is_named_where_an_order_is_too_small(small_result: Make) -> None:
    denied = (Counted("below_min_qty", 3, START, "BTCUSDT", 0.0, 1.0),)
    facts = {"BTCUSDT": {"instrument": "inferred"}}
    funnel = Funnel(signals=4, ordered=1, denied=denied, orders=1, fills=1, filled=1)
    (warning,) = run_warnings(small_result(funnel=funnel, trust={"symbols": facts}), [], {}, quote="USDT")
    assert "inferred from the history's own numbers" in warning and "keel data import-instruments FILE" in warning


def test_every_reason_has_a_meaning_and_something_to_look_at() -> None:
    assert set(DENIALS) == set(get_args(Reason)) and set(CONTROLS) == set(get_args(ControlReason))
    assert all(meaning.words and meaning.advice for meaning in (*DENIALS.values(), *CONTROLS.values(), *VENUE.values()))


def test_every_code_of_a_control_is_a_reason_with_one_name() -> None:
    codes = {code for row in TABLE for code in row.codes}
    assert codes | {"dry_run", "replaced_rests"} == set(CONTROLS) | (codes & set(DENIALS))
    assert not set(RENAMED) & {*DENIALS, *CONTROLS, *CAUSES} and set(RENAMED.values()) <= {*DENIALS, *CONTROLS}


@pytest.mark.parametrize("text", ["denied: price_collar", "denied: price_collar_percent", "price_collar_percent"])
def test_a_control_s_no_means_what_risk_s_means_and_a_name_of_before_is_known(text: str) -> None:
    assert meaning_of(text) == DENIALS["price_collar_percent"]


def test_keys_that_advice_names_are_keys_of_a_system_file() -> None:
    sections = {"risk": RiskConfig, "sizing": SizingConfig, "exits": ExitsConfig, "execution": ExecutionConfig}
    for meaning in (*DENIALS.values(), *VENUE.values()):
        for section, key in re.findall(r"\b(risk|sizing|exits|execution)\.([a-z_]+)", meaning.advice):
            assert key in sections[section].__struct_fields__, f"{section}.{key}"


def test_runs_show_says_what_became_of_signals_and_names_a_file_that_is_damaged(keel: Keel) -> None:
    """Also of a run that was kept before anything was counted: nothing is shown then."""
    keel("backtest", "ema_cross", "--start", "2024-01-15", "--end", "2024-01-20", "--set", "warmup_bars=250", "--no-report")
    shown = keel("runs", "show", "last")
    assert "From signals to trades\n  signals " in shown.out and "buy and hold" in shown.out
    answer = keel("runs", "show", "last", "--json").data
    assert answer["funnel"]["signals"] > 0 and answer["benchmark"]["symbol"] == "BTCUSDT"
    path = Path(answer["run"]["artifacts"]) / "results.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "funnel": {"signals": "many"}}))
    damaged = keel("runs", "show", "last")
    assert damaged.code == 3 and str(path) in damaged.err and "run the system anew" in damaged.err
    path.write_text(json.dumps({name: value for name, value in kept.items() if name not in ("funnel", "benchmark")}))
    assert keel("runs", "show", "last").code == 0 and "From signals" not in keel("runs", "show", "last").out
