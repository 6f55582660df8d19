"""What a sweep does not claim: no score without trades, no region that is worse than nothing or below luck, no luck line beyond a bound."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keel.core.errors import ConfigError
from keel.core.system.file import decode_system
from keel.runners.home import Home
from keel.runners.research.sweep.ask import SweepAsk, SweepRecord, WindowSpan, space_of
from keel.runners.research.sweep.page import region_lines
from keel.runners.research.sweep.run import Finished, Trial
from keel.runners.research.sweep.study import Row
from keel.runners.research.sweep.summary import Summary, summarize
from keel.runners.research.sweep.verdict import luck_of, why_no_region
from keel.runners.research.sweep.workers.kernel import choose_engine
from keel.runners.systems import effective_system, load_system
from keel.strategies.registry import builtin_systems, check_params, load_strategy

Keel = Callable[..., Any]
ACTORS = ("--engine", "actors", "--workers", "1")

THRESHOLD = """
class Threshold(VectorStrategy):
    defaults = {"above": 0.0, "denied": False}

    def signals(self, frame, params):
        if params["denied"]:
            return np.where(np.arange(len(frame)) % 2, 1, 0).astype(np.int8)
        return np.where(frame.close > params["above"], np.where(np.arange(len(frame)) % 12 < 6, 1, 0), 0).astype(np.int8)
"""


@pytest.fixture
def threshold(strategy: Callable[[str, str], str]) -> str:
    """Trades twice a day while the price is above a level (it lies between 40,000 and 50,000), else never."""
    return strategy("threshold", "import numpy as np\n" + THRESHOLD)


def words(value: float) -> str:
    return f"{value:g}"


OTHERS = [pytest.param(name, marks=pytest.mark.long) for name in ("total_return", "win_rate", "fees")]


@pytest.mark.parametrize("metric", ["max_drawdown_pct", *OTHERS])
def test_settings_that_never_traded_have_no_score_in_any_metric_and_are_no_region(metric: str, keel: Keel, threshold: str) -> None:
    asked = ("sweep", threshold, "--param", "above=0.0,1.0,2.0,900000.0,900001.0,900002.0,900003.0", "--windows", "week")
    answer = keel(*asked, "--metric", metric, *ACTORS, "--json")
    assert answer.code == 0, answer.err
    idle = [entry for entry in answer.data["entries"] if entry["setting"]["params.above"] > 1e5]
    assert [(entry["by_window"], entry["robust"], entry["in_region"]) for entry in idle] == [({"week": None}, None, False)] * 4
    assert {entry["no_score"] for entry in idle} == {"no trade: no signal"}
    assert answer.data["unscored"] == {"no trade: no signal": 4}
    assert answer.data["peak"]["setting"]["params.above"] < 10
    told = keel("sweep", "--resume", "last")
    assert "no score: no trade: no signal" in told.out and "Without a score: 4 settings\n  4  no trade: no signal" in told.out
    page = Path(answer.data["report"]).read_text()
    assert "Settings without a score" in page and "no trade: no signal" in page
    with Path(answer.data["results"]).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["no_trades"] for row in rows] == ["", "", "", *["no signal"] * 4]


def test_a_setting_whose_signals_were_all_denied_keeps_the_reason(keel: Keel, threshold: str) -> None:
    asked = ("sweep", threshold, "--param", "above=0.0,1.0", "--set", "params.denied=true", "--set", "sizing={model: fixed_usd, usd: 1}")
    answer = keel(*asked, "--windows", "week", *ACTORS, "--json")
    assert answer.code == 0, answer.err
    reasons = [entry["no_score"] for entry in answer.data["entries"]]
    assert all(" denied (below_min_qty)" in reason for reason in reasons), reasons
    assert (answer.data["region"], answer.data["peak"], answer.data["no_region"]) == (None, None, "no setting has a score")
    told = keel("sweep", "--resume", "last").out
    assert "No robust region: no setting has a score." in told and "denied (below_min_qty)" in told


@pytest.mark.long  # the kernel is compiled
def test_the_kernel_keeps_the_actors_reasons(keel: Keel, threshold: str) -> None:
    pytest.importorskip("numba")
    for options in (("--param", "above=0.0,900000.0"), ("--param", "above=0.0,1.0", "--set", "sizing={model: fixed_usd, usd: 1}")):
        asked = ("sweep", threshold, *options, "--set", "execution_timeframe=1h", "--windows", "week", "--metric", "net_profit")
        both = [keel(*asked, "--engine", engine, "--json") for engine in ("kernel", "actors")]
        assert [answer.data["engine"] for answer in both] == ["kernel", "actors"]
        first, second = ([entry["no_score"] for entry in answer.data["entries"]] for answer in both)
        assert first == second and any(first)


@pytest.mark.long  # four sweeps
def test_fewer_trades_than_wanted_give_no_score_on_the_command_line(keel: Keel, threshold: str) -> None:
    asked = ("sweep", threshold, "--param", "above=0.0,1.0,2.0", "--windows", "week", "--metric", "net_profit")
    scored = keel(*asked, *ACTORS, "--json")
    trades = int(scored.data["entries"][0]["beside"]["total_trades"])
    assert trades >= 10 and scored.data["min_trades"] == 10 and scored.data["unscored"] == {}
    more = keel(*asked, *ACTORS, "--min-trades", str(trades + 1), "--json")
    assert {entry["no_score"] for entry in more.data["entries"]} == {f"fewer than {trades + 1} trades ({trades})"}
    assert more.data["unscored"] == {f"fewer than {trades + 1} trades": 3} and more.data["peak"] is None
    exact = keel(*asked, *ACTORS, "--min-trades", str(trades), "--json")
    assert exact.data["unscored"] == {}
    assert keel(*asked, "--min-trades", "0").code == 2
    with pytest.raises(ConfigError, match="min_trades must be"):
        SweepAsk("ema_cross", min_trades="10")  # type: ignore[arg-type]


def trial_of(*trades: int | None) -> Trial:
    """A setting over so many symbols; None: one that failed."""
    rows = [
        Row(f"{place}", 0, {}, "X", "w", "failed" if count is None else "done", "actors", 0.0, "", {"sharpe": 2.0, "total_trades": count},
            "no signal" if count == 0 else "")
        for place, count in enumerate(trades)
    ]  # fmt: skip
    return Trial(0, {}, rows)


@pytest.mark.parametrize(
    ("trades", "least", "score", "why"),
    [
        ((10,), 10, 2.0, ""),
        ((9,), 10, None, "fewer than 10 trades (9)"),
        ((1,), 1, 2.0, ""),
        ((0,), 1, None, "no trade: no signal"),
        ((0,), 0, None, "no trade: no signal"),
        ((50, 9), 10, None, "fewer than 10 trades (9)"),
        ((50, 10), 10, 2.0, ""),
    ],
)
def test_a_score_needs_trades(trades: tuple[int, ...], least: int, score: float | None, why: str) -> None:
    """In every symbol; what never traded has none however few are wanted."""
    made = trial_of(*trades)
    assert (made.score("sharpe", len(trades), 1.0, least), made.why_no_score(len(trades), least)) == (score, why)
    assert made.score("sharpe", len(trades), -1.0, least) == (None if score is None else -score)


@pytest.mark.parametrize(
    ("metric", "robust", "returns", "luck", "better", "told"),
    [
        ("sharpe", -0.5, [0.1], None, "above", "no better than doing nothing (0)"),
        ("sharpe", 0.0, [0.1], None, "above", "no better than doing nothing (0)"),
        ("sharpe", 1.0, [0.1], 1.5, "above", "not above 1.5, which the best of so many tries"),
        ("sharpe", 1.6, [0.1], 1.5, "above", ""),
        ("profit_factor", 0.9, [0.1], None, "above", "no better than doing nothing (1)"),
        ("profit_factor", 1.1, [-0.1], None, "above", ""),
        ("max_drawdown_pct", -1.0, [-0.2, -0.1, 0.1], None, "above", "loses money: a median return of -10.0 %"),
        ("max_drawdown_pct", -1.0, [0.2, 0.1, -0.1], None, "above", ""),
        ("fees", 5.0, [-0.2], None, "below", "loses money"),
        ("win_rate", 60.0, [0.2], None, "above", ""),
    ],
)
def test_what_is_no_robust_region(metric: str, robust: float, returns: list[float], luck: float | None, better: str, told: str) -> None:
    found = why_no_region(metric, robust, returns, luck, words, better)
    assert found == told if not told else told in found


@pytest.mark.parametrize("metric", ["win_rate", "max_drawdown_pct", "exposure_pct", "profit_factor", "total_trades", "fees", "loss_rate"])
def test_a_bounded_metric_has_no_luck_line_and_says_so(metric: str) -> None:
    scores = [float(value) for value in np.random.default_rng(1).uniform(80, 100, 200)]
    line, why = luck_of(metric, scores, 1.0)
    assert line is None and why.startswith(f"there is no luck line for {metric}")


def test_an_unbounded_metric_has_one_and_few_scores_do_not() -> None:
    scores = [float(value) for value in np.random.default_rng(1).standard_normal(500)]
    line, why = luck_of("sharpe", scores, 1.0)
    assert line is not None and why == "" and 2.5 < line < 3.6  # the best of 500 normal draws is about 3.04
    few = "there is no luck line: 1 settings have a score, and they must be at least 10 that differ"
    assert luck_of("sharpe", [1.0, *[None] * 50], 1.0) == (None, few)


def test_a_sweep_that_loses_everywhere_has_no_robust_region(keel: Keel, threshold: str) -> None:
    """Costs of a whole percent a side: every setting loses."""
    asked = ("sweep", threshold, "--param", "above=0.0:9.0:1.0", "--windows", "week", "--set", "execution.slippage_bps=100")
    answer = keel(*asked, "--metric", "total_return", *ACTORS, "--json")
    assert answer.code == 0, answer.err
    assert answer.data["region"] is None and not any(entry["in_region"] for entry in answer.data["entries"])
    assert answer.data["no_region"].endswith("no better than doing nothing (0.00)") and answer.data["best_neighbourhood"] is not None
    told = keel("sweep", "--resume", "last").out
    assert "No robust region: the best neighbourhood has total_return" in told and "* is the robust region" not in told
    assert "No robust region: the best neighbourhood" in Path(answer.data["report"]).read_text()


def test_parameters_that_contradict_themselves_are_refused_and_counted_by_reason(keel: Keel, small: str) -> None:
    asked = ("sweep", small, "--param", "fast=10,20,30", "--param", "slow=10,20,60", "--windows", "first", "--metric", "net_profit")
    answer = keel(*asked, *ACTORS, "--json")
    assert answer.code == 0, answer.err
    assert (answer.data["done"], answer.data["invalid"]) == (4, 5)
    assert answer.data["refused"] == {"params: EmaCross: fast (N) must be below slow (N): the fast average has the shorter period": 5}
    assert any("fast (30) must be below slow (10)" in entry["reason"] for entry in answer.data["entries"])
    assert "Refused: 5 settings" in keel("sweep", "--resume", "last").out


CONTRADICTIONS = {
    "ema_cross": {"fast": 50, "slow": 20},
    "rsi_reversion": {"oversold": 70.0, "overbought": 30.0},
    "momentum": {"threshold": -1.0},
    "atr_breakout": {"stop_atr": 0.0},
    "inverse_vol_hold": {"budget_percent": 0.0},
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_built_in_strategies_refuse_parameters_that_contradict_themselves(name: str) -> None:
    with pytest.raises(ConfigError, match=next(iter(CONTRADICTIONS[name]))):
        check_params(load_strategy(name), CONTRADICTIONS[name])


def test_every_built_in_strategy_with_parameters_is_among_them() -> None:
    built_in = {decode_system(text, filename).strategy for text, filename in builtin_systems().values()}
    assert {name for name in built_in if load_strategy(name).defaults} == set(CONTRADICTIONS)


def test_start_end_and_set_hold_for_all_points(keel: Keel, small: str) -> None:
    span = ("--start", "2024-01-08", "--end", "2024-01-15")
    asked = ("sweep", small, "--param", "fast=3,5", "--set", "params.slow=30", "--set", "risk.leverage=2", "--metric", "net_profit")
    answer = keel(*asked, *span, *ACTORS, "--json")
    assert answer.code == 0, answer.err
    window = answer.data["windows"]["window"]
    assert (window["end_ms"] - window["start_ms"]) / 86_400_000 == 7
    with Path(answer.data["results"]).open() as file:
        first = next(csv.DictReader(file))
    sets = [part for text in ("params.fast=3", "params.slow=30", "risk.leverage=2") for part in ("--set", text)]
    run = keel("backtest", small, *span, *sets, "--no-report", "--json")
    assert (run.data["system_uid"], str(run.data["metrics"]["net_profit"])) == (first["id"], first["net_profit"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--start", "2024-01-08"], "--start and --end"),
        (["--start", "2024-01-08", "--end", "2024-01-15", "--windows", "first"], "not both"),
        (["--set", "fst=1"], "fst"),
        (["--set", "params.fast=9"], "params.fast=9: this key is searched, too"),
    ],
)
def test_what_start_end_and_set_do_not_take(options: list[str], words: str, keel: Keel, small: str, home: Path) -> None:
    answer = keel("sweep", small, "--param", "fast=3,5", *options)
    assert answer.code == 2 and words in answer.err and not (home / "sweeps").exists(), answer.err


def test_without_numba_the_factor_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keel.runners.research.sweep.workers.kernel.is_installed", lambda: False)
    engine, why = choose_engine("auto", "sharpe", load_system("ema_cross", Home(Path())))
    assert engine == "actors" and "numba is not installed" in why and "times slower" in why
    assert math.isfinite(float(why.partition("about ")[2].split()[0])) and float(why.partition("about ")[2].split()[0]) > 1


def summary_of(scores: np.ndarray, metric: str = "sharpe", total_return: float = 0.1, trades: int = 50) -> Summary:
    """A sweep over a square of fast and slow with these scores, whoever ran it."""
    loaded = load_system("ema_cross", Home(Path()))
    size = len(scores)
    ask = SweepAsk("ema_cross", (f"fast=1:{size}:1", f"slow=101:{100 + size}:1"), metric=metric)
    span = WindowSpan("w", 0, 86_400_000)
    record = SweepRecord("sweep-x", ask, effective_system(loaded), loaded.filename, "", (span,), (), 0, {}, {})
    trials = []
    for number, setting in enumerate(space_of(ask, loaded).grid()):
        value = float(scores[setting["params.fast"] - 1, setting["params.slow"] - 101])
        metrics = {metric: value, "total_return": total_return, "total_trades": trades}
        trials.append(Trial(number, setting, [Row(f"{number}", number, setting, "X", "w", "done", "actors", 0.0, "", metrics)]))
    return summarize(Finished(record, Path(), trials, "actors", "", 0, 1.0), loaded)


def hill(height: float, size: int = 10) -> np.ndarray:
    """Nothing but a three by three plateau."""
    scores = np.random.default_rng(3).normal(0.0, 0.05, (size, size))
    scores[4:7, 4:7] = height
    return scores


def test_a_plateau_above_the_luck_line_is_a_region() -> None:
    found = summary_of(hill(3.0))
    assert found.region is not None and found.region.centre == {"params.fast": 6, "params.slow": 106}
    assert found.luck is not None and found.luck < 3.0
    assert (found.no_region, found.best_neighbourhood, found.no_luck) == ("", None, "")
    assert region_lines(found)[0].endswith("Its centre: fast 6, slow 106.")
    inside = {(entry.setting["params.fast"], entry.setting["params.slow"]) for entry in found.entries if entry.in_region}
    assert {(6, 106), (5, 106), (7, 106), (6, 105), (6, 107)} <= inside  # most of whose neighbours lie on the plateau


def test_noise_has_no_region_and_what_came_nearest_is_told() -> None:
    found = summary_of(np.random.default_rng(5).normal(1.0, 1.0, (12, 12)))
    assert found.region is None and found.best_neighbourhood is not None
    assert "by luck alone" in found.no_region and not any(entry.in_region for entry in found.entries)
    first, second = region_lines(found)
    assert first.startswith("No robust region: the best neighbourhood has sharpe ") and second.startswith(
        "The best neighbourhood is that of "
    )


def test_a_plateau_of_losses_or_of_settings_that_hardly_traded_is_none() -> None:
    assert "no better than doing nothing" in summary_of(hill(3.0) - 4.0).no_region
    shallow = summary_of(hill(50.0) - 60.0, "max_drawdown_pct", total_return=-0.2)
    assert shallow.region is None and "loses money" in shallow.no_region and "no luck line" in shallow.no_luck
    assert summary_of(hill(50.0) - 60.0, "max_drawdown_pct").region is not None
    idle = summary_of(hill(3.0), trades=3)
    assert (idle.region, idle.no_region, idle.unscored) == (None, "no setting has a score", {"fewer than 10 trades": 100})
