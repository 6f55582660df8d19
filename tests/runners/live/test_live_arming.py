"""What is missing is listed at once, and nothing is sent: each piece alone, and all of them together."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.bybit.transport.endpoints import Environment
from keel.runners.cli.main import run
from keel.runners.home import Home
from keel.runners.live.arming.missing import Missing, NotArmedError
from keel.runners.live.live_account import LiveOptions, run_live
from keel.runners.live.panic.latch import latch_path
from keel.sim.sandbox.settings import AccountSettings
from tests.runners.live.live_account import (
    SYSTEM,
    account_at_sandbox,
    armed_system,
    home_of,
    options,
    private_posts,
    promoted,
    token_for,
)
from tests.sim.sandbox.conftest import KEY, SECRET, Sandbox, lockstep, made_bars, running
from tests.sim.sandbox.raw import Raw


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens, locks and latches of the test's own."""
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with account_at_sandbox() as made:
        yield made


def refused(home: Home, sandbox: Sandbox, token: Path | None, *overrides: str, **changes: Any) -> list[str]:
    """The codes of what is missing; not one command was sent."""
    with pytest.raises(NotArmedError) as caught:
        run_live(armed_system(home, *overrides), home, options(sandbox, token, **changes))
    assert private_posts(sandbox) == [] and sandbox.truth()["orders"] == []
    assert all(each.way_out for each in caught.value.missing)
    assert caught.value.exit_code == 4 and "nothing was sent" in str(caught.value)
    return [each.code for each in caught.value.missing]


def test_with_everything_there_it_trades(sandbox: Sandbox, tmp_path: Path) -> None:
    home = home_of(tmp_path)
    promoted(home)
    made = run_live(armed_system(home), home, options(sandbox, token_for(home, sandbox, tmp_path / "token")))
    assert made.ending.agrees and sandbox.truth()["orders"] and made.epoch.epoch == "live" and made.epoch.strategy_id == "armed-sandbox"
    paths = {request["path"] for request in private_posts(sandbox)}
    assert paths <= {"/v5/order/create", "/v5/order/cancel"}, "a live session changes no setting"


@pytest.mark.long  # together they take longer than a quick test may; all of it at once is a quick one
@pytest.mark.parametrize(
    ("override", "code", "words"),
    [
        ("mode=demo", "mode", "mode: demo"),
        ("live.max_order_usd=null", "limit", "live.max_order_usd"),
        ("live.max_net_usd=null", "limit", "live.max_net_usd"),
        ("live.max_leverage=null", "limit", "live.max_leverage"),
        ("risk.max_position_usd=null", "limit", "risk.max_position_usd"),
        ("risk.max_gross_usd=null", "limit", "risk.max_gross_usd"),
        ("risk.daily_loss_percent=null", "limit", "risk.daily_loss_percent"),
        ("risk.max_drawdown_percent=null", "limit", "risk.max_drawdown_percent"),
        ("risk.daily_loss_percent=21", "limit", "above the ceiling"),
        ("risk.max_drawdown_percent=51", "limit", "above the ceiling"),
        ("risk.max_position_usd=3000", "limit", "above risk.max_gross_usd"),
        ("live.max_order_usd=5000", "limit", "above twice risk.max_position_usd"),
        ("live.max_leverage=1", "limit", "risk.leverage is 2, above live.max_leverage"),
        ("live.max_net_usd=2300", "limit", "above 1.1 times risk.max_gross_usd"),
        ("live.max_position_usd=2300", "limit", "above 1.1 times risk.max_position_usd"),
        ("live.max_gross_usd=2300", "limit", "above 1.1 times risk.max_gross_usd"),
        ("live.without_stop=false", "stop", "exits.stop_loss is not written"),
        ("risk.policy=none", "limit", "nothing would be limited"),
        ("live.account=1", "uid", "live.account: 1"),
        ("risk.margin_mode=cross", "margin_mode", "the account is in"),
    ],
)
def test_each_missing_piece_of_the_system_refuses_alone(sandbox: Sandbox, tmp_path: Path, override: str, code: str, words: str) -> None:
    home = home_of(tmp_path)
    promoted(home, armed_system(home, override))
    token = token_for(home, sandbox, tmp_path / "token", override)
    with pytest.raises(NotArmedError, match=words) as caught:
        run_live(armed_system(home, override), home, options(sandbox, token))
    assert [each.code for each in caught.value.missing] == [code] and private_posts(sandbox) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"wallet_rights": ("Withdraw",)}, "key_rights"),
        ({"wallet_rights": ("AccountTransfer",)}, "key_rights"),
        ({"addresses": ("*",)}, "key_address"),
        ({"addresses": ()}, "key_address"),
        ({"read_only": True}, "key_trade"),
        ({"leverage": 3.0}, "leverage"),
        ({"margin_mode": "cross"}, "margin_mode"),
        ({"hedge": True}, "position_mode"),
    ],
)
def test_each_missing_piece_of_the_account_refuses_alone(settings: dict[str, Any], code: str, tmp_path: Path) -> None:
    with account_at_sandbox(**settings) as sandbox:
        home = home_of(tmp_path)
        promoted(home)
        codes = refused(home, sandbox, token_for(home, sandbox, tmp_path / "token"))
        assert code in codes and set(codes) <= {code, "start"}


def test_no_promotion_or_a_void_one(sandbox: Sandbox, tmp_path: Path) -> None:
    home = home_of(tmp_path)
    token = token_for(home, sandbox, tmp_path / "token")
    assert refused(home, sandbox, token) == ["promotion"]
    promoted(home)
    changed = token_for(home, sandbox, tmp_path / "changed", "params.fast=3")
    with pytest.raises(NotArmedError, match=r"the configuration .* has changed since"):
        run_live(armed_system(home, "params.fast=3"), home, options(sandbox, changed))
    for path in home.promotions.iterdir():
        path.write_text(path.read_text().replace("a test", "another"))
    with pytest.raises(NotArmedError, match=r"promotion record .* is damaged: its digest .*; mv .* takes it away; then keel demo armed"):
        run_live(armed_system(home), home, options(sandbox, token))


def test_no_token_and_no_terminal(sandbox: Sandbox, tmp_path: Path) -> None:
    home = home_of(tmp_path)
    promoted(home)
    assert refused(home, sandbox, None) == ["not_armed"]
    assert refused(home, sandbox, tmp_path / "no such file") == ["not_armed"]


def test_a_panic_latch_refuses(sandbox: Sandbox, tmp_path: Path) -> None:
    home = home_of(tmp_path)
    promoted(home)
    token = token_for(home, sandbox, tmp_path / "token")
    latch = latch_path(Environment.SANDBOX, sandbox.url)
    latch.parent.mkdir(parents=True)
    latch.touch()
    assert refused(home, sandbox, token) == ["panic", "not_armed"]


def test_an_account_that_is_not_as_our_books_say(sandbox: Sandbox, tmp_path: Path) -> None:
    """A stranger's order rests there."""
    order = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "20000"}
    Raw(sandbox).post("/v5/order/create", order)
    sandbox.step()
    before = private_posts(sandbox)
    home = home_of(tmp_path)
    promoted(home)
    with pytest.raises(NotArmedError, match="external_order") as caught:
        run_live(armed_system(home), home, options(sandbox, token_for(home, sandbox, tmp_path / "token")))
    assert {each.code for each in caught.value.missing} == {"reconciliation"} and private_posts(sandbox) == before


@pytest.mark.long
def test_the_clock(tmp_path: Path) -> None:
    account = AccountSettings(key=KEY, secret=SECRET, usdt=10_000.0, leverage=2.0)
    settings, feed = lockstep(made_bars(200, first=60), accounts=(account,), clock_skew_ms=700)
    with running(settings, feed) as skewed:
        home = home_of(tmp_path)
        promoted(home)
        assert refused(home, skewed, token_for(home, skewed, tmp_path / "token")) == ["clock"]


def test_all_of_it_at_once(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"wallet_rights": ("Withdraw",), "addresses": ("*",), "leverage": 3.0, "margin_mode": "cross", "hedge": True}
    bare = SYSTEM[: SYSTEM.index("mode: live")] + "live: {account: 1}\n"
    with account_at_sandbox(**settings) as sandbox:
        codes = refused(home_of(tmp_path, bare), sandbox, None)
    assert codes[:1] == ["mode"] and codes.count("limit") == 7
    assert {"stop", "promotion", "not_armed", "uid", "key_rights", "key_address", "leverage", "margin_mode", "position_mode"} <= set(codes)


@pytest.mark.long
def test_an_exchange_that_does_not_answer_hides_nothing(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    with pytest.raises(NotArmedError) as caught:
        run_live(armed_system(home, "mode=demo"), home, LiveOptions(sandbox_url="http://127.0.0.1:9"))
    assert [each.code for each in caught.value.missing] == ["mode", "promotion", "not_armed", "start"]


def test_a_missing_key_is_told_with_all_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEY", "SECRET"):
        monkeypatch.delenv(f"BYBIT_LIVE_{name}", raising=False)
    home = home_of(tmp_path)
    with pytest.raises(NotArmedError) as caught:
        run_live(armed_system(home, "mode=demo"), home, LiveOptions())
    assert {"mode", "promotion", "not_armed", "start"} <= {each.code for each in caught.value.missing}
    assert "no key for the live account" in str(caught.value)


def test_a_difference_is_told_once_and_with_a_way_out_that_works(sandbox: Sandbox, tmp_path: Path) -> None:
    """What a panic leaves: the account is flat, and our journal holds a position."""
    home = home_of(tmp_path)
    promoted(home)
    run_live(armed_system(home), home, options(sandbox, token_for(home, sandbox, tmp_path / "token"), max_bars=10))
    order = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.003"}
    Raw(sandbox).post("/v5/order/create", order)
    sandbox.step()
    anew = token_for(home, sandbox, tmp_path / "token")
    with pytest.raises(NotArmedError) as caught:
        run_live(armed_system(home), home, options(sandbox, anew))
    texts = [each.text for each in caught.value.missing]
    assert sum("BTCUSDT" in text for text in texts) == 1 and all("--fresh" in each.way_out for each in caught.value.missing), texts
    made = run_live(armed_system(home), home, options(sandbox, anew, fresh=True, max_bars=5))
    assert made.ending.agrees


def missing_of(home: Home, sandbox: Sandbox, *overrides: str) -> list[Missing]:
    token = token_for(home, sandbox, home.root / "token", *overrides)
    with pytest.raises(NotArmedError) as caught:
        run_live(armed_system(home, *overrides), home, options(sandbox, token))
    return caught.value.missing


@pytest.mark.long
def test_the_command_that_sets_a_sandbox_s_account_does_so_when_it_is_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In any folder: with the session's home, sandbox, keys that are set, and state folder."""
    over = ("risk.leverage=1", "timeframe=5m", "warmup_bars=5")  # no decision at the one bar of it
    with account_at_sandbox(leverage=3.0, margin_mode="cross") as sandbox:
        home = home_of(tmp_path)
        _, margin_mode, leverage = missing_of(home, sandbox, *over)
        assert (margin_mode.code, leverage.code) == ("margin_mode", "leverage") and leverage.way_out == margin_mode.way_out
        command, then, _ = leverage.way_out.partition(" sets it; then start again")
        variable, keel, *words = shlex.split(command)
        assert then and (variable, keel) == (f"KEEL_STATE={tmp_path / 'state'}", "keel")
        monkeypatch.chdir(home.systems)
        assert run(words) == 0, capsys.readouterr().err
        assert [each.code for each in missing_of(home, sandbox, *over)] == ["promotion"]


def test_no_demo_session_is_said_to_lead_out_of_hedge_mode(tmp_path: Path) -> None:
    """A demo session refuses hedge mode as a live one does: it comes first, before what a demo session sets."""
    with account_at_sandbox(leverage=3.0, hedge=True) as sandbox:
        home = home_of(tmp_path)
        promoted(home)
        hedge, leverage, *_ = missing_of(home, sandbox)
        assert (hedge.code, leverage.code) == ("position_mode", "leverage")
        assert "keel demo" in leverage.way_out and "keel demo" not in hedge.way_out
        assert "POST /v5/position/switch-mode with mode 0" in hedge.way_out
        assert Raw(sandbox).post("/v5/position/switch-mode", {"category": "linear", "symbol": "BTCUSDT", "mode": 0})[2]["retCode"] == 0
        assert [each.code for each in missing_of(home, sandbox)] == ["leverage"]
