"""The log of what happened to strategies: ``logs/events_<date>.jsonl``, one JSON object a line, only ever appended to.

Several processes may write at once: each line is one write. A line that a crash left torn was never finished, so what it tells never
happened; readers skip it and say so in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from keel.adapters.logging import get_logger
from keel.adapters.plain_data import plain
from keel.adapters.whole_file import append_line
from keel.core.model.time_range import to_datetime, to_iso
from keel.runners.home import Home

log = get_logger("keel.runners.lifecycle.events")


def append_event(home: Home, ts: int, event: str, fields: Mapping[str, Any]) -> None:
    """Append one event, stamped ts (ms, UTC), and wait until it is on the disk. Raises DataError when the disk refuses."""
    content = plain({"ts": ts, "time": to_iso(ts), "event": event, **fields}, f"event {event}")
    append_line(home.logs / f"events_{to_datetime(ts):%Y%m%d}.jsonl", msgspec.json.encode(content))


def read_events(home: Home, strategy_id: str | None = None) -> list[dict[str, Any]]:
    """All events, or those of one strategy, in the order in which they were written."""
    needle = b"" if strategy_id is None else msgspec.json.encode(strategy_id)
    events: list[dict[str, Any]] = []
    for path in sorted(home.logs.glob("events_*.jsonl")):
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            if not line or needle not in line:
                continue
            try:
                event = msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError as error:
                log.warning("torn line skipped", file=str(path), line=number, error=str(error))
                continue
            if strategy_id is None or event.get("strategy_id") == strategy_id:
                events.append(event)
    return events
