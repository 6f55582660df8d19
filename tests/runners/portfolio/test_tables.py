"""Hand-worked tables: (steps, orders, prices) -> (values, history, positions), as the documents compute, one bar later.

An order of step k is sized by the close of bar k and fills at the open of bar k + 1. Prices are (open, close) of hourly bars.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.runners.portfolio.scripted import BTC, ETH, Scripted, future, market, run, spot

MOVES = [(100, 100), (100, 125), (130, 150), (140, 160), (155, 155)]
SIDEWAYS = [(100.0, 100.0)] * 5
Entry = tuple[str, str, float, float, float, float]
"""action, side, quantity, price, realized_pnl, balance"""

FUTURES: list[tuple[str, Any, dict[int, list[Any]], list[float], list[Entry]]] = [
    (
        # entry (10 x 100 + 10 x 130) / 20 = 115; 15 x (140 - 115) = 375; 5 x (155 - 115) = 200
        "up, down, closed", MOVES,
        {1: [future("LONG", 1000)], 2: [future("LONG", 2500)], 3: [future("LONG", 750)], 4: [future("CLOSE")]},
        [10000, 10250, 10700, 10600, 10575],
        [("open", "LONG", 10, 100, 0, 10000), ("increase", "LONG", 10, 130, 0, 10000), ("reduce", "LONG", 15, 140, 375, 10375),
         ("close", "LONG", 5, 155, 200, 10575)],
    ),
    (
        # short 10 at 100, at 80 worth 200 more; at 75 closed (250) and 1600 / 80 = 20 opened
        "a flip is a close and an open", [(100, 100), (100, 80), (75, 90), (90, 90)],
        {1: [future("SHORT", 1000)], 2: [future("LONG", 1600)]},
        [10000, 10200, 10550, 10550],
        [("open", "SHORT", 10, 100, 0, 10000), ("close", "SHORT", 10, 75, 250, 10250), ("open", "LONG", 20, 75, 0, 10250)],
    ),
    ("nothing is open", SIDEWAYS, {1: [future("CLOSE")], 2: [future("LONG", 0)], 3: [future("SHORT", 0.0)]}, [10000] * 5, []),
    (
        "the same order twice changes nothing", SIDEWAYS, {1: [future("LONG", 1000)] * 2, 2: [future("LONG", 1000)]}, [10000] * 5,
        [("open", "LONG", 10, 100, 0, 10000)],
    ),
    (
        # 10 x (90 - 110) = -200
        "a value of 0 closes, whatever the side", [(100, 100), (110, 100), (90, 90), (90, 90)],
        {1: [future("LONG", 1000)], 2: [future("SHORT", 0)]},
        [10000, 9900, 9800, 9800],
        [("open", "LONG", 10, 110, 0, 10000), ("close", "LONG", 10, 90, -200, 9800)],
    ),
    (
        # 1234.56 / 50000 = 0.0246912: no lot step, no tick
        "any quantity", [(50000, 50000), (50000.03, 50000.03), (50000.03, 50000.03)], {1: [future("LONG", 1234.56)]},
        [10000, 10000, 10000], [("open", "LONG", 0.0246912, 50000.03, 0, 10000)],
    ),
    (
        "mappings are orders", SIDEWAYS, {1: [{"symbol": BTC, "instrument_type": "future", "side": "SHORT", "value": 500}]}, [10000] * 5,
        [("open", "SHORT", 5, 100, 0, 10000)],
    ),
    (
        # the close is first in line: 10 sold at 100, then 20 bought
        "two orders of one step, in their order", SIDEWAYS, {1: [future("LONG", 1000)], 2: [future("CLOSE"), future("SHORT", 2000)]},
        [10000] * 5,
        [("open", "LONG", 10, 100, 0, 10000), ("close", "LONG", 10, 100, 0, 10000), ("open", "SHORT", 20, 100, 0, 10000)],
    ),
    ("an order of the last step never fills", SIDEWAYS, {5: [future("LONG", 1000)]}, [10000] * 5, []),
]  # fmt: skip

SPOT: list[tuple[str, Any, dict[int, list[Any]], list[float], list[Entry]]] = [
    (
        "cash pays for what is held", MOVES,
        {1: [spot("LONG", 1000)], 2: [spot("LONG", 2500)], 3: [spot("LONG", 750)], 4: [spot("CLOSE")]},
        [10000, 10250, 10700, 10600, 10575],
        [("open", "LONG", 10, 100, 0, 9000), ("increase", "LONG", 10, 130, 0, 7700), ("reduce", "LONG", 15, 140, 375, 9800),
         ("close", "LONG", 5, 155, 200, 10575)],
    ),
    ("a short is refused", SIDEWAYS, {1: [spot("SHORT", 1000)]}, [10000] * 5, []),
    (
        "a short where something is held sells nothing of it", SIDEWAYS, {1: [spot("LONG", 1000)], 2: [spot("SHORT", 1000)]}, [10000] * 5,
        [("open", "LONG", 10, 100, 0, 9000)],
    ),
    ("more than the cash is refused by the exchange", SIDEWAYS, {1: [spot("LONG", 10001)]}, [10000] * 5, []),
]  # fmt: skip


def entries(result: dict[str, Any]) -> list[Entry]:
    names = ("action", "side", "quantity", "price", "realized_pnl", "balance")
    return [tuple(entry[name] for name in names) for entry in result["trade_history"]]  # type: ignore[misc]  # six of them


@pytest.mark.parametrize(("rule", "prices", "orders", "values", "history"), FUTURES, ids=[row[0] for row in FUTURES])
def test_futures(rule: str, prices: Any, orders: Any, values: list[float], history: list[Entry]) -> None:
    with market({"BTCUSDT": prices}) as store:
        result, tester = run(store, Scripted(orders), len(prices))
    assert [value for _, value in tester.portfolio_values] == pytest.approx(values, abs=1e-7)
    assert entries(result) == history
    assert result["final_balance"] == {"USDT": pytest.approx(history[-1][5] if history else 10_000)}
    assert tester.result is not None and tester.result.reconciliation.difference == 0


@pytest.mark.parametrize(("rule", "prices", "orders", "values", "history"), SPOT, ids=[row[0] for row in SPOT])
def test_spot(rule: str, prices: Any, orders: Any, values: list[float], history: list[Entry]) -> None:
    with market({"BTCUSDT": prices}, "spot") as store:
        result, tester = run(store, Scripted(orders), len(prices), "spot")
    assert [value for _, value in tester.portfolio_values] == pytest.approx(values, abs=1e-7)
    assert entries(result) == history
    assert tester.result is not None and tester.result.reconciliation.difference == 0
    refused = {entry["reason"] for entry in result["order_log"]}
    if rule == "a short is refused":
        assert refused == {"short_not_allowed"} and "1 x signal denied: short_not_allowed" in result["notes"]
    if rule.startswith("more than the cash"):
        assert len(refused) == 1 and "Balance insufficient" in refused.pop()


def test_the_figures_of_a_run() -> None:
    """Of the first table: values 10000, 10250, 10700, 10600, 10575."""
    with market({"BTCUSDT": MOVES}) as store:
        result, tester = run(store, Scripted(FUTURES[0][2]), 5)
    assert result["total_return"] == pytest.approx(0.0575)
    assert result["returns"] == pytest.approx([0.025, 450 / 10250, -100 / 10700, -25 / 10600])
    assert result["max_drawdown"] == pytest.approx(125 / 10700)
    assert result["sharpe_ratio"] is None  # under 30 days
    assert result["final_positions"] == {} and result["final_balance"] == {"USDT": 10575.0}
    assert set(result) == {
        "total_return", "returns", "max_drawdown", "sharpe_ratio", "trade_history", "final_balance", "final_positions", "notes",
        "order_log", "funnel",
    }  # fmt: skip
    assert result["trade_history"][0] == {
        "timestamp": tester.portfolio_values[0][0], "symbol": BTC, "instrument_type": "future", "side": "LONG", "action": "open",
        "quantity": 10.0, "price": 100.0, "value": 1000.0, "fee": 0.0, "realized_pnl": 0.0, "balance": 10000.0,
    }  # fmt: skip


def test_a_future_does_not_move_cash_and_spot_does() -> None:
    """1000 in BTC at 100, now at 110."""
    prices = [(100, 100), (100, 110), (110, 110)]
    with market({"BTCUSDT": prices}) as store:
        run(market({"BTCUSDT": prices}, "spot", store=store), bought := Scripted({1: [spot("LONG", 1000)]}), 3, "spot")
        _, tester = run(store, held := Scripted({1: [future("LONG", 1000)]}), 3)
    assert dict(held.oms.balance) == {"USDT": 10000.0} and held.oms.get_total_portfolio_value() == pytest.approx(10100)
    assert dict(bought.oms.balance) == {"USDT": 9000.0, "BTC": 10.0} and bought.oms.get_total_portfolio_value() == pytest.approx(10100)
    expected = {"quantity": 10.0, "side": "LONG", "entry_price": 100.0, "value": 1100.0, "pnl": 100.0, "instrument_type": "future"}
    assert {name: dict(position) for name, position in held.oms.positions.items()} == {BTC: expected}
    assert {name: dict(position) for name, position in bought.oms.positions.items()} == {BTC: {**expected, "instrument_type": "spot"}}
    assert tester.oms_client is not None
    summary = tester.oms_client.summary()
    assert (summary["portfolio_value"], summary["unrealized_pnl"], summary["trades"]) == (pytest.approx(10100), pytest.approx(100), 1)
    assert tester.oms_client.positions_table().split("\n")[1].split() == [BTC, "LONG", "10", "100", "110", "1,100.00", "100.00"]


def test_two_symbols_share_one_account() -> None:
    """BTC 10 at 100 -> 110 is +100; ETH short 20 at 50 -> 60 is -200; each margin is its own, the balance is one."""
    with market({"BTCUSDT": [(100, 100), (100, 110), (110, 110)], "ETHUSDT": [(50, 50), (50, 60), (60, 60)]}) as store:
        orders = {1: [future("LONG", 1000), future("SHORT", 1000, ETH)], 2: [future("CLOSE", None, ETH)]}
        result, tester = run(store, Scripted(orders, (BTC, ETH)), 3)
    assert [value for _, value in tester.portfolio_values] == pytest.approx([10000, 9900, 9900])
    assert result["final_balance"] == {"USDT": pytest.approx(9800)}
    assert list(result["final_positions"]) == [BTC]
    assert [(entry["symbol"], entry["action"], entry["realized_pnl"]) for entry in result["trade_history"]] == [
        (BTC, "open", 0.0), (ETH, "open", 0.0), (ETH, "close", -200.0),
    ]  # fmt: skip
