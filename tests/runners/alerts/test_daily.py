"""The daily summary: when it is due, what it says, and that it is made of a real session."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from keel.runners.live.alerts.alerts import Alerts
from keel.runners.live.alerts.config import AlertsConfig, CommandConfig
from keel.runners.live.alerts.daily import Figures, figures_of, is_due, later, send_daily, summary_text
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from tests.runners.alerts.test_alerts import Box
from tests.runners.live.test_real_time import moving, plan, run, until

DAY, MINUTE = 86_400_000, 60_000
MIDNIGHT = 20_000 * DAY
BEFORE = Figures(
    MIDNIGHT - DAY, 10_000.0, 100.0, 20.0, 1.5, 10, 30, 12, {"max_position_usd": 2}, {"BTCUSDT": 0.1}, [], [], "ACTIVE", "USDT"
)  # fmt: skip


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [(-MINUTE, 4 * MINUTE, False), (-MINUTE, 5 * MINUTE, True), (4 * MINUTE, 5 * MINUTE, True), (5 * MINUTE, 6 * MINUTE, False),
     (5 * MINUTE, DAY + 4 * MINUTE, False), (5 * MINUTE, DAY + 5 * MINUTE, True), (0, 3 * DAY, True), (6 * MINUTE, 4 * MINUTE, False)],
)  # fmt: skip
def test_due_once_a_day_at_its_minute(last: int, now: int, due: bool) -> None:
    """05 past midnight; a clock that goes back is no new day."""
    assert is_due(MIDNIGHT + last, MIDNIGHT + now, 5) is due


def test_what_it_says() -> None:
    now = msgspec.structs.replace(
        BEFORE, ts=MIDNIGHT, equity=10_150.0, realized=160.0, fees=25.0, funding=1.0, fills=14, signals=40, orders=17,
        denied={"max_position_usd": 5, "price_collar_percent": 1}, positions={}, standing=["BTCUSDT: price_stale (no price)"],
        differences=["cash: ours 1, theirs 2"], state="REDUCING",
    )  # fmt: skip
    assert summary_text(BEFORE, now, {"loop_late": 1, "gate": 3}).splitlines() == [
        "from 2024-10-03T00:00:00Z to 2024-10-04T00:00:00Z",
        "equity 10,150.00 USDT, +150.00 (+1.50%)",
        "realized +60.00, fees 5.00, funding paid -0.50",
        "signals 10, orders 5, fills 4",
        "denied 4 (max_position_usd 3, price_collar_percent 1)",
        "positions: none",
        "gate REDUCING",
        "- BTCUSDT: price_stale (no price)",
        "differences between our books and the exchange's: cash: ours 1, theirs 2",
        "told: gate 3, loop_late 1",
    ]


def test_it_is_made_of_a_session_that_trades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keel.runners.live.alerts.daily.is_due", lambda last, now, minute: True)
    box = Box("box")
    alerts = Alerts(AlertsConfig(targets={"box": CommandConfig(command=["x"])}), [box], "demo ema", lambda told: None, str)
    with moving() as sandbox:

        async def act(live: Live, stop: Stop) -> None:
            await until(lambda: len(live.tape.fills) >= 2)
            task = asyncio.create_task(send_daily(live, alerts, look_s=0.05))
            await until(lambda: box.took)
            task.cancel()
            assert figures_of(live).fills >= 2

        run(plan(sandbox, tmp_path, "turns"), None, act)
    alerts.close()
    assert "equity 99," in box.took[0].text or "equity 100," in box.took[0].text
    assert "gate ACTIVE" in box.took[0].text


def test_a_clock_that_is_put_back_brings_no_minute_twice() -> None:
    """A second, or an hour's mistake of daylight saving; a clock that was a day ahead is believed once it is right."""
    minute, day = 5, 86_400_000
    at = 20_000 * day + minute * 60_000
    sent, last = [], at - 20_000
    near = [at - 5_000, at + 1_000, at - 1_000, at + 14_000, at - 3_500_000, at + 30_000]
    for now in [*near, at + day - 1, at + day + 1, at + 2 * day, at + day + 5_000, at + 2 * day + 1]:
        if is_due(last, now, minute):
            sent.append(now - at)
        last = later(last, now)
    assert sent == [1_000, day + 1, 2 * day, 2 * day + 1]
