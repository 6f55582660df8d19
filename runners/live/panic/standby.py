"""A panic that stands by, warm: pybit imported, the contracts' rules read, a connection open; for a session and for its supervisor.

    python -P -m keel.runners.live.panic.standby --env demo            (options as of keel.runners.safety; lines on stderr)

The first line of stdin is the key as JSON; then the byte P acts as ``keel.runners.safety`` does, and B ends in order. An end of stdin
without a B is a trader that died: nothing is done then. Positions whose system sets a stop are no emergency by
themselves; whoever watches decides.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
import threading
import time
from functools import partial
from typing import Final

from keel.runners import safety

PARENT_GONE: Final = 1
WARM_EVERY_S: Final = 20.0


def main(arguments: list[str] | None = None) -> int:
    """Wait for the order to panic. Exit code: that of the panic; 0 for an ordered end; PARENT_GONE where the parent has died."""
    options = safety.options_of(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return _wait(options)
    except KeyboardInterrupt:  # SIGTERM before it was told to act
        return PARENT_GONE


def _wait(options: argparse.Namespace) -> int:
    line = b""
    while not line.endswith(b"\n"):
        if not (piece := os.read(0, 1)):
            return PARENT_GONE
        line += piece
    keys, say = json.loads(line), partial(safety.say_on, sys.stderr)
    exchange = safety.Exchange(options.env, options.url, keys["key"], keys["secret"])
    panic = safety.Panic(exchange, say, sell_spot=options.sell_spot)
    threading.Thread(target=panic.read_rules, daemon=True).start()
    threading.Thread(target=exchange.look_at_clock, daemon=True).start()
    while not select.select([0], [], [], WARM_EVERY_S)[0]:
        threading.Thread(target=exchange.look_at_clock, daemon=True).start()  # it keeps a connection warm
    word, begun = os.read(0, 1), time.perf_counter()
    if word != b"P":
        return safety.FLAT if word == b"B" else PARENT_GONE
    say(f"panic: {safety.make_latch(options) or 'the latch stands'}; everything is cancelled and closed now")
    return safety.work(panic, say, options, begun)


if __name__ == "__main__":
    safety.leave(main())
