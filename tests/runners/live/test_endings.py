"""The end is told whatever broke: that trading stopped, why, and what stays at the exchange; by the error, and by the log."""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.journal.disk import Disk
from keel.adapters.logging import set_up_logging
from keel.core.errors import KeelError
from keel.runners.home import Home
from keel.runners.live.demo import DemoOptions, DemoRun, run_demo
from keel.runners.live.session.ending import End, Stop
from keel.runners.live.session.live import Live
from keel.runners.systems import load_system
from tests.sim.sandbox.conftest import Sandbox, lockstep, made_bars, running

pytestmark = pytest.mark.real_sockets

TEXTS = [
    "timeframe=1m", "execution_timeframe=1m", "warmup_bars=20", "params.fast=2", "params.slow=5",
    "exits={stop_loss: {percent: 20}, take_profit: {percent: 20}}",
]  # fmt: skip
Break = Callable[[Home, Sandbox, Live, pytest.MonkeyPatch], None]


def run_folder(home: Home) -> Path:
    (config,) = home.runs.glob("demo/*/*/config.json")
    return config.parent


def artifacts(home: Home, sandbox: Sandbox, live: Live, patch: pytest.MonkeyPatch) -> None:
    (run_folder(home) / "results.json").mkdir()


def report(home: Home, sandbox: Sandbox, live: Live, patch: pytest.MonkeyPatch) -> None:
    (run_folder(home) / "report.html").mkdir()


def events(home: Home, sandbox: Sandbox, live: Live, patch: pytest.MonkeyPatch) -> None:
    (found,) = home.runs.parent.rglob("*events*.jsonl")
    found.unlink()
    found.mkdir()


def figures(home: Home, sandbox: Sandbox, live: Live, patch: pytest.MonkeyPatch) -> None:
    live.tape.changes["BTCUSDT"] = [(0,)]  # type: ignore[list-item]  # what no curve can be made of


def disk(home: Home, sandbox: Sandbox, live: Live, patch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    patch.setattr(Disk, "write", full)


def end(home: Home, sandbox: Sandbox, live: Live, patch: pytest.MonkeyPatch) -> None:
    async def broken(self: End) -> None:
        raise RuntimeError("the end itself breaks")

    patch.setattr(End, "_end", broken)


def play(tmp_path: Path, broken: Break | None, patch: pytest.MonkeyPatch, *, report: bool = True, at: int = 25) -> DemoRun:
    home = Home(tmp_path)
    set_up_logging(level="info", file=home.logs / "demo.jsonl", console=False)
    with running(*lockstep(made_bars(90, first=40))) as sandbox:

        async def beside(live: Live, stop: Stop) -> AsyncIterator[None]:
            step, count = live.connection.step, 0

            async def stepped(bars: int = 1) -> Any:
                nonlocal count
                count += 1
                if count == at and broken is not None:
                    broken(home, sandbox, live, patch)
                return await step(bars)

            live.connection.step = stepped  # type: ignore[method-assign]
            yield

        options = DemoOptions(sandbox_url=sandbox.url, max_bars=28, report=report)
        return run_demo(load_system("ema_cross", home, TEXTS), home, options, beside=beside)


@pytest.mark.parametrize("broken", [artifacts, report, events, figures, disk, end], ids=lambda each: each.__name__)
def test_what_broke_and_what_stays_are_told(broken: Break, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception) as caught:
        play(tmp_path, broken, monkeypatch)
    notes = "\n".join(getattr(caught.value, "__notes__", ()))
    assert "stopped: " in notes and "positions stay: BTCUSDT" in notes, notes
    assert "exits that stay at the exchange: " in notes and "-sl" in notes
    if isinstance(caught.value, KeelError):
        assert caught.value.exit_code != 0
    lines = [json.loads(line) for line in (tmp_path / "logs" / "demo.jsonl").read_text().splitlines()]
    last = lines[-1]
    assert last["event"] == "stopped" and last["level"] == "error"
    said = "\n".join(last["said"])
    assert type(caught.value).__name__ in said and "positions stay: BTCUSDT" in said


def test_a_statement_that_cannot_be_read_is_no_end_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(home: Home, sandbox: Sandbox, live: Live, patch: pytest.MonkeyPatch) -> None:
        patches = [{"op": "replace", "path": "/result/list/0/change", "value": "much"}]
        sandbox.faults({"match": {"side": "http", "path": "/v5/account/transaction-log"}, "action": {"kind": "mutate", "patch": patches}})

    made = play(tmp_path, unreadable, monkeypatch, report=False)
    assert not made.ending.agrees and "not a number" in made.ending.unstated
    assert any(line.startswith("NOT STATED: ") for line in made.lines)
    log = (tmp_path / "logs" / "demo.jsonl").read_text()
    assert '"event":"stopped"' in log and "NOT STATED" in log


def test_an_order_that_the_disk_does_not_take_is_not_sent_and_the_end_is_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left goes on: the exchange is read, and the books are compared with it."""
    with pytest.raises(KeelError) as caught:
        play(tmp_path, disk, monkeypatch, at=2)
    notes = "\n".join(getattr(caught.value, "__notes__", ()))
    assert caught.value.exit_code == 3 and "trading stopped: fault: JournalError" in notes
    assert "books and exchange: difference 0" in notes, notes


def test_what_a_session_writes_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    umask = os.umask(0o022)
    try:
        play(tmp_path, None, monkeypatch)
        assert os.umask(0o022) == 0o022  # as it was
    finally:
        os.umask(umask)
    for name in ("logs", "runs"):
        found = [path for path in (tmp_path / name).rglob("*") if path.is_file() or path.parent != tmp_path]
        assert len(found) > 1
        open_ones = {str(path.relative_to(tmp_path)): oct(path.stat().st_mode) for path in found if path.stat().st_mode & 0o077}
        assert open_ones == {}


def test_an_end_in_order_is_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = play(tmp_path, None, monkeypatch, report=False)
    assert made.ending.agrees
    last = json.loads((tmp_path / "logs" / "demo.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["level"], last["said"]) == ("stopped", "info", made.lines)
    assert last["run_id"] == made.epoch.run_id


def test_what_is_filled_after_the_last_close_is_in_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A close by hand while the session ends: its fee and profit are in the wallet, so they are in net profit, curve and trades, too."""
    ended = End._end

    async def closed_by_hand(self: End) -> Any:
        live = self._live
        qty = abs(live.books.portfolio.lines["BTCUSDT"].qty)
        side = "Sell" if live.books.portfolio.lines["BTCUSDT"].qty > 0 else "Buy"
        body = {"category": "linear", "symbol": "BTCUSDT", "side": side, "orderType": "Market", "qty": f"{qty:.3f}", "reduceOnly": True}
        await live.connection.rest.command("/v5/order/create", body)
        await live.connection.step()
        await live.venue.private.stream.flush()
        return await ended(self)

    monkeypatch.setattr(End, "_end", closed_by_hand)
    result = play(tmp_path, None, monkeypatch).result
    wallet = result.reconciliation.final_balance / 1e8
    assert not result.open_trades and result.reconciliation.final_equity == result.reconciliation.final_balance
    assert result.metrics["final_equity"] == pytest.approx(wallet, abs=1e-6)
    assert result.metrics["net_profit"] == pytest.approx(sum(trade.net_pnl for trade in result.trades) / 1e8, abs=1e-6)
    assert list(result.equity_curve["equity"])[-1] == pytest.approx(wallet, abs=1e-6)
    assert all(first < second for first, second in itertools.pairwise(result.equity_curve.ts.tolist()))
