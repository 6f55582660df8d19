"""The exchange's JSON answers about instruments: ``/v5/market/instruments-info`` and ``/v5/market/risk-limit``, as Bybit gives them.

Taken are whole answers ({retCode, result, time}), their bare results ({category, list}), results by product ({"Spot": {...}}), and lists of
these. Perpetuals and spot pairs are read; dated futures, inverse contracts and options are left out. An answer without a category is told
by its rows; risk tiers do not tell it, and need it from the caller. ``time`` (or ``known_since``, given by the caller) says from when an
answer holds; an answer without one holds from the beginning.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from keel.adapters.store.instruments.inference import base_unit, min_notional_of
from keel.adapters.store.words import shortened
from keel.core.errors import ConfigError, DataError, FieldError
from keel.core.model.instrument import PERPETUAL_MAKER, PERPETUAL_TAKER, SPOT_FEE, Category, Grid, Instrument, RiskTier, build_tiers
from keel.core.model.money import UNIT, to_units
from keel.core.system.file_names import name_problem, shown

Tiers = tuple[str, int, tuple[RiskTier, ...]]
"""(symbol, known_since, tiers) of linear perpetuals."""

_MISSHAPEN = (KeyError, TypeError, ValueError, ArithmeticError, ConfigError)
"""What reading an answer of another form raises."""
_DEEPEST = 20
_LONGEST = 40
_LATEST = 10**14
_MOST = 2**63
_CATEGORIES: dict[str, Category] = {"linear": "linear", "spot": "spot"}


def read_answers(path: Path, known_since: int | None = None, category: Category | None = None) -> tuple[list[Instrument], list[Tiers]]:
    """The instruments and risk tiers in a file. ``category``: of answers that do not say it; None: as their rows tell.

    Raises DataError when the file holds none, contradicts the category, or is not such JSON.
    """
    problem = name_problem(str(path))
    if problem:
        raise DataError(f"{shown(str(path))}: there is no such file: the path {problem}")
    try:
        document = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: this is not JSON: {error}") from error
    except RecursionError as error:
        raise DataError(f"{path}: this is no answer of the exchange: it is nested too deeply") from error
    instruments: list[Instrument] = []
    tiers: list[Tiers] = []
    left_out: set[str] = set()
    for result, since in _results(document, known_since):
        _read_result(path, result, since, category, instruments, tiers, left_out)
    if not instruments and not tiers:
        why = f"it holds {', '.join(sorted(left_out))} only, which keel does not trade"
        if not left_out:
            why = "it is no answer of instruments-info or risk-limit (a result with a list of them)"
        raise DataError(f"{path}: no linear perpetual and no spot pair found: {why}")
    return instruments, tiers


def _results(document: Any, known_since: int | None, depth: int = 0) -> list[tuple[dict[str, Any], int]]:
    """(result with a list, known since) of every answer in a document."""
    if depth > _DEEPEST:
        return []
    if isinstance(document, list):
        return [found for part in document for found in _results(part, known_since, depth + 1)]
    if not isinstance(document, dict):
        return []
    if isinstance(document.get("result"), dict):
        stated = document.get("time")
        since = known_since if known_since is not None else stated if isinstance(stated, int) and 0 <= stated < _LATEST else 0
        return _results(document["result"], since, depth + 1)
    if isinstance(document.get("list"), list):
        return [(document, known_since or 0)]
    return [found for part in document.values() if isinstance(part, dict) for found in _results(part, known_since, depth + 1)]


def _read_result(
    path: Path,
    result: dict[str, Any],
    since: int,
    given: Category | None,
    instruments: list[Instrument],
    tiers: list[Tiers],
    left_out: set[str],
) -> None:
    stated = result.get("category") or None
    if stated is not None and given is not None and stated != given:
        raise DataError(f"{path}: --category {given} was given, but the answer says {stated}: leave the option out")
    if stated is not None and stated not in _CATEGORIES:
        left_out.add(f"category {stated}")
        return
    rows_by_symbol: dict[str, list[dict[str, Any]]] = {}
    for item in (item for item in result["list"] if isinstance(item, dict)):
        symbol = _symbol(path, item)
        category = _CATEGORIES[stated] if stated is not None else _category_of(path, symbol, item, given)
        try:
            if "riskLimitValue" in item:
                if category == "linear":
                    rows_by_symbol.setdefault(symbol, []).append(item)
            elif category and "priceFilter" in item and item.get("contractType", "LinearPerpetual") == "LinearPerpetual":
                instruments.append(_checked((_linear if category == "linear" else _spot)(item, since)))
            else:
                left_out.add(_what_it_is(item))
        except _MISSHAPEN as error:
            raise _misshapen(path, f"{symbol} {category}", error) from error
    for symbol, rows in rows_by_symbol.items():
        try:
            tiers.append((symbol, since, _tiers(path, symbol, rows)))
        except _MISSHAPEN as error:
            raise _misshapen(path, f"{symbol} risk tiers", error) from error


def _misshapen(path: Path, what: str, error: Exception) -> DataError:
    if isinstance(error, FieldError):  # a number that is none, in the instrument that was made of it: it names the field itself
        return DataError(f"{path}: {what}: {shortened('; '.join(str(error).splitlines()), 160)}")
    return DataError(f"{path}: {what}: the field {shortened(str(error), 120)} is missing or not as expected")


def _symbol(path: Path, item: dict[str, Any]) -> str:
    symbol = item.get("symbol")
    if not isinstance(symbol, str) or not _is_name(symbol):
        raise DataError(f"{path}: {shortened(repr(symbol))} is not a symbol, such as BTCUSDT")
    return symbol


def _is_name(text: object) -> bool:
    """Whether a text can be the exchange's name of a symbol or coin: printable, without blanks, of up to 40 characters of any script."""
    return isinstance(text, str) and 0 < len(text) <= _LONGEST and text.isprintable() and " " not in text


def _part(item: dict[str, Any], name: str, *, needed: bool = True) -> dict[str, Any]:
    """A part of an entry that is an object; {} where it is not needed and not there. Raises KeyError, TypeError."""
    part = item[name] if needed else item.get(name) or {}
    if not isinstance(part, dict):
        raise TypeError(f"{name} ({type(part).__name__} in place of an object)")
    return part


def _checked(one: Instrument) -> Instrument:
    """The instrument, if its numbers can be those of one. Raises ValueError that names the field."""
    for name in ("min_qty", "max_qty", "max_market_qty"):
        if not (math.isfinite(getattr(one, name)) and getattr(one, name) > 0):
            raise ValueError(f"{name} ({getattr(one, name)!r}, a quantity is above zero)")
    for name in ("base", "quote"):
        if not _is_name(getattr(one, name)):
            raise ValueError(f"{name} coin ({getattr(one, name)!r})")
    for name, least in (
        ("min_notional", 0),
        ("max_leverage", UNIT),
        ("price_limit_x", 0),
        ("price_limit_y", 0),
        ("funding_interval_min", 1),
    ):
        if not least <= getattr(one, name) < _MOST:
            raise ValueError(f"{name} ({getattr(one, name)})")
    for name, grid in (("tickSize", one.price_grid), ("the quantity step", one.qty_grid)):
        if max(grid.num, grid.den) >= _MOST:
            raise ValueError(f"{name} (of no instrument: {grid.num / grid.den:g})")
    return one


def _category_of(path: Path, symbol: str, item: dict[str, Any], given: Category | None) -> Category | None:
    """The category of an entry whose answer does not say it; None: neither a linear perpetual nor a spot pair. Raises DataError."""
    if "riskLimitValue" in item:
        if given is None:
            raise DataError(
                f"{path}: {symbol}: risk tiers without a category: use --category linear if they are of USDT or USDC perpetuals"
            )
        return given
    found: Category | None = None
    if item.get("contractType") == "LinearPerpetual":
        found = "linear"
    elif "contractType" not in item and "optionsType" not in item and "basePrecision" in (item.get("lotSizeFilter") or {}):
        found = "spot"
    if given is not None and found != given:
        told = found or _what_it_is(item)
        raise DataError(f"{path}: --category {given} was given, but the fields of {symbol} are those of {told}: leave the option out")
    return found


def _what_it_is(item: dict[str, Any]) -> str:
    """What an entry that is left out is."""
    if "optionsType" in item:
        return "options"
    return str(item.get("contractType", "entries of another kind"))


def _linear(item: dict[str, Any], since: int) -> Instrument:
    lot = _part(item, "lotSizeFilter")
    qty_grid, largest = Grid.from_text(lot["qtyStep"]), float(lot["maxOrderQty"])
    return Instrument(
        **_common(item, qty_grid, since),
        category="linear",
        max_qty=largest,
        max_market_qty=float(lot.get("maxMktOrderQty") or largest),
        min_notional=_units(lot.get("minNotionalValue"), min_notional_of(item["quoteCoin"])),
        taker_fee=PERPETUAL_TAKER,
        maker_fee=PERPETUAL_MAKER,
        max_leverage=to_units(_part(item, "leverageFilter")["maxLeverage"]),
        funding_interval_min=int(item.get("fundingInterval") or 480),
    )


def _spot(item: dict[str, Any], since: int) -> Instrument:
    lot = _part(item, "lotSizeFilter")
    qty_grid = Grid.from_text(lot["basePrecision"])
    largest = float(lot.get("maxLimitOrderQty") or lot["maxOrderQty"])
    return Instrument(
        **_common(item, qty_grid, since),
        category="spot",
        max_qty=largest,
        max_market_qty=float(lot.get("maxMarketOrderQty") or largest),
        min_notional=_units(lot.get("minOrderAmt"), min_notional_of(item["quoteCoin"])),
        taker_fee=SPOT_FEE,
        maker_fee=SPOT_FEE,
        max_leverage=UNIT,
    )


def _common(item: dict[str, Any], qty_grid: Grid, since: int) -> dict[str, Any]:
    """What perpetuals and spot pairs say in the same way."""
    risk = _part(item, "riskParameters", needed=False)
    return {
        "symbol": item["symbol"],
        "base": item["baseCoin"],
        "quote": item["quoteCoin"],
        "price_grid": Grid.from_text(_part(item, "priceFilter")["tickSize"]),
        "qty_grid": qty_grid,
        "min_qty": float(_part(item, "lotSizeFilter")["minOrderQty"]),
        "price_limit_x": _units(risk.get("priceLimitRatioX"), 0),
        "price_limit_y": _units(risk.get("priceLimitRatioY"), 0),
        "base_unit": base_unit(qty_grid),
        "known_since": since,
        "source": "exchange",
    }


def _tiers(path: Path, symbol: str, rows: list[dict[str, Any]]) -> tuple[RiskTier, ...]:
    """A symbol's tiers with the exchange's deductions, or, where it gave none, those that make the margin continuous."""
    rows = sorted(rows, key=lambda row: to_units(row["riskLimitValue"]))
    percent = _in_percent(rows)
    rates = [(_rate(row["maintenanceMargin"], percent), to_units(row["maxLeverage"])) for row in rows]
    for row, (rate, leverage) in zip(rows, rates, strict=True):
        if not (0 <= rate <= UNIT and UNIT <= leverage < _MOST and 0 < to_units(row["riskLimitValue"]) < _MOST):
            raise ValueError(
                f"of a tier (limit {row['riskLimitValue']}, maintenance {row['maintenanceMargin']}, leverage {row['maxLeverage']})"
            )
    tiers = build_tiers([(to_units(row["riskLimitValue"]), rate, leverage) for row, (rate, leverage) in zip(rows, rates, strict=True)])
    if any(later.maintenance_rate < tier.maintenance_rate for tier, later in pairwise(tiers)):
        raise DataError(f"{path}: {symbol}: the maintenance margin of the risk tiers must not fall from one to the next")
    given = all(row.get("mmDeduction") for row in rows[1:])
    found = tuple(
        RiskTier(
            tier.limit,
            _rate(row["initialMargin"], percent) if row.get("initialMargin") else tier.initial_rate,
            tier.maintenance_rate,
            tier.max_leverage,
            to_units(row.get("mmDeduction") or "0") if given else tier.deduction,
        )
        for tier, row in zip(tiers, rows, strict=True)
    )
    for tier in found:
        if not (0 <= tier.deduction < _MOST and 0 < tier.initial_rate < _MOST):
            raise ValueError("initialMargin or mmDeduction (no rate, or no amount of money)")
    return found


def _in_percent(rows: list[dict[str, Any]]) -> bool:
    """Whether rates are in percent: the initial margin is 1 / leverage, so their product is near 1, or else near 100.

    Both forms have been seen. Without an initial margin the maintenance margin serves, which is about half of it.
    """
    row = rows[0]
    return float(row.get("initialMargin") or row["maintenanceMargin"]) * float(row["maxLeverage"]) > 10


def _rate(text: str, percent: bool) -> int:
    return to_units(text) // 100 if percent else to_units(text)


def _units(text: str | None, otherwise: int) -> int:
    return to_units(text) if text else otherwise
