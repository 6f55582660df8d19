"""The record of a promotion: which epoch it opens, why, and the hashes of the code, the configuration and the data that it was earned with.

One file for each, in the home's ``promotions`` (mode 0600, written whole), besides the event in the log. A record is never changed; the
newest one of a system, an epoch and a place counts. What is bound:

- code: the strategy's sources, and the files of the functions that the system's own features name.
- configuration: every key of the effective system but UNBOUND_KEYS: ``mode`` and ``live`` say where and how tightly it may trade,
  ``supervision`` what is done when a session hangs, crashes or is alone, ``description`` nothing.
- data: what the rules were judged on. A backtest's are the bars, marks, funding and instruments of its window with the warm-up (they are
  read again from the store); a session's are its own artifacts.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from keel.adapters.artifacts import read_json
from keel.adapters.logging import get_logger
from keel.adapters.plain_data import canonical_json
from keel.adapters.whole_file import json_text, whole_file
from keel.core.errors import DataError
from keel.core.model.time_range import to_iso
from keel.core.system.promotion import RuleVerdict
from keel.runners.home import Home
from keel.runners.process.state_folder import user_name
from keel.runners.systems import LoadedSystem, effective_system, function_fingerprints
from keel.strategies.old_names import identity_bytes

Place = Literal["exchange", "sandbox"]
"""Where a session trades, or a record was earned: sandbox is a rehearsal, which counts there only."""
How = Literal["epoch", "promote", "untested"]

VERSION: Final = 1
UNBOUND_KEYS: Final = ("mode", "live", "supervision", "description")
_SESSION_FILES: Final = ("trades.jsonl", "equity.csv", "results.json")
_MAX_BYTES: Final = 1 << 20
_NAME: Final = re.compile(r"(?P<system>.+)-(?P<to>[a-z]+)-(?P<place>exchange|sandbox)-(?P<made_ms>\d{1,18})-[0-9a-f]{8}\.json")
"""What ``write_record`` calls a file."""
BELOW: Final[Mapping[str, str]] = {"demo": "backtest", "live": "demo"}
"""An epoch that a promotion opens -> the epoch whose runs are judged for it."""
log = get_logger("keel.runners.lifecycle.promotion")


class Judged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The run that the rules were judged on. folder: relative to the home; start_ms, end_ms: its window, 0 for a session."""

    run_id: str
    folder: str
    epoch: str
    start_ms: int = 0
    end_ms: int = 0


class PromotionRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a system came to its next epoch. place: sandbox where it was earned by a rehearsal, which counts there only.  how: by an epoch
    that passed, by ``keel promote``, or untested, and because of what.  digest: of all the rest, so that a damaged file is no record."""

    version: int = VERSION
    system: str
    to: str
    place: Place
    made: str
    made_ms: int
    by: str
    how: How
    because: str = ""
    rules: list[RuleVerdict] = []
    judged: Judged | None = None
    code: str
    configuration: str
    data: str
    digest: str = ""

    @property
    def is_untested(self) -> bool:
        """Whether a person waved it through."""
        return self.how == "untested"


def place_of(sandbox_url: str | None) -> Place:
    """Of a session with this sandbox, or with none."""
    return "exchange" if sandbox_url is None else "sandbox"


def strategy_id(system: str, place: Place) -> str:
    """Under which a system's sessions are kept: a rehearsal does not count as the strategy's life."""
    return system if place == "exchange" else f"{system}-sandbox"


# --- what is bound ---------------------------------------------------------------------------------------------------


def code_hash(strategy_fingerprint: str, functions: Mapping[str, str]) -> str:
    """64 hex digits of a system's code."""
    return _hash({"strategy": strategy_fingerprint, "functions": dict(functions)})


def configuration_hash(effective: Mapping[str, Any]) -> str:
    """64 hex digits of an effective system."""
    return _hash({key: value for key, value in effective.items() if key not in UNBOUND_KEYS})


def identity(loaded: LoadedSystem) -> tuple[str, str]:
    """(code, configuration) of a system as it is now."""
    functions = function_fingerprints(loaded.config)
    return code_hash(loaded.strategy_fingerprint, functions), configuration_hash(effective_system(loaded))


def recorded_identity(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """(code, configuration) of a run, from the effective configuration in its config.json; None where it ran no system."""
    system, strategy = config.get("system"), config.get("strategy_fingerprint")
    if not isinstance(system, Mapping) or not isinstance(strategy, str) or not strategy:
        return None
    return code_hash(strategy, config.get("function_fingerprints") or {}), configuration_hash(system)


def session_data(folder: Path) -> str:
    """64 hex digits of what a session left. Raises DataError where a file of it is gone."""
    digest = hashlib.sha256()
    for name in _SESSION_FILES:
        try:
            digest.update(f"{name}:{hashlib.sha256((folder / name).read_bytes()).hexdigest()};".encode())
        except OSError as error:
            raise DataError(f"{folder / name} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _hash(content: Any) -> str:
    return hashlib.sha256(identity_bytes(canonical_json(content, "promotion"))).hexdigest()


# --- a run's own record ----------------------------------------------------------------------------------------------


def record_of_run(home: Home, folder: Path, to: str, *, how: How, now_ms: int, rules: Sequence[RuleVerdict] = ()) -> PromotionRecord | None:
    """The record that a passed run makes; None where nothing binds it: a script's own metrics, without a system. Raises DataError."""
    started = read_json(folder / "config.json") or {}
    config = started.get("config") or {}
    bound = recorded_identity(config)
    if bound is None:
        return None
    window = config.get("window") or {}
    is_backtest = "data_fingerprint" in config
    judged = Judged(
        started["run"]["run_id"], folder.relative_to(home.root).as_posix(), started["epoch"],
        window.get("start_ms", 0) if is_backtest else 0, window.get("end_ms", 0) if is_backtest else 0,
    )  # fmt: skip
    return sealed(
        PromotionRecord(
            system=config["system"]["system"],
            to=to,
            place="sandbox" if config.get("environment") == "sandbox" else "exchange",
            made=to_iso(now_ms),
            made_ms=now_ms,
            by=user_name(),
            how=how,
            rules=list(rules),
            judged=judged,
            code=bound[0],
            configuration=bound[1],
            data=config["data_fingerprint"] if is_backtest else session_data(folder),
        )
    )


# --- files -----------------------------------------------------------------------------------------------------------


def sealed(record: PromotionRecord) -> PromotionRecord:
    """With the digest of its content."""
    return msgspec.structs.replace(record, digest=_digest(record))


def write_record(home: Home, record: PromotionRecord) -> Path:
    """Keep a record. Raises DataError when the disk refuses."""
    folder = home.promotions
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} could not be made: {error.strerror or error}") from error
    path = folder / f"{record.system}-{record.to}-{record.place}-{record.made_ms}-{record.digest[:8]}.json"
    with whole_file(path) as part:
        part.touch(mode=0o600)
        part.write_bytes(json_text(msgspec.to_builtins(record)))
    return path


class Damaged(msgspec.Struct, frozen=True):
    """A file that was a record, or was to be one. made_ms: by its name; what: is wrong with it."""

    path: Path
    made_ms: int
    what: str

    @property
    def text(self) -> str:
        """What is wrong, for people."""
        return f"the promotion record {self.path} is damaged: {self.what}"

    @property
    def way_out(self) -> str:
        """The command that takes it away, and keeps it."""
        return shlex.join(["mv", str(self.path), f"{self.path}.damaged"])


class Kept(msgspec.Struct, frozen=True):
    """What lies there of a system and an epoch, newest first."""

    records: list[PromotionRecord]
    damaged: list[Damaged]

    @property
    def newest_is_damaged(self) -> Damaged | None:
        """The newest damaged file, where no whole record is newer: what it said would count now."""
        newest = next(iter(self.damaged), None)
        if newest is not None and self.records and self.records[0].made_ms > newest.made_ms:
            return None
        return newest


def kept_records(home: Home, system: str, to: str, places: Sequence[Place]) -> Kept:
    """Read what was kept of a system and an epoch. Of a file that cannot be read its name says whose it is; one whose name does not may be
    anybody's. The log has each that is damaged."""
    found: list[PromotionRecord] = []
    damaged: list[Damaged] = []
    for path in sorted(home.promotions.glob("*.json")):
        read = _read(path)
        if isinstance(read, PromotionRecord):
            if read.system == system and read.to == to and read.place in places:
                found.append(read)
            continue
        named = _NAME.fullmatch(path.name)
        if named is None or ((named["system"], named["to"]) == (system, to) and named["place"] in places):
            damaged.append(Damaged(path, 0 if named is None else int(named["made_ms"]), read))
            log.warning("promotion record left out: it is damaged", file=str(path), what=read)
    return Kept(
        sorted(found, key=lambda record: record.made_ms, reverse=True), sorted(damaged, key=lambda file: file.made_ms, reverse=True)
    )  # fmt: skip


def _read(path: Path) -> PromotionRecord | str:
    """The record of a file, or what is wrong with it."""
    try:
        record = msgspec.json.decode(path.read_bytes()[:_MAX_BYTES], type=PromotionRecord)
    except OSError as error:
        return f"it cannot be opened ({error.strerror or error})"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return f"it is no record ({error})"
    if record.version != VERSION:
        return f"it is of version {record.version}, and this keel reads version {VERSION}"
    if record.digest != _digest(record):
        return "its digest is not that of its content: it was changed after it was made"
    return _contradiction(record) or record


def _contradiction(record: PromotionRecord) -> str:
    """What its words say that no promotion can be; "" where they hold together."""
    below = BELOW.get(record.to)
    if below is None:
        return f"it promotes to {record.to!r}, which no promotion opens"
    if record.how == "untested":
        if record.to != "demo" or record.place != "exchange" or not record.because.strip():
            return "it says untested, which opens demo alone, with a reason"
        return ""
    if record.judged is None or record.judged.epoch != below:
        judged = "nothing" if record.judged is None else f"a {record.judged.epoch} run"
        return f"it was judged on {judged}, and {record.to} is judged on a {below} run"
    failed = [verdict.rule for verdict in record.rules if not verdict.passed]
    if failed or not record.rules:
        return f"it says that {', '.join(failed)} did not pass" if failed else "it names no rule that passed"
    return ""


def _digest(record: PromotionRecord) -> str:
    return _hash(msgspec.to_builtins(msgspec.structs.replace(record, digest="")))
