"""``keel session``: a running session says how it is, and a person lifts what needs one; over a socket of this user's alone."""

from __future__ import annotations

import asyncio
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from keel.core.errors import ConfigError, KeelError, SafetyError
from keel.core.model.messages import SubmitOrder
from keel.core.risk.gate.causes import TradingState
from keel.runners.cli.main import cli
from keel.runners.cli.main import run as keel
from keel.runners.home import Home
from keel.runners.live.memory.records import Adjusted, CauseEnded
from keel.runners.live.reporting.display import Display
from keel.runners.live.reporting.outcome import session_result
from keel.runners.live.session.control_socket import Ask
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from keel.runners.live.session_address import Card, bound, connected, put_card, sessions, socket_path
from keel.runners.tools import session_release_tool, session_status_tool
from keel.runners.tools.registry import ToolContext
from keel.runners.tools.trading.session import Hung, NoSession, ReleaseRequest, SessionRequest, _exchange
from tests.runners.live.conftest import Ran
from tests.runners.live.test_real_time import moving_really, plan, run, until
from tests.sim.sandbox.raw import Raw

pytestmark = pytest.mark.real_sockets

Script = Callable[[Live, Any], Any]


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    return ToolContext(Home(tmp_path))


def with_session(journals: Path, script: Callable[[Live], Any]) -> Ran:
    with moving_really() as sandbox:

        async def act(live: Live, stop: Stop) -> None:
            await until(lambda: live.gate.state is TradingState.ACTIVE)
            await script(live)

        return run(plan(sandbox, journals, "rest"), None, act)


def test_it_says_how_it_is_and_what_stands_in_the_way(journals: Path, context: ToolContext) -> None:
    told: list[Any] = []

    async def script(live: Live) -> None:
        told.append(await asyncio.to_thread(session_status_tool.run, SessionRequest("test"), context))
        live.gate.close("execution_external", "somebody bought", "BTCUSDT")
        told.append(await asyncio.to_thread(session_status_tool.run, SessionRequest(""), context))

    with_session(journals, script)
    before, after = (answer.session for answer in told)
    assert (before.state, before.why, before.restrictions) == ("ACTIVE", "", [])
    assert after.state == "REDUCING" and after.process == os.getpid() and after.symbols == ["BTCUSDT"]
    (each,) = after.restrictions
    assert (each.cause, each.symbol, each.text, each.lifted_by) == ("execution_external", "BTCUSDT", "somebody bought", "person")
    assert each.release == "keel session release test --symbol BTCUSDT --cause execution_external"
    assert each.since.startswith("20") and "a person says so" in each.ends_when


def test_a_person_lifts_what_needs_one_and_the_journal_says_who(journals: Path, context: ToolContext) -> None:
    async def script(live: Live) -> None:
        live.gate.close("execution_external", "somebody bought", "BTCUSDT")
        answer = await asyncio.to_thread(session_release_tool.run, ReleaseRequest("test", "execution_external", "btcusdt"), context)
        assert [each.text for each in answer.lifted] == ["somebody bought"] and answer.session.state == "ACTIVE"

    import pwd

    ran = with_session(journals, script)
    ended = [each for each in ran.of(CauseEnded) if each.cause == "execution_external"]  # type: ignore[attr-defined]
    assert [(each.symbol, each.by) for each in ended] == [("BTCUSDT", pwd.getpwuid(os.getuid()).pw_name)]  # type: ignore[attr-defined]


REFUSED = [
    ("external_ordr", None, ConfigError, "did you mean external_order"),
    ("daily_loss", None, ConfigError, "daily_loss is called daily_loss_percent now: keel session release test --cause daily_loss_percent"),
    ("execution_external", "ETHUSDT", ConfigError, "does not trade 'ETHUSDT'"),
    ("execution_external", None, SafetyError, "does not stand"),
    ("leverage", None, SafetyError, "not lifted by hand: it ends when it is again"),
    ("position_differs", None, SafetyError, "not adopted: they agree by now"),
]


def test_what_is_refused(journals: Path, context: ToolContext) -> None:
    async def script(live: Live) -> None:
        for cause in ("leverage", "position_differs"):  # of each there is nothing in truth
            live.gate.close(cause, "unclear", "BTCUSDT")
        for cause, symbol, kind, words in REFUSED:
            with pytest.raises(KeelError, match=words) as raised:
                await asyncio.to_thread(session_release_tool.run, ReleaseRequest("test", cause, symbol), context)
            assert raised.value.exit_code == kind.exit_code
        assert live.gate.has("leverage", "BTCUSDT")
        assert not live.gate.has("position_differs", "BTCUSDT")  # the reading that was made for it has found that they agree
        live.gate.open("leverage", "BTCUSDT")

    with_session(journals, script)


ADOPTED = "differences that a person adopted"
LIES = [
    ("position_differs", "BTCUSDT", "/v5/position/list", "/result/list/0/size", "0.050"),
    ("cash_differs", None, "/v5/account/wallet-balance", "/result/list/0/coin/0/walletBalance", "98765.4321"),
]


@pytest.mark.parametrize(("cause", "symbol", "path", "field", "value"), LIES, ids=[row[0] for row in LIES])
def test_a_person_adopts_over_the_socket_and_a_restart_has_it(
    cause: str, symbol: str | None, path: str, field: str, value: str, journals: Path, context: ToolContext
) -> None:
    """The exchange's lists say a number from some moment on that nothing explains."""
    told: list[Any] = []
    heard: list[Any] = []

    def number(live: Live) -> float:
        return live.books.portfolio.lines["BTCUSDT"].qty if symbol else live.books.portfolio.cash / 1e8

    with moving_really() as sandbox:
        made = plan(sandbox, journals, "hold")

        async def first(live: Live, stop: Stop) -> None:
            await until(lambda: live.books.portfolio.lines["BTCUSDT"].qty)
            patch = [{"op": "replace", "path": field, "value": value}]
            rule = {"match": {"side": "http", "path": path}, "action": {"kind": "mutate", "patch": patch}}
            await asyncio.to_thread(sandbox.faults, rule)
            live.books.bus.subscribe(Adjusted, heard.append)
            await live.reconciler.check()
            assert live.gate.has("being_compared", symbol) or live.gate.has(cause, symbol)  # the session may have looked once, too
            await live.reconciler.check()
            status = (await asyncio.to_thread(session_status_tool.run, SessionRequest("test"), context)).session
            (each,) = status.restrictions
            told.append(each.release)
            other = "cash_differs" if symbol else "position_differs"
            with pytest.raises(KeelError, match=f"{other} does not stand"):
                await asyncio.to_thread(session_release_tool.run, ReleaseRequest("test", other), context)
            answer = await asyncio.to_thread(session_release_tool.run, ReleaseRequest("test", cause, symbol), context)
            assert [(each.cause, each.symbol) for each in answer.lifted] == [(cause, symbol or "")] and answer.session.state == "ACTIVE"
            assert answer.session.counted == {ADOPTED: 1} and len(heard) == 1
            assert number(live) == float(value)
            await live.reconciler.check()
            assert live.gate.entries() == []

        async def again(live: Live, stop: Stop) -> None:
            await live.reconciler.check()
            assert number(live) == float(value) and live.gate.entries() == []
            screen = io.StringIO()
            Console(file=screen, width=200).print(Display().render(live, stop))
            assert f"{ADOPTED} 1" in screen.getvalue()

        ran = run(made, None, first)
        assert ran.ending.failure is None
        ran = run(made, None, again)
    place = f" --symbol {symbol}" if symbol else ""
    assert told == [f"keel session release test{place} --cause {cause}"]
    assert f"counted: {ADOPTED} 1" in session_result(ran.live, ran.ending, wall_s=1.0).warnings
    (adjusted,) = ran.of(Adjusted)
    assert adjusted.reason == "adopted"  # type: ignore[attr-defined]
    (ended,) = [each for each in ran.of(CauseEnded) if each.cause == cause]  # type: ignore[attr-defined]
    assert ended.by not in ("", "keel")  # type: ignore[attr-defined]


def test_what_persists_is_not_lifted(journals: Path, context: ToolContext) -> None:
    """Somebody's order rests: their trade cannot be waved through yet; nor a repetition within its minute."""

    async def script(live: Live) -> None:
        live.gate.close("execution_external", "somebody bought", "BTCUSDT")
        live.gate.close("external_order", "by-hand rests", "BTCUSDT", "1")
        with pytest.raises(KeelError, match="persists: by-hand rests; nothing was lifted"):
            await asyncio.to_thread(session_release_tool.run, ReleaseRequest("test", "execution_external"), context)
        live.gate.open("external_order", "BTCUSDT", "1")
        now = live.books.clock.now_ms + 3_600_000  # the market runs fast, and a busy machine takes its time to ask
        for number in range(21):
            live.controls.counts.note_sent(SubmitOrder(f"x-{number}", "BTCUSDT", "BUY", "market", 0.01, now))
        live.gate.close("repeated_execution", "21 orders")
        with pytest.raises(KeelError, match="21 orders to one side within the last minute"):
            await asyncio.to_thread(session_release_tool.run, ReleaseRequest("test", "repeated_execution"), context)

    with_session(journals, script)


def test_what_needs_a_person_survives_a_restart(journals: Path, context: ToolContext) -> None:
    seen, since = list[Any](), list[int]()
    with moving_really() as sandbox:
        made = plan(sandbox, journals, "rest")

        async def first(live: Live, stop: Stop) -> None:
            live.gate.close("overfilled", "3 steps of 2", "BTCUSDT")
            since.append(live.gate.entries("overfilled")[0].since_ms)

        async def between(live: Live, stop: Stop) -> None:
            since.append(live.gate.entries("overfilled")[0].since_ms)

        async def second(live: Live, stop: Stop) -> None:
            seen.append(live.gate.frozen)
            since.append(live.gate.entries("overfilled")[0].since_ms)
            await asyncio.to_thread(session_release_tool.run, ReleaseRequest("test", "overfilled"), context)

        async def third(live: Live, stop: Stop) -> None:
            seen.append(live.gate.frozen)

        for act in (first, between, second, third):
            run(made, None, act)
    assert seen[0]["BTCUSDT"]["overfilled"] == "3 steps of 2" and "BTCUSDT" not in seen[1]
    assert since[0] > 0 and since == [since[0]] * 3  # it stands since it began, whatever sessions came between


def test_none_runs(context: ToolContext) -> None:
    with pytest.raises(NoSession, match="keel demo or keel live ema_cross starts one"):
        session_status_tool.run(SessionRequest("ema_cross"), context)
    assert keel(["session", "status", "ema_cross"]) == 2
    assert keel(["session", "status"]) == 2


def test_another_systems_session_is_named(journals: Path, context: ToolContext) -> None:
    async def script(live: Live) -> None:
        with pytest.raises(NoSession, match="no session of 'tset' runs: did you mean test"):
            await asyncio.to_thread(session_status_tool.run, SessionRequest("tset"), context)

    with_session(journals, script)


def test_the_command_and_its_exit_codes(journals: Path, tmp_path: Path) -> None:
    told: list[Any] = []

    async def script(live: Live) -> None:
        def ask() -> None:
            told.append(CliRunner().invoke(cli, ["session", "status", "test"], standalone_mode=False))
            live.gate.close("fee_coin", "a fee in MNT", "BTCUSDT")
            told.append(CliRunner().invoke(cli, ["session", "status", "test"], standalone_mode=False))

        await asyncio.to_thread(ask)

    with_session(journals, script)
    assert [answer.return_value for answer in told] == [0, 4]
    assert "STOPPED BY  BTCUSDT  fee_coin since" in told[1].output
    assert "lift it with: keel session release test --symbol BTCUSDT --cause fee_coin" in told[1].output


def test_only_this_user_can_open_it(journals: Path, own_state: Path) -> None:
    modes: list[int] = []

    async def script(live: Live) -> None:
        path = socket_path(live.account)
        modes.extend(stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent))

    with_session(journals, script)
    assert modes == [0o600, 0o700] and list((own_state / "sessions").iterdir()) == []


def test_a_folder_deeper_than_a_sockets_address(
    journals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: ToolContext
) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / ("deep" * 15) / ("deeper" * 10)))
    told: list[Any] = []

    async def script(live: Live) -> None:
        assert len(str(socket_path(live.account))) > 108
        told.append(await asyncio.to_thread(session_status_tool.run, SessionRequest("test"), context))

    with_session(journals, script)
    assert told[0].session.state == "ACTIVE"


def test_what_a_dead_session_left_is_tidied_up(context: ToolContext) -> None:
    path = socket_path("demo 9")
    bound(path).close()
    put_card(path, Card("ema_cross", "demo", "demo 9", 1, "2026-01-01T00:00:00Z"))
    with pytest.raises(NoSession):
        session_status_tool.run(SessionRequest("ema_cross"), context)
    assert not path.exists() and sessions() == []


def test_one_whose_loop_hangs_is_said_to_hang() -> None:
    """It listens, and nobody reads."""
    path = socket_path("demo 9")
    with bound(path) as listener:
        listener.listen(1)
        card = Card("ema_cross", "demo", "demo 9", 77, "2026-01-01T00:00:00Z")
        put_card(path, card)
        with pytest.raises(Hung, match=r"process 77.*did not answer within 0\.2 s: its event loop hangs") as raised:
            _exchange(card, path, Ask("status"), 0.2)
    assert raised.value.exit_code == 5


def test_nonsense_and_silence_do_not_disturb_it(journals: Path, context: ToolContext) -> None:
    answers: list[bytes] = []

    async def script(live: Live) -> None:
        def ask() -> None:
            for line in (b"\xff\xfe{\n", b'{"do": "sell"}\n', b"[" * 60_000 + b"\n"):
                with connected(socket_path(live.account), 5.0) as each, each.makefile("rwb") as file:
                    file.write(line)
                    file.flush()
                    answers.append(file.readline())
            connected(socket_path(live.account), 5.0).close()

        await asyncio.to_thread(ask)
        assert (await asyncio.to_thread(session_status_tool.run, SessionRequest("test"), context)).session.state == "ACTIVE"

    with_session(journals, script)
    assert all("does not understand" in msgspec.json.decode(answer)["error"] for answer in answers)


def test_another_keel_sessions_order_is_told_from_a_persons(journals: Path, context: ToolContext) -> None:
    """It stands for the whole account, and is not lifted while one of its orders rests."""
    with moving_really() as sandbox:

        async def act(live: Live, stop: Stop) -> None:
            raw = Raw(sandbox)
            body = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "1000.0"}

            def post(path: str, more: dict[str, Any]) -> None:
                answer = raw.post(path, body | more)[2]
                assert answer["retCode"] == 0, answer

            await asyncio.to_thread(post, "/v5/order/create", {"orderLinkId": "0badc0de-6739f2a0-1-7"})
            await until(lambda: live.gate.has("another_writer"))
            with pytest.raises(KeelError, match="its orders rest: 0badc0de-6739f2a0-1-7"):
                await asyncio.to_thread(session_release_tool.run, ReleaseRequest("test", "another_writer"), context)
            await asyncio.to_thread(post, "/v5/order/cancel", {"orderLinkId": "0badc0de-6739f2a0-1-7"})
            await asyncio.to_thread(session_release_tool.run, ReleaseRequest("test", "another_writer"), context)
            assert not live.gate.has("another_writer")

        ran = run(plan(sandbox, journals, "hold"), None, act)
    assert "another keel session's" in next(notice.text for notice in ran.notices if notice.code == "another_writer")
