"""runners/safety.py: one file beside the trader that cancels and closes everything, whatever the exchange answers."""

from __future__ import annotations

import ast
import errno
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pybit._helpers
import pytest

from benchmarks.panic_scene import fill_account, scene
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.runners import safety
from keel.runners.live.panic.latch import is_latched, latch_path, read_latch
from keel.runners.live.panic.panic_heard import begun_ms
from keel.runners.safety import FLAT, LEFT, Exchange, Panic
from tests.runners.fake_exchange import FakeExchange, envelope, fake_exchange
from tests.sim.sandbox.conftest import Sandbox, running

KEY, SECRET = "CanaryKey0123456789", "CanarySecret0123456789abcdef"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder of its own; the last look comes soon; pybit's clock is put back."""
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(safety, "LAST_LOOK_S", 0.0)
    monkeypatch.setattr(safety, "APART_S", 0.05)
    slept = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: slept(min(seconds, 0.02)))
    monkeypatch.setattr(pybit._helpers, "generate_timestamp", pybit._helpers.generate_timestamp)


@pytest.fixture
def fake() -> Iterator[FakeExchange]:
    with fake_exchange() as made:
        made.contract("BTCUSDT", "linear", "USDT")
        made.contract("BTCPERP", "linear", "USDC")
        made.contract("BTCUSD", "inverse", "BTC", step="1", most="1000")
        made.rules["spot"].append({"symbol": "ETHUSDT", "lotSizeFilter": {"basePrecision": "0.01", "maxMarketOrderQty": "3"}})
        yield made


class Done:
    """A panic that was run in this process."""

    def __init__(self, url: str, *, sell_spot: bool = False, key: str = KEY, secret: str = SECRET) -> None:
        self.lines: list[str] = []
        self.panic = Panic(Exchange("sandbox", url, key, secret), self.lines.append, sell_spot=sell_spot)
        self.code = self.panic.run(time.perf_counter())


# --- the file ---


def test_it_imports_nothing_but_pybit_and_the_standard_library() -> None:
    tree = ast.parse(Path(safety.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) == {"pybit"}


def test_pybit_is_imported_after_the_latch_stands() -> None:
    code = "import sys, runners.safety; print([name for name in sys.modules if name.split('.')[0] in ('pybit', 'requests', 'core')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_its_latch_is_the_one_that_the_trader_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the state folder, and every name of this machine."""
    for variables in ({"KEEL_STATE": str(tmp_path / "a")}, {"KEEL_STATE": "~/b"}, {"XDG_STATE_HOME": str(tmp_path / "x")}, {}):
        for name in ("KEEL_STATE", "XDG_STATE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        for environment in Environment:
            for url in ("http://127.0.0.1:8686", "http://localhost:9000/", "http://[::1]:1"):
                known = endpoints(environment, url)
                assert safety.latch_path(environment.value, known.rest) == latch_path(environment, known.rest)


def test_hosts_and_addresses_are_those_of_the_trader() -> None:
    for environment in (Environment.LIVE, Environment.DEMO):
        known = endpoints(environment)
        assert safety.URLS[environment.value] == known.rest
        assert safety.HOSTS[environment.value] == {host for host in known.private_hosts if host.startswith("api")}
    assert safety.URLS["sandbox"] == endpoints(Environment.SANDBOX).rest
    assert safety.HOSTS["sandbox"] == endpoints(Environment.SANDBOX).private_hosts


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ("live", "https://api-demo.bybit.com"),
        ("live", "http://api.bybit.com"),
        ("live", "https://api.bybit.com.evil.example"),
        ("live", "https://api.bybit.com@evil.example"),
        ("demo", "https://api.bybit.com"),
        ("demo", "http://127.0.0.1:8686"),
        ("sandbox", "https://api.bybit.com"),
        ("sandbox", "http://192.168.0.7:8686"),
        ("sandbox", "https://127.0.0.1:8686"),
    ],
)
def test_a_key_goes_to_no_other_host(env: str, url: str) -> None:
    with pytest.raises(PermissionError, match="may not go"):
        Exchange(env, url, KEY, SECRET)


def test_where_keys_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(f'# mine\nexport BYBIT_DEMO_KEY="{KEY}"\nBYBIT_DEMO_SECRET={SECRET}\n')
    with pytest.raises(PermissionError, match="chmod 600"):
        safety.find_keys("demo", file)
    file.chmod(0o600)
    assert safety.find_keys("demo", file) == (KEY, SECRET)
    other = os.getuid() + 1
    with monkeypatch.context() as elsewhere, pytest.raises(PermissionError, match=f"sudo chown {other} {file} && sudo chmod 600 {file}"):
        elsewhere.setattr(os, "getuid", lambda: other)
        safety.find_keys("demo", file)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PermissionError, match="must be a plain file"):
        safety.find_keys("demo", tmp_path / "pipe")
    with pytest.raises(ValueError, match="BYBIT_LIVE_KEY"):
        safety.find_keys("live", file)
    with pytest.raises(ValueError, match="BYBIT_LIVE_KEY and BYBIT_LIVE_SECRET"):
        safety.find_keys("live", None)
    monkeypatch.setenv("BYBIT_LIVE_KEY", "k")
    with pytest.raises(ValueError, match="no key of the live account"):
        safety.find_keys("live", None)
    monkeypatch.setenv("BYBIT_LIVE_SECRET", "s")
    assert safety.find_keys("live", None) == ("k", "s")
    assert safety.find_keys("sandbox", None) == ("sandbox-key", "sandbox-secret")
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(OSError, match="symbolic link"):
        safety.find_keys("demo", tmp_path / "link")


# --- the latch ---


def test_a_keyring_is_asked_where_the_trader_asks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BYBIT_LIVE_KEY", "BYBIT_LIVE_SECRET"):
        monkeypatch.delenv(name, raising=False)
    kept = {("keel-bybit-live", "key"): "ring-key", ("keel-bybit-live", "secret"): "ring-secret"}
    text = "def get_password(service, name):\n    if service == 'keel-bybit-demo':\n        raise OSError('locked')\n"
    (tmp_path / "keyring.py").write_text(text + f"    return {kept!r}.get((service, name))\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keyring", raising=False)
    assert safety.find_keys("live", None) == ("ring-key", "ring-secret")
    for name in ("BYBIT_DEMO_KEY", "BYBIT_DEMO_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="the keyring does not give the key"):
        safety.find_keys("demo", None)
    sys.modules.pop("keyring")  # what stood there before is put back by monkeypatch; the fake is not


def test_the_latch_says_who_and_the_first_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "panic" / "demo.latch"
    assert safety.latch(path, "demo", "the first") == "" == safety.latch(path, "demo", "the second")
    found = read_latch(path)
    assert found is not None and (found.by, found.environment, found.process) == ("the first", "demo", os.getpid())
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700


def test_on_a_full_disk_an_empty_file_latches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def full(*given: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    path = tmp_path / "panic" / "demo.latch"
    assert safety.latch(path, "demo", "me") == ""
    assert is_latched(path) and path.read_bytes() == b"" and "No space left" in capfd.readouterr().err


def test_a_disk_without_room_for_a_name_has_one_that_was_laid_out_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "panic" / "demo.latch"
    path.parent.mkdir()

    def full(*given: object, **more: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def none(*given: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    for links in (os.link, none):  # with and without hard links
        with monkeypatch.context() as small:
            small.setattr(os, "open", full)
            small.setattr(os, "link", links)
            assert "No space left" in safety.latch(path, "demo", "me") and not is_latched(path)
        path.with_suffix(".ready").touch()
        with monkeypatch.context() as small:
            small.setattr(os, "open", full)
            small.setattr(os, "link", links)
            assert safety.latch(path, "demo", "me") == "" and is_latched(path) and not path.with_suffix(".ready").exists()
        path.unlink()


def test_a_spare_file_never_takes_the_place_of_another_hands_latch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, link = tmp_path / "demo.latch", os.link
    path.with_suffix(".ready").touch()
    late = [False, True]

    def full(*given: object, **more: object) -> int:
        if not late.pop(0):
            path.write_text("the first")
        raise OSError(errno.ENOSPC, "No space left on device")

    def just_before(spare: Path, name: Path) -> None:
        path.write_text("the first")
        link(spare, name)

    monkeypatch.setattr(os, "open", full)
    monkeypatch.setattr(os, "link", just_before)
    while late:
        assert safety.latch(path, "demo", "the second") == "" and path.read_text() == "the first"
        path.unlink()


def test_a_folder_that_leads_nowhere_holds_no_latch(tmp_path: Path) -> None:
    (tmp_path / "panic").symlink_to(tmp_path / "nowhere")
    path = tmp_path / "panic" / "demo.latch"
    assert "File exists" in safety.latch(path, "demo", "me") and not is_latched(path)


# --- against the sandbox ---


@pytest.mark.parametrize("hedge", [False, True])
def test_everything_of_an_account_is_cancelled_and_closed(hedge: bool) -> None:
    """Foreign orders, conditional ones, positions on both sides; a second panic finds nothing and says so."""
    with running(*scene(3, hedge=hedge)) as sandbox:
        _on(sandbox, lambda: fill_account(sandbox.server, 14))
        before = sandbox.truth("sandbox-key")
        assert len([row for row in before["orders"] if row["orderStatus"] in ("New", "Untriggered")]) == 42
        done = Done(sandbox.url, key="sandbox-key", secret="sandbox-secret")
        assert done.code == FLAT
        truth = sandbox.truth("sandbox-key")
        assert [row for row in truth["orders"] if row["orderStatus"] in ("New", "Untriggered", "PartiallyFilled")] == []
        assert all(Decimal(row["size"]) == 0 for row in truth["positions"])
        made = [row for row in truth["orders"] if row["orderLinkId"].startswith("panic-")]
        assert made and all(row["reduceOnly"] for row in made)
        assert len(done.panic.cancelled) == 42 and len(done.panic.positions_seen) == (6 if hedge else 3)
        sides = ("Buy", "Sell") if hedge else ("Buy",)
        assert set(done.panic.closed_at) == {f"{symbol} {side}" for symbol in ("BTCUSDT", "ETHUSDT", "COIN02USDT") for side in sides}
        again = Done(sandbox.url, key="sandbox-key", secret="sandbox-secret")
        assert again.code == FLAT and not again.panic.cancelled and not again.panic.closing_orders


def _on(sandbox: Sandbox, work: Any) -> None:
    import concurrent.futures

    done: concurrent.futures.Future[None] = concurrent.futures.Future()
    sandbox.loop.call_soon_threadsafe(lambda: done.set_result(work()))
    done.result(20)


# --- against markets that the sandbox does not have ---


def test_usdc_and_inverse_contracts_and_every_kind_of_spot_order(fake: FakeExchange) -> None:
    fake.hold("BTCUSDT", "linear", "USDT", "Buy", "2.5")
    fake.hold("BTCPERP", "linear", "USDC", "Sell", "0.3")
    fake.hold("BTCUSD", "inverse", "BTC", "Sell", "900")
    fake.rest("BTCUSDT", "linear", "USDT", 1_200)
    fake.rest("BTCPERP", "linear", "USDC", 2)
    fake.rest("BTCUSD", "inverse", "BTC", 2)
    fake.rest("BTC-25DEC26-50000-C", "option", "USDC")
    for kind in safety.SPOT_KINDS:
        fake.rest("ETHUSDT", "spot", "USDT", 1, kind)
    done = Done(fake.url)
    assert done.code == FLAT, done.lines
    assert fake.orders == [] and all(Decimal(row["size"]) == 0 for row in fake.positions)
    assert len(done.panic.cancelled) == 1_200 + 2 + 2 + 1 + 5
    assert done.panic.closed_at == {"BTCUSDT Buy": "2.5 at 99.5", "BTCPERP Sell": "0.3 at 100.5", "BTCUSD Sell": "900 at 100.5"}


def test_the_names_of_its_orders_say_when_it_began(fake: FakeExchange) -> None:
    """A session elsewhere tells by them a panic that is over from a new one; a standby begins when it is pressed, not when it waits."""
    fake.hold("BTCUSDT", "linear", "USDT", "Buy", "2.5")
    panic = Panic(Exchange("sandbox", fake.url, KEY, SECRET), lambda text: None, sell_spot=False)
    before = time.time_ns() // 1_000_000
    assert panic.run(time.perf_counter()) == FLAT
    (name,) = [order["orderLinkId"] for order in panic.closing_orders]
    assert before <= begun_ms(Notice(0, "execution_panic", "", key=name)) <= time.time_ns() // 1_000_000


def test_a_settle_coin_that_nobody_knew_of(fake: FakeExchange) -> None:
    fake.contract("BTCNEW", "linear", "NEWUSD")
    fake.hold("BTCNEW", "linear", "NEWUSD", "Buy", "1")
    fake.rest("BTCNEW", "linear", "NEWUSD", 3)
    panic = Panic(Exchange("sandbox", fake.url, KEY, SECRET), lambda text: None, sell_spot=False)
    panic.read_rules()
    assert panic.run(time.perf_counter()) == FLAT and fake.orders == [] and fake.positions[0]["size"] == "0.0"


def test_a_position_is_closed_in_pieces_that_the_exchange_takes(fake: FakeExchange) -> None:
    fake.hold("BTCUSDT", "linear", "USDT", "Buy", "1030.7")
    assert Done(fake.url).code == FLAT
    sent = [Decimal(order["qty"]) for body in fake.asked("create-batch") for order in body["request"]]
    assert sum(sent) == Decimal("1030.7") and max(sent) == 100 and all(len(body["request"]) <= 10 for body in fake.asked("create-batch"))


def test_what_is_refused_in_pieces_is_closed_whole(fake: FakeExchange) -> None:
    """As where a rest is below the smallest value (110094), or off a step that has changed."""
    fake.hold("BTCUSDT", "linear", "USDT", "Buy", "0.3")
    fake.refuse_order = lambda order, held: (110094, "Order does not meet minimum order value 5USDT") if order["qty"] != "0" else None
    done = Done(fake.url)
    assert done.code == FLAT
    assert [order["answer"][:6] for order in done.panic.closing_orders][:2] == ["110094", "110094"]


def test_without_the_contracts_rules_it_is_closed_whole(fake: FakeExchange) -> None:
    fake.rules["linear"] = [{"symbol": "BTCUSDT", "settleCoin": "USDT", "lotSizeFilter": fake.rules["linear"][0]["lotSizeFilter"]}]
    fake.script["/v5/market/instruments-info"] = [lambda row: envelope({}, 10001, "no")] * 2
    fake.hold("BTCUSDT", "linear", "USDT", "Sell", "2")
    assert Done(fake.url).code == FLAT
    assert [order["closeOnTrigger"] for body in fake.asked("create-batch") for order in body["request"]] == [True]


def test_without_batches_orders_go_one_by_one(fake: FakeExchange) -> None:
    fake.script["/v5/order/create-batch"] = [lambda row: envelope({}, 10032, "Demo trading are not supported.")] * 9
    fake.hold("BTCUSDT", "linear", "USDT", "Sell", "250")
    assert Done(fake.url).code == FLAT and len(fake.asked("order/create")) == 3


def test_spot_holdings_stay_unless_they_are_to_be_sold(fake: FakeExchange) -> None:
    fake.coins = {"USDT": Decimal(500), "ETH": Decimal("7.005"), "DUST": Decimal(3), "USDC": Decimal(1)}
    kept = Done(fake.url)
    assert kept.code == FLAT and fake.coins["ETH"] == Decimal("7.005") and kept.panic.spot_holdings == {"ETH": "7.005", "DUST": "3"}
    sold = Done(fake.url, sell_spot=True)
    assert sold.code == FLAT and fake.coins["ETH"] == Decimal("0.005") and set(sold.panic.dust) == {"ETH", "DUST"}
    assert [order["qty"] for order in fake.asked("order/create")] == ["3.00", "3.00", "1.00"]


def test_an_option_position_is_told_and_left(fake: FakeExchange) -> None:
    fake.hold("BTC-25DEC26-50000-C", "option", "USDC", "Buy", "1")
    done = Done(fake.url)
    assert done.code == LEFT and done.panic.report()["left"] == {"option positions": ["BTC-25DEC26-50000-C Buy 1 (entry 100, mark 101)"]}


@pytest.mark.parametrize(
    ("category", "answer", "code"),
    [
        ("option", envelope({}, 10005, "Permission denied"), LEFT),
        ("inverse", envelope({}, 10001, "params error"), LEFT),
        ("spot", envelope({}, 10024, "compliance rules triggered"), LEFT),
        ("option", envelope({}, 10032, "Demo trading are not supported."), FLAT),
        ("inverse", (404, {}, b"Not Found"), FLAT),
    ],
)
def test_a_list_that_is_refused_is_not_known_unless_the_account_has_no_such_market(
    fake: FakeExchange, category: str, answer: Any, code: int
) -> None:
    """The rest is cancelled and closed all the same; 404 is what the exchange answers for a category that the account's mode lacks."""
    fake.hold("BTCUSDT", "linear", "USDT", "Buy", "2.5")
    fake.script["/v5/order/realtime"] = [lambda row: answer if row["category"] == category else None] * 99
    done = Done(fake.url)
    assert done.code == code and fake.positions[0]["size"] == "0.0"
    told, other = done.panic.not_looked_at, done.panic.left_out
    assert list(told if code == LEFT else other) == [f"{category} orders"] and not (other if code == LEFT else told)


def test_what_was_held_in_a_list_that_is_refused_later_is_not_taken_for_closed(fake: FakeExchange) -> None:
    fake.hold("BTCUSD", "inverse", "BTC", "Sell", "900")
    seen = 0

    def refuse(row: Any) -> Any:
        nonlocal seen
        seen += row["category"] == "inverse"
        return envelope({}, 10005, "Permission denied") if row["category"] == "inverse" and seen > 2 else None

    fake.script["/v5/position/list"] = [refuse] * 99
    panic = Panic(Exchange("sandbox", fake.url, KEY, SECRET), lambda text: None, sell_spot=False)
    panic._look()
    panic._held({"category": "inverse"})
    assert panic._look() and panic.left["inverse positions"] == ["BTCUSD Sell 900 (entry 100, mark 101)"]
    assert panic.fate("BTCUSD Sell") == "NOT closed (its executions were not read)"


def test_spot_holdings_that_cannot_be_read_matter_where_they_are_to_be_sold(fake: FakeExchange) -> None:
    fake.script["/v5/account/wallet-balance"] = [lambda row: envelope({}, 10005, "Permission denied")] * 99
    assert [Done(fake.url, sell_spot=sells).code for sells in (False, True)] == [FLAT, LEFT]


def test_what_became_of_each_position_is_said_by_side(fake: FakeExchange) -> None:
    """Closed by us, by somebody else, not at all; in hedge mode both sides at prices of their own."""
    fake.hold("BTCUSDT", "linear", "USDT", "Buy", "2.5", 1)
    fake.hold("BTCUSDT", "linear", "USDT", "Sell", "1.5", 2)
    fake.hold("BTCPERP", "linear", "USDC", "Buy", "1")
    fake.hold("BTCUSD", "inverse", "BTC", "Sell", "900")
    others: list[str] = []

    def judge(order: Any, held: Any) -> tuple[int, str] | None:
        if order["symbol"] == "BTCPERP":  # its owner was quicker
            held["size"] = "0"
            others.append("BTCPERP")
            return 110017, "current position is zero"
        return (110074, "This contract is not live") if order["symbol"] == "BTCUSD" else None

    fake.refuse_order = judge
    panic = Panic(Exchange("sandbox", fake.url, KEY, SECRET), lambda text: None, sell_spot=False)
    panic.read_rules()
    panic._name = "panic-1"
    for scope in panic._scopes():
        panic._close(scope)
    panic._look()
    assert others and panic.fate("BTCUSDT Buy").endswith("(its executions were not read)")
    panic._read_prices()
    assert {name: panic.fate(name) for name in panic.positions_seen} == {
        "BTCUSDT Buy": "closed: 2.5 at 99.5",
        "BTCUSDT Sell": "closed: 1.5 at 100.5",
        "BTCPERP Buy": "held no more, but not by an execution that this panic knows of",
        "BTCUSD Sell": "NOT closed",
    }
    fake.executions = [{**fake.executions[0], "orderLinkId": "another"}] * 600 + fake.executions
    panic._read_prices()
    assert panic.fate("BTCUSDT Buy") == "closed: 2.5 at 99.5 (of linear only the newest 500 executions were read)"


def test_a_refused_key_ends_it(fake: FakeExchange) -> None:
    for path in ("order/cancel-all", "order/realtime", "position/list", "account/wallet-balance"):
        fake.script[f"/v5/{path}"] = [lambda row: envelope({}, 10003, "API key is invalid.")] * 99
    done = Done(fake.url)
    assert done.code == LEFT and "refuses the key" in done.lines[-1]


def test_a_clock_that_is_ahead_is_put_right(fake: FakeExchange) -> None:
    """pybit alone would widen the window, which cannot help against a clock that is ahead."""
    now = time.time_ns()
    fake.script["/v5/market/time"] = [lambda row: envelope({"timeNano": str(time.time_ns() - 5_000_000_000)})] * 99

    def judge(row: Any) -> Any:
        stamp = int(fake.requests[-1][2]["X-Bapi-Timestamp" if "X-Bapi-Timestamp" in fake.requests[-1][2] else "X-BAPI-TIMESTAMP"])
        return envelope({}, 10002, "invalid request") if stamp > time.time_ns() // 1_000_000 - 4_000 else None

    fake.script["/v5/order/cancel-all"] = [judge] * 99
    fake.script["/v5/order/realtime"] = [judge] * 99
    fake.rest("BTCUSDT", "linear", "USDT", 3)
    done = Done(fake.url)
    assert done.code == FLAT and len(done.panic.cancelled) == 3 and time.time_ns() > now


ODD: dict[str, Any] = {
    "a limit that has ended": lambda row: (200, {"X-Bapi-Limit-Reset-Timestamp": "1"}, json.dumps(envelope({}, 10006, "x")).encode()),
    "a limit without an end": lambda row: envelope({}, 10006, "x"),
    "a limit with nonsense": lambda row: (200, {"X-Bapi-Limit-Reset-Timestamp": "soon"}, json.dumps(envelope({}, 10006, "x")).encode()),
    "a timeout of the server": lambda row: envelope({}, 10016, "x"),
    "no JSON": lambda row: (200, {}, b"<html>"),
    "a list": lambda row: (200, {}, b"[]"),
    "null": lambda row: (200, {}, b"null"),
    "a result that is no object": lambda row: envelope([]),
    "a list that is none": lambda row: envelope({"list": 5}),
    "rows without names": lambda row: envelope({"list": [{}]}),
    "a size that is no number": lambda row: envelope({"list": [{"symbol": "BTCUSDT", "size": "many"}]}),
    "502": lambda row: (502, {}, b"bad gateway"),
    "403 once": lambda row: (403, {}, b"access too frequent"),
    "a redirect": lambda row: (307, {"Location": "http://localhost:1/"}, b""),
}


QUICK = ("a limit that has ended", "null", "a size that is no number", "502", "a redirect")


@pytest.mark.parametrize("kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.long) for kind in ODD])
def test_odd_answers_are_asked_again(kind: str, fake: FakeExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each path answers oddly twice; nothing of the key is shown, and in the end all is closed."""
    fake.hold("BTCUSDT", "linear", "USDT", "Buy", "2.5")
    fake.rest("BTCUSDT", "linear", "USDT", 3)
    for path in ("order/cancel-all", "order/realtime", "position/list", "order/create-batch", "account/wallet-balance"):
        fake.script[f"/v5/{path}"] = [ODD[kind]] * 2
    done = Done(fake.url)
    assert done.code == FLAT and fake.orders == [] and fake.positions[0]["size"] == "0.0", done.lines
    assert KEY not in "".join(done.lines) + repr(done.panic.report()) and SECRET not in "".join(done.lines) + repr(done.panic.report())


def test_neither_key_nor_secret_is_shown(fake: FakeExchange) -> None:
    """10004 echoes what was signed, the key in it; pybit's own words name the request."""
    echo = lambda row: envelope({}, 10016, f"origin_string[1658384314791{KEY}5000{SECRET}]")  # noqa: E731
    fake.script["/v5/order/cancel-all"] = [echo] * 30
    fake.rest("BTCUSDT", "linear", "USDT")
    done = Done(fake.url)
    told = "".join(done.lines) + json.dumps(done.panic.report()) + repr(done.panic._exchange) + str(vars(done.panic).keys())
    assert "origin_string" in told and KEY not in told and SECRET not in told


def test_a_machine_without_a_thread_left(fake: FakeExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slower, and all the same."""

    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    fake.hold("BTCUSDT", "linear", "USDT", "Buy", "2.5")
    fake.rest("BTCUSDT", "linear", "USDT", 3)
    panic = Panic(Exchange("sandbox", fake.url, KEY, SECRET), lambda text: None, sell_spot=False)
    panic.read_rules()
    monkeypatch.setattr(safety, "threading", SimpleNamespace(Thread=NoThread))
    assert panic.run(time.perf_counter()) == FLAT and fake.orders == [] and fake.positions[0]["size"] == "0.0"


def test_a_report_stays_what_it_was_whatever_a_thread_still_hears(fake: FakeExchange) -> None:
    """One that was left behind goes on noting; a report that changed while it is written would end the panic without a word."""
    panic = Panic(Exchange("sandbox", fake.url, KEY, SECRET), lambda text: None, sell_spot=False)
    told = panic.report()
    panic.orders_seen["1"] = panic.cancelled["1"] = panic.dust["X"] = "late"
    panic.closing_orders.append({})
    panic._exchange.failures["late"] += 1
    assert not any(told[name] for name in ("orders_seen", "cancelled", "dust", "closing_orders", "failed_requests"))


# --- as a program ---


def test_a_copy_of_the_file_alone_does_it(tmp_path: Path, fake: FakeExchange) -> None:
    """Nothing of keel can be imported there; TMPDIR leads nowhere; the report is kept beside the latch."""
    fake.hold("BTCUSDT", "linear", "USDT", "Buy", "2.5")
    fake.rest("BTCUSDT", "linear", "USDT", 3)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(safety.__file__, alone / "stop.py")
    text = (alone / "stop.py").read_text().replace("LAST_LOOK_S = 1.0, 6.0", "LAST_LOOK_S = 0.05, 0.0")
    (alone / "stop.py").write_text(text)
    variables = {**os.environ, "TMPDIR": "/nowhere", "BYBIT_SANDBOX_KEY": KEY, "BYBIT_SANDBOX_SECRET": SECRET}
    words = [sys.executable, "-I", str(alone / "stop.py"), "--env", "sandbox", "--sandbox", fake.url, "--yes", "--json"]
    done = subprocess.run(words, cwd=alone, env=variables, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == FLAT, done.stderr
    told = json.loads(done.stdout)
    assert told["exit_code"] == 0 and told["left"] == {} and len(told["cancelled"]) == 3
    assert is_latched(Path(told["latch"])) and len(list(Path(told["latch"]).parent.glob("*.report.json"))) == 1
    assert KEY not in done.stdout + done.stderr and SECRET not in done.stdout + done.stderr


def test_ctrl_c_says_what_is_left(fake: FakeExchange, tmp_path: Path) -> None:
    import signal

    fake.hold("BTCUSDT", "linear", "USDT", "Buy", "2.5")
    fake.refuse_order = lambda order, held: (110074, "This contract is not live")
    words = [sys.executable, "-m", "keel.runners.safety", "--env", "sandbox", "--sandbox", fake.url, "--yes"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        said = [next(process.stdout), next(process.stdout)]
        process.send_signal(signal.SIGINT)
        said += list(process.stdout)
    assert process.returncode == LEFT
    assert "round 1" in said[1] and any("LEFT: linear USDT positions: BTCUSDT Buy 2.5" in line for line in said), said


@pytest.mark.parametrize(("words", "code"), [(["--env", "demo"], 2), (["--env", "live", "--yes"], 2), (["--env", "mars"], 2)])
def test_it_latches_before_it_asks_and_before_it_needs_a_key(words: list[str], code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "keel.runners.safety", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    if "mars" not in words:
        assert is_latched(tmp_path / "state" / "panic" / f"{words[1]}.latch") and "nothing was cancelled" in done.stdout


# --- what must not end it ---


def test_the_file_runs_by_its_name_or_a_links_from_the_repository(tmp_path: Path) -> None:
    """Beside it lies a warnings.py that is not Python's."""
    link, folder = tmp_path / "stop.py", tmp_path / "folder"
    link.symlink_to(safety.__file__)
    folder.symlink_to(Path(safety.__file__).parent)
    for place in (safety.__file__, link, folder / "safety.py"):
        words = [sys.executable, "-S", str(place), "--help"]
        done = subprocess.run(words, cwd=Path(safety.__file__).parents[1], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "Cancel all orders" in done.stdout, (place, done.stderr)


class _Broken:
    """A terminal, pipe or log file that takes nothing any more."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    flush = write

    def isatty(self) -> bool:
        return False


@pytest.fixture
def signals_put_back() -> Iterator[None]:
    """main changes them for its process."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    logging.disable(logging.NOTSET)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_put_back")
def test_a_full_disk_under_latch_log_and_report_at_once(fake: FakeExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    fake.hold("BTCUSDT", "linear", "USDT", "Buy", "2.5")
    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(sys, "stdout", _Broken())
    monkeypatch.setattr(sys, "stderr", _Broken())
    code = safety.main(["--env", "sandbox", "--sandbox", fake.url, "--yes", "--json"])
    assert code == FLAT and is_latched(latch_path(Environment.SANDBOX, fake.url))
    assert Decimal(fake.positions[0]["size"]) == 0


@pytest.mark.usefixtures("signals_put_back")
@pytest.mark.parametrize("state", ["~nobody-of-this-name/state", "/dev/null"])
def test_without_a_state_folder_everything_is_closed_and_the_want_of_a_latch_is_told(
    fake: FakeExchange, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    fake.hold("BTCUSDT", "linear", "USDT", "Buy", "2.5")
    monkeypatch.setenv("KEEL_STATE", state)
    code = safety.main(["--env", "sandbox", "--sandbox", fake.url, "--yes"])
    told = capsys.readouterr().out
    assert code == LEFT and Decimal(fake.positions[0]["size"]) == 0
    assert "NOT LATCHED" in told and "flat at the last look, but NOT LATCHED" in told and "NOT FLAT" not in told and "report:" not in told


@pytest.mark.usefixtures("signals_put_back")
@pytest.mark.parametrize(("more", "why"), [([], "pybit"), (["--key-file", "~nobody-of-this-name/keys"], "home")])
def test_what_it_cannot_begin_without_is_said(
    more: list[str], why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not more:
        monkeypatch.setitem(sys.modules, "pybit._helpers", None)
    assert safety.main(["--env", "sandbox", "--yes", *more]) == 2
    told = capsys.readouterr().out
    assert "the latch stands" in told and re.search(f"nothing was cancelled and nothing was closed: .*{why}", told)


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "127.0.0.1:8686", "http://[::1", "http://127.0.0.1:0x", ""])
def test_a_mistyped_url_is_no_account(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if url:
        with pytest.raises(SystemExit) as ended:
            safety.main(["--env", "sandbox", "--sandbox", url, "--yes"])
        assert ended.value.code == 2 and "is no URL of a sandbox" in capsys.readouterr().err
        assert not (tmp_path / "state").exists()
    else:
        assert not safety._is_url(url) and safety._is_url("http://localhost") and all(safety._is_url(each) for each in safety.URLS.values())


@pytest.mark.usefixtures("signals_put_back")
def test_a_second_signal_does_not_end_the_report() -> None:
    signal.signal(signal.SIGTERM, safety.break_off_once)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
