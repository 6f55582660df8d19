"""The live runner: a system on the real account, or by all of its rules on a sandbox of this machine, as its LIVE epoch.

It is the demo runner with another venue and other rules: nothing leaves before everything that ``runners/live/arming`` lists is there, and
a person, or a token that a person made, has armed it. ``run_dry`` goes the same way and sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.core.errors import InvariantError, KeelError, SafetyError
from keel.runners.epoch import StrategyEpoch, StrategyEpochTracker
from keel.runners.home import Home
from keel.runners.lifecycle.promotion import standing, way_out
from keel.runners.lifecycle.promotion_record import Place, place_of, strategy_id
from keel.runners.live.arming.arming import Arming, TokenMade
from keel.runners.live.arming.command_line import LiveCommand
from keel.runners.live.arming.missing import Missing, NotArmedError
from keel.runners.live.arming.terminal import has_terminal
from keel.runners.live.arming.token import LONGEST_MS, Token, put_token, usual_place
from keel.runners.live.panic.latch import latch_name
from keel.runners.live.session.session import Session
from keel.runners.live.session_address import Card, sessions
from keel.runners.live.session_run import (
    Beside,
    Course,
    SessionOptions,
    SessionRun,
    interruptible,
    plan_session,
    run_course,
    without_symbols,
)
from keel.runners.live.startup.connection import connect
from keel.runners.live.startup.dry_run import DryRun
from keel.runners.live.startup.plan import Plan
from keel.runners.process.own_loop import run_to_end
from keel.runners.process.private_files import private_files
from keel.runners.systems import LoadedSystem


@dataclass(frozen=True, slots=True)
class LiveOptions(SessionOptions):
    """As of every session. arm_token: instead of a person at a terminal.  life_ms: how long an arming by a person holds."""

    arm_token: Path | None = None
    life_ms: int = LONGEST_MS


@dataclass(frozen=True, slots=True)
class DryEnding:
    """What a dry run said. missing: why a live session would have been refused.  reason: how it ended."""

    lines: list[str]
    orders: int
    missing: list[Missing]
    account: str
    reason: str
    instants: int


@dataclass(frozen=True, slots=True)
class TokenKept:
    """An arming that was made at a terminal. path: of its file; next_step: what becomes of it, with the command where one is needed."""

    token: Token
    path: Path
    next_step: str


def run_live(loaded: LoadedSystem, home: Home, options: LiveOptions, *, beside: Beside | None = None) -> SessionRun:
    """Arm, and run until Ctrl-C, the sandbox's end, or a fault. Raises NotArmedError with everything that is missing, before anything was
    sent; other KeelErrors as ``run_demo``."""
    plan = _plan(loaded, home, options)
    kept_under = strategy_id(loaded.config.system, place_of(options.sandbox_url))
    course = Course(StrategyEpoch.LIVE, kept_under, "live session" if options.sandbox_url is None else "live session on a sandbox")
    return run_course(plan, home, options, course, beside=beside)


def run_dry(loaded: LoadedSystem, home: Home, options: LiveOptions, say: Callable[[str], None]) -> DryEnding:
    """A live session that sends nothing: ``say`` gets a line for every order that would be sent, and each notice. No run is kept."""
    plan = _plan(loaded, home, options, is_dry=True)
    dry = DryRun(say)
    try:
        with private_files():
            return run_to_end(_dry(replace(plan, dry=dry), dry, options, say))
    finally:
        dry.close()
        if plan.store is not None:
            plan.store.close()


def make_arm_token(loaded: LoadedSystem, home: Home, options: LiveOptions) -> TokenKept:
    """Ask a person to arm, and keep that as a token: in ``options.arm_token``, else at the usual place, where a running session finds it.

    Everything is looked at that a start looks at, the books against the account included; beside a session that runs on this account, its
    books are its own, and ``fresh`` is refused. Raises NotArmedError, SafetyError; nothing is sent.
    """
    if not has_terminal():
        raise SafetyError("arming needs a terminal, at which a person types the account's UID: nothing was made")
    given, options = options.arm_token, replace(options, arm_token=None)
    asks = _arming_of(loaded, home, options)
    with private_files():
        card = _running(asks)
        token = None if card is None else run_to_end(_ask(asks, options, card))
        if token is None:
            card, token = None, _rehearsed(loaded, home, options)
    usual = usual_place(asks.terms)
    path = usual if given is None else given.absolute()
    put_token(token, path)
    return TokenKept(token, path, _next_step(card, path, usual, asks.command))


def promotion_missing(loaded: LoadedSystem, home: Home, place: Place) -> Iterator[Missing]:
    """What the promotion to live lacks: a record that holds, and a life cycle that has come so far."""
    found = standing(loaded, "live", home, place=place)
    if not found.holds:
        yield Missing("promotion", found.why, found.way_out)
        return
    try:
        StrategyEpochTracker(strategy_id(loaded.config.system, place), home=home).state.check_run(StrategyEpoch.LIVE)
    except KeelError as error:
        yield Missing("promotion", str(error), way_out(loaded, "live", place=place))


# --- parts -----------------------------------------------------------------------------------------------------------


def _plan(loaded: LoadedSystem, home: Home, options: LiveOptions, *, is_dry: bool = False, only_arms: bool = False) -> Plan:
    arming = _arming_of(loaded, home, options, is_dry=is_dry, only_arms=only_arms)
    traded = without_symbols(loaded, options.without)
    return replace(plan_session(traded, home, options, StrategyEpoch.LIVE, _environment(options)), arming=arming)


def _arming_of(loaded: LoadedSystem, home: Home, options: LiveOptions, *, is_dry: bool = False, only_arms: bool = False) -> Arming:
    """``--without`` leaves out what was promoted with the rest: the promotion is that of the whole system."""
    place, traded = place_of(options.sandbox_url), without_symbols(loaded, options.without)
    where = endpoints(_environment(options), options.sandbox_url)
    return Arming(
        traded,
        traded.config,
        where,
        command=_command(loaded, home, options),
        promotion=lambda: promotion_missing(loaded, home, place),
        token_path=options.arm_token,
        life_ms=options.life_ms,
        dry=is_dry,
        only_arms=only_arms,
    )


def _command(loaded: LoadedSystem, home: Home, options: LiveOptions) -> LiveCommand:
    key_file, token = (None if path is None else path.absolute() for path in (options.key_file, options.arm_token))
    system = loaded.reference or loaded.config.system
    return LiveCommand(system, home.root.absolute(), options.sandbox_url, loaded.overrides, options.without, key_file, token)


def _environment(options: LiveOptions) -> Environment:
    return Environment.LIVE if options.sandbox_url is None else Environment.SANDBOX


def _running(arming: Arming) -> Card | None:
    """The live session of this system at this exchange that runs on this machine: it holds its account, and has books of its own."""
    where = arming.where
    wanted = (arming.system.system, "live", where.environment.value, latch_name(where.environment, where.rest))
    for card, _ in sessions():
        if (card.system, card.kind, card.environment, latch_name(where.environment, card.url)) == wanted:
            return card
    return None


def _next_step(card: Card | None, path: Path, usual: Path, command: LiveCommand) -> str:
    """What becomes of a token that was made, and what a person does. card: of the session that runs on its account."""
    if card is None:
        return f"no live session of {command.system} runs on this account here; this starts one: {command.start(path)}"
    looks = [str(usual), *([card.arm_token] if card.arm_token else [])]
    if str(path) in looks:
        return f"the session that runs (process {card.process}) takes it within seconds"
    return f"the session that runs (process {card.process}) does not look there, but at {' and '.join(looks)}: {command.arm()} arms it anew"


def _rehearsed(loaded: LoadedSystem, home: Home, options: LiveOptions) -> Token:
    plan = _plan(loaded, home, options, only_arms=True)
    try:
        return run_to_end(_rehearse(plan))
    finally:
        if plan.store is not None:
            plan.store.close()


async def _rehearse(plan: Plan) -> Token:
    """A start up to the moment in which commands would leave."""
    problems: list[Notice] = []
    try:
        await Session(plan, problems.append).run()
    except TokenMade as made:
        return made.token
    raise InvariantError("a start that was to arm only has gone on")


async def _ask(arming: Arming, options: LiveOptions, card: Card) -> Token | None:
    """Beside a session that runs; None where that is on another account than this key's."""
    problems: list[Notice] = []
    arming.look_here()
    try:
        async with connect(
            arming.where.environment, arming.system.category, problems.append, sandbox_url=options.sandbox_url, key_file=options.key_file,
            checks_clock=False, hold=arming.hold,
        ) as connection:  # fmt: skip
            await arming.look(connection)
            if arming.uid is not None and await connection.account_name(checks_key=False) != card.account:
                return None
            if options.fresh:
                raise SafetyError(f"--fresh is for a start, and a session runs on this account (process {card.process}): leave it out")
            return await arming.ask()
    except NotArmedError:
        raise
    except KeelError as error:
        raise arming.refused(error) from error


async def _dry(plan: Plan, dry: DryRun, options: LiveOptions, say: Callable[[str], None]) -> DryEnding:
    def tell(notice: Notice) -> None:
        if notice.severity != "info" or notice.code == "gate":
            say(f"{notice.severity}: {notice.text}")

    session = Session(plan, tell, max_bars=options.max_bars)
    async with interruptible(session, lambda text: say(f"error: {text}")):
        live, ending = await session.run()
    if ending.failure is not None:
        raise ending.failure
    missing = [] if plan.arming is None else plan.arming.missing
    return DryEnding(dry.lines, dry.orders, missing, live.account, ending.reason, len(live.books.engine.closes))
