"""What a trader says of itself four times a second: one JSON object a line, over a local socket."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

EVERY_S: Final = 0.25
SOCKET_NAME: Final = "KEEL_SUPERVISOR"
"""The environment's name for the socket of a trader's supervisor: a process that has it is a supervised trader."""
RUN_NAME: Final = "KEEL_SUPERVISOR_RUN"
"""The environment's name for an id that all traders of one supervisor share, restarts included."""
RESTARTS_NAME: Final = "KEEL_SUPERVISOR_RESTARTS"
"""How often the trader was started anew; "0" at first."""
LONGEST: Final = 65_536

Millis = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
Phase = Literal["starting", "trading", "stopping", "ended"]


class Vitals(msgspec.Struct, frozen=True):
    """What the event loop says: as old as the loop's last turn.

    data_age_ms: of the symbol whose latest price is the oldest, None where none has come or prices do not move by themselves; journal:
    the segment that is written to, and journal_bytes what of it was written; records: of the whole journal; instants: closed by now;
    state, why: of the gate.
    """

    account: str = ""
    journal: str = ""
    state: str = ""
    why: str = ""
    data_age_ms: float | None = None
    records: int = 0
    journal_bytes: int = 0
    instants: int = 0
    is_lockstep: bool = False


class Beat(msgspec.Struct, frozen=True):
    """process: id; wall_ms, mono_ms: both clocks at one moment; late_ms: how long the event loop has not come round, the worst since the
    beat before; rss_bytes: memory; reason, code, in_order: of a phase that is ``ended``, with the exit code that follows from it; run: of
    the supervisor that started the process."""

    process: int
    phase: Phase
    wall_ms: Millis
    mono_ms: Millis
    late_ms: float = 0.0
    rss_bytes: int = 0
    vitals: Vitals = Vitals()
    reason: str = ""
    code: int | None = None
    in_order: bool = False
    run: str = ""


_decoder: Final = msgspec.json.Decoder(Beat)


def encode(beat: Beat) -> bytes:
    """One line."""
    return msgspec.json.encode(beat) + b"\n"


def decode(line: bytes) -> Beat | None:
    """The beat of a line; None for what is none (a line that was cut off)."""
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        return None
