"""The arming token: what a person has armed, in a file of mode 0600, so that a session without a terminal may begin within its life.

It is bound to the environment, the host, the account, the system, its code and its whole configuration, and sealed with a secret that lies
in this user's state folder and never in the token: one that was written or edited by other hands, on another machine or under another
user, is refused. So is one that has expired, that others may read, or after whose making a panic button was pressed.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from keel.adapters.own_file import cannot_open, not_own
from keel.adapters.plain_data import canonical_json
from keel.adapters.whole_file import json_text, whole_file
from keel.core.errors import SafetyError
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import HOUR_MS, MINUTE_MS
from keel.runners.lifecycle.promotion_record import code_hash
from keel.runners.process.state_folder import state_folder, user_name
from keel.runners.systems import LoadedSystem, effective_system, function_fingerprints

VERSION: Final = 1
LONGEST_MS: Final = 12 * HOUR_MS
_MAX_BYTES: Final = 65_536


class Terms(msgspec.Struct, frozen=True):
    """What an arming is about. host: of the exchange's REST; code and configuration: 64 hex digits each, of everything."""

    environment: str
    host: str
    system: str
    code: str
    configuration: str


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One arming. uid: of the account; times in ms UTC; nonce: which one; by: whose hand; seal: of all the rest."""

    version: int = VERSION
    terms: Terms
    uid: int
    made_ms: int
    expires_ms: int
    nonce: str
    by: str
    seal: str = ""

    @property
    def until(self) -> str:
        """ISO time of its end."""
        return to_iso(self.expires_ms)


def terms_of(loaded: LoadedSystem, environment: str, host: str) -> Terms:
    """Of a system as it is now."""
    functions = function_fingerprints(loaded.config)
    configuration = sha256(canonical_json(effective_system(loaded), "arming")).hexdigest()
    return Terms(environment, host, loaded.config.system, code_hash(loaded.strategy_fingerprint, functions), configuration)


def make_token(terms: Terms, uid: int, now_ms: int, life_ms: int) -> Token:
    """A sealed token. Raises SafetyError for a life beyond 12 h."""
    if not 0 < life_ms <= LONGEST_MS:
        raise SafetyError(f"an arming lives at most {LONGEST_MS // HOUR_MS} h")
    token = Token(
        terms=terms, uid=uid, made_ms=now_ms, expires_ms=now_ms + life_ms, nonce=secrets.token_hex(16), by=user_name()
    )  # fmt: skip
    return msgspec.structs.replace(token, seal=_seal(token))


def put_token(token: Token, path: Path) -> None:
    """Write it whole, for this user alone. Raises DataError."""
    with whole_file(path) as part:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json_text(msgspec.to_builtins(token)))


def usual_place(terms: Terms) -> Path:
    """Where ``--arm`` puts a token without ``--arm-token``, and where a running session looks for a renewal."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{terms.environment}-{terms.host}-{terms.system}")
    return state_folder("arming") / f"{name}.token"


def read_token(path: Path, terms: Terms, now_ms: int, latch: Path) -> Token:
    """The token in a file, if it arms these terms now. Raises SafetyError, which says why it does not."""
    token = _read(path)
    if not hmac.compare_digest(token.seal, _seal(token)):
        raise SafetyError(f"{path} was not made on this machine by this user, or was changed since: its seal does not fit")
    if token.version != VERSION or not 0 < token.expires_ms - token.made_ms <= LONGEST_MS:
        raise SafetyError(f"{path} is no arming token of this version")
    differing = [name for name in Terms.__struct_fields__ if getattr(token.terms, name) != getattr(terms, name)]
    if differing:
        raise SafetyError(
            f"{path} arms something else: {' and '.join(differing)} {'differs' if len(differing) == 1 else 'differ'}"
            " (--arm needs the same system file, --set and --without as the session)"
        )
    if now_ms >= token.expires_ms:
        raise SafetyError(f"{path} has expired at {token.until}")
    if token.made_ms > now_ms + MINUTE_MS:
        raise SafetyError(f"{path} was made in the future ({to_iso(token.made_ms)}): is this computer's clock right?")
    if panicked_since(latch, token.made_ms):
        raise SafetyError(f"{path} was made before a panic: no arming survives one")
    return token


def panicked_since(latch: Path, since_ms: int) -> bool:
    """Whether this environment's panic button was pressed since: its latch stands, or lies beside under another name as evidence."""
    try:
        names = list(os.scandir(latch.parent))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    for entry in names:
        if entry.name == latch.name or entry.name.startswith(f"{latch.name}."):
            try:
                if entry.stat(follow_symlinks=False).st_ctime_ns // 1_000_000 >= since_ms:
                    return True
            except OSError:
                return True
    return False


# --- use: the first is the arming, a later one a restart within its life ---------------------------------------------


def was_used(token: Token) -> bool:
    """Whether a session began with it before."""
    return _use_mark(token).exists()


def note_use(token: Token) -> None:
    """A session begins with it. Marks of tokens that have long expired are taken away."""
    mark = _use_mark(token)
    mark.touch(mode=0o600)
    now = mark.stat().st_mtime_ns
    for other in mark.parent.glob("used-*"):
        if now - other.stat().st_mtime_ns > 2 * LONGEST_MS * 1_000_000:
            other.unlink(missing_ok=True)


def _use_mark(token: Token) -> Path:
    return state_folder("arming") / f"used-{token.nonce}"


# --- inside ----------------------------------------------------------------------------------------------------------


def _seal(token: Token) -> str:
    content = canonical_json(msgspec.to_builtins(msgspec.structs.replace(token, seal="")), "token")
    return hmac.new(_secret(), content, sha256).hexdigest()


def _secret() -> bytes:
    """This user's secret; made at the first use. Raises SafetyError for one that others may read."""
    path = state_folder("arming") / "secret"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return _own_bytes(path, "the secret that seals arming tokens")
    with os.fdopen(descriptor, "wb") as file:
        made = secrets.token_bytes(32)
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    return made


def _read(path: Path) -> Token:
    content = _own_bytes(path, "the arming token")
    try:
        return msgspec.json.decode(content, type=Token)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SafetyError(f"{path} is no arming token, or a damaged one: {error}") from error


def _own_bytes(path: Path, what: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise SafetyError(f"{what} {path} {cannot_open(error, path)}") from error
    try:
        if (why := not_own(os.fstat(descriptor), path)) is not None:
            raise SafetyError(f"{what} {path} must be a file of yours alone, and {why}")
        return os.read(descriptor, _MAX_BYTES)
    finally:
        os.close(descriptor)
