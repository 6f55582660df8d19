"""The strategy's host: what it hands on, stamps, checks and refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from keel.core.actors.strategy import StrategyActor
from keel.core.errors import ConfigError, InvariantError, StrategyError
from keel.core.model.messages import Fill, Message, OrderUpdate, Signal
from keel.core.strategy.snapshot import RunSnapshot, RuntimeSnapshot
from tests.builders import HOUR, START, Fills, bar

BTC = "BTCUSDT"


class Scripted:
    """Answers with what it was given, or raises it; keeps what it heard."""

    def __init__(self, answer: Any = None, feedback: Exception | None = None) -> None:
        self.answer, self.feedback = answer, feedback
        self.heard: list[Any] = []

    def on_start(self, params: Mapping[str, Any]) -> None:
        self._hear(params)

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Any:
        self.heard.append((snapshot.index, params))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def on_fill(self, fill: Fill) -> None:
        self._hear(fill)

    def on_order(self, update: OrderUpdate) -> None:
        self._hear(update)

    def _hear(self, thing: Any) -> None:
        if self.feedback is not None:
            raise self.feedback
        self.heard.append(thing)


class Silent:
    """Has nothing but the one method that it must have."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return None


def hosted(strategy: Any) -> tuple[StrategyActor, list[Message]]:
    out: list[Message] = []
    return StrategyActor(strategy, "mine", {"fast": 3}, (BTC, "ETHUSDT"), out.append), out


def snapshot(index: int = 7) -> RuntimeSnapshot:
    context: Any = None  # nothing of it is read here
    return RunSnapshot(context, bar(2, 100.0), index)


def test_a_decision_is_published_with_its_time_and_its_strategy() -> None:
    """The time is the bar's close, whatever the strategy wrote; a strategy name of its own stays; nothing else changes."""
    given = Signal(BTC, "LONG", 250.0, confidence=0.5, metadata={"why": [1]}, stop_loss=90.0, take_profit=120.0, trailing=3.0,
                   order_type="limit", limit_price=99.5, ts=5)  # fmt: skip
    actor, out = hosted(Scripted(given))
    actor.on_snapshot(snapshot())
    assert out == [
        Signal(BTC, "LONG", 250.0, "mine", 0.5, {"why": [1]}, 90.0, 120.0, 3.0, "limit", 99.5, START + 3 * HOUR),
    ]
    actor, out = hosted(Scripted(Signal("ETHUSDT", "FLAT", strategy="part-2")))
    actor.on_snapshot(snapshot())
    assert out == [Signal("ETHUSDT", "FLAT", strategy="part-2", ts=START + 3 * HOUR)]


def test_no_decision_is_nothing() -> None:
    strategy = Scripted(None)
    actor, out = hosted(strategy)
    actor.on_snapshot(snapshot())
    assert out == [] and strategy.heard == [(7, {"fast": 3})]


REFUSED = [
    (ZeroDivisionError("by zero"), "strategy mine raised ZeroDivisionError for BTCUSDT at 2024-01-01T03:00:00Z: by zero"),
    ("LONG", "strategy mine returned str for BTCUSDT at 2024-01-01T03:00:00Z: return a Signal or None"),
    ([Signal(BTC, "LONG")], "strategy mine returned list for BTCUSDT"),
    (Signal("SOLUSDT", "LONG"), "strategy mine decided for 'SOLUSDT', which its system does not trade"),
]


@pytest.mark.parametrize(("answer", "words"), REFUSED)
def test_what_is_no_decision_is_refused(answer: Any, words: str) -> None:
    actor, out = hosted(Scripted(answer))
    with pytest.raises(StrategyError) as caught:
        actor.on_snapshot(snapshot())
    assert str(caught.value).startswith(words)
    assert out == []
    assert caught.value.__cause__ is (answer if isinstance(answer, Exception) else None)


@pytest.mark.parametrize("error", [ConfigError("no timeframe 2h"), InvariantError("the sum is off")])
def test_an_error_that_says_who_it_is_for_stays_as_it_is(error: Exception) -> None:
    """For people already, or a mistake of ours, which is not the strategy's though it passes through it."""
    for actor in (hosted(Scripted(error))[0], hosted(Scripted(feedback=error))[0]):
        with pytest.raises(type(error)) as caught:
            actor.start()
            actor.on_snapshot(snapshot())
        assert caught.value is error


def test_a_strategy_that_leaves_the_program_has_failed() -> None:
    class Leaves:
        def generate_signal(self, snapshot: RuntimeSnapshot, params: Any) -> None:
            raise SystemExit(0)

    actor, _ = hosted(Leaves())
    with pytest.raises(StrategyError, match="raised SystemExit for BTCUSDT at "):
        actor.on_snapshot(snapshot())


NUMBERS = ["size_usd", "confidence", "stop_loss", "take_profit", "trailing", "limit_price"]
ALTERED = [("direction", "long"), ("direction", None), ("order_type", "LIMIT"), ("symbol", 5)]
ALTERED += [(field, value) for field in NUMBERS for value in (float("nan"), float("inf"), "100", True)]


@pytest.mark.parametrize(("field", "value"), ALTERED)
def test_a_signal_that_was_altered_after_it_was_made_is_refused(field: str, value: Any) -> None:
    """With strategy, symbol, time, field and value; nothing is published."""
    altered = Signal("BTCUSDT", "LONG")
    msgspec.structs.force_setattr(altered, field, value)
    actor, out = hosted(Scripted(altered))
    with pytest.raises(StrategyError) as caught:
        actor.on_snapshot(snapshot())
    told = str(caught.value)
    assert told.startswith("strategy mine ") and "BTCUSDT at 2024-01-01T03:00:00Z" in told
    assert repr(value) in told or field in told
    assert out == []


def test_a_word_that_is_none_is_told_with_strategy_symbol_time_line_and_the_nearest_word() -> None:
    class Misspelt:
        def generate_signal(self, snapshot: RuntimeSnapshot, params: Any) -> Signal:
            return Signal(snapshot.symbol, "long")  # type: ignore[arg-type]

    actor, out = hosted(Misspelt())
    with pytest.raises(StrategyError) as caught:
        actor.on_snapshot(snapshot())
    told = str(caught.value)
    assert told.startswith("strategy mine made what cannot be sent for BTCUSDT at 2024-01-01T03:00:00Z: Signal: direction must be one of ")
    assert "not the text 'long': did you mean LONG?" in told
    assert "test_strategy.py:" in told and 'Misspelt.generate_signal: return Signal(snapshot.symbol, "long")' in told
    assert out == []


def test_what_a_strategy_raises_is_told_with_its_line_the_bar_and_the_features() -> None:
    class Divides:
        def generate_signal(self, snapshot: RuntimeSnapshot, params: Any) -> None:
            helper(snapshot.index)

    def helper(index: int) -> float:
        return index / 0

    shown = RuntimeSnapshot(bar_ltf=bar(2, 100.0, volume=3.0), features={"fast": 101.25, "slow": float("nan")})
    actor, _ = hosted(Divides())
    with pytest.raises(StrategyError) as caught:
        actor.on_snapshot(shown)
    head, line, at, features = str(caught.value).split("\n")
    assert head == "strategy mine raised ZeroDivisionError for BTCUSDT at 2024-01-01T03:00:00Z: division by zero"
    assert "test_strategy.py:" in line and line.endswith("helper: return index / 0")
    assert at == "  bar of BTCUSDT 1h that closed at 2024-01-01T03:00:00Z: open 100, high 100, low 100, close 100, volume 3"
    assert features == "  features there: fast 101.25, slow nan"
    evidence = caught.value.evidence
    assert (evidence["source"], evidence["features"]) == ("return index / 0", {"fast": 101.25, "slow": "nan"})
    assert evidence["bar"] == {"closed": "2024-01-01T03:00:00Z", "open": 100.0, "high": 100.0, "low": 100.0, "close": 100.0, "volume": 3.0}


def test_feedback_that_fails_is_told_with_the_bar_that_the_strategy_saw_last() -> None:
    class Fails(Scripted):
        def on_fill(self, fill: Fill) -> None:
            raise KeyError("entry")

    actor, _ = hosted(Fails())
    actor.on_snapshot(snapshot())
    with pytest.raises(
        StrategyError, match=r"raised KeyError in on_fill for BTCUSDT at (.|\n)*Fails.on_fill: raise KeyError(.|\n)*bar of BTCUSDT"
    ):
        actor.on_fill(Fills()("BUY", 1.0, 100.0))


def test_feedback_goes_to_those_who_hear_it() -> None:
    fill = Fills()("BUY", 1.0, 100.0)
    update = OrderUpdate("t-1", BTC, START, "accepted")
    strategy = Scripted()
    actor, _ = hosted(strategy)
    actor.start()
    actor.on_fill(fill)
    actor.on_order(update)
    assert strategy.heard == [{"fast": 3}, fill, update]
    assert actor.receives_fills and actor.receives_orders
    silent, _ = hosted(Silent())
    silent.start()
    assert not silent.receives_fills and not silent.receives_orders


def test_what_feedback_raises_names_the_place() -> None:
    actor, _ = hosted(Scripted(feedback=KeyError("x")))
    for call, where in (
        (actor.start, "in on_start"),
        (lambda: actor.on_fill(Fills()("BUY", 1.0, 100.0)), "in on_fill for BTCUSDT at 2024-01-01T00:01:00Z"),
        (lambda: actor.on_order(OrderUpdate("t-1", BTC, START, "accepted")), "in on_order for BTCUSDT at 2024-01-01T00:00:00Z"),
    ):
        with pytest.raises(StrategyError, match=f"strategy mine raised KeyError {where}: 'x'"):
            call()
