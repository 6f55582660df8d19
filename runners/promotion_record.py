"""The record of a promotion: which epoch it opens, why, and the hashes of the code, the configuration and the data that it was earned with.

One file for each, in the home's ``promotions`` (mode 0600, written whole), besides the event in the log. A record is never changed; the
newest one of a system, an epoch and a place counts. What is bound:

- code: the strategy's sources, and the files of the functions that the system's own features name.
- configuration: every key of the effective system but ``mode``, ``live`` and ``description``, which say where and how tightly it may trade.
- data: what the rules were judged on. A backtest's are the bars, marks, funding and instruments of its window with the warm-up (they are
  read again from the store); a session's are its own artifacts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from adapters.artifacts import read_json
from adapters.logging import get_logger
from adapters.plain_data import canonical_json
from adapters.whole_file import json_text, whole_file
from core.errors import DataError
from core.promotion import RuleVerdict
from core.time_range import to_iso
from runners.home import Home
from runners.state_folder import user_name
from runners.systems import LoadedSystem, effective_system, function_fingerprints

Place = Literal["exchange", "sandbox"]
"""Where a session trades, or a record was earned: sandbox is a rehearsal, which counts there only."""
How = Literal["epoch", "promote", "untested"]

VERSION: Final = 1
UNBOUND_KEYS: Final = ("mode", "live", "supervision", "description")
_SESSION_FILES: Final = ("trades.jsonl", "equity.csv", "results.json")
_MAX_BYTES: Final = 1 << 20
log = get_logger("runners.promotion")


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
    """The same of a run, from the effective configuration in its config.json; None for one that was no system's."""
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
    return hashlib.sha256(canonical_json(content, "promotion")).hexdigest()


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


def records(home: Home, system: str, to: str, places: Sequence[Place]) -> list[PromotionRecord]:
    """What was kept of a system and an epoch, newest first. A file that is damaged is no record; the log says so."""
    found: list[PromotionRecord] = []
    for path in sorted(home.promotions.glob("*.json")):
        try:
            content = path.read_bytes()
            record = msgspec.json.decode(content[:_MAX_BYTES], type=PromotionRecord)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("promotion record left out: it cannot be read", file=str(path), error=str(error))
            continue
        if record.system != system or record.to != to or record.place not in places:
            continue
        if record.version != VERSION or record.digest != _digest(record):
            log.warning("promotion record left out: its digest is not that of its content", file=str(path))
            continue
        found.append(record)
    return sorted(found, key=lambda record: record.made_ms, reverse=True)


def _digest(record: PromotionRecord) -> str:
    return _hash(msgspec.to_builtins(msgspec.structs.replace(record, digest="")))
