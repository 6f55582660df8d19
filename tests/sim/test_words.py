"""The exchange and the kernel: what is none of the words, or no number, is refused at the door and changes nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keel.adapters.bybit.execution.venue import BybitVenue
from keel.core.errors import ConfigError, DataError, FieldError
from keel.core.model.messages import AmendOrder, Bar, Bracket, CancelAll, CancelOrder, Message, SetTradingStop, SubmitOrder
from keel.sim.exchange.exchange import SimulatedExchange
from keel.sim.kernel import run, summarize
from tests.sim.kernel.test_kernel import made, parts

ORDER = {"side": "BUY", "order_type": "limit", "qty": 1.0, "price": 90.0}
COMMANDS: list[Any] = [
    (
        "submit_order",
        lambda: SubmitOrder("b", "XUSDT", ts=0, **ORDER),
        ["side", "order_type", "trigger_by", "time_in_force", "position_idx"],
    ),
    ("submit_order", lambda: SubmitOrder("b", "XUSDT", ts=0, **ORDER), ["qty", "price", "reduce_only", "bracket", "close_on_trigger"]),
    ("amend_order", lambda: AmendOrder("a", "XUSDT", 0, price=80.0), ["qty", "price", "trigger_price"]),
    ("cancel_order", lambda: CancelOrder("a", "XUSDT", 0), ["client_order_id", "ts"]),
    ("cancel_all", lambda: CancelAll(0, "XUSDT"), ["ts"]),
    ("set_trading_stop", lambda: SetTradingStop("XUSDT", 0, Bracket(stop_loss=80.0)), ["bracket", "position_idx"]),
]
NONE_OF_THEM = st.sampled_from(
    ["LONG", "buy", "Sell", "LIMIT", "Market", "stop", "gtc", "PostOnly", "LastPrice", "true", "1", "", float("nan"), float("inf"), 7,
     b"BUY", ["BUY"], {"stop_loss": 1.0}, 1j]
)  # fmt: skip


def state_of(exchange: SimulatedExchange) -> Any:
    return exchange.state, [list(book.pending) for book in exchange.books.values()]


@settings(suppress_health_check=list(HealthCheck), max_examples=200)
@given(st.sampled_from(COMMANDS), st.data())
def test_a_command_that_was_altered_is_refused_by_both_venues_and_changes_nothing(venue: Any, case: Any, data: st.DataObject) -> None:
    method, make, fields = case
    asked = venue().send("c", "BUY", 1.0)
    asked.bar((100.0, 100.0, 100.0, 100.0))
    asked.send("a", "BUY", 1.0, price=90.0).bar((100.0, 100.0, 100.0, 100.0))
    before, command = state_of(asked.exchange), make()
    field, value = data.draw(st.sampled_from(fields)), data.draw(NONE_OF_THEM)
    if isinstance(value, int) and field in ("qty", "price", "trigger_price", "ts"):
        return  # a number
    if isinstance(value, str) and field == "client_order_id":
        return  # a name
    msgspec.structs.force_setattr(command, field, value)
    with pytest.raises(FieldError, match=f"{type(command).__name__}: {field} must be "):
        getattr(asked.exchange, method)(command)
    assert state_of(asked.exchange) == before
    assert asked.bar((100.0, 100.0, 70.0, 70.0))[0].startswith("fill a BUY 1 @ 90")  # as it would have been
    with pytest.raises(FieldError):  # at its door, before it looks at anything of its own
        getattr(BybitVenue, method)(object.__new__(BybitVenue), command)


def test_a_subclass_of_a_command_is_none() -> None:
    class Own(SubmitOrder, frozen=True):
        def __post_init__(self) -> None:
            """Looks at nothing."""

    exchange = SimulatedExchange("XUSDT")
    with pytest.raises(FieldError, match="a SubmitOrder is needed here, not Own"):
        exchange.submit_order(Own("a", "XUSDT", "LONG", "market", 1.0, 0))  # type: ignore[arg-type]


@pytest.mark.parametrize("capital", ["1000", True, float("nan"), 0.0, -5.0])
def test_an_account_begins_with_a_number(capital: Any) -> None:
    with pytest.raises(ConfigError, match="initial_capital: must be a number above 0"):
        SimulatedExchange("XUSDT", capital)


def test_a_margin_mode_is_one_of_two() -> None:
    with pytest.raises(FieldError, match=r"margin mode: must be one of isolated, cross, .* did you mean cross"):
        SimulatedExchange("XUSDT").set_margin_mode("Cross")  # type: ignore[arg-type]


def test_the_messages_of_a_venue_are_checked_too() -> None:
    for kind in (SubmitOrder, AmendOrder, SetTradingStop, Bracket):
        assert issubclass(kind, (Message, msgspec.Struct)) and "__post_init__" in vars(kind)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 200), st.integers(-128, 127).filter(lambda value: not -1 <= value <= 2))
def test_the_kernel_takes_its_four_values_and_names_the_bar_of_another(row: int, value: int) -> None:
    columns, signals, setup = parts(PREPARED)
    wrong = signals.copy()
    wrong[row] = value
    for simulate in (run, summarize):
        with pytest.raises(DataError, match=rf"the signal at 20\d\d-.*Z \(number {row}\) is {value}: the kernel takes 1, -1, 0 and 2"):
            simulate(columns, wrong, setup)


@pytest.mark.parametrize("kind", [np.float64, np.int64, np.bool_, object])
def test_the_kernel_takes_no_array_of_another_kind(kind: Any) -> None:
    columns, signals, setup = parts(PREPARED)
    other = signals.astype(kind)
    if kind is np.float64:
        other[3] = np.nan
    with pytest.raises(DataError, match="signals of int8"):
        run(columns, other, setup)


PREPARED = made()


BAD_BARS: list[dict[str, Any]] = [
    {"close": float("nan")}, {"open": float("inf")}, {"close": "100"}, {"low": None}, {"high": True}, {"close": -5.0, "low": -5.0},
    {"open": 0.0, "low": 0.0}, {"high": 99.0}, {"low": 101.0}, {"volume": float("nan")}, {"volume": -1.0}, {"ts_close": 0},
    {"ts_open": "0"}, {"ts_close": float("inf")},
]  # fmt: skip
BAR: dict[str, Any] = {
    "symbol": "XUSDT", "tf": "1h", "ts_open": 0, "ts_close": 3_600_000, "open": 100.0, "high": 100.0, "low": 100.0, "close": 100.0,
    "volume": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("place", ["bar", "mark", "index", "prev_bar"])
@pytest.mark.parametrize("changes", BAD_BARS)
def test_a_bar_that_is_none_is_refused_and_changes_nothing(changes: dict[str, Any], place: str) -> None:
    exchange = SimulatedExchange("XUSDT", 1_000.0)
    exchange.submit_order(SubmitOrder("a", "XUSDT", "BUY", "market", 1.0, 0))
    before = state_of(exchange)
    with pytest.raises(FieldError, match=place):
        exchange.process_bar(**({"bar": Bar(**BAR)} | {place: Bar(**BAR | changes)}))
    with pytest.raises(FieldError, match="a Bar is needed"):
        exchange.process_bar(**({"bar": Bar(**BAR)} | {place: BAR}))
    assert state_of(exchange) == before and exchange.events == []
    assert exchange.process_bar(Bar(**BAR)).fills


def test_a_bar_of_a_symbol_that_is_not_traded_is_named() -> None:
    with pytest.raises(ConfigError, match="does not trade YUSDT; it has XUSDT"):
        SimulatedExchange("XUSDT", 1_000.0).process_bar(Bar(**BAR | {"symbol": "YUSDT"}))
