"""A delisted symbol does not refuse the rest: a start names it, why, what the account has in it, and the way on; and that way works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keel.core.errors import ConfigError
from keel.runners.cli.main import run
from keel.runners.home import Home
from keel.runners.live.demo import DemoOptions, run_demo
from keel.runners.systems import load_system
from tests.runners.live.test_endings import TEXTS
from tests.sim.sandbox.conftest import Sandbox, lockstep, made_bars, running
from tests.sim.sandbox.raw import Raw

pytestmark = pytest.mark.real_sockets

BOTH = [*TEXTS, "symbols=[BTCUSDT, ETHUSDT]"]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Two symbols; of the second there is a position and a resting order, and then it is delisted."""
    with running(*lockstep(made_bars(90, first=40), made_bars(90, "ETHUSDT", seed=5, first=40))) as made:
        order = {"category": "linear", "symbol": "ETHUSDT", "side": "Buy", "qty": "0.1"}
        Raw(made).post("/v5/order/create", order | {"orderType": "Market"})
        Raw(made).post("/v5/order/create", order | {"orderType": "Limit", "price": "20000"})
        made.step()
        patch = [{"op": "replace", "path": "/result/list/0/status", "value": "Closed"}]
        match = {"side": "http", "path": "/v5/market/instruments-info", "symbol": "ETHUSDT"}
        made.faults({"match": match, "action": {"kind": "mutate", "patch": patch}})
        yield made


def test_the_refusal_names_symbol_reason_holdings_and_the_way_on(sandbox: Sandbox, tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(ConfigError) as caught:
        run_demo(load_system("ema_cross", home, BOTH), home, DemoOptions(sandbox_url=sandbox.url, max_bars=3))
    text = str(caught.value)
    assert "ETHUSDT: its status at the exchange is Closed" in text and "BTCUSDT: " not in text
    assert "a position of Buy 0.10 and 1 resting order" in text
    assert "(BTCUSDT), start with --without ETHUSDT" in text


def test_the_rest_is_traded_and_what_was_there_stays(sandbox: Sandbox, tmp_path: Path) -> None:
    home = Home(tmp_path)
    loaded = load_system("ema_cross", home, BOTH)
    made = run_demo(loaded, home, DemoOptions(sandbox_url=sandbox.url, max_bars=25, report=False, without=("ETHUSDT",)))
    assert made.ending.failure is None and made.result.system.symbols == ["BTCUSDT"]
    truth = sandbox.truth()
    assert {row["symbol"] for row in truth["orders"] if row["orderLinkId"]} == {"BTCUSDT"}
    (held,) = [row for row in truth["positions"] if row["symbol"] == "ETHUSDT"]
    assert float(held["size"]) == 0.1
    assert [row["orderStatus"] for row in truth["orders"] if row["symbol"] == "ETHUSDT"].count("New") == 1


def test_it_is_an_option_of_the_command_and_told_there(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--home", str(tmp_path), "demo", "ema_cross", "--sandbox", sandbox.url, "--bars", "3", "--no-report", "--log", "text"]
    texts = [part for text in BOTH for part in ("--set", text)]
    assert run([*arguments, *texts, "--without", "ethusdt"]) == 0
    assert "ETHUSDT is left out: the account has a position of Buy 0.10 and 1 resting order" in capsys.readouterr().err
    assert run([*arguments, *texts, "--without", "ETHUSD"]) == 2 and "did you mean" in capsys.readouterr().err
    assert run([*arguments, *texts, "--without", "ETHUSDT", "--without", "BTCUSDT"]) == 2
    assert "no symbol of ema_cross is left" in capsys.readouterr().err


def test_a_system_of_one_symbol_has_no_rest(sandbox: Sandbox, tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(ConfigError) as caught:
        run_demo(load_system("ema_cross", home, [*TEXTS, "symbols=[ETHUSDT]"]), home, DemoOptions(sandbox_url=sandbox.url))
    assert "--without" not in str(caught.value) and "is Closed" in str(caught.value)


def test_a_portfolio_goes_on_without_it_and_says_so(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--home",
        str(tmp_path),
        "demo",
        "inverse_vol_hold",
        "--sandbox",
        sandbox.url,
        "--bars",
        "3",
        "--no-report",
        "--log",
        "text",
    ]
    assert run([*arguments, "--timeframe", "1m", "--execution-timeframe", "1m"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "ETHUSDT is left out (its status at the exchange is Closed, not Trading): the account has a position of Buy 0.10" in said
    truth = sandbox.truth()
    assert {row["symbol"] for row in truth["orders"] if row["orderLinkId"]} == {"BTCUSDT"}


def test_a_portfolio_with_a_symbol_that_is_no_symbol_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    """A misspelt one is not left out: nobody meant that."""
    home, texts = Home(tmp_path), ["symbols=[BTCUSDT, ETHUSD]", "timeframe=1m", "execution_timeframe=1m"]
    with pytest.raises(ConfigError, match="knows no linear symbol 'ETHUSD'"):
        run_demo(load_system("inverse_vol_hold", home, texts), home, DemoOptions(sandbox_url=sandbox.url, max_bars=3))
