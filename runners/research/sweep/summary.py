"""What a sweep comes to: every setting with its scores, the peak, the robust region, and the map of two dimensions."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import msgspec

from keel.runners.research.sweep.ask import space_of
from keel.runners.research.sweep.region import Judged, Region, cell_of, find_region, judge
from keel.runners.research.sweep.run import Finished, Trial, trades_of
from keel.runners.research.sweep.space import Dimension, Space
from keel.runners.research.sweep.study import Row
from keel.runners.research.sweep.verdict import luck_of, why_no_region
from keel.runners.systems import LoadedSystem

BESIDE = ("total_return", "max_drawdown_pct", "total_trades")
"""Metrics of the first window that stand beside the one that is searched for."""


class Entry(msgspec.Struct, frozen=True):
    """One setting. status: done, failed or invalid (the worst of its points); by_window: the metric, its median over symbols.

    no_score: why it has no score though it ran: no trade, and what became of its signals, or too few.
    robust, worst: of its neighbourhood, in the metric's own direction; None where too few neighbours are measured.
    """

    number: int
    setting: dict[str, Any]
    status: str
    by_window: dict[str, float | None]
    beside: dict[str, float | None]
    robust: float | None
    worst: float | None
    neighbours: int
    in_region: bool
    reason: str
    no_score: str = ""


class RegionEntry(msgspec.Struct, frozen=True):
    """The robust region: from and to in each dimension, how many settings, and the metric over them by window (worst, median, best)."""

    centre: dict[str, Any]
    spans: dict[str, list[Any]]
    settings: int
    by_window: dict[str, list[float | None]]
    edges: list[str]
    has_peak: bool


class HeatMap(msgspec.Struct, frozen=True):
    """Medians of the metric over two dimensions (one row where there is one): values[y][x]; robust likewise.

    fixed: the other dimensions, where the map is cut through them.
    """

    x: str
    y: str
    x_labels: list[str]
    y_labels: list[str]
    values: list[list[float | None]]
    robust: list[list[float | None]]
    region: list[list[bool]]
    fixed: dict[str, Any]


class Summary(msgspec.Struct, frozen=True):
    """A finished sweep in numbers. entries: the best robust score first; tried: settings of which something was measured or failed.

    region: None where there is none; no_region says why, and best_neighbourhood what came nearest.  luck: None where there is no such
    line; no_luck says why.  unscored: settings that ran and have no score, by the reason.  refused: invalid settings by the reason.
    """

    metric: str
    lower_is_better: bool
    windows: list[str]
    entries: list[Entry]
    peak: int | None
    region: RegionEntry | None
    luck: float | None
    tried: int
    done: int
    failed: int
    invalid: int
    heat: HeatMap | None
    min_trades: int = 1
    unscored: dict[str, int] = {}
    refused: dict[str, int] = {}
    no_region: str = ""
    best_neighbourhood: RegionEntry | None = None
    no_luck: str = ""


def summarize(finished: Finished, loaded: LoadedSystem) -> Summary:
    """All of it. Scores inside are larger-is-better; what is shown is in the metric's own direction."""
    record = finished.record
    metric, sign = record.ask.metric, -1.0 if record.lower_is_better else 1.0
    is_grid, whole = record.ask.search == "grid", space_of(record.ask, loaded)
    space = whole if is_grid else whole.in_bins()
    windows = [span.name or "window" for span in record.windows]
    valid = [trial for trial in finished.trials if _status(trial) != "invalid"]
    per_window = len(finished.trials[0].rows) // len(windows) if finished.trials else 0
    settings = [trial.setting for trial in valid]
    least = record.ask.min_trades
    scores = [trial.score(metric, per_window, sign, least) for trial in valid]
    failed = [any(row.status == "failed" for row in trial.rows[:per_window]) for trial in valid]
    judged = judge(space, settings, scores, failed)
    found = find_region(space, settings, scores, judged)
    luck, no_luck = luck_of(metric, scores, sign)
    no_region = _no_region(metric, found, judged, scores, valid, per_window, luck, sign)
    region = None if no_region else found
    members = set(region.members) if region is not None else set()
    shape = (metric, windows, per_window, least, sign)
    entries = [_entry(trial, *shape, judged[place], place in members) for place, trial in enumerate(valid)]
    known = [place for place, score in enumerate(scores) if score is not None]
    peak = max(known, key=lambda place: (scores[place] or 0.0, -place)) if known else None
    invalid = [_entry(trial, *shape, None, False) for trial in finished.trials if _status(trial) == "invalid"]
    order = sorted(range(len(valid)), key=lambda place: _rank(judged[place], scores[place]))
    best = None if found is None else _region(found, valid, space, entries, windows, peak)
    return Summary(
        metric=metric,
        lower_is_better=record.lower_is_better,
        windows=windows,
        entries=[entries[place] for place in order] + invalid,
        peak=None if peak is None else valid[peak].number,
        region=None if region is None else best,
        luck=luck,
        tried=len(valid),
        done=sum(_status(trial) == "done" for trial in valid),
        failed=sum(_status(trial) == "failed" for trial in valid),
        invalid=len(invalid),
        heat=_heat(space, valid, entries, region, is_grid, sign),
        min_trades=least,
        unscored=_counted(_without_counts(entry.no_score) for entry in entries),
        refused=_counted(_without_counts(entry.reason) for entry in invalid),
        no_region=no_region,
        best_neighbourhood=None if region is not None else best,
        no_luck=no_luck,
    )


def _no_region(
    metric: str, found: Region | None, judged: Sequence[Judged | None], scores: Sequence[float | None], trials: Sequence[Trial],
    per_window: int, luck: float | None, sign: float,
) -> str:  # fmt: skip
    """Why there is no robust region; empty where there is one."""
    if not any(score is not None for score in scores):
        return "no setting has a score"
    centre = None if found is None else judged[found.centre]
    if found is None or centre is None:
        return "no setting has enough neighbours with a score to be judged: try more, in smaller steps or over a narrower range"
    returns = [_median(row.metrics.get("total_return") for row in trials[place].rows[:per_window]) for place in found.members]
    return why_no_region(metric, sign * centre.robust, returns, luck, lambda value: f"{value:,.2f}", "above" if sign > 0 else "below")


def _without_counts(reason: str) -> str:
    """A reason as many settings share it: how many signals or trades it were, and which numbers, is each setting's own."""
    if reason.startswith("fewer"):
        return reason.partition(" (")[0]
    return re.sub(r"(?<![\w.-])\d[\d,]*(?![\w.])", "N", reason)


def _counted(reasons: Iterable[str]) -> dict[str, int]:
    """How often each reason is given, the most frequent first."""
    return dict(Counter(reason for reason in reasons if reason).most_common())


def _status(trial: Trial) -> str:
    found = {row.status for row in trial.rows}
    return "invalid" if "invalid" in found else "failed" if "failed" in found else "done"


def _rank(judged: Judged | None, score: float | None) -> tuple[int, float, float]:
    """Sorting: judged settings first, the best first; then those that were only measured; then the rest."""
    if judged is not None:
        return 0, -judged.robust, -judged.worst
    return (1, -score, 0.0) if score is not None else (2, 0.0, 0.0)


def _entry(
    trial: Trial, metric: str, windows: Sequence[str], per_window: int, min_trades: int, sign: float, judged: Judged | None, in_region: bool
) -> Entry:
    groups = [trial.rows[place * per_window : (place + 1) * per_window] for place in range(len(windows))]
    no_score = trial.why_no_score(per_window, min_trades)
    by_window = {name: _median(_scored(row, metric) for row in group) for name, group in zip(windows, groups, strict=True)}
    if no_score:
        by_window[windows[0]] = None
    return Entry(
        trial.number,
        trial.setting,
        _status(trial),
        by_window,
        {name: _median(row.metrics.get(name) for row in groups[0]) for name in BESIDE},
        None if judged is None else sign * judged.robust,
        None if judged is None else sign * judged.worst,
        0 if judged is None else judged.neighbours,
        in_region,
        next((row.reason for row in trial.rows if row.reason), ""),
        no_score,
    )


def _scored(row: Row, metric: str) -> float | None:
    """The metric of a point; None where nothing was traded."""
    return row.metrics.get(metric) if trades_of(row) else None


def _median(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None


def _region(
    region: Region, trials: Sequence[Trial], space: Space, entries: Sequence[Entry], windows: Sequence[str], peak: int | None
) -> RegionEntry:
    inside = [entries[place] for place in region.members]
    by_window: dict[str, list[float | None]] = {}
    for name in windows:
        known = [value for entry in inside if (value := entry.by_window[name]) is not None]
        by_window[name] = [min(known), float(median(known)), max(known)] if known else [None, None, None]
    return RegionEntry(
        centre=trials[region.centre].setting,
        spans={dimension.key: _span(dimension, [entry.setting[dimension.key] for entry in inside]) for dimension in space.dimensions},
        settings=len(inside),
        by_window=by_window,
        edges=list(region.edges),
        has_peak=peak in region.members,
    )


def _span(dimension: Dimension, values: Sequence[Any]) -> list[Any]:
    if dimension.is_ordered:
        return [min(values), max(values)]
    return [value for value in dimension.values if value in values]


# --- the map ---------------------------------------------------------------------------------------------------------


def _heat(
    space: Space, trials: Sequence[Trial], entries: Sequence[Entry], region: Region | None, is_grid: bool, sign: float
) -> HeatMap | None:
    """Two dimensions with the most places, numbers before others. A grid is cut through the region's centre, other searches are looked
    through: each cell is the median of what lies in it."""
    wide = [place for place, dimension in enumerate(space.dimensions) if dimension.steps > 1]
    wide.sort(key=lambda place: (not space.dimensions[place].is_ordered, -space.dimensions[place].steps, place))
    if not wide or not trials:
        return None
    across, down = min(wide[:2]), max(wide[:2]) if len(wide) > 1 else None
    others = [place for place in range(len(space.dimensions)) if place not in (across, down)]
    centre = None if region is None else cell_of(space, trials[region.centre].setting)
    if centre is None:
        best = max(range(len(entries)), key=lambda place: _signed(entries[place], sign))
        centre = cell_of(space, trials[best].setting)
    members = set() if region is None else set(region.members)
    width, height = space.dimensions[across].steps, 1 if down is None else space.dimensions[down].steps
    found: dict[tuple[int, int], list[int]] = {}
    for place, trial in enumerate(trials):
        cell = cell_of(space, trial.setting)
        if not is_grid or all(cell[other] == centre[other] for other in others):
            found.setdefault((0 if down is None else cell[down], cell[across]), []).append(place)

    def table(value: Any) -> list[list[Any]]:
        return [[value(found.get((y, x), [])) for x in range(width)] for y in range(height)]

    names = list(entries[0].by_window)
    return HeatMap(
        x=space.dimensions[across].name,
        y="" if down is None else space.dimensions[down].name,
        x_labels=space.dimensions[across].labels(),
        y_labels=[""] if down is None else space.dimensions[down].labels(),
        values=table(lambda places: _median(entries[place].by_window[names[0]] for place in places)),
        robust=table(lambda places: _median(entries[place].robust for place in places)),
        region=table(lambda places: any(place in members for place in places)),
        fixed={space.dimensions[other].name: trials[region.centre].setting[space.dimensions[other].key] for other in others}
        if is_grid and region is not None
        else {},
    )


def _signed(entry: Entry, sign: float) -> float:
    value = next(iter(entry.by_window.values()), None)
    return -math.inf if value is None else sign * value
