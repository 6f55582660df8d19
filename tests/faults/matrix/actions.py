"""What faults do that are no rules of the sandbox: to the clock, the process, the disk, the loop, the strategy, the account."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any

from keel.adapters.journal import Journal
from keel.adapters.journal.disk import Disk
from keel.core.model.messages import OrderIntent
from tests.faults.matrix import script

if TYPE_CHECKING:
    from tests.faults.matrix.moments import Moment
    from tests.faults.matrix.show import Show


def banned(show: Show, moment: Moment) -> None:
    """The address is refused for ten minutes."""
    show.put({"action": {"kind": "ban", "s": 600}})


def clock(show: Show, moment: Moment) -> None:
    """The exchange's clock and ours part, either way."""
    off_ms = show.rng.choice((1, -1)) * show.rng.choice((300, 1_000, 10_000))
    show.how = str(off_ms)
    show.put({"action": {"kind": "clock", "ms": off_ms}})


def killed(show: Show, moment: Moment) -> None:
    """The process ends in this step."""
    show.kill()


# --- the disk ---


def disk(show: Show, moment: Moment) -> None:
    """Full, failing at writing or at syncing (for the sessions of the next seconds), or slow for a while."""
    how = show.how = show.rng.choice(("full", "write", "sync", "slow"))
    if how == "slow":
        _slow_disk(show)
        return
    code, left = (errno.ENOSPC if how == "full" else errno.EIO), show.rng.choice((0, 7, 300))
    write, sync = Disk.write, Disk.sync

    def refusing(disk: Disk, descriptor: int, content: memoryview, offset: int) -> int:
        nonlocal left
        taken = min(left, len(content))
        left -= taken
        if not taken:
            raise OSError(code, "the disk refuses")
        return write(disk, descriptor, content[:taken], offset)

    def losing(disk: Disk, descriptor: int) -> None:
        raise OSError(code, "the disk does not keep it")

    if how == "sync":
        show.patch.setattr(Disk, "sync", losing)
    else:
        show.patch.setattr(Disk, "write", refusing)

    def mended() -> None:
        show.patch.setattr(Disk, "write", write)
        show.patch.setattr(Disk, "sync", sync)

    asyncio.get_running_loop().call_later(15.0, mended)


def _slow_disk(show: Show) -> None:
    """A sync takes two seconds, in its thread."""
    quick = Journal._sync_off_the_loop

    async def slow(journal: Journal) -> None:
        await asyncio.sleep(2.0)
        await quick(journal)

    show.patch.setattr(Journal, "_sync_off_the_loop", slow)
    asyncio.get_running_loop().call_later(15.0, show.patch.setattr, Journal, "_sync_off_the_loop", quick)


# --- the loop, the strategy ---


def blocked(show: Show, moment: Moment) -> None:
    """Something does not return for a while."""
    seconds = show.rng.choice((0.15, 1.0, 5.0))
    show.how = str(seconds)
    show.sandbox.world.loop.jump(seconds)


def mischief(show: Show, moment: Moment) -> None:
    """At its next decision the strategy raises, hangs for three seconds, or makes two hundred orders."""

    def raises() -> None:
        show.may_restart = False
        show.may_end_otherwise = True
        raise ValueError("a mistake in a strategy")

    def hangs() -> None:
        show.sandbox.world.loop.jump(3.0)

    def floods() -> None:
        show.may_restart = False
        live = show.live
        if live is not None:
            asyncio.get_running_loop().call_soon(_flood, live)

    chosen = show.rng.choice((raises, hangs, floods))
    show.how = chosen.__name__
    script.Script.mischief = staticmethod(chosen)


def _flood(live: Any) -> None:
    executor, now = live.books.executor, live.books.clock.now_ms
    for number in range(200):
        executor.on_intent(OrderIntent(script.SYMBOL, "BUY", 0.01, now, "limit", 20_000.0 + number))
    live.books.bus.drain()


# --- the account, by other hands ---


def _order(show: Show, **body: Any) -> str:
    name = f"by-hand-{len(show.strangers) + 1}"
    show.strangers.add(name)
    answer = show.by_hand("/v5/order/create", orderLinkId=name, **body)
    if answer["retCode"]:
        show.problems.append(f"an order by hand was refused: {answer}")
    return name


def foreign_trade(show: Show, moment: Moment) -> None:
    """The exchange reduces what we hold (auto-deleveraging), or somebody else trades it."""
    if show.held() and show.rng.random() < 0.5:
        show.how = "adl"
        show.happens(do="adl", symbol=script.SYMBOL, qty=show.rng.choice(("", "0.004")))
        return
    show.how = "external"
    _by_hand(show)


def _by_hand(show: Show) -> None:
    _order(show, side=show.rng.choice(("Buy", "Sell")), orderType="Market", qty="0.004")
    show.at_end(show.close_by_hand)


def outside(show: Show, moment: Moment) -> None:
    """A manual order, position, leverage or margin; taken back at the end."""
    how = show.how = show.rng.choice(("order", "position", "leverage", "margin", "transfer"))
    if how == "order":
        name = _order(show, side="Buy", orderType="Limit", qty="0.01", price="20000")
        show.at_end(lambda: show.by_hand("/v5/order/cancel", orderLinkId=name))
    elif how == "position":
        _by_hand(show)
    elif how == "transfer":
        show.happens(do="transfer", amount=show.rng.choice(("250.5", "-17.25")))
    elif how == "leverage":
        show.by_hand("/v5/position/set-leverage", buyLeverage="7", sellLeverage="7")
        show.at_end(lambda: show.by_hand("/v5/position/set-leverage", buyLeverage="1", sellLeverage="1"))
    else:
        show.happens(do="auto_add_margin", symbol=script.SYMBOL, on=True)
        show.at_end(lambda: show.happens(do="auto_add_margin", symbol=script.SYMBOL, on=False))
