"""A portfolio strategy in a system file, through the command line: warm-up, artifacts, the books, and what it is shown."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.core.errors import ConfigError
from keel.core.risk.position_manager import PositionManager
from keel.core.strategy.portfolio_order import Order
from keel.core.system.config import ExitsConfig, RiskConfig
from keel.runners.cli.main import run as keel
from keel.runners.home import Home
from keel.runners.sample import write_sample
from keel.strategies.base import PortfolioStrategy
from keel.strategies.inverse_vol_hold import InverseVolHold
from tests.builders import DAY, HOUR, START, builtin, plain_system, run, sample_store

PAIR = ("BTCUSDT", "ETHUSDT")


@pytest.fixture(scope="session")
def pair_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = Home(tmp_path_factory.mktemp("pair"))
    write_sample(home, list(PAIR), "2024-01-01", "2024-01-22")
    return home.store


@pytest.fixture
def command(tmp_path: Path, pair_store: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    home = Home(tmp_path / "home")
    home.store.parent.mkdir(parents=True)
    shutil.copy(pair_store, home.store)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = keel(["--home", str(home.root), *arguments])
        text = capsys.readouterr()
        return code, text.out, text.err

    return call


def test_the_built_in_one_runs_with_its_artifacts(command: Any) -> None:
    asked = ("backtest", "inverse_vol_hold", "--start", "2024-01-08", "--end", "2024-01-22", "--json")
    code, out, _ = command(*asked)
    answer = msgspec.json.decode(out)
    assert code == 0 and set(answer["reconciliation"].values()) and answer["reconciliation"]["difference"] == "0"
    folder = Path(answer["artifacts"])
    assert {"config.json", "results.json", "equity.csv", "trades.jsonl", "report.html"} <= {path.name for path in folder.iterdir()}
    again = msgspec.json.decode(command(*asked, "--no-report")[1])
    assert again["system_uid"] == answer["system_uid"] and again["metrics"] == answer["metrics"]
    code, out, _ = command("runs", "show", answer["run_id"])
    assert code == 0 and "inverse_vol_hold" in out


def test_a_parameter_that_cannot_be_is_refused(command: Any) -> None:
    code, _, err = command(
        "backtest", "inverse_vol_hold", "--start", "2024-01-08", "--end", "2024-01-22", "--set", "params.budget_percent=0"
    )
    assert code == 2 and "budget_percent must be above 0" in err


def test_a_symbol_whose_history_begins_later_moves_the_start(command: Any, tmp_path: Path) -> None:
    write_sample(Home(tmp_path / "home"), ["SOLUSDT"], "2024-01-10", "2024-01-22")
    setting = ("--set", "symbols=[BTCUSDT, SOLUSDT]", "--no-report")
    code, out, err = command("backtest", "inverse_vol_hold", "--start", "2024-01-05", "--end", "2024-01-22", *setting)
    assert code == 0 and "2024-01-10T00:00:00Z to 2024-01-22" in out
    assert "the start moved from 2024-01-05T00:00:00Z to 2024-01-10T00:00:00Z: the history of SOLUSDT begins later" in " ".join(err.split())
    code, out, err = command("backtest", "hold", "--start", "2024-01-05", "--end", "2024-01-22", "--set", "warmup_bars=24", *setting)
    assert code == 0 and "the start moved from 2024-01-05T00:00:00Z to 2024-01-11T00:00:00Z" in " ".join(err.split())


def test_all_histories_too_late_is_an_error(command: Any) -> None:
    code, _, err = command("backtest", "inverse_vol_hold", "--start", "2023-12-20", "--end", "2024-01-22")
    assert code == 3 and "missing" in err


class Watcher(PortfolioStrategy):
    """Notes what it sees; long in the first symbol by value, in the second by the sizer."""

    lookback_days = 2

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def run_strategy(self, oms_client: Any, data_manager: Any) -> list[Order]:
        now = int(oms_client.current_time.timestamp() * 1000)
        candles = data_manager.perpetual_mark_ohlcv_data["BTC-USDT"]
        fine = data_manager.load_data_period("ETHUSDT", "5m", "mark_ohlcv_futures", oms_client.current_time.replace(minute=0), "2030-01-01")
        self.seen.append((now, int(candles.ts[0]), int(candles.ts[-1]), len(fine), oms_client.get_current_price("BTCUSDT")))
        if len(self.seen) == 1:
            return [Order("BTC-USDT", "future", "LONG", 2000.0), Order("ETHUSDT", "future", "LONG")]
        return []


def test_what_it_is_shown_and_when() -> None:
    watcher = Watcher()
    with sample_store(PAIR, 12) as store:
        system = plain_system(*PAIR, execution_timeframe="5m", warmup_bars=None, sizing=plain_system().sizing)
        result = run(store, system, START + 5 * DAY, START + 6 * DAY, watcher)
        marks = store.get_ohlcv("BTCUSDT", "1h", START + 5 * DAY, START + 6 * DAY, kind="mark")
    assert list(watcher.symbols) == list(PAIR)
    assert [seen[0] for seen in watcher.seen] == [START + 5 * DAY + hour * HOUR for hour in range(1, 25)]
    assert all(first == START + 3 * DAY and last + HOUR == now for now, first, last, _, _ in watcher.seen)  # two days of lookback
    assert {fine for *_, fine, _ in watcher.seen} == {0}  # nothing has closed since the hour
    assert [price for *_, price in watcher.seen] == marks["close"].tolist()
    assert [(fill.symbol, fill.ts) for fill in result.fills] == [(symbol, START + 5 * DAY + HOUR) for symbol in PAIR]
    assert result.fills[1].qty == 1.0  # the system's fixed_qty
    assert result.reconciliation.difference == 0


class Named(Watcher):
    symbols = ("DOGE-USDT",)


def test_a_strategy_with_symbols_of_its_own_needs_them_in_the_system() -> None:
    with sample_store(PAIR, 12) as store, pytest.raises(ConfigError, match="Named trades DOGE-USDT, and the system's symbols are BTCUSDT"):
        run(store, plain_system(*PAIR), START + 5 * DAY, START + 6 * DAY, Named())


def test_limits_over_all_symbols_hold() -> None:
    """10 % of 10,000 shared; max_gross_usd 600 cuts the second symbol; with max_open_positions 1 there is none."""
    with sample_store(PAIR, 12) as store:
        values = {}
        for name, limits in (("none", "{}"), ("gross", "{max_gross_usd: 600}"), ("one", "{max_open_positions: 1}")):
            system, strategy = builtin("inverse_vol_hold", f"risk={limits}", "execution={slippage_bps: 0, funding: none}")
            result = run(store, system, START + 5 * DAY, START + 6 * DAY, strategy())
            values[name] = {fill.symbol: fill.qty * fill.price for fill in result.fills}
    assert sum(values["none"].values()) == pytest.approx(1000, rel=0.08)  # steps of 0.001 BTC
    assert values["gross"]["BTCUSDT"] == values["none"]["BTCUSDT"] and sum(values["gross"].values()) <= 600.5
    assert list(values["one"]) == ["BTCUSDT"]


def test_exits_of_the_system_are_attached() -> None:
    with sample_store(PAIR, 12) as store:
        exits = ExitsConfig(max_bars=3)
        system = plain_system(*PAIR, exits=exits, risk=RiskConfig(policy="none"))
        result = run(store, system, START + 5 * DAY, START + 6 * DAY, Watcher())
    assert [(trade.symbol, trade.exit_reason, trade.holding_ms) for trade in result.trades] == [
        (symbol, "max_bars", 3 * HOUR) for symbol in PAIR
    ]  # fmt: skip


def test_the_built_in_one_has_a_position_manager_of_its_parameters() -> None:
    strategy = InverseVolHold()
    strategy.on_start({"budget_percent": 25.0, "max_daily_volatility": 0.2})
    manager = strategy.position_manager
    assert isinstance(manager, PositionManager) and (manager.budget_percent, manager.max_daily_volatility) == (25.0, 0.2)


class Curious(PortfolioStrategy):
    """Asks for more than a session loads."""

    def run_strategy(self, oms_client: Any, data_manager: Any) -> list[Order]:
        now = oms_client.current_time
        data_manager.load_data_period("BTCUSDT", "1m", "mark_ohlcv_futures", now - timedelta(days=3), now)
        data_manager.load_data_period("BTCUSDT", "", "open_interest", now - timedelta(days=1), now)
        return []


class Modest(Curious):
    """The same with what it asks for declared."""

    lookback_days = 3
    data_timeframes = ("1m",)
    data_types = ("mark_ohlcv_futures", "open_interest")


def test_a_backtest_tells_what_a_session_would_refuse() -> None:
    with sample_store(PAIR, 8, minutes=1) as store:
        system = plain_system(*PAIR, execution_timeframe="5m", warmup_bars=None)
        told = [run(store, system, START + 5 * DAY, START + 6 * DAY, each).warnings for each in (Curious(), Modest())]
    assert [text for text in told[0] if text.startswith("refused")] == [
        "refused in a session: the strategy asks for candles of 1m: name them in its data_timeframes",
        "refused in a session: the strategy asks for open_interest: name it in its data_types",
        "refused in a session: the strategy asks for history from 2024-01-03T01:00:00Z on, and a session loads it from 2024-01-05T00:00:00Z"
        " on: set its lookback_days to 3",
    ]
    assert not [text for text in told[1] if text.startswith("refused")]


def test_a_backtest_tells_what_could_not_be_screened() -> None:
    with sample_store(PAIR, 8, minutes=5) as store:
        system, strategy = builtin("inverse_vol_hold")
        assert "not screened" not in " ".join(run(store, system, START + DAY, START + 2 * DAY, strategy()).warnings)
        result = run(store, system, START, START + DAY, strategy())
    assert [text[:35] for text in result.warnings if text.startswith("not screened")] == [
        "not screened: BTCUSDT was not scree", "not screened: ETHUSDT was not scree"
    ]  # fmt: skip
