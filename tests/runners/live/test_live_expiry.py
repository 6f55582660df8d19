"""An arming ends: it is said before, nothing is added after, a person renews it; and a restart within its life goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.core.errors import SafetyError
from keel.core.risk.gate.gate import Gate
from keel.runners.live.arming import arming as arming_module
from keel.runners.live.arming.arming import Arming
from keel.runners.live.arming.command_line import LiveCommand
from keel.runners.live.arming.missing import NotArmedError
from keel.runners.live.arming.token import read_token, terms_of, usual_place
from keel.runners.live.checks.release import release
from keel.runners.live.live_account import run_live
from keel.runners.live.memory.records import Armed
from keel.runners.live.panic.latch import latch_path
from keel.runners.live.reporting.status import status_of
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from tests.runners.live.conftest import TYPES, read
from tests.runners.live.live_account import account_at_sandbox, armed_system, home_of, options, private_posts, promoted, token_for, uid_of
from tests.sim.sandbox.conftest import Sandbox
from tests.sim.sandbox.raw import Raw

MINUTE = 60_000


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with account_at_sandbox() as made:
        yield made


class Clock:
    """A clock on the wall that a test turns; the other goes with it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shift_ms = 0
        wall, monotonic = arming_module.wall_ms, arming_module.monotonic_ms
        monkeypatch.setattr(arming_module, "wall_ms", lambda: wall() + self.shift_ms)
        monkeypatch.setattr(arming_module, "monotonic_ms", lambda: monotonic() + self.shift_ms)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


Beside = Callable[[Live, Stop], AsyncIterator[None]]


def at_bar(bar: int, act: Callable[[Live], Any]) -> Beside:
    """Do something once so many instants have closed."""

    async def beside(live: Live, stop: Stop) -> AsyncIterator[None]:
        look, done = live.gate.look, False

        def then() -> None:
            nonlocal done
            if not done and len(live.books.engine.closes) >= bar:
                done = True
                act(live)
            look()

        live.gate.look = then
        yield

    return beside


def test_the_end_is_said_before_and_nothing_is_added_after(sandbox: Sandbox, tmp_path: Path, clock: Clock) -> None:
    home = home_of(tmp_path)
    promoted(home)
    token = token_for(home, sandbox, tmp_path / "token", life_ms=90 * MINUTE)
    orders: list[int] = []

    def nearly(live: Live) -> None:
        clock.shift_ms = 86 * MINUTE
        live.gate.look()
        assert [notice.code for notice in live.notices if notice.code == "arming_ends"] == ["arming_ends"]
        assert live.gate.state.name == "ACTIVE"
        clock.shift_ms = 90 * MINUTE
        live.gate.look()
        assert live.gate.state.name == "REDUCING" and live.gate.has("arming_expired")
        orders.append(len(sandbox.truth()["orders"]))

    made = run_live(armed_system(home), home, options(sandbox, token), beside=at_bar(12, nearly))
    assert made.ending.state == "REDUCING" and any(
        f"keel live armed --home {home.root} --sandbox {sandbox.url} --arm --arm-token {token} " in line for line in made.lines
    )
    added = [order for order in sandbox.truth()["orders"][orders[0] :] if not order["reduceOnly"]]
    assert orders and added == [] and len(sandbox.truth()["orders"]) >= 1


def test_a_person_renews_it_and_nobody_lifts_it_otherwise(sandbox: Sandbox, tmp_path: Path, clock: Clock) -> None:
    home = home_of(tmp_path)
    promoted(home)
    token = token_for(home, sandbox, tmp_path / "token", life_ms=90 * MINUTE)

    def end_and_renew(live: Live) -> None:
        clock.shift_ms = 91 * MINUTE
        live.gate.look()
        assert live.gate.has("arming_expired")
        with pytest.raises(
            SafetyError, match=r"made anew, at a terminal: KEEL_STATE=.* keel live armed --home .* --sandbox http://.* --arm"
        ):
            _now(release(live, "arming_expired", None, "a test"))
        assert live.plan.arming is not None
        place = usual_place(live.plan.arming.terms)
        token_for(home, sandbox, place, uid=uid_of(sandbox) + 1, life_ms=9 * 60 * MINUTE)
        clock.shift_ms += 10_000
        live.gate.look()
        assert live.gate.has("arming_expired"), "another account's token renews nothing"
        token_for(home, sandbox, place, life_ms=9 * 60 * MINUTE)
        clock.shift_ms += 10_000
        live.gate.look()
        assert live.gate.state.name == "ACTIVE" and status_of(live).armed_until == live.plan.arming.token.until  # type: ignore[union-attr]

    made = run_live(armed_system(home), home, options(sandbox, token), beside=at_bar(12, end_and_renew))
    assert made.ending.state == "ACTIVE" and made.ending.agrees
    messages = [record.message for record in read(made.journal, types=TYPES)]
    assert [message.how for message in messages if isinstance(message, Armed)] == ["token", "renewal"]


def _now(work: Any) -> Any:
    """A coroutine that awaits nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def test_a_restart_within_its_life_goes_on_and_freezes_what_differs(sandbox: Sandbox, tmp_path: Path) -> None:
    home = home_of(tmp_path)
    promoted(home)
    token = token_for(home, sandbox, tmp_path / "token")
    first = run_live(armed_system(home), home, options(sandbox, token, max_bars=10))
    order = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "20000"}
    Raw(sandbox).post("/v5/order/create", order)
    sandbox.step()
    again = run_live(armed_system(home), home, options(sandbox, token, max_bars=5))
    assert first.ending.agrees and again.account == first.account
    assert [each.cause for each in again.ending.restrictions] == ["external_order"], "as in a session that runs"


def test_no_restart_goes_on_past_a_panic(sandbox: Sandbox, tmp_path: Path) -> None:
    home = home_of(tmp_path)
    promoted(home)
    token = token_for(home, sandbox, tmp_path / "token")
    run_live(armed_system(home), home, options(sandbox, token, max_bars=5))
    sent = private_posts(sandbox)
    latch = latch_path(Environment.SANDBOX, sandbox.url)
    latch.parent.mkdir(parents=True)
    latch.touch()
    with pytest.raises(NotArmedError):
        run_live(armed_system(home), home, options(sandbox, token))
    latch.rename(latch.with_name(f"{latch.name}.rearmed"))
    with pytest.raises(NotArmedError, match="before a panic"):
        run_live(armed_system(home), home, options(sandbox, token))
    assert private_posts(sandbox) == sent


def test_a_clock_that_is_set_back_lengthens_no_life(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home_of(tmp_path)
    shift = {"wall": 0, "monotonic": 0}
    wall, monotonic = arming_module.wall_ms, arming_module.monotonic_ms
    monkeypatch.setattr(arming_module, "wall_ms", lambda: wall() + shift["wall"])
    monkeypatch.setattr(arming_module, "monotonic_ms", lambda: monotonic() + shift["monotonic"])
    loaded = armed_system(home)
    made = Arming(
        loaded, loaded.config, endpoints(Environment.SANDBOX, sandbox.url), command=LiveCommand("armed", home.root), promotion=list
    )
    token = read_token(
        token_for(home, sandbox, tmp_path / "token"), terms_of(loaded, "sandbox", sandbox.url), wall(), tmp_path / "none"
    )  # fmt: skip
    told: list[Notice] = []
    made._notify = told.append
    made._hold_with(token)
    gate = Gate(["BTCUSDT"])
    shift["wall"] = -10 * 60 * MINUTE
    made.look_now(gate)
    assert not gate.has("arming_expired")
    shift["monotonic"] = 61 * MINUTE
    made.look_now(gate)
    assert gate.has("arming_expired") and told[-1].severity == "error"


def test_it_is_renewed_long_before_its_end_and_what_is_not_taken_is_said_once(sandbox: Sandbox, tmp_path: Path, clock: Clock) -> None:
    home = home_of(tmp_path)
    promoted(home)
    token = token_for(home, sandbox, tmp_path / "token", life_ms=8 * 60 * MINUTE)

    def renew(live: Live) -> None:
        arming = live.plan.arming
        assert arming is not None and arming.token is not None
        first, place = arming.token, usual_place(arming.terms)

        def look() -> list[str]:
            clock.shift_ms += 6_000
            live.gate.look()
            return [notice.text for notice in live.notices if notice.code == "arm_token"]

        assert look() == []
        token_for(home, sandbox, place, "live.max_order_usd=77", life_ms=12 * 60 * MINUTE)
        assert ["configuration differs" in text for text in look()] == [True] and len(look()) == 1 and arming.token == first
        token_for(home, sandbox, place, life_ms=60 * MINUTE)
        assert "not longer than now" in look()[-1] and len(look()) == 2 and arming.token == first
        token_for(home, sandbox, place, life_ms=12 * 60 * MINUTE)
        assert len(look()) == 2 and arming.token.expires_ms > first.expires_ms
        assert arming.left_ms > 11 * 60 * MINUTE
        done.append(arming.token.until)

    done: list[str] = []
    run_live(armed_system(home), home, options(sandbox, token, max_bars=20), beside=at_bar(5, renew))
    assert done
