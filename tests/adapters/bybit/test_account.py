"""Settings are read, checked, set where that is safe, and read back; a no is a clear error before anything is sent."""

from __future__ import annotations

import pytest

from keel.adapters.bybit.execution.polling.account_reader import AccountReader
from keel.core.errors import SafetyError
from keel.sim.sandbox.settings import AccountSettings, SandboxSettings
from tests.adapters.bybit.conftest import desk_over
from tests.adapters.bybit.test_venue_outcomes import fault


def sandbox(**account: object) -> SandboxSettings:
    return SandboxSettings(pace="lockstep", limit_factor=100, accounts=(AccountSettings(**account),))  # type: ignore[arg-type]


async def test_leverage_is_set_and_read_back_and_set_again_without_an_error() -> None:
    async with desk_over(settings=sandbox(leverage=10.0)) as desk:
        reader = desk.venue.reader
        for leverage in (3.0, 3.0, 10.0, 12.5):
            await reader.ensure_leverage("BTCUSDT", leverage)
            assert {row.leverage for row in await reader.position_rows("BTCUSDT")} == {str(leverage).removesuffix(".0")}


async def test_110043_is_a_success() -> None:
    async with desk_over(settings=sandbox(leverage=10.0)) as desk:
        answer = await desk.rest.command(
            "/v5/position/set-leverage", {"category": "linear", "symbol": "BTCUSDT", "buyLeverage": "10", "sellLeverage": "10"}
        )
        assert (answer.code, answer.outcome.value) == (110043, "unchanged")


async def test_leverage_that_is_refused_says_so() -> None:
    async with desk_over() as desk:
        with pytest.raises(SafetyError, match="leverage 500 was not set"):
            await desk.venue.reader.ensure_leverage("BTCUSDT", 500.0)


async def test_hedge_mode_is_refused_or_switched_when_told_to() -> None:
    async with desk_over(settings=sandbox(hedge=True)) as desk:
        reader: AccountReader = desk.venue.reader
        with pytest.raises(SafetyError, match="hedge mode"):
            await reader.ensure_one_way("BTCUSDT")
        await reader.ensure_one_way("BTCUSDT", may_switch=True)
        await reader.ensure_one_way("BTCUSDT")


async def test_a_position_keeps_hedge_mode_and_the_reason_is_told() -> None:
    async with desk_over(settings=sandbox(hedge=True)) as desk:
        desk.venue.submit_order(desk.order(1, position_idx=1))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])
        with pytest.raises(SafetyError, match="110024"):
            await desk.venue.reader.ensure_one_way("BTCUSDT", may_switch=True)
        await desk.until(lambda: "position_mode" in desk.codes())
        assert "BTCUSDT" in desk.venue.gate.frozen


async def test_a_margin_mode_that_is_refused_comes_with_the_choice() -> None:
    async with desk_over(settings=sandbox(margin_mode="isolated")) as desk:
        reader = desk.venue.reader
        await reader.ensure_margin_mode("isolated")
        assert (await reader.info()).marginMode == "ISOLATED_MARGIN"
        desk.faults(fault({"kind": "error", "ret_code": 110073}, "/v5/account/set-margin-mode", "before_apply"))
        with pytest.raises(SafetyError, match=r"110073.*margin_mode: isolated"):
            await reader.ensure_margin_mode("cross")


async def test_a_key_that_may_not_trade_is_refused() -> None:
    async with desk_over(settings=sandbox(read_only=True)) as desk:
        with pytest.raises(SafetyError, match="may not trade"):
            await desk.venue.reader.check_key(live=False)
    async with desk_over() as desk:
        await desk.venue.reader.check_key(live=False)


async def test_positions_and_wallet_are_the_sandbox_s_own() -> None:
    async with desk_over() as desk:
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])
        await desk.venue.resync()
        truth = next(iter((await desk.truth())["accounts"].values()))
        assert desk.venue.tracker.stated.balances["USDT"].wallet == truth["wallet_units"]["USDT"]
        assert desk.venue.tracker.stated.positions["BTCUSDT", 0].qty == 0.01
        assert desk.venue.tracker.books.held("BTCUSDT") == 10
