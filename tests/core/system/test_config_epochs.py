"""What an epoch takes in place of a system's own keys."""

from __future__ import annotations

import pytest

from keel.core.system.config import DemoConfig, for_epoch
from keel.core.system.file import decode_system, effective_dict

BASE = "system: s\nstrategy: ema_cross\nsymbols: [BTCUSDT]\ntimeframe: 1h\nrisk: {leverage: 3, margin_mode: isolated}\n"


@pytest.mark.parametrize(("epoch", "mode"), [("demo", "cross"), ("backtest", "isolated"), ("live", "isolated")])
def test_only_the_demo_epoch_takes_the_keys_of_demo(epoch: str, mode: str) -> None:
    system = decode_system(BASE + "demo: {margin_mode: cross}\n", "s.yaml")
    made = for_epoch(system, epoch)
    assert (made.risk.margin_mode, made.risk.leverage, made.demo) == (mode, 3.0, DemoConfig(margin_mode="cross"))
    assert system.risk.margin_mode == "isolated"


def test_a_system_without_demo_is_the_same_everywhere_and_its_identity_says_nothing_of_it() -> None:
    system = decode_system(BASE, "s.yaml")
    assert for_epoch(system, "demo") is system
    assert effective_dict(system)["demo"] == {}
    assert effective_dict(decode_system(BASE + "demo: {}\n", "s.yaml")) == effective_dict(system)
