"""Which series a file is of: symbol, category, timeframe and kind, by option, column or name, in this order; each must agree."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from keel.adapters.store.files.table import RawFile
from keel.adapters.store.importing.names import Hints, choose, read_timeframe
from keel.adapters.store.schema import CATEGORIES
from keel.adapters.store.symbols import Symbol, read_symbol
from keel.adapters.store.words import printable, shortened
from keel.core.errors import DataError

_OF_EXCHANGES = {*CATEGORIES, "inverse", "option"}
"""What an exchange's answer may call its category; other words are no category."""
_EITHER = " or ".join(CATEGORIES)


@dataclass(frozen=True, slots=True)
class Options:
    """What a person says of the series; flags: of what is taken, and of what may be replaced."""

    symbol: str | None = None
    timeframe: str | None = None
    kind: str | None = None
    category: str | None = None
    flags: tuple[str, ...] = ()


def pick_symbol(raw: RawFile, places: dict[str, int], options: Options, hints: Hints, notes: list[str]) -> tuple[str, str | None]:
    """The symbol in the store's spelling, and the category that its given spelling says. Rows of other symbols are left out, and told."""
    spelled: dict[str, Symbol] = {}
    texts = raw.distinct(places["symbol"]) if "symbol" in places else {raw.said["symbol"]} if "symbol" in raw.said else set()
    for text in texts:
        spelled[text] = read_symbol(text, f"{raw.name}: ")
    option = None if options.symbol is None else read_symbol(options.symbol, f"{raw.name}: ")
    in_columns = {symbol.name for symbol in spelled.values()}
    if option is None:
        _refuse_unknown(raw, options, in_columns, hints.symbol)
    chosen = choose(raw.name, "symbol", None if option is None else option.name, in_columns, hints.symbol)
    assert chosen is not None
    if option is not None and len(in_columns) > 1:
        _leave_out_others(
            raw, places["symbol"], "symbol", chosen, {text for text, symbol in spelled.items() if symbol.name == chosen}, notes
        )
    given = options.symbol or next((text for text, symbol in sorted(spelled.items()) if symbol.name == chosen), chosen)
    if given != chosen:
        notes.append(f"the symbol {given} was read as {chosen}")
    elif option is None and not in_columns and chosen not in f"{raw.name} {' '.join(raw.names)}":
        notes.append(f"the symbol was read from the file's name as {chosen}")
    said = option or next((symbol for symbol in spelled.values() if symbol.name == chosen), None)
    return chosen, None if said is None else said.category


def _refuse_unknown(raw: RawFile, options: Options, in_columns: set[str], in_path: set[str]) -> None:
    """Where columns or else the path do not say one symbol, the command that says it."""
    found = in_columns or in_path
    if len(found) == 1:
        return
    listed = shortened(printable(", ".join(sorted(found))), 200)
    why = f"{'there are several symbols in one file' if in_columns else 'the path says several symbols'} ({listed})"
    example = shortened(printable(min(found))) if found else "BTCUSDT"
    raise DataError(
        f"{raw.name}: {why if found else 'neither columns nor path say which symbol this is'}: say it with --symbol, such as "
        f"{_with_symbol(raw, options, example)}"
    )


def _with_symbol(raw: RawFile, options: Options, symbol: str) -> str:
    """The whole command that imports a file as one of a symbol, with what was said of it already."""
    reading = raw.reading
    said = {
        "--symbol": symbol,
        "--timeframe": options.timeframe,
        "--kind": options.kind,
        "--category": options.category,
        "--time-format": reading.time_format,
        "--timezone": reading.timezone,
        "--decimal": reading.decimal if reading.decimal != "." else None,
        "--skip-lines": str(reading.skip_lines) if reading.skip_lines else None,
    }
    words = [raw.name, *(word for option, value in said.items() if value is not None for word in (option, value))]
    return shlex.join(["keel", "data", "import", *words, *(("--drop-empty",) if reading.drop_empty else ()), *options.flags])


def pick_category(raw: RawFile, places: dict[str, int], options: Options, hints: Hints, of_symbol: str | None, notes: list[str]) -> str:
    """linear or spot. Where nothing says it: spot by freqtrade's names for it, else linear is assumed, and both are told."""
    in_columns = raw.distinct(places["category"]) if "category" in places else set()
    in_columns = in_columns or ({raw.said["category"]} & _OF_EXCHANGES if "category" in raw.said else set())
    chosen = choose(raw.name, "category", options.category, in_columns, hints.category or ({of_symbol} if of_symbol else set()))
    if options.category is not None and len(in_columns) > 1:
        _leave_out_others(raw, places["category"], "category", options.category, {options.category}, notes)
    if chosen is not None and chosen not in CATEGORIES:
        raise DataError(
            f"{raw.name}: the file itself says category {shortened(chosen)}, which keel does not trade: import the same of {_EITHER}"
        )
    if chosen is not None:
        return chosen
    if hints.freqtrade in ("spot", "trades"):
        notes.append("category spot was taken, as freqtrade names files of spot so (--category linear says otherwise)")
        return "spot"
    notes.append("category linear was assumed (--category says otherwise)")
    return "linear"


def pick_timeframe(raw: RawFile, places: dict[str, int], options: Options, hints: Hints, notes: list[str]) -> str | None:
    """The timeframe of bars; None where only the distances of the times can say it."""
    option = None if options.timeframe is None else read_timeframe(options.timeframe) or options.timeframe
    texts = raw.distinct(places["timeframe"]) if "timeframe" in places else {raw.said["timeframe"]} if "timeframe" in raw.said else set()
    chosen = choose(raw.name, "timeframe", option, {read_timeframe(text) or text for text in texts}, hints.timeframe)
    if option is not None and len(texts) > 1:
        mine = {text for text in texts if (read_timeframe(text) or text) == option}
        _leave_out_others(raw, places["timeframe"], "timeframe", option, mine, notes)
    return chosen


def pick_kind(raw: RawFile, group: str, places: dict[str, int], options: Options, hints: Hints, notes: list[str]) -> str | None:
    """The kind that option, column or path say of bars; None where none does. Raises DataError where an option contradicts the columns."""
    if group != "bars":
        if options.kind not in (None, group):
            raise DataError(f"{raw.name}: --kind {options.kind} was given, but the columns are those of {group}: leave it out")
        return None
    in_columns = raw.distinct(places["kind"]) if "kind" in places else set()
    chosen = choose(raw.name, "kind", options.kind, in_columns, hints.kind)
    if options.kind is not None and len(in_columns) > 1:
        _leave_out_others(raw, places["kind"], "kind", options.kind, {options.kind}, notes)
    return chosen


def who_said(what: str, raw: RawFile, places: dict[str, int], options: Options, hints: Hints) -> str:
    """Where a value was taken from: "option", "column", "path" or "" (from the distances of the times)."""
    told = (("column", what in places or what in raw.said), ("path", bool(hints.of(what))), ("option", getattr(options, what) is not None))
    return next((where for where, is_there in told if is_there), "")


def _leave_out_others(raw: RawFile, place: int, what: str, chosen: str, texts: set[str], notes: list[str]) -> None:
    before = raw.rows
    raw.select(place, texts)
    notes.append(f"{before - raw.rows:,} rows of another {what} were left out (--{what} {chosen})")
