"""Keys are secrets, too: whatever of an exchange's answer quotes one, it is in no error, notice, log line, journal or artifact."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.bybit.transport.credentials import load_credentials
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal
from keel.adapters.logging import set_up_logging
from keel.core.errors import KeelError
from keel.runners.home import Home
from keel.runners.live.demo import DemoOptions, run_demo
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from keel.runners.live.startup.connection import connect
from keel.runners.systems import load_system
from keel.sim.sandbox.settings import AccountSettings
from tests.faults.virtual import playing
from tests.runners.live.test_endings import TEXTS
from tests.sim.sandbox.conftest import Sandbox, lockstep, made_bars, running

pytestmark = pytest.mark.real_sockets

KEY, SECRET = "canary-key-81f2", "canary-secret-93e7"
QUOTED = f"error sign! origin_string[1700000000000{KEY}5000symbol=BTCUSDT] and {SECRET}"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setenv("BYBIT_SANDBOX_KEY", KEY)
    monkeypatch.setenv("BYBIT_SANDBOX_SECRET", SECRET)
    with running(*lockstep(made_bars(90, first=40), accounts=(AccountSettings(key=KEY, secret=SECRET),))) as made:
        yield made


def written(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def nowhere(home: Path, *texts: str) -> None:
    """Neither is in what was said, nor in any file of the home."""
    told = {f"text {number}": text.encode() for number, text in enumerate(texts)} | written(home)
    assert [name for name, content in told.items() if KEY.encode() in content or SECRET.encode() in content] == []


def error(ret_msg: str = QUOTED, code: int = 10004) -> dict[str, Any]:
    return {"kind": "error", "ret_code": code, "ret_msg": ret_msg}


def with_locals(error: BaseException) -> str:
    """The traceback as a debugger shows it: with every local name's value."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


PRIVATE = (
    "/v5/user/query-api", "/v5/account/info", "/v5/account/wallet-balance", "/v5/position/list", "/v5/order/realtime", "/v5/execution/list",
    "/v5/account/transaction-log",
)  # fmt: skip
"""What a start reads of the account, and its end."""
FORMS: dict[str, Any] = {
    "a refusal that quotes them": {"kind": "error", "ret_code": 10004, "ret_msg": QUOTED},
    "a denied key": {"kind": "error", "ret_code": 10003, "ret_msg": QUOTED},
    "an answer cut short": {"kind": "truncate", "bytes": 40},
    "HTTP 403": {"kind": "error", "http": 403},
    "HTTP 503": {"kind": "error", "http": 503},
    "no answer": "drop",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_read_that_fails(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each private list that a start and an end read fails, one after the other: neither key nor secret is in what came of it."""
    monkeypatch.setenv("BYBIT_SANDBOX_KEY", KEY)
    monkeypatch.setenv("BYBIT_SANDBOX_SECRET", SECRET)
    said: list[str] = []
    refused = 0
    for number, path in enumerate(PRIVATE):
        with playing(tmp_path / str(number), accounts=(AccountSettings(key=KEY, secret=SECRET),)) as stage:
            when = "after_apply" if form == "an answer cut short" else "before_apply"
            stage.sandbox.faults({"match": {"side": "http", "path": path}, "when": when, "action": FORMS[form]})
            notices: list[Any] = []
            session = Session(stage.plan(), notices.append, max_bars=2)
            try:
                _, ending = stage.run(session.run())
                said.append(repr(ending))
            except KeelError as caught:
                refused += 1
                said += [with_locals(caught), repr(vars(caught))]
            said += map(repr, notices)
    assert refused >= 3
    nowhere(tmp_path, *said)


def test_what_holds_a_key_does_not_show_it(sandbox: Sandbox) -> None:
    """repr, str, format, JSON, pickle and a traceback with locals of the request that a key signs."""
    where = endpoints(Environment.SANDBOX, sandbox.url)
    credentials = load_credentials(where, environ={"BYBIT_SANDBOX_KEY": KEY, "BYBIT_SANDBOX_SECRET": SECRET})
    shown = [repr(credentials), str(credentials), f"{credentials.key} {credentials.secret:>20}", repr(pickle.dumps(credentials.secret))]

    async def refused() -> None:
        notices: list[Any] = []
        async with connect(Environment.SANDBOX, "linear", notices.append, sandbox_url=sandbox.url) as connection:
            shown.extend(repr(each) for each in (connection, vars(connection), connection.rest, vars(connection.rest)))
            sandbox.faults({"match": {"side": "http", "path": "/v5/position/list"}, "when": "before_apply", "action": error()})
            await connection.reader.instrument("BTCUSDT")
            await connection.account.positions()

    with pytest.raises(ExchangeRefusal, match=r"error sign! .*\*\*\*") as caught:
        asyncio.run(refused())
    shown.append(with_locals(caught.value))
    assert [text for text in shown if KEY in text or SECRET in text] == []


@pytest.mark.parametrize("path", ["/v5/user/query-api", "/v5/account/wallet-balance", "/v5/position/list", "/v5/execution/list"])
def test_a_refused_start(path: str, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home(tmp_path)
    set_up_logging(level="debug", file=home.logs / "demo.jsonl", console=True)
    sandbox.faults({"match": {"side": "http", "path": path}, "when": "before_apply", "action": error()})
    with pytest.raises(KeelError) as caught:
        run_demo(load_system("ema_cross", home, TEXTS), home, DemoOptions(sandbox_url=sandbox.url))
    said = "".join(traceback.format_exception(caught.value))
    assert "***" in said
    nowhere(tmp_path, said, *capsys.readouterr(), repr(vars(caught.value)))


def test_refused_orders_and_nonsense_on_the_stream(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home(tmp_path)
    set_up_logging(level="debug", file=home.logs / "demo.jsonl", console=True)
    nonsense = {"kind": "mutate", "patch": [{"op": "replace", "path": "/data/0/coin/0/walletBalance", "value": KEY}]}
    sandbox.faults(
        {"match": {"side": "http", "path": "/v5/order/create", "nth": 1}, "when": "before_apply", "action": error(code=110003)},
        {"match": {"side": "ws", "topic": "wallet", "nth": 1}, "action": nonsense},
    )
    notices: list[str] = []

    async def beside(live: Live, stop: Stop) -> AsyncIterator[None]:
        yield
        notices.extend(repr(each) for each in live.notices)

    made = run_demo(load_system("ema_cross", home, TEXTS), home, DemoOptions(sandbox_url=sandbox.url, max_bars=40), beside=beside)
    files = written(tmp_path)
    assert any(b"error sign!" in content for name, content in files.items() if name.endswith(".journal"))  # the premise: it is quoted
    assert any("***" in each and "bad_message" in each for each in notices)
    nowhere(tmp_path, *notices, *made.lines, *capsys.readouterr())
