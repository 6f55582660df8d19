"""A portfolio strategy under the rules of live, on a sandbox: armed it trades, dry it says what it would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keel.core.errors import KeelError
from keel.runners.live.live_account import run_dry, run_live
from keel.sim.sandbox.settings import AccountSettings
from tests.runners.live.live_account import SYSTEM, armed_system, home_of, options, private_posts, promoted, token_for
from tests.sim.sandbox.conftest import KEY, SECRET, Sandbox, made_bars, stepping

TEXT = (
    SYSTEM.replace("strategy: ema_cross", "strategy: inverse_vol_hold")
    .replace("[BTCUSDT]", "[BTCUSDT, ETHUSDT]")
    .replace("params: {fast: 2, slow: 4}", "params: {budget_percent: 15, max_daily_volatility: 10}")
    .replace("warmup_bars: 50\n", "")
    .replace("sizing: {model: fixed_usd, usd: 1000}\n", "")
)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    account = AccountSettings(key=KEY, secret=SECRET, usdt=10_000.0, leverage=2.0)
    both = (made_bars(340, first=300), made_bars(340, "ETHUSDT", seed=5, first=300))
    with stepping(*both, accounts=(account,)) as made:
        yield made


def test_armed_its_targets_are_traded_and_dry_they_are_said(sandbox: Sandbox, tmp_path: Path) -> None:
    home = home_of(tmp_path, TEXT)
    promoted(home)
    ending = run_dry(armed_system(home), home, options(sandbox, max_bars=5), lambda line: None)
    assert [line.split()[3] for line in ending.lines if line.startswith("would buy")] == ["BTCUSDT", "ETHUSDT"]
    assert private_posts(sandbox) == []
    made = run_live(armed_system(home), home, options(sandbox, token_for(home, sandbox, tmp_path / "token"), max_bars=10))
    assert made.ending.failure is None and made.ending.agrees and set(made.ending.positions) == {"BTCUSDT", "ETHUSDT"}
    assert made.result.funnel.ordered == 2 and not made.result.warnings
    held = sum(fill.qty * fill.price for fill in made.result.fills)
    assert 1_350 < held <= 1_500  # 15 % of the cash, less steps


def test_on_live_a_symbol_that_does_not_trade_refuses_the_start(sandbox: Sandbox, tmp_path: Path) -> None:
    home = home_of(tmp_path, TEXT)
    promoted(home)
    patch = [{"op": "replace", "path": "/result/list/0/status", "value": "Closed"}]
    sandbox.faults(
        {
            "match": {"side": "http", "path": "/v5/market/instruments-info", "symbol": "ETHUSDT"},
            "action": {"kind": "mutate", "patch": patch},
        }
    )
    with pytest.raises(KeelError, match="start with --without ETHUSDT"):
        run_live(armed_system(home), home, options(sandbox, token_for(home, sandbox, tmp_path / "token")))
    assert private_posts(sandbox) == []
