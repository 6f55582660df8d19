"""In a session the exchange decides what is paid: a cost model of a user is asked for what sizes set aside, and for nothing else."""

from __future__ import annotations

from pathlib import Path

from keel.core.model.messages import Fill
from keel.core.model.money import to_units
from keel.core.system.config import CostModelConfig, CostsConfig, ExecutionConfig
from tests.faults.conftest import Stage

MODEL = """
class Aside:
    def fee_rate(self, fill):
        raise AssertionError("nobody asks this in a session")

    def reserved_fee_rate(self, symbol, built_in):
        return 0.01
"""


def test_a_session_asks_a_model_for_what_is_set_aside_only(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "aside.py").write_text(MODEL)
    costs = CostsConfig(fees=CostModelConfig(model=f"{tmp_path / 'aside.py'}:Aside"))
    played = stage.play(plan=stage.plan(execution=ExecutionConfig(costs=costs)), bars=12)
    assert played.of(Fill) and played.state == "READY"
    assert played.live.books.actors.risk.manager.markets["BTCUSDT"].taker_fee == to_units("0.01")
    assert {fill.fee / 1e8 / (fill.qty * fill.price) < 0.001 for fill in played.of(Fill)} == {True}
