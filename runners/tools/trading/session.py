"""Tools for running sessions: how one is, and lifting what needs a person. They ask it over its local socket."""

from __future__ import annotations

from pathlib import Path

import msgspec

from keel.core.errors import ConfigError, KeelError, VenueError
from keel.core.system.file_names import name_problem
from keel.core.system.suggestions import did_you_mean
from keel.runners.live.reporting.restrictions import Restriction
from keel.runners.live.reporting.status import SessionStatus
from keel.runners.live.session.control_socket import Ask, Told
from keel.runners.live.session_address import Card, connected, sessions
from keel.runners.systems import load_system
from keel.runners.tools.registry import Request, Response, ToolContext, tool

STATUS_S = 3.0
"""How long a session may take to say how it is: one whose event loop hangs does not."""
RELEASE_S = 30.0
"""How long it may take to look at the exchange before it lifts anything."""


class SessionRequest(Request, frozen=True):
    """system: its id or file; "": the one session that runs."""

    system: str = ""


class SessionResponse(Response, frozen=True, kw_only=True):
    """How the session is, and what stands in the way of its orders."""

    session: SessionStatus


class SessionsRequest(Request, frozen=True):
    """Nothing is asked."""


class SessionsResponse(Response, frozen=True, kw_only=True):
    """The sessions of this user on this machine; hung: those that do not answer."""

    sessions: list[SessionStatus]
    hung: list[Card]


class ReleaseRequest(Request, frozen=True):
    """cause: of docs/gate.md, one that a person lifts. symbol: None: wherever it stands."""

    system: str
    cause: str
    symbol: str | None = None


class ReleaseResponse(Response, frozen=True, kw_only=True):
    """lifted: what stood; by: who lifted it, as the journal says; session: how it is now."""

    lifted: list[Restriction]
    by: str
    session: SessionStatus


class NoSession(KeelError):
    """Nothing runs that could be asked."""

    exit_code = 2


class Hung(VenueError):
    """A session is there, and does not answer."""


@tool("session_status", SessionRequest, SessionResponse)
def session_status_tool(request: SessionRequest, context: ToolContext) -> SessionResponse:
    """How a running session is: its trading state, and every cause that stands in the way of orders, with what ends it."""
    told = _ask(request.system, Ask("status"), STATUS_S, context)
    assert told.status is not None  # a session answers with it, or with an error, which was raised
    return SessionResponse(session=told.status)


@tool("session_list", SessionsRequest, SessionsResponse)
def session_list_tool(request: SessionsRequest, context: ToolContext) -> SessionsResponse:
    """All sessions that run on this machine."""
    found: list[SessionStatus] = []
    hung: list[Card] = []
    for card, path in sessions():
        try:
            told = _exchange(card, path, Ask("status"), STATUS_S)
        except Hung:
            hung.append(card)
            continue
        if told.status is not None:
            found.append(told.status)
    return SessionsResponse(sessions=found, hung=hung)


@tool("session_release", ReleaseRequest, ReleaseResponse)
def session_release_tool(request: ReleaseRequest, context: ToolContext) -> ReleaseResponse:
    """Lift a cause that needs a person, once what it stood for is over. It is written into the journal, with who did it."""
    symbol = request.symbol.upper() if request.symbol else None
    told = _ask(request.system, Ask("release", request.cause, symbol), RELEASE_S, context)
    assert told.status is not None  # as above
    return ReleaseResponse(lifted=told.lifted, by=told.by, session=told.status)


def _ask(system: str, ask: Ask, patience_s: float, context: ToolContext) -> Told:
    card, path = _find(system, context)
    told = _exchange(card, path, ask, patience_s)
    if told.error:
        error = KeelError(told.error)
        error.exit_code = told.exit_code
        raise error
    return told


def _find(system: str, context: ToolContext) -> tuple[Card, Path]:
    running = sessions()
    if not running:
        raise NoSession(f"no session runs on this machine under this user: keel demo or keel live {system or 'SYSTEM'} starts one")
    name = system
    if name and all(card.system != name for card, _ in running) and not name_problem(name) and Path(name).is_file():
        name = load_system(name, context.home, []).config.system
    found = [(card, path) for card, path in running if name in ("", card.system)]
    if not found:
        names = [card.system for card, _ in running]
        raise NoSession(f"no session of {name!r} runs: {did_you_mean(name, names)}")
    if len(found) > 1:
        accounts = "; ".join(f"{card.system} on {card.account}, process {card.process}" for card, _ in found)
        raise ConfigError(f"more than one session runs ({accounts}): stop one, or run them under systems of different names")
    return found[0]


def _exchange(card: Card, path: Path, ask: Ask, patience_s: float) -> Told:
    try:
        with connected(path, patience_s) as line, line.makefile("rwb") as file:
            file.write(msgspec.json.encode(ask) + b"\n")
            file.flush()
            raw = file.readline()
        return msgspec.json.decode(raw, type=Told)
    except TimeoutError as error:
        raise Hung(
            f"the session of {card.system} (process {card.process}, on {card.account}) did not answer within {patience_s:g} s: its event"
            " loop hangs, as with a strategy that does not return; orders that rest stay at the exchange. Ctrl-C in its terminal, or"
            f" kill {card.process}, ends it"
        ) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise NoSession(f"the session of {card.system} (process {card.process}) ended while it was asked: {error}") from error
