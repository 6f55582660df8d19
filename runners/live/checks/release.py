"""A person lifts a cause of the gate: only one that needs a person, and only once what it stood for is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, PayloadError
from keel.core.errors import ConfigError, SafetyError
from keel.core.risk.decision import RENAMED
from keel.core.risk.gate.causes import CAUSES
from keel.core.risk.gate.gate import Entry
from keel.core.system.suggestions import did_you_mean, nearest_name
from keel.runners.live.reporting.restrictions import ADOPTED, Restriction, restrictions

if TYPE_CHECKING:
    from keel.runners.live.session.live import Live

_OF_THE_BOOKS = ("execution_external", "overfilled")


async def release(live: Live, cause: str, symbol: str | None, by: str) -> list[Restriction]:
    """Lift a cause (symbol None: wherever it stands); returns what was lifted. Raises ConfigError for a cause or symbol that nobody knows,
    SafetyError for one that does not stand, that nobody lifts by hand, or whose reason persists."""
    system = live.plan.system.system
    if (name := RENAMED.get(cause)) in CAUSES:
        raise ConfigError(f"{cause} is called {name} now: keel session release {system} --cause {name}")
    if cause not in CAUSES:
        raise ConfigError(f"there is no cause {cause!r} (keel session status {system} lists what stands): {_meant(cause)}")
    if symbol is not None and symbol not in live.instruments:
        raise ConfigError(f"{system} does not trade {symbol!r}: {did_you_mean(symbol, live.instruments)}")
    live.gate.look()
    found = [entry for entry in live.gate.entries(cause) if symbol in (None, entry.symbol)]
    if not found:
        raise SafetyError(f"{cause} does not stand{'' if symbol is None else f' for {symbol}'}: {_where(live, cause)}")
    row = CAUSES[cause]
    if cause in ADOPTED:
        return await _adopt(live, found, by)
    if row.lifted_by != "person":
        raise SafetyError(f"{cause} is not lifted by hand: it ends when {row.ends_when}")
    if cause == "arming_expired":
        arming = live.plan.arming
        command = f"keel live {system} --arm" if arming is None else arming.command.arm()
        raise SafetyError(f"an arming is not lifted, but made anew, at a terminal: {command}")
    if cause == "panic":
        raise SafetyError(f"a panic is not lifted for a session that runs: {found[0].text}; then start anew")
    for entry in found:
        if why := await _persists(live, entry):
            raise SafetyError(f"{cause} persists: {why}; nothing was lifted")
    lifted = [each for each in restrictions(live.gate, system) if each.cause == cause and symbol in (None, each.symbol)]
    for entry in found:
        live.gate.open(cause, entry.symbol, entry.key, by=by)
    if cause == "cancel_ratio":
        live.controls.counts.count_anew()
    return lifted


async def _adopt(live: Live, found: list[Entry], by: str) -> list[Restriction]:
    lifted = []
    for entry in found:
        place = (entry.cause, entry.symbol or "")
        listed = [each for each in restrictions(live.gate, live.plan.system.system) if (each.cause, each.symbol) == place]
        try:
            why = await live.reconciler.adopt(entry.symbol)
        except (ExchangeRefusal, PayloadError) as error:
            why = str(error)
        if why:
            raise SafetyError(f"{entry.cause} was not adopted: {why}")
        live.gate.open(entry.cause, entry.symbol, entry.key, by=by)
        lifted += listed
    return lifted


def _where(live: Live, cause: str) -> str:
    """Where it stands instead, with the command that lifts it there."""
    shown = [each for each in restrictions(live.gate, live.plan.system.system) if each.cause == cause]
    if not shown:
        return "there is nothing to lift"
    return "; ".join(dict.fromkeys(f"it stands for {each.symbol or 'all symbols'}: {each.release or each.text}" for each in shown))


def _meant(cause: str) -> str:
    by_hand = [row.name for row in CAUSES.values() if row.lifted_by == "person"]
    match = nearest_name(cause, CAUSES)
    return f"did you mean {match}?" if match else f"a person lifts {', '.join(by_hand)}"


async def _persists(live: Live, entry: Entry) -> str:
    """Why it cannot be over yet; "" when it may be."""
    if entry.cause == "repeated_execution":
        limit = live.controls.limits.max_repeats_per_minute
        count = live.controls.counts.repeats(live.books.clock.now_ms)
        return f"{count} orders to one side within the last minute (at most {limit}); wait a minute" if count >= limit else ""
    if entry.cause in _OF_THE_BOOKS:
        return await _differs(live, entry.symbol)
    if entry.cause == "another_writer":
        return await _writes(live, entry.key)
    return ""


async def _differs(live: Live, symbol: str | None) -> str:
    await live.reconciler.check(at_once=True)
    if not live.reconciler.was_read:
        return "the exchange could not be read, so that nobody can say whether our books agree with it"
    texts = [each.text for each in live.reconciler.last if symbol is None or each.symbol in (None, symbol)]
    texts += [entry.text for entry in live.gate.entries("external_order") if symbol in (None, entry.symbol)]
    return "; ".join(texts)


async def _writes(live: Live, prefix: str) -> str:
    try:
        rows = await live.venue.reader.open_orders()
    except (ExchangeRefusal, PayloadError) as error:
        return f"the open orders could not be read: {error}"
    resting = [row.orderLinkId or "" for row in rows if (row.orderLinkId or "").startswith(prefix)]
    return f"its orders rest: {', '.join(resting[:5])}" if resting else ""
