"""No value but the exact words, and no number that is none, gets into a message, an order or a configuration: not when it is made, and not
past an actor's or a venue's edge when it was altered afterwards."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.errors import ConfigError, FieldError
from keel.core.model import messages as messages_module
from keel.core.model.messages import (
    AmendOrder,
    Bracket,
    Direction,
    Fill,
    Halt,
    OrderIntent,
    OrderUpdate,
    SetTradingStop,
    Signal,
    SubmitOrder,
)
from keel.core.model.words import check_again
from keel.core.risk.manager import RiskManager
from keel.core.strategy.portfolio_order import Order, TargetPosition
from keel.core.system.config import ConstantFunding, ExecutionConfig, ExitsConfig, ImpactConfig, RiskConfig, SizingConfig, SystemConfig
from keel.sim.exchange.exchange import RiskProfileConfig
from tests.builders import perpetual

MADE: list[tuple[type[msgspec.Struct], dict[str, Any]]] = [
    (Signal, {"symbol": "BTCUSDT", "direction": "LONG", "order_type": "limit", "limit_price": 5.0, "stop_loss": 4.0, "trailing": 1.0}),
    (Bracket, {"stop_loss": 4.0, "trigger": "mark", "mode": "partial"}),
    (OrderIntent, {"symbol": "BTCUSDT", "side": "BUY", "qty": 1.0, "ts": 5, "bracket": Bracket(4.0)}),
    (SubmitOrder, {"client_order_id": "a", "symbol": "BTCUSDT", "side": "SELL", "order_type": "limit", "qty": 1.0, "ts": 5, "price": 2.0}),
    (AmendOrder, {"client_order_id": "a", "symbol": "BTCUSDT", "ts": 5, "price": 2.0}),
    (SetTradingStop, {"symbol": "BTCUSDT", "ts": 5, "bracket": Bracket(4.0), "position_idx": 1}),
    (Order, {"symbol": "BTCUSDT", "instrument_type": "future", "side": "CLOSE", "value": 5.0}),
    (TargetPosition, {"symbol": "BTCUSDT", "ts": 5, "side": "LONG", "value": 5.0}),
    (Halt, {"ts": 5, "reason": "why", "flatten": True}),
    (OrderUpdate, {"client_order_id": "a", "symbol": "BTCUSDT", "ts": 5, "status": "filled"}),
    (Fill, {"fill_id": "f", "client_order_id": "a", "symbol": "BTCUSDT", "ts": 5, "side": "BUY", "qty": 1.0, "price": 2.0, "fee": 0,
            "realized_pnl": 0, "maker": False, "reference": 2.0}),
    (ExecutionConfig, {"path": "pessimistic", "limit_fill": "touch", "impact": ImpactConfig(base_bps=1.0)}),
    (RiskConfig, {"policy": "none", "margin_mode": "cross", "on_limit": "hold"}),
    (SizingConfig, {"model": "fixed_qty", "qty": 1.0}),
    (ExitsConfig, {"trigger": "index"}),
    (SystemConfig, {"system": "s", "strategy": "t", "symbols": ["BTCUSDT"], "timeframe": "1h", "category": "spot"}),
    (RiskProfileConfig, {"margin_mode": "cross"}),
]  # fmt: skip


def words_of(hint: Any) -> tuple[Any, ...]:
    """The words that an annotation lists; none for one that lists none."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(word for part in get_args(hint) for word in words_of(part))


WORDED = [
    (cls, values, name, words_of(hint))
    for cls, values in MADE
    for name, hint in get_type_hints(cls).items()
    if words_of(hint)
]  # fmt: skip
NUMBERED = [(cls, values, name) for cls, values in MADE for name, value in values.items() if value.__class__ is float]
OTHERS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=8), st.text(max_size=12), st.lists(st.text(max_size=4)),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=1),
    st.sampled_from(["long", "Long", "LONG ", "BUY", "buy", "Sell", "flat", "CLOSE", "Market", "LIMIT", "stop", "PostOnly", "gtc", "Last"]),
)  # fmt: skip


def test_every_message_that_lists_words_is_looked_at() -> None:
    """A message with words that is not among those above would not be tested; one whose words nobody checks would not be refused."""
    worded = {
        cls for cls in vars(messages_module).values()
        if isinstance(cls, type) and issubclass(cls, msgspec.Struct) and any(map(words_of, get_type_hints(cls).values()))
    }  # fmt: skip
    assert worded - {cls for cls, _ in MADE} == {messages_module.Liquidation}
    assert all("__post_init__" in vars(cls) for cls in worded)


@given(st.sampled_from(WORDED), st.data())
def test_no_value_but_the_words_makes_a_message_or_a_configuration(case: Any, data: st.DataObject) -> None:
    cls, values, name, words = case
    near = st.sampled_from(words).flatmap(
        lambda word: st.sampled_from([word.lower(), word.upper(), word.title(), f" {word}", f"{word}s", word[:-1], word.encode(), [word]])
    )
    value = data.draw(st.one_of(near, OTHERS))
    if any(value.__class__ is word.__class__ and value == word for word in words):
        assert getattr(cls(**{**values, name: value}), name) == value
        return
    if cls is ExecutionConfig and name == "max_volume_share" and isinstance(value, (int, float)) and 0 < value <= 1:
        return
    with pytest.raises(FieldError) as caught:
        cls(**{**values, name: value})
    told = str(caught.value)
    assert told.startswith(f"{cls.__name__}: {name} must be ") and all(str(word) in told for word in words)


@pytest.mark.parametrize(("cls", "values", "name"), NUMBERED, ids=lambda part: str(getattr(part, "__name__", part))[:20])
@pytest.mark.parametrize("value", ["100", True, float("nan"), float("inf"), -float("inf"), Decimal(3), 10**400, [1.0], b"1", 1j], ids=str)
def test_what_is_no_number_is_refused_with_its_field(cls: Any, values: dict[str, Any], name: str, value: Any) -> None:
    if cls is Fill and name == "reference":
        return  # the venue's own, of the path
    with pytest.raises(FieldError, match=f"{cls.__name__}: {name} must be "):
        cls(**{**values, name: value})


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("long", "Signal: direction must be one of FLAT, LONG, SHORT, not the text 'long': did you mean LONG?"),
        ("BUY", "not the text 'BUY': did you mean LONG?"),
        ("sell", "not the text 'sell': did you mean SHORT?"),
        ("CLOSE", "not the text 'CLOSE': did you mean FLAT?"),
        ("exit", "not the text 'exit': did you mean FLAT?"),
        (-1, "not -1: did you mean SHORT?"),
        (None, "Signal: direction must be one of FLAT, LONG, SHORT, not empty"),
    ],
)
def test_the_error_names_the_value_the_words_and_the_nearest_one(value: Any, told: str) -> None:
    with pytest.raises(FieldError) as caught:
        Signal("BTCUSDT", value)
    assert told in str(caught.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(FieldError) as caught:
        SubmitOrder("a", "BTCUSDT", "LONG", "LIMIT", "1", 5, time_in_force="gtc", reduce_only="false", position_idx=3, bracket={"mode": 1})  # type: ignore[arg-type]
    fields = [line.split(":")[1].split()[0] for line in str(caught.value).splitlines()]
    assert fields == ["side", "order_type", "qty", "time_in_force", "reduce_only", "position_idx", "bracket"]
    assert "did you mean BUY?" in str(caught.value) and "did you mean limit?" in str(caught.value)


def test_the_same_value_in_another_type_becomes_the_fields_own() -> None:
    """numpy's numbers and texts, whole numbers, and members of a text enum: what columns and tables of people hold."""

    class Way(StrEnum):
        UP = "LONG"

    given: dict[str, Any] = {"stop_loss": 90, "take_profit": np.float64(110.0), "ts": np.int64(7), "order_type": np.str_("market")}
    signal = Signal("BTCUSDT", Way.UP, np.float32(2.0), **given)  # type: ignore[arg-type]
    assert signal == Signal("BTCUSDT", "LONG", 2.0, stop_loss=90.0, take_profit=110.0, ts=7)
    held = (signal.direction, signal.size_usd, signal.stop_loss, signal.take_profit, signal.ts, signal.order_type)
    assert [type(each) for each in held] == [str, float, float, float, int, str]
    assert SubmitOrder("a", "BTCUSDT", "BUY", "market", 1, 5, reduce_only=np.True_).reduce_only is True  # type: ignore[arg-type]
    assert RiskConfig(leverage=np.int64(3)).leverage == 3.0


@given(st.sampled_from(get_args(Direction)), st.data())
def test_a_signal_that_was_altered_does_not_pass_the_risk_manager(direction: Any, data: st.DataObject) -> None:
    signal = Signal("BTCUSDT", direction)
    field, value = data.draw(st.sampled_from([("direction", "flat"), ("order_type", "LIMIT"), ("size_usd", "5"), ("stop_loss", True)]))
    msgspec.structs.force_setattr(signal, field, value)
    with pytest.raises(FieldError, match=f"Signal: {field} must be "):
        RiskManager().check_signal(signal, {"equity": 1000.0})


def test_a_subclass_does_not_pass_an_edge() -> None:
    class Loud(Signal, frozen=True):
        def __post_init__(self) -> None:
            """Looks at nothing."""

    with pytest.raises(FieldError, match="a Signal is needed here, not Loud"):
        check_again(Loud("BTCUSDT", "long"), Signal)  # type: ignore[arg-type]


def test_exits_that_were_altered_do_not_pass_with_their_order() -> None:
    bracket = Bracket(stop_loss=90.0)
    order = SubmitOrder("a", "BTCUSDT", "BUY", "market", 1.0, 5, bracket=bracket)
    msgspec.structs.force_setattr(bracket, "trigger", "Mark")
    with pytest.raises(FieldError, match=r"Bracket: trigger must be one of index, last, mark, .* did you mean mark"):
        check_again(order, SubmitOrder)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ExecutionConfig(path="worst"), "path must be one of ohlc, pessimistic, .* did you mean pessimistic"),
        (lambda: ExecutionConfig(impact={"base_bps": 1.0}), "impact must be an ImpactConfig, or none"),
        (lambda: ExecutionConfig(funding=ConstantFunding(constant="0.0001")), "constant must be a number, not the text '0.0001'"),
        (lambda: SizingConfig(model="percent"), "model must be one of .* did you mean percent_equity"),
        (lambda: RiskConfig(leverage=0), "leverage must be a number of at least 1"),
        (lambda: RiskConfig(max_position_usd=float("nan")), "max_position_usd must be a number above 0, not nan"),
    ],
)
def test_a_configuration_made_in_python_is_checked_as_one_of_a_file(make: Any, told: str) -> None:
    with pytest.raises(FieldError, match=told):
        make()


@pytest.mark.parametrize("side", ["Shrt", "bear", "down", "-1"])
def test_a_position_of_a_picture_has_a_side_that_is_known(side: str) -> None:
    """An unknown one was taken for long."""
    picture = {"equity": 1000.0, "positions": {"BTCUSDT": {"qty": 1.0, "side": side, "entry_price": 10.0}}}
    with pytest.raises(ConfigError, match="has a position of side"):
        RiskManager().check_signal(Signal("BTCUSDT", "LONG"), picture)


def test_an_instrument_has_one_of_two_categories() -> None:
    """Another was taken for spot."""
    with pytest.raises(FieldError, match=r"Instrument: category must be one of linear, spot, .* did you mean linear"):
        perpetual(category="Linear")
