"""Whether a system may enter demo or live: judging its rules on a kept run, and whether a record still holds.

A record is made by an epoch that passed its rules (``run_epoch``), or here, on a run that was kept already. It is void as soon as the code,
the configuration or the data are no longer those with which it was earned, and the refusal says which.
"""

from __future__ import annotations

import msgspec

from keel.adapters.machine import wall_ms
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, KeelError, SafetyError
from keel.core.model.time_range import TimeRange, to_iso
from keel.core.system.promotion import PromotionRule, RuleVerdict
from keel.runners.backtest.system_run import make_ready
from keel.runners.backtest.windows import NamedWindow
from keel.runners.home import Home
from keel.runners.lifecycle.identity import data_fingerprint
from keel.runners.lifecycle.promotion_record import (
    BELOW,
    Judged,
    Place,
    PromotionRecord,
    identity,
    kept_records,
    record_of_run,
    recorded_identity,
    sealed,
    session_data,
    strategy_id,
    write_record,
)
from keel.runners.lifecycle.registry import RunInfo, find_run, list_runs
from keel.runners.lifecycle.stages import StrategyEpoch
from keel.runners.lifecycle.tracker import StrategyEpochTracker
from keel.runners.process.state_folder import user_name
from keel.runners.systems import LoadedSystem

SHORTEST_REASON = 10


class Standing(msgspec.Struct, frozen=True):
    """What the promotion of a system to an epoch comes to now. record: the newest one; why: what voids it, "" where it holds; way_out: what
    to do then; is_damaged: by its name a file was a newer record, and nobody knows what it said."""

    record: PromotionRecord | None
    why: str = ""
    way_out: str = ""
    is_damaged: bool = False

    @property
    def holds(self) -> bool:
        """Whether the epoch is open."""
        return self.record is not None and not self.why


# --- whether one holds -----------------------------------------------------------------------------------------------


def standing(loaded: LoadedSystem, to: str, home: Home, *, place: Place = "exchange") -> Standing:
    """Look at the newest record. On a sandbox one that was earned at the exchange counts, too, where no rehearsal has a newer one."""
    places: tuple[Place, ...] = ("exchange",) if place == "exchange" else ("exchange", "sandbox")
    kept, leads = kept_records(home, loaded.config.system, to, places), way_out(loaded, to, place=place)
    if (damaged := kept.newest_is_damaged) is not None:
        return Standing(None, damaged.text, f"{damaged.way_out} takes it away; then {leads}", is_damaged=damaged.made_ms > 0)
    if not kept.records:
        return Standing(None, f"{loaded.config.system} has no promotion record to {to}", leads)
    newest = kept.records[0]
    if changed := _changes(newest, loaded, home):
        return Standing(newest, f"the promotion to {to} of {newest.made} is void: {'; '.join(changed)}", leads)
    return Standing(newest)


def way_out(loaded: LoadedSystem, to: str, *, place: Place = "exchange") -> str:
    """What to do where none holds."""
    system, below = loaded.config.system, BELOW[to]
    flag = " --sandbox" if place == "sandbox" else ""
    if not loaded.config.promotion.get(to):
        rules = f"write rules under promotion: {to}: in the system file"
        return f'{rules}, or keel promote {system} --to demo --untested --because "..."' if to == "demo" else rules
    earn = (
        f"keel {below} {system}{' --sandbox URL' if flag else ''} until its rules for {to} pass, or keel promote {system} --to {to}{flag}"
    )
    return f'{earn}; or --untested --because "..."' if to == "demo" else earn


def _changes(record: PromotionRecord, loaded: LoadedSystem, home: Home) -> list[str]:
    code, configuration = identity(loaded)
    found: list[str] = []
    if record.code != code:
        found.append("the code of the strategy or of its features has changed since")
    if record.configuration != configuration:
        found.append("the configuration (the system file, or what was set over it) has changed since")
    judged = record.judged
    if judged is not None and not (found and judged.epoch == StrategyEpoch.BACKTEST):  # other features may read other bars
        found += _data_changes(record, judged, loaded, home)
    return found


def _data_changes(record: PromotionRecord, judged: Judged, loaded: LoadedSystem, home: Home) -> list[str]:
    try:
        now = _backtest_data(judged, loaded, home) if judged.epoch == StrategyEpoch.BACKTEST else session_data(home.root / judged.folder)
    except KeelError as error:
        return [f"the data that it was judged on cannot be read any more ({error})"]
    if now == record.data:
        return []
    what = "the bars of its window" if judged.epoch == StrategyEpoch.BACKTEST else f"the artifacts of {judged.run_id}"
    return [f"the data have changed since: {what}"]


def _backtest_data(judged: Judged, loaded: LoadedSystem, home: Home) -> str:
    with HistoricalDataStore(home.store, read_only=True) as store:
        ready = make_ready(loaded, NamedWindow("", TimeRange(judged.start_ms, judged.end_ms)), store)
        if ready.prepared is None:
            raise ready.failure or SafetyError("its features cannot be computed")
        return data_fingerprint(ready.prepared.histories)


# --- making one ------------------------------------------------------------------------------------------------------


def promote(loaded: LoadedSystem, to: str, home: Home, *, place: Place = "exchange", run: str | None = None) -> PromotionRecord:
    """Judge the rules for ``to`` on the newest run of this code and configuration (or on ``run``), and record it when all pass.

    Raises SafetyError where there are no rules, no such run, or one fails.
    """
    rules = loaded.config.promotion.get(to) or []
    if not rules:
        raise SafetyError(f"{loaded.config.system} has no rules for {to}: nothing was judged; {way_out(loaded, to, place=place)}")
    found = _run_of(loaded, to, home, place, run)
    results = found.read().results or {}
    verdicts = [PromotionRule.parse(rule).evaluate(results.get("metrics", {}), results.get("notes")) for rule in rules]
    if not all(verdict.passed for verdict in verdicts):
        raise SafetyError(f"{found.run_id} does not pass the rules for {to}; nothing was promoted\n{verdict_lines(verdicts)}")
    if to == "live":
        _refuse_untested(loaded, home, place)
    record = record_of_run(home, found.folder, to, how="promote", now_ms=wall_ms(), rules=verdicts)
    if record is None:
        raise SafetyError(f"{found.run_id} says nothing of its code and configuration: run the system anew")
    if changed := _changes(record, loaded, home):
        raise SafetyError(f"{found.run_id} cannot promote: {'; '.join(changed)}; run the system anew")
    reason = "; ".join(verdict.rule for verdict in verdicts)
    _tracker(loaded, home, place).promote(to, epoch=BELOW[to], run_id=found.run_id, reason=f"keel promote: {reason}")
    write_record(home, record)
    return record


def _refuse_untested(loaded: LoadedSystem, home: Home, place: Place) -> None:
    """Raises SafetyError where the system is on demo untested, or where nobody can say how it came there."""
    below = kept_records(home, loaded.config.system, "demo", (place,))
    if (damaged := below.newest_is_damaged) is not None:
        raise SafetyError(f"{damaged.text}; {damaged.way_out} takes it away; then {way_out(loaded, 'demo')}")
    if below.records and below.records[0].is_untested:
        raise SafetyError(
            f"{loaded.config.system} was promoted to demo untested ({below.records[0].because}): its rules for demo must pass before live;"
            f" {way_out(loaded, 'demo')}"
        )


def promote_untested(loaded: LoadedSystem, home: Home, because: str) -> PromotionRecord:
    """Open demo without a look at any rule. Raises ConfigError for a reason that is none."""
    reason = " ".join(because.split())
    if len(reason) < SHORTEST_REASON:
        raise ConfigError(f"--because needs a sentence that says why (at least {SHORTEST_REASON} characters)")
    code, configuration = identity(loaded)
    now = wall_ms()
    record = sealed(
        PromotionRecord(
            system=loaded.config.system, to="demo", place="exchange", made=to_iso(now), made_ms=now, by=user_name(), how="untested",
            because=reason, code=code, configuration=configuration, data="",
        )
    )  # fmt: skip
    tracker = _tracker(loaded, home, "exchange")
    reached = tracker.state.reached
    if reached is not None and reached.rank < StrategyEpoch.DEMO.rank:
        tracker.promote("demo", epoch="backtest" if reached is StrategyEpoch.BACKTEST else None, reason=f"UNTESTED: {reason}")
    write_record(home, record)
    return record


def verdict_lines(verdicts: list[RuleVerdict]) -> str:
    """One line for each rule."""
    return "\n".join(f"{'passed' if each.passed else 'FAILED'}  {each.rule}  ({_found(each)})" for each in verdicts)


def _found(verdict: RuleVerdict) -> str:
    return verdict.reason if verdict.value is None else f"{verdict.value:.6g}"


def _run_of(loaded: LoadedSystem, to: str, home: Home, place: Place, run: str | None) -> RunInfo:
    """The run to judge."""
    below, kept_under = BELOW[to], strategy_id(loaded.config.system, place if to == "live" else "exchange")
    wanted = identity(loaded)
    if run is not None:
        named = find_run(run, home)
        if (named.epoch, named.strategy_id, named.status) != (below, kept_under, "completed"):
            raise SafetyError(
                f"{named.run_id} ({named.strategy_id}, {named.epoch}, {named.status}) cannot be judged for {to}: a completed {below} run of"
                f" {kept_under} can"
            )
        return _same(named, wanted, to)
    runs = [each for each in list_runs(home, epoch=below, strategy_id=kept_under) if each.status == "completed"]
    for each in runs:
        if recorded_identity((each.read().config or {}).get("config") or {}) == wanted:
            return each
    if runs:
        return _same(runs[0], wanted, to)  # says what differs
    raise SafetyError(f"there is no completed {below} run of {kept_under} to judge: {way_out(loaded, to, place=place)}")


def _same(run: RunInfo, wanted: tuple[str, str], to: str) -> RunInfo:
    found = recorded_identity((run.read().config or {}).get("config") or {})
    if found is None:
        raise SafetyError(f"{run.run_id} does not say of which code and configuration it was: run the system anew")
    changed = [what for what, a, b in zip(("the code", "the configuration"), found, wanted, strict=True) if a != b]
    if changed:
        raise SafetyError(f"{run.run_id} cannot be judged for {to}: {' and '.join(changed)} changed since; run the system anew")
    return run


def _tracker(loaded: LoadedSystem, home: Home, place: Place) -> StrategyEpochTracker:
    return StrategyEpochTracker(strategy_id(loaded.config.system, place), loaded.config.description, home=home)
