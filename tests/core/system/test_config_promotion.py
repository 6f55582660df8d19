"""A promotion rule is a metric, an operator and a number; what is not known never passes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from keel.core.errors import ConfigError
from keel.core.system.promotion import PromotionRule

PARSED = [
    ("sharpe > 1.0", "sharpe", ">", 1.0),
    ("total_trades>=100", "total_trades", ">=", 100.0),
    ("  max_drawdown_pct > -25 ", "max_drawdown_pct", ">", -25.0),
    ("fees < 1e3", "fees", "<", 1000.0),
    ("losses == .5", "losses", "==", 0.5),
    ("days != 0", "days", "!=", 0.0),
    ("days <= 7.", "days", "<=", 7.0),
]


@pytest.mark.parametrize(("text", "metric", "op", "threshold"), PARSED)
def test_rules_are_read(text: str, metric: str, op: str, threshold: float) -> None:
    assert PromotionRule.parse(text) == PromotionRule(metric, op, threshold)
    assert PromotionRule.parse(str(PromotionRule.parse(text))) == PromotionRule.parse(text)


@pytest.mark.parametrize(
    "text", ["", "sharpe", "sharpe >", "> 1", "sharpe => 1", "sharpe > one", "1 < sharpe", "a > 1 and b > 2", "x > 1e999"]
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a rule"):
        PromotionRule.parse(text)


VERDICTS: list[tuple[str, Any, bool]] = [
    ("m > 1", 1.0, False),
    ("m > 1", 1.1, True),
    ("m >= 1", 1.0, True),
    ("m < 1", 1, False),
    ("m <= 1", 1, True),
    ("m == 1", 1, True),
    ("m != 1", 1, False),
    ("m > -25", -24.9, True),
    ("m > -25", -26.0, False),
]


@pytest.mark.parametrize(("rule", "value", "passed"), VERDICTS)
def test_verdicts(rule: str, value: float, passed: bool) -> None:
    verdict = PromotionRule.parse(rule).evaluate({"m": value})
    assert (verdict.passed, verdict.value, verdict.rule) == (passed, float(value), rule)
    assert bool(verdict.reason) is not passed


UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"sharpe": None}, "sharpe has no value: fewer than 30 days"),
    ({"sharp": 2.0}, "the result has no metric sharpe: did you mean sharp?"),
    ({"sharpe": math.nan}, "not a finite number"),
    ({"sharpe": math.inf}, "not a finite number"),
    ({"sharpe": "2.0"}, "not a finite number"),
    ({"sharpe": True}, "not a finite number"),
]


@pytest.mark.parametrize(("metrics", "reason"), UNKNOWN)
@pytest.mark.parametrize("op", [">", "<", "!="])
def test_what_is_not_known_fails_with_its_reason(metrics: dict[str, Any], reason: str, op: str) -> None:
    verdict = PromotionRule.parse(f"sharpe {op} 1").evaluate(metrics, {"sharpe": "fewer than 30 days"})
    assert not verdict.passed and verdict.value is None and reason in verdict.reason
