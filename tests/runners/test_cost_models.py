"""Cost models of a user's own, through the command line: worked out by hand, equal to the built-in ones, refused with one clear error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.runners.home import Home

Keel = Callable[..., Any]
HOUR = 3_600_000
START = 1_704_067_200_000  # 2024-01-01
WARMUP = 24
WINDOW = ("--start", "2024-01-01", "--end", "2024-01-03", "--no-report")
UNIT = Decimal("1e-8")

STEPS = """
import numpy as np
from keel import VectorStrategy


class Steps(VectorStrategy):
    defaults = {"short_second": False}

    def signals(self, frame, params):
        hours = (frame.ts - 1_704_067_200_000) // 3_600_000
        wanted = np.zeros(len(frame), dtype=np.int8)
        wanted[(hours >= 2) & (hours < 10)] = 1
        wanted[(hours >= 12) & (hours < 20)] = -1 if params["short_second"] else 1
        return wanted
"""

COSTS = '''
class Tiered:
    """The rate falls with what was traded in 30 days."""

    def __init__(self, limit: float, high: float = 0.00123457, low: float = 0.00054321) -> None:
        self.limit, self.high, self.low = limit, high, low

    def fee_rate(self, fill):
        return self.high if fill.traded_30d < self.limit else self.low


class Thin:
    """Two basis points, and one more for each percent of the bar's volume."""

    def slippage_bps(self, fill):
        return 2.0 + 100.0 * fill.qty / fill.volume


class LongsPay:
    """Longs pay 3 bp more than the series says, shorts receive nothing."""

    def funding_rate(self, position):
        return position.built_in + 0.00030001 if position.qty > 0 else 0.0


class Same:
    """What the built-in models do, written again."""

    def fee_rate(self, fill):
        return 0.0002 if fill.is_maker else 0.00055

    def slippage_bps(self, fill):
        return 1.5

    def impact_bps(self, fill):
        share = fill.qty / fill.volume if fill.volume > 0 else 1.0
        return 1.0 + 0.5 * fill.volatility_bps * share**0.5

    def funding_rate(self, position):
        return position.built_in


class Ahead:
    def reserved_slippage_bps(self, symbol, built_in):
        return 200.0

    def reserved_fee_rate(self, symbol, built_in):
        return 0.01

    def slippage_bps(self, fill):
        return fill.built_in

    def fee_rate(self, fill):
        return fill.built_in
'''

SYSTEM = """
system: mine
strategy: steps
symbols: [BTCUSDT]
timeframe: 1h
warmup_bars: 10
sizing: {{model: fixed_qty, qty: 2}}
benchmark: none
execution:
  slippage_bps: 0
  funding: {funding}
  costs:
{costs}
"""


@pytest.fixture
def hand(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with three days of bars that a person can follow: 100.00, and 110.00 from 08:00 of the first day on."""
    Home(home).store.unlink()
    bars = WARMUP + 48
    close = np.array([100.01, 99.99] * (WARMUP // 2) + [100.0] * 8 + [110.0] * 40)
    opened = np.concatenate([[100.0], close[:-1]])
    volume = np.full(bars, 100.0)
    volume[:WARMUP] = 100.001
    columns = {
        "ts": np.arange(bars, dtype=np.int64) * HOUR + START - WARMUP * HOUR,
        "open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close, "volume": volume,
    }  # fmt: skip
    with HistoricalDataStore(Home(home).store) as store:
        store.upsert_bars("BTCUSDT", "1h", columns, source="by hand")
    for folder in ("strategies", "systems"):
        (home / folder).mkdir()
    (home / "strategies" / "steps.py").write_text(STEPS)
    (home / "costs.py").write_text(COSTS)
    monkeypatch.chdir(home)
    yield home


def system(home: Path, *lines: str, funding: str = "none") -> Path:
    path = home / "systems" / "mine.yaml"
    path.write_text(SYSTEM.format(costs="\n".join(f"    {line}" for line in lines) or "    {}", funding=funding))
    return path


def run(keel: Keel, *more: str) -> tuple[Any, list[dict[str, str]]]:
    """The answer of a backtest, and its trades as text."""
    answer = keel("backtest", "mine", *WINDOW, "--json", *more)
    assert answer.code == 0, answer
    head, *rows = (Path(answer.data["artifacts"]) / "trades.csv").read_text().splitlines()
    return answer.data, [dict(zip(head.split(","), row.split(","), strict=True)) for row in rows]


def up(value: Decimal) -> Decimal:
    return value.quantize(UNIT, ROUND_CEILING)


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_a_tiered_fee_to_the_last_unit(hand: Path, keel: Keel) -> None:
    """Bought and sold: 200 and 220 at the high tier (0, then 200 were traded), then 220 twice at the low one (420, then 640)."""
    system(hand, "fees: {model: 'costs.py:Tiered', params: {limit: 300}}")
    data, trades = run(keel)
    high, low = Decimal("0.00123457"), Decimal("0.00054321")
    first = up(200 * high) + up(220 * high)
    second = 2 * up(220 * low)
    assert [Decimal(trade["fees"]) for trade in trades] == [first, second] == [Decimal("0.5185194"), Decimal("0.2390124")]
    assert Decimal(data["reconciliation"]["final_balance"]) == 10_020 - first - second
    assert data["trust"]["cost_models"] == ["fees: costs.py:Tiered"]


def test_a_slippage_of_the_bars_volume_to_the_tick(hand: Path, keel: Keel) -> None:
    """2 + 100 x 2 / 100 = 4 bps: 100 is bought at 100.04, 110 sold at 109.956, which is 109.95 on the tick, and bought at 110.05."""
    system(hand, "slippage: {model: 'costs.py:Thin'}")
    _, trades = run(keel)
    assert [(trade["entry_price"], trade["exit_price"]) for trade in trades] == [("100.04", "109.95"), ("110.05", "109.95")]
    assert [Decimal(trade["slippage"]) for trade in trades] == [Decimal("0.18"), Decimal("0.2")]


def test_slippage_comes_on_top_of_half_the_spread(hand: Path, keel: Keel) -> None:
    """4 bps and 1 bp."""
    system(hand, "slippage: {model: 'costs.py:Thin'}")
    _, trades = run(keel, "--set", "execution.half_spread_bps=1")
    assert trades[0]["entry_price"] == "100.05"


def test_a_funding_model_to_the_last_unit(hand: Path, keel: Keel) -> None:
    """A long of 2 at 08:00, where the mark is 100, pays 200 x 0.00040001; a short at 16:00 receives nothing."""
    system(hand, "funding: {model: 'costs.py:LongsPay'}", funding="{constant: 0.0001}")
    _, trades = run(keel, "--set", "params.short_second=true")
    assert [Decimal(trade["funding"]) for trade in trades] == [up(200 * Decimal("0.00040001")), 0]
    assert Decimal(trades[0]["funding"]) == Decimal("0.080002")


@pytest.mark.parametrize(
    ("costs", "qty"),
    [
        ((), "99.3"),  # 10,000 x 0.995 / (1 + 2 x 0.00055) = 9,939.07 at 100
        (("fees: {model: 'costs.py:Ahead'}",), "97.5"),  # 10,000 x 0.995 / (1 + 2 x 0.01) = 9,754.90
        (("slippage: {model: 'costs.py:Ahead'}",), "97.9"),  # 10,000 / (1.02 x (1 + 0.00055)) = 9,798.53
    ],
)
def test_sizes_leave_room_for_what_a_model_sets_aside(hand: Path, keel: Keel, costs: tuple[str, ...], qty: str) -> None:
    """All of the equity, unlevered, though nothing but the usual fee is paid in the end."""
    system(hand, *costs)
    _, trades = run(keel, "--set", "sizing={model: fixed_usd, usd: 20000}")
    assert (trades[0]["qty"], trades[0]["entry_price"], trades[0]["slippage"]) == (qty, "100.0", "0")
    assert Decimal(trades[0]["entry_fees"]) == Decimal(qty) * 100 * Decimal("0.00055")


# --- the same as built in --------------------------------------------------------------------------------------------

SAME = {
    "a class of one's own": "costs.py:Same",
    "the built-in classes by name": "",
}


@pytest.mark.parametrize("which", SAME)
@pytest.mark.parametrize("path", ["ohlc", "pessimistic"])
def test_what_the_built_in_models_do_gives_the_same_bytes(home: Path, keel: Keel, monkeypatch: Any, which: str, path: str) -> None:
    """Over the synthetic sample, with exits, so that bars are walked both ways."""
    monkeypatch.chdir(home)
    (home / "costs.py").write_text(COSTS)
    usual = [
        "slippage_bps: 1.5", "half_spread_bps: 0.5", "impact: {base_bps: 1.0, coefficient: 0.5}", "taker_fee: 0.00055", "maker_fee: 0.0002",
    ]  # fmt: skip
    own = SAME[which]
    models = {
        "fees": "{model: flat, params: {taker: 0.00055, maker: 0.0002}}", "slippage": "{model: flat, params: {bps: 1.5}}",
        "impact": "{model: square_root, params: {base_bps: 1.0, coefficient: 0.5}}", "funding": "{model: flat}",
    }  # fmt: skip
    costs = ", ".join(f"{kind}: {f'{{model: {json.dumps(own)}}}' if own else named}" for kind, named in models.items())
    found = []
    for keys in (", ".join(usual), f"half_spread_bps: 0.5, costs: {{{costs}}}"):
        answer = keel(
            "backtest", "ema_cross", "--start", "2024-01-15", "--end", "2024-01-28", "--no-report", "--json",
            "--set", "warmup_bars=200", "--set", "exits={stop_loss: {percent: 0.4}, take_profit: {percent: 0.4}}",
            "--set", f"execution={{{keys}, path: {path}}}",
        )  # fmt: skip
        assert answer.code == 0, answer
        folder = Path(answer.data["artifacts"])
        found.append((folder / "trades.csv").read_bytes() + (folder / "equity.csv").read_bytes())
        assert answer.data["metrics"]["total_trades"] >= 10
    assert found[0] == found[1]


# --- what a run is made of -------------------------------------------------------------------------------------------


def test_another_code_of_a_model_is_another_system(hand: Path, keel: Keel) -> None:
    system(hand, "fees: {model: 'costs.py:Tiered', params: {limit: 300}}")
    first, _ = run(keel)
    again, _ = run(keel)
    (hand / "costs.py").write_text(COSTS + "\n# an edit\n")
    edited, _ = run(keel)
    other, _ = run(keel, "--set", "execution.costs.fees.params.limit=301")
    uids = [each["system_uid"] for each in (first, again, edited, other)]
    assert uids[0] == uids[1] and len({*uids}) == 3
    config = json.loads((Path(first["artifacts"]) / "config.json").read_text())["config"]
    assert config["system"]["execution"]["costs"] == {"fees": {"model": "costs.py:Tiered", "params": {"limit": 300}}}
    assert [*config["function_fingerprints"]] == [*config["cost_model_fingerprints"]] == ["costs.py:Tiered"]


def test_a_run_whose_model_has_changed_is_not_run_again(hand: Path, keel: Keel) -> None:
    system(hand, "fees: {model: 'costs.py:Tiered', params: {limit: 300}}")
    run(keel)
    (hand / "costs.py").write_text("raise SystemExit('this must not run')")
    answer = keel("runs", "report", "last")
    assert answer.code == 3 and "the code of the cost model costs.py:Tiered has changed since" in answer.err


def test_a_system_without_models_records_what_it_did_before_there_were_such(hand: Path, keel: Keel) -> None:
    system(hand)
    data, _ = run(keel)
    config = json.loads((Path(data["artifacts"]) / "config.json").read_text())["config"]
    assert "costs" not in config["system"]["execution"] and "cost_model_fingerprints" not in config
    assert data["trust"]["cost_models"] == []


def test_the_kernel_says_why_it_does_not_serve(hand: Path, keel: Keel) -> None:
    system(hand, "fees: {model: 'costs.py:Tiered', params: {limit: 300}}")
    answer = keel("parity", "mine", *WINDOW[:4])
    assert answer.code == 2 and "cost models of one's own, which are Python (execution.costs)" in answer.err and "--wire" not in answer.err
    answer = keel("sweep", "mine", *WINDOW[:4], "--param", "execution.costs.fees.params.limit=300,10000", "--workers", "1", "--json")
    assert answer.code == 0, answer
    (note,) = answer.data["notes"]
    assert note.startswith("2 runs by the actors: the kernel does not model cost models of one's own, which are Python (execution.costs)")
    returns = [entry["beside"]["total_return"] for entry in answer.data["entries"]]
    assert returns == pytest.approx([(20 - 0.5185194 - 0.2390124) / 10_000, (20 - 860 * 0.00123457) / 10_000])


# --- bad ones --------------------------------------------------------------------------------------------------------

BAD = """
class Raises:
    def fee_rate(self, fill):
        return 1 / 0  # this line

class Leaves:
    def fee_rate(self, fill):
        raise SystemExit(0)  # this line

class NotANumber:
    def fee_rate(self, fill):  # this line
        return float("nan")

class Infinite:
    def fee_rate(self, fill):  # this line
        return float("inf")

class Huge:
    def fee_rate(self, fill):  # this line
        return 10**400

class Negative:
    def fee_rate(self, fill):  # this line
        return -0.0001

class TooGenerous:
    max_rebate = 0.0001

    def fee_rate(self, fill):  # this line
        return -0.0002

class Percent:
    def fee_rate(self, fill):  # this line
        return 0.055

class Text:
    def fee_rate(self, fill):  # this line
        return "0.001"

class Nothing:
    def fee_rate(self, fill):  # this line
        pass

class Truth:
    def fee_rate(self, fill):  # this line
        return True

class Counts:
    count = 0

    def fee_rate(self, fill):  # this line
        self.count += 1
        return self.count / 1000

class Writes:
    def fee_rate(self, fill):
        fill.qty = 0  # this line
        return 0.0

class Backwards:
    def slippage_bps(self, fill):  # this line
        return -1.0

class Everything:
    def slippage_bps(self, fill):  # this line
        return 6000.0

class Pulls:
    def impact_bps(self, fill):  # this line
        return -0.5

class Ruins:
    def funding_rate(self, position):  # this line
        return 0.9

class Unset:
    def funding_rate(self, position):  # this line
        return None

class SetsAside:
    def reserved_fee_rate(self, symbol, built_in):  # this line
        return float("nan")

    def fee_rate(self, fill):
        return 0.0
"""
IN_A_RUN = {
    "Raises": ("fees", "raised ZeroDivisionError for BTCUSDT at 2024-01-01T03:00:00Z: division by zero"),
    "Leaves": ("fees", "raised SystemExit for BTCUSDT at 2024-01-01T03:00:00Z: 0"),
    "NotANumber": ("fees", "answered nan"),
    "Infinite": ("fees", "answered inf"),
    "Huge": ("fees", "that is not a finite number"),
    "Negative": ("fees", "answered -0.0001: a fee below 0 is a rebate, and the class declares none (max_rebate = 0.0001)"),
    "TooGenerous": ("fees", "answered -0.0002: a fee below 0 is a rebate, and the class declares 0.0001 at most (max_rebate = 0.0002)"),
    "Percent": ("fees", "answered 0.055: a fraction (0.00055 is 0.055 %) is needed, from 0 to 0.05"),
    "Text": ("fees", "answered '0.001' (str)"),
    "Nothing": ("fees", "answered None"),
    "Truth": ("fees", "answered True (bool)"),
    "Counts": ("fees", "answered 0.001 and then 0.002 to the same question"),
    "Writes": ("fees", "raised AttributeError"),
    "Backwards": ("slippage", "answered -1: a number of basis points is needed, from 0 to 5000"),
    "Everything": ("slippage", "answered 6000"),
    "Pulls": ("impact", "answered -0.5"),
    "Ruins": ("funding", "answered 0.9"),
    "Unset": ("funding", "answered None"),
}  # fmt: skip


def line_of(name: str) -> int:
    """The marked line of a class in BAD, from 1."""
    lines = BAD.split("\n")
    first = lines.index(f"class {name}:")
    return next(number for number, text in enumerate(lines, 1) if number > first and "# this line" in text)


@pytest.mark.parametrize("name", IN_A_RUN)
def test_a_bad_answer_fails_the_run_with_one_error(hand: Path, keel: Keel, name: str) -> None:
    """It names the system file with its line, the class, symbol, time and the user's own line; the run says failed; nothing else is
    written."""
    kind, told = IN_A_RUN[name]
    (hand / "bad.py").write_text(BAD)
    path = system(hand, f"{kind}: {{model: 'bad.py:{name}'}}", funding="{constant: 0.0001}")
    before = Home(hand).store.read_bytes()
    answer = keel("backtest", "mine", *WINDOW)
    assert answer.code == 1, answer
    assert answer.err.startswith(f"error: {path}:13: execution.costs.{kind}: {name}."), answer.err
    assert told in answer.err and f"{hand / 'bad.py'}:{line_of(name)} in {name}." in answer.err
    assert "BTCUSDT at 2024-01-01T" in answer.err and answer.err.count("error:") == 1 and "Traceback" not in answer.err
    assert Home(hand).store.read_bytes() == before
    (kept,) = keel("runs", "list", "--json").data["runs"]
    assert kept["status"] == "failed"
    (folder,) = (hand / "backtests").glob("*/run-*")
    assert sorted(each.name for each in folder.iterdir()) == ["config.json", "results.json", "summary.json"]
    shown = keel("runs", "show", "last")
    assert shown.code == 0 and f"{hand / 'bad.py'}:{line_of(name)}" in shown.out and "asked about: symbol BTCUSDT" in shown.out


BEFORE = {
    "no file": ("gone.py:Fees", "there is no file gone.py (relative paths begin at the current folder)"),
    "no class": ("refused.py:Fee", "refused.py:Fee: there is no class Fee: did you mean Fees?"),
    "a function": (
        "refused.py:function",
        "refused.py:function: function is a function, and a model of fees is a class; refused.py has: Fees",
    ),
    "no colon": ("tiered", "there is no model 'tiered': known are flat, or name a class: path/to/file.py:Class"),
    "no module": ("no_such_module:Fees", "no_such_module:Fees: Python finds no module no_such_module"),
    "no method": ("refused.py:NoMethod", "NoMethod has no method fee_rate: write def fee_rate(self, fill)"),
    "signature": ("refused.py:Wrong", "refused.py:8) takes other arguments: write def fee_rate(self, fill)"),
    "coroutine": ("refused.py:Later", "is a coroutine or a generator: a plain method is needed"),
    "constructor": ("refused.py:Made", "Made cannot be made: ValueError: not today ("),
    "needs": ("refused.py:Needs", "params: Needs needs limit"),
    "syntax": ("broken.py:Fees", "broken.py:1: SyntaxError"),
    "rebate": ("refused.py:Rebate", "Rebate.max_rebate is 7: a fraction from 0 to 0.05 is needed"),
    "reserved signature": ("refused.py:Aside", "takes other arguments: write def reserved_fee_rate(self, symbol, built_in)"),
    "interface": ("keel.core.costs:FeeModel", "FeeModel is an interface: name a class that has its methods"),
    "nothing": ("' '", "must name a class"),
}
REFUSED = '''class Fees:
    def fee_rate(self, fill): return 0.0
def function(fill):
    return 0.0
class NoMethod:
    pass
class Wrong:
    def fee_rate(self): return 0.0
class Later:
    async def fee_rate(self, fill): return 0.0
class Made:
    def __init__(self): raise ValueError("not today")
    def fee_rate(self, fill): return 0.0
class Needs:
    def __init__(self, limit): self.limit = limit
    def fee_rate(self, fill): return 0.0
class Rebate(Fees):
    max_rebate = 7
class Aside(Fees):
    def reserved_fee_rate(self, symbol): return 0.0
'''  # fmt: skip


@pytest.mark.parametrize("name", BEFORE)
@pytest.mark.parametrize("command", ["validate", "backtest"])
def test_what_is_no_model_is_refused_before_anything_runs(hand: Path, keel: Keel, name: str, command: str) -> None:
    reference, told = BEFORE[name]
    (hand / "refused.py").write_text(REFUSED)
    (hand / "broken.py").write_text("class Fees(:\n")
    path = system(hand, "fees:", f"  model: {reference}")
    answer = keel("systems", "validate", "mine") if command == "validate" else keel("backtest", "mine", *WINDOW)
    assert answer.code in (1, 2), answer
    assert answer.err.startswith(f"error: {path}:14: execution.costs.fees"), answer.err
    assert told in answer.err and answer.err.count("error:") == 1 and "Traceback" not in answer.err, answer.err
    assert not list(hand.glob("backtests/*/run-*"))


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ("fees: {model: 'costs.py:Tiered', params: {limit: 300, lowest: 0}}",),
            "execution.costs.fees: params.lowest: Tiered has no such parameter: did you mean low?",
        ),
        (("fees: {model: 'costs.py:Thin', params: {x: 1}}",), "execution.costs.fees: params.x: Thin has no such parameter: it takes none"),
        (("fee: {model: flat}",), "execution.costs.fee: unknown key: did you mean fees?"),
        (("fees: costs.py:Tiered",), "execution.costs.fees: must be a mapping, not the text 'costs.py:Tiered'"),
        (("funding: {model: flat}",), "execution.costs.funding: execution.funding is none: there is no funding time to ask about"),
    ],
)  # fmt: skip
def test_a_key_that_is_not_one_is_told_with_its_line(hand: Path, keel: Keel, lines: tuple[str, ...], told: str) -> None:
    path = system(hand, *lines)
    answer = keel("systems", "validate", "mine")
    assert answer.code == 2 and answer.err.strip() == f"error: {path}:13: {told}"


def test_what_is_set_aside_is_checked_before_the_run(hand: Path, keel: Keel) -> None:
    (hand / "bad.py").write_text(BAD)
    path = system(hand, "fees: {model: 'bad.py:SetsAside'}")
    answer = keel("backtest", "mine", *WINDOW)
    assert answer.code == 1 and answer.err.startswith(f"error: {path}:13: execution.costs.fees: SetsAside.reserved_fee_rate answered nan")
    assert f"{hand / 'bad.py'}:{line_of('SetsAside')}" in answer.err


def test_an_override_is_named_as_where_a_model_comes_from(hand: Path, keel: Keel) -> None:
    system(hand)
    answer = keel("systems", "validate", "mine", "--set", "execution.costs.fees.model=gone.py:Fees")
    assert answer.code == 2
    assert answer.err.startswith(
        "error: override 'execution.costs.fees.model=gone.py:Fees': execution.costs.fees: there is no file gone.py"
    )


def test_a_sandbox_refuses_them(hand: Path, keel: Keel) -> None:
    system(hand, "fees: {model: 'costs.py:Tiered', params: {limit: 300}}")
    answer = keel("parity", "mine", *WINDOW[:4], "--wire")
    assert answer.code == 2 and answer.err.startswith("error: execution.costs names models (fees: costs.py:Tiered)"), answer.err
    assert "a sandbox has none but the built-in ones" in answer.err
