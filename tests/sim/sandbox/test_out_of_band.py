"""What happens to an account without a request of its own: each is in the lists as the exchange would have it, and the account adds up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.sim.sandbox.conftest import Sandbox, made_bars, stepping
from tests.sim.sandbox.raw import Raw

S = "BTCUSDT"


def happen(sandbox: Sandbox, do: str, **values: Any) -> Any:
    return sandbox.post("/admin/account", {"do": do, **values})


def buy(sandbox: Sandbox, qty: str = "0.1") -> None:
    order = {"category": "linear", "symbol": S, "side": "Buy", "orderType": "Market", "qty": qty}
    assert Raw(sandbox).post("/v5/order/create", order)[2]["retCode"] == 0
    sandbox.step()


@pytest.fixture(scope="module")
def held() -> Iterator[Sandbox]:
    """With a position of 0.1."""
    with stepping(made_bars(90, first=45)) as sandbox:
        buy(sandbox)
        yield sandbox


def test_money_comes_and_goes_with_a_row_of_any_type() -> None:
    with stepping(made_bars(60, first=45)) as sandbox:
        happen(sandbox, "transfer", amount="250")
        happen(sandbox, "transfer", amount="-50.5")
        happen(sandbox, "transfer", amount="0.25", type="FEE_REFUND")
        truth = sandbox.truth()
    rows = [(row["type"], row["change"]) for row in truth["log"]][1:]
    assert rows == [("TRANSFER_IN", "250"), ("TRANSFER_OUT", "-50.5"), ("FEE_REFUND", "0.25")]
    assert truth["wallet_units"]["USDT"] == 10_019_975_000_000 and truth["problems"] == []


def test_part_of_a_position_is_deleveraged() -> None:
    with stepping(made_bars(60, first=45)) as sandbox:
        buy(sandbox)
        happen(sandbox, "adl", symbol=S, qty="0.04")
        sandbox.step()
        truth = sandbox.truth()
        happen(sandbox, "adl", symbol=S)
        sandbox.step()
        after = sandbox.truth()
    (row,) = [row for row in truth["executions"] if row["execType"] == "AdlTrade"]
    assert (row["side"], row["execQty"], row["orderLinkId"]) == ("Sell", "0.040", "")
    assert [each["type"] for each in truth["log"]][-2:] == ["TRADE", "ADL"]
    assert truth["positions"][0]["size"] == "0.060" and after["positions"][0]["size"] == "0.000"
    assert truth["problems"] == [] and after["problems"] == []


@pytest.mark.parametrize("qty", ["inf", "nan", "1e400", "1e-3", "-0.04", "0", "0.0404", "0.1004", "0.2", "9" * 400, "much", " "])
def test_what_is_no_quantity_of_the_position_is_refused_and_nothing_rounded(held: Sandbox, qty: str) -> None:
    with pytest.raises(HTTPError) as refused:
        happen(held, "adl", symbol=S, qty=qty)
    assert refused.value.code == 400 and (b"in steps of 0.001" if qty != "0.2" else b"has 0.100") in refused.value.read()
    held.step()
    assert held.truth()["positions"][0]["size"] == "0.100"


def test_margin_that_is_added_by_itself_is_a_setting_that_can_be_switched_off() -> None:
    with stepping(made_bars(60, first=45)) as sandbox:
        happen(sandbox, "auto_add_margin", symbol=S, on=True)
        assert sandbox.truth()["positions"][0]["autoAddMargin"] == 1
        answer = Raw(sandbox).post(
            "/v5/position/set-auto-add-margin", {"category": "linear", "symbol": S, "autoAddMargin": 0, "positionIdx": 0}
        )
        assert answer[2]["retCode"] == 0 and sandbox.truth()["positions"][0]["autoAddMargin"] == 0


def test_fees_in_another_coin_leave_the_usdt_alone() -> None:
    with stepping(made_bars(60, first=45)) as sandbox:
        happen(sandbox, "fee_coin", coin="MNT", price=0.5)
        before = sandbox.truth()["wallet_units"]["USDT"]
        buy(sandbox)
        truth = sandbox.truth()
        happen(sandbox, "fee_coin")
        buy(sandbox)
        after = sandbox.truth()
    (row,) = truth["executions"]
    assert row["feeCurrency"] == "MNT" and float(row["execFee"]) > 2.0
    assert truth["wallet_units"]["USDT"] == before and truth["problems"] == []
    assert after["executions"][-1]["feeCurrency"] == "USDT" and after["wallet_units"]["USDT"] < before and after["problems"] == []


@pytest.mark.parametrize(
    ("do", "values"),
    [
        ("transfer", {"amount": "much"}), ("transfer", {"amount": "0"}), ("transfer", {"amount": "-900000"}),
        ("transfer", {"amount": "1", "type": "nonsense"}), ("adl", {"symbol": S}), ("adl", {"symbol": "NOPE"}),
        ("auto_add_margin", {"symbol": ""}), ("fee_coin", {"coin": "USDT"}), ("fee_coin", {"coin": "BTC"}),
        ("fee_coin", {"coin": "MNT", "price": 0}),
        ("fee_coin", {"coin": "MNT", "price": 1e-300}), ("fee_coin", {"coin": "MNT", "price": 1e300}),
        ("transfer", {"account": "nobody", "amount": "1"}), ("vanish", {}), ("transfer", {"amonut": "1"}),
    ],
)  # fmt: skip
def test_what_cannot_happen_is_refused_in_words(market: Sandbox, do: str, values: dict[str, Any]) -> None:
    with pytest.raises(HTTPError) as refused:
        happen(market, do, **values)
    assert refused.value.code == 400 and b"error" in refused.value.read()
