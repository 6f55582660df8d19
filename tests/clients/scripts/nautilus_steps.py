"""What NautilusTrader is asked to do, whichever its version: one order after another, each step by the event of the one before; then a
second life, which looks at what it finds. Nothing of NautilusTrader is imported."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from said import Report

KINDS = ("linear", "spot")
SEEN = ("instrument", "past bars", "bars", "quotes", "trades", "accepted", "changed", "cancelled", "filled", "post-only refused")


class Steps:
    """The steps of a strategy, which says how it places, changes and drops an order and how it buys: in its version's words."""

    seen: dict[str, Any]
    done: threading.Event
    step = "quote"

    def place(self, factor: str, **more: Any) -> None:
        """A limit buy at so much of the price of the first quote."""
        raise NotImplementedError

    def change(self, factor: str) -> None:
        """What rests gets twice the quantity and another price."""
        raise NotImplementedError

    def drop(self) -> None:
        """What rests is cancelled."""
        raise NotImplementedError

    def buy(self) -> None:
        """At market."""
        raise NotImplementedError

    def count(self, name: str) -> None:
        """One more of what comes again and again."""
        self.seen[name] = self.seen.get(name, 0) + 1

    def on_bar(self, bar: Any) -> None:
        self.count("bars")
        self._end()

    def on_order_accepted(self, event: Any) -> None:
        if self.step == "resting":
            self._go_on("accepted", "changed")
            self.change("0.97")

    def on_order_updated(self, event: Any) -> None:
        if self.step == "changed":
            self._go_on("changed", "cancelled")
            self.drop()

    def on_order_canceled(self, event: Any) -> None:
        if self.step == "cancelled":
            self._go_on("cancelled", "filled")
            self.buy()
        else:
            self._refused("canceled", event)

    def on_order_filled(self, event: Any) -> None:
        if self.step == "filled":
            self._go_on("filled", "crossing")
            self.place("1.001", post_only=True)

    def on_order_rejected(self, event: Any) -> None:
        self._refused("rejected", event)

    def on_order_expired(self, event: Any) -> None:
        self._refused("expired", event)

    def _refused(self, how: str, event: Any) -> None:
        if self.step == "crossing":
            self._go_on("post-only refused", "end")
            self._end()
        else:
            self.seen["unexpected"] = f"{how} at {self.step}: {event}"

    def _go_on(self, seen: str, step: str) -> None:
        self.seen[seen], self.step = True, step

    def _end(self) -> None:
        if self.step == "end" and self.seen.get("bars"):
            self.done.set()


def first_life(kind: str, live: Callable[[], dict[str, Any]]) -> int:
    """How many things failed of a strategy of ``Steps``. live: runs its node, and gives what it has seen."""
    report = Report(kind)
    seen = report.tried("a node trades", live) or {}
    for name in SEEN:
        report.check(name, bool(seen.get(name)), f"{seen.get(name, seen.get('unexpected', 'not seen'))}")
    return report.failed


def second_life(kind: str, live: Callable[[], dict[str, Any]]) -> int:
    """How many things failed of one that looks: "position" as (side, quantity) of each, "closed orders" as their number."""
    report = Report(kind)
    found = report.tried("a second node starts", live) or {}
    if kind == "linear":
        position = found.get("position", [])
        report.check("it finds the position", [(side.upper()[-4:], size) for side, size in position] == [("LONG", "0.010")], f"{position}")
    report.check("it finds closed orders", bool(found.get("closed orders")), f"{found}")
    return report.failed


def main(script: str, lives: dict[str, Callable[[str], int]]) -> int:
    """``script URL``: each life of each kind in a process of its own, since a node's loop ends with it; ``script URL KIND LIFE``: that
    one."""
    if len(sys.argv) > 3:
        return min(1, lives[sys.argv[3]](sys.argv[2]))
    runs = [(kind, life) for kind in KINDS for life in lives]
    return max([subprocess.run([sys.executable, script, sys.argv[1], kind, life], check=False).returncode for kind, life in runs])
