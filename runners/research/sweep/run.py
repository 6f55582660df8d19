"""A sweep from beginning to end, or from where it was interrupted: search, points, evaluator, study, summary."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, DataError, StrategyError
from keel.core.features import VectorEngine
from keel.runners.backtest.kernel_run import kernel_folder
from keel.runners.backtest.preparation import assemble, guarded, make_plan, refuse_peeking, shortened
from keel.runners.home import Home
from keel.runners.research.sweep.ask import SweepAsk, SweepRecord, begin, contexts_of, load_begun, read_record, space_of, write_record
from keel.runners.research.sweep.data import HistoryCache
from keel.runners.research.sweep.points import Context, Point, PointMaker, configured
from keel.runners.research.sweep.search import batches, make_search
from keel.runners.research.sweep.space import Setting
from keel.runners.research.sweep.study import Row, Study
from keel.runners.research.sweep.workers.compiling import is_ready
from keel.runners.research.sweep.workers.engines import Evaluators, Place
from keel.runners.research.sweep.workers.kernel import choose_engine
from keel.runners.research.sweep.workers.task import Outcome, Task, collect_code
from keel.runners.systems import LoadedSystem
from keel.runners.user_code import load_function
from keel.strategies.base import PortfolioStrategy, VectorStrategy

Progress = Callable[[str, int, int], None]
CACHE = "cache"
_GUARDED_CORNERS = 4


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep: what has been finished is kept."""

    def __init__(self, sweep_id: str, done: int, total: int) -> None:
        super().__init__(f"{sweep_id}: {done:,} of {total:,} points are kept")
        self.sweep_id, self.done, self.total = sweep_id, done, total


@dataclass(slots=True)
class Trial:
    """One setting, and its points by context; ``number`` counts from 0."""

    number: int
    setting: Setting
    rows: list[Row]

    def score(self, metric: str, contexts: int, sign: float, min_trades: int) -> float | None:
        """The median of the metric over the first window's contexts, larger is better; None where one has no value, or too few trades."""
        if self.why_no_score(contexts, min_trades):
            return None
        values = [row.metrics.get(metric) for row in self.rows[:contexts]]
        known = [sign * value for value in values if value is not None]
        return median(known) if known and len(known) == len(values) else None

    def why_no_score(self, contexts: int, min_trades: int) -> str:
        """Which of the first window's points has traded too little for a score, in words; empty where all have traded enough."""
        for row in self.rows[:contexts]:
            trades = trades_of(row)
            if row.status != "done" or trades >= max(1, min_trades):
                continue
            return f"no trade: {row.no_trades}" if not trades else f"fewer than {min_trades:,} trades ({trades:,})"
        return ""


def trades_of(row: Row) -> int:
    """How many trades a point has closed."""
    return int(row.metrics.get("total_trades") or 0)


@dataclass(slots=True)
class Finished:
    """A sweep that has been run. fresh: points that this call computed; seconds: how long it took."""

    record: SweepRecord
    folder: Path
    trials: list[Trial]
    engine: str
    engine_note: str
    fresh: int
    seconds: float


def start_sweep(ask: SweepAsk, home: Home, place: Place, progress: Progress | None = None) -> Finished:
    """Begin a sweep and run it. Raises KeelErrors before anything is written; Interrupted when it is stopped."""
    with HistoricalDataStore(home.store, read_only=True) as store:
        record = begin(ask, home, store)
        place.check()
        run = _Run(record, home, store, place, progress)
        choose_engine(ask.engine, ask.metric, run.loaded)
        run.look_for_peeks()
        folder = home.sweeps / record.sweep_id
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise DataError(f"the sweep's folder {folder} cannot be made: {error.strerror}") from error
        write_record(folder, record)
        return run.go(folder)


def resume_sweep(folder: Path, home: Home, place: Place, progress: Progress | None = None) -> Finished:
    """Go on with a sweep: what its study has is not computed again. Raises DataError where code or history have changed since."""
    record = read_record(folder)
    with HistoricalDataStore(home.store, read_only=True) as store:
        place.check()
        return _Run(record, home, store, place, progress).go(folder)


@dataclass(slots=True)
class _Run:
    """What one call of a sweep holds."""

    record: SweepRecord
    home: Home
    store: HistoricalDataStore
    place: Place
    progress: Progress | None
    loaded: LoadedSystem = field(init=False)
    contexts: list[Context] = field(init=False)
    book: HistoryCache = field(init=False)
    evaluators: Evaluators | None = None
    known: dict[str, Row] = field(default_factory=dict)
    fresh: int = 0
    begun: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.loaded = load_begun(self.record, self.home)
        self.contexts = contexts_of(self.record, self.loaded)
        self.book = HistoryCache(self.store)
        for setting in space_of(self.record.ask, self.loaded).corners():
            for context in self.contexts:
                try:
                    found = configured(context.loaded, setting)
                    plan = make_plan(found.config, context.window.span, found.strategy(), found.params)
                except ConfigError:
                    continue  # its points will say why
                self.book.expect(plan.replay)

    def go(self, folder: Path) -> Finished:
        """Run what is missing."""
        ask, space = self.record.ask, space_of(self.record.ask, self.loaded)
        search = make_search(ask.search, space, ask.trials, ask.seed, ask.limit)
        total = search.total * len(self.contexts)
        sign = -1.0 if self.record.lower_is_better else 1.0
        first = sum(context.window.name == self.contexts[0].window.name for context in self.contexts)
        cache = folder / CACHE
        shutil.rmtree(cache, ignore_errors=True)
        trials: list[Trial] = []
        engine, why_not = choose_engine(ask.engine, ask.metric, self.loaded)
        code = collect_code(self.loaded, kernel_folder(self.home))
        evaluators = self.evaluators = Evaluators(self.place, cache, self.book, code, engine, strictly=ask.engine == "kernel")
        if engine == "kernel" and self.progress is not None:
            self.progress("the kernel is made ready" if is_ready(code.kernel_cache) else evaluators.how_compiled, 0, total)
        try:
            with Study(folder) as study:
                self.known = {row.id: row for row in study.rows()}
                self._check_same_data()
                for settings in batches(search):
                    batch = [Trial(len(trials) + place, setting, []) for place, setting in enumerate(settings)]
                    self._evaluate(batch, evaluators, study, total)
                    search.tell([trial.score(ask.metric, first, sign, ask.min_trades) for trial in batch])
                    trials += batch
        except KeyboardInterrupt:
            raise Interrupted(self.record.sweep_id, len(self.known), total) from None
        finally:
            evaluators.close()
            shutil.rmtree(cache, ignore_errors=True)
        seconds = time.monotonic() - self.begun
        return Finished(self.record, folder, trials, evaluators.used, why_not or evaluators.note, self.fresh, seconds)

    def look_for_peeks(self) -> None:
        """Refuse a strategy whose array looks ahead under the extremes of the searched range. Raises StrategyError."""
        if not issubclass(self.loaded.strategy, VectorStrategy):
            return
        compute = guarded(VectorEngine(load_function))
        context = self.contexts[0]
        for number, setting in enumerate(space_of(self.record.ask, self.loaded).corners()):
            if number >= _GUARDED_CORNERS:
                return
            try:
                found = configured(context.loaded, setting)
                strategy = found.strategy()
                plan = make_plan(found.config, context.window.span, strategy, found.params)
                part = self.book.part(plan.replay)
                inputs = [shortened(entry, part.dropped) for entry in self.book.histories(part.name)]
                prepared = assemble(plan, found.config, strategy, found.params, inputs, compute, refuse_peeks=False)
            except (ConfigError, StrategyError):
                continue  # its points will say why
            for columns in prepared.columns:
                if columns.targets is not None and isinstance(strategy, VectorStrategy):
                    refuse_peeking(strategy, columns.decision, found.params, columns.targets, columns.first)

    def _evaluate(self, batch: Sequence[Trial], evaluators: Evaluators, study: Study, total: int) -> None:
        """Fill the trials' rows: from the study where it has them, else by running them."""
        points: dict[str, Point] = {}
        order: list[list[str]] = []

        def missing() -> Iterator[Task]:
            maker = PointMaker(self.book, self.record.strategy_fingerprint)
            store = str(self.home.store) if issubclass(self.loaded.strategy, PortfolioStrategy) else ""
            for trial in batch:
                order.append([])
                for context in self.contexts:
                    point = maker.make(trial.number, trial.setting, context, store)
                    order[-1].append(point.id)
                    if point.id in self.known or point.id in points:
                        continue
                    points[point.id] = point
                    if point.task is None:
                        self._keep(study, [(point, None)], total)
                    else:
                        yield point.task

        for outcomes in evaluators.evaluate(missing()):
            self._keep(study, [(points[outcome.id], outcome) for outcome in outcomes], total)
        for trial, ids in zip(batch, order, strict=True):
            trial.rows = [self.known[uid] for uid in ids]

    def _keep(self, study: Study, finished: Sequence[tuple[Point, Outcome | None]], total: int) -> None:
        rows = [_row(point, outcome) for point, outcome in finished]
        study.add(rows)
        self.known.update({row.id: row for row in rows})
        self.fresh += len(rows)
        if self.progress is not None:
            self.progress(self._label(total), len(self.known), total)

    def _label(self, total: int) -> str:
        """Throughput and the time that is left, in words."""
        rate = self.fresh / max(1e-9, time.monotonic() - self.begun)
        left = max(0, total - len(self.known)) / rate if rate else 0.0
        minutes, seconds = divmod(round(left), 60)
        compiles = ", by the actors: the kernel is being compiled" if self.evaluators is not None and self.evaluators.compiles else ""
        return f"{self.record.sweep_id} {rate:,.1f} runs/s, {minutes}:{seconds:02d} left{compiles}"

    def _check_same_data(self) -> None:
        """What the study has must be of the history that the store has now. Raises DataError."""
        done = next((row for row in self.known.values() if row.status == "done"), None)
        if done is None:
            return
        maker = PointMaker(self.book, self.record.strategy_fingerprint)
        context = next(each for each in self.contexts if (each.symbols, each.window.name) == (done.symbols, done.window))
        if maker.make(done.number, done.setting, context).id != done.id:
            raise DataError(f"{self.record.sweep_id}: the store's history has changed since: begin a new sweep")


def _row(point: Point, outcome: Outcome | None) -> Row:
    about = (point.id, point.number, point.setting, point.context.symbols, point.context.window.name)
    if outcome is None:
        return Row(*about, point.status, "", 0.0, point.problem, {})
    return Row(*about, outcome.status, outcome.engine, outcome.seconds, outcome.reason, outcome.metrics, outcome.no_trades)
