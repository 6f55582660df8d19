"""The arming of one live session: looks at everything, lists what is missing, asks a person or takes a token, and counts its life down.

Until it is armed no command leaves the connection (``CommandHold``): everything before is reads. When its life is over nothing is added
(``arming_expired``); what reduces, and cancels, still may. A person renews it from another terminal: ``keel live SYSTEM --arm``, with all
that the session was started with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

from keel.adapters.bybit.execution.sending.command_hold import CommandHold
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.transport.endpoints import Endpoints
from keel.adapters.machine import monotonic_ms, wall_ms
from keel.core.errors import KeelError, SafetyError
from keel.core.model.timeframe import HOUR_MS, MINUTE_MS
from keel.core.risk.gate.gate import Gate
from keel.core.system.config import SystemConfig
from keel.runners.live.arming.account import account_missing
from keel.runners.live.arming.command_line import LiveCommand
from keel.runners.live.arming.limits import limit_lines, limits_missing, no_stop
from keel.runners.live.arming.missing import UNREAD, Missing, NotArmedError
from keel.runners.live.arming.supervised import armed_before, arming_place
from keel.runners.live.arming.terminal import ask_person, has_terminal
from keel.runners.live.arming.token import LONGEST_MS, Token, make_token, note_use, put_token, read_token, terms_of, usual_place, was_used
from keel.runners.live.memory.records import Armed
from keel.runners.live.panic.latch import is_latched, latch_path, latch_text
from keel.runners.live.startup.connection import Connection
from keel.runners.systems import LoadedSystem

WARNED_MINUTES: Final = (60, 15, 5, 1)
_RENEWAL_EVERY_MS: Final = 5_000
EXPIRED: Final = "arming_expired"


class TokenMade(Exception):
    """A person has armed what was looked at; nothing begins."""

    def __init__(self, token: Token) -> None:
        super().__init__(token.nonce)
        self.token = token


class Arming:
    """Of a session, or (``dry``) of a run that sends nothing. promotion: lists what the promotion lacks.  token_path: instead of a person.

    life_ms: how long an arming by a person holds.  only_arms: ``arm`` raises TokenMade in place of letting commands leave.
    """

    def __init__(
        self,
        loaded: LoadedSystem,
        system: SystemConfig,
        where: Endpoints,
        *,
        command: LiveCommand,
        promotion: Callable[[], Iterable[Missing]],
        token_path: Path | None = None,
        life_ms: int = LONGEST_MS,
        dry: bool = False,
        only_arms: bool = False,
    ) -> None:
        self._only_arms = only_arms
        self.system, self.where, self.is_dry = system, where, dry
        self.command = command
        """What a person types to come to this session's account."""
        self.terms = terms_of(loaded, where.environment.value, where.rest)
        self.hold = CommandHold("dry run: nothing is sent" if dry else "not armed yet", for_good=dry)
        self.token: Token | None = None
        """What the session is armed with; None before."""
        self.uid: int | None = None
        self.missing: list[Missing] = []
        self._promotion, self._token_path, self._life_ms = promotion, token_path or armed_before(), life_ms
        self._latch = latch_path(where.environment, where.rest)
        self._given: Token | None = None
        self._ends_at = 0
        self._next_renewal = 0
        self._seen: dict[Path, tuple[int, int, int]] = {}
        """Which file lay there when a renewal was looked for last."""
        self._is_first_look = True
        self._warned: set[int] = set()
        self._notify: Notify = lambda notice: None
        self._note: Callable[[Armed], None] = lambda armed: None

    # --- before ---

    def look_here(self) -> None:
        """List what is missing on this machine: mode, limits, promotion, latch, and a way to arm."""
        self.missing += [*limits_missing(self.system), *self._promotion()]
        if is_latched(self._latch):
            self.missing.append(Missing("panic", latch_text(self._latch), "a person does that, with a reason"))
        if self.is_dry:
            return
        if self._token_path is not None:
            self._take_token(self._token_path)
        elif not has_terminal():
            text = "there is no terminal at which the account's UID could be typed, and no --arm-token"
            place = usual_place(self.terms)
            way = f"{self.command.arm(place)} makes one at a terminal; then start with {self.command.start(place)}"
            self.missing.append(Missing("not_armed", text, way))

    async def look(self, connection: Connection) -> None:
        """List what the account lacks. Nothing is sent but reads."""
        self.uid, found = await account_missing(connection, self.system, self.command)
        self.missing += found
        if self._given is not None and self.uid is not None and self._given.uid != self.uid:
            text = f"the token arms account {self._given.uid}, and the key is of account {self.uid}"
            self.missing.append(Missing("uid", text, "use the key of that account, or arm this one"))

    @property
    def is_restart(self) -> bool:
        """Whether a session began with this token before: then differences freeze, as in a session that runs, and do not refuse."""
        return self._given is not None and was_used(self._given)

    def refused(self, error: KeelError) -> KeelError:
        """What else keeps the start from going on, in the same list; the error itself where nothing else is missing."""
        if all(each.code == UNREAD for each in self.missing):
            return error
        return NotArmedError([*self.missing, Missing("start", str(error))])

    # --- the moment ---

    async def arm(self, compare: Callable[[], Awaitable[list[Missing]]], notify: Notify, note: Callable[[Armed], None]) -> None:
        """All has been looked at: list what is missing, or let commands leave. compare: our books with the account; again where a person
        took a while. Raises NotArmedError, SafetyError for what was typed."""
        self._notify, self._note = notify, note
        unclean = await compare()
        missing = [*self.missing, *([] if self.is_restart else unclean)]
        if self.is_dry:
            for each in missing:
                notify(Notice(wall_ms(), "not_armed", f"a live session would be refused: {each.line}"))
            self.missing = missing
            return
        if missing or self.uid is None:
            raise NotArmedError(missing)
        token = self._given
        if token is None:
            await ask_person(self.where.environment.value, self.uid, self.lines(self.uid))
            if meanwhile := await compare():
                raise NotArmedError(meanwhile)
            token = make_token(self.terms, self.uid, wall_ms(), self._life_ms)
            if self._only_arms:
                raise TokenMade(token)
            if (place := arming_place()) is not None:  # a restart by the supervisor needs no person within its life
                put_token(token, place)
        if is_latched(self._latch):
            raise SafetyError(latch_text(self._latch))
        self._hold_with(token)
        self.hold.release()
        note(Armed(wall_ms(), token.uid, token.by, token.until, "token" if self._given is not None else "terminal", token.nonce))
        notify(Notice(wall_ms(), "armed", f"armed for account {token.uid} until {token.until} by {token.by}", severity="info"))

    def lines(self, uid: int) -> list[str]:
        """What a person is about to arm."""
        name, environment = self.system.system, self.where.environment.value.upper()
        limits = ", ".join(limit_lines(self.system))
        hours = self._life_ms / HOUR_MS
        return [
            f"{environment}: {name} on {', '.join(self.system.symbols)} at {self.where.rest}, account {uid}",
            f"limits: {limits}; leverage {self.system.risk.leverage:g}, {self.system.risk.margin_mode} margin",
            *([without] if (without := no_stop(self.system)) else []),
            f"the arming ends after {hours:g} h, or with a panic",
        ]

    async def ask(self) -> Token:
        """A person arms what was looked at, for a token. Raises NotArmedError, SafetyError."""
        if self.missing or self.uid is None:
            raise NotArmedError(self.missing)
        await ask_person(self.where.environment.value, self.uid, self.lines(self.uid))
        return make_token(self.terms, self.uid, wall_ms(), self._life_ms)

    # --- while it holds ---

    @property
    def left_ms(self) -> int:
        """How much of its life is left, by the clock on the wall and by one that never jumps, whichever says less; 0: none."""
        if self.token is None:
            return 0
        return max(0, min(self.token.expires_ms - wall_ms(), self._ends_at - monotonic_ms()))

    def look_now(self, gate: Gate) -> None:
        """Close the gate when its life is over, open it when a person has renewed it, and warn before."""
        if self.is_dry or self.token is None:
            return
        left = self.left_ms
        if monotonic_ms() >= self._next_renewal:
            self._next_renewal = monotonic_ms() + _RENEWAL_EVERY_MS
            self._renew()
            left = self.left_ms
        if left:
            gate.open(EXPIRED, by=self.token.by)
            self._warn(left)
        elif not gate.has(EXPIRED):
            text = f"the arming ended at {self.token.until}; {self.command.arm()} at a terminal renews it"
            gate.close(EXPIRED, text)
            self._notify(Notice(wall_ms(), "arming_expired", f"{text}; until then nothing is added", severity="error"))

    def _warn(self, left_ms: int) -> None:
        due = [minutes for minutes in WARNED_MINUTES if left_ms <= minutes * MINUTE_MS and minutes not in self._warned]
        if not due:
            return
        self._warned.update(due)
        text = f"the arming ends in {max(1, round(left_ms / MINUTE_MS))} min; {self.command.arm()} at a terminal renews it"
        self._notify(Notice(wall_ms(), "arming_ends", text))

    def _renew(self) -> None:
        """Take a newer token, where a person has laid one; what is laid while we run and not taken is said once."""
        for path in dict.fromkeys(path for path in (self._token_path, usual_place(self.terms)) if path is not None):
            lies = _which(path)
            if lies is None or lies == self._seen.get(path):
                continue
            self._seen[path] = lies
            try:
                found = read_token(path, self.terms, wall_ms(), self._latch)
            except SafetyError as error:
                if not self._is_first_look:
                    self._notify(Notice(wall_ms(), "arm_token", f"{error}: the arming stays as it is"))
                continue
            if self.token is None or found.nonce == self.token.nonce:
                continue
            if found.uid == self.token.uid and found.expires_ms > self.token.expires_ms:
                self._hold_with(found)
                if (place := arming_place()) is not None:
                    put_token(found, place)  # a restart takes the newer one, too
                self._note(Armed(wall_ms(), found.uid, found.by, found.until, "renewal", found.nonce))
                self._notify(Notice(wall_ms(), "armed", f"armed anew until {found.until} by {found.by}", severity="info"))
            elif not self._is_first_look:
                text = f"{path} arms account {found.uid} until {found.until}, which is not longer than now: the arming stays as it is"
                self._notify(Notice(wall_ms(), "arm_token", text))
        self._is_first_look = False

    def _hold_with(self, token: Token) -> None:
        note_use(token)
        self.token = token
        self._ends_at = monotonic_ms() + max(0, token.expires_ms - wall_ms())
        self._warned = {minutes for minutes in WARNED_MINUTES if self.left_ms <= minutes * MINUTE_MS}  # its whole life is shorter

    def _take_token(self, path: Path) -> None:
        try:
            self._given = read_token(path, self.terms, wall_ms(), self._latch)
        except SafetyError as error:
            is_ours = self.command.arm_token is None  # of the trader before this one, under the same supervisor
            way = "start it anew at a terminal" if is_ours else f"{self.command.arm(path)} makes a new one at a terminal"
            self.missing.append(Missing("not_armed", str(error), way))


def _which(path: Path) -> tuple[int, int, int] | None:
    """Which file lies there, None: none, or it cannot be seen."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
