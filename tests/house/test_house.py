"""The house keeps its measure: what is larger than that today is named here, may only become less, and leaves the list when it does.

``python -m tests.house.numbers`` prints all numbers.
"""

from __future__ import annotations

from typing import Final

from tests.house.numbers import House, measure

FILE_LINES, FUNCTION_LINES, PARAMETERS, FOLDER_FILES = 350, 50, 10, 14

LONG_FILES: Final = frozenset(
    {
        "adapters/store/store.py",
        "core/actors/portfolio.py",
        "core/actors/risk.py",
        "core/model/messages.py",
        "runners/safety.py",
        "runners/live/session_run.py",
        "sim/exchange/exchange.py",
        "sim/kernel/venue.py",
        "sim/matching/matching.py",
        "sim/sandbox/account/order_requests.py",
        "sim/sandbox/account/simulated_account.py",
        "sim/sandbox/http/endpoints/account.py",
    }
)
LONG_FUNCTIONS: Final = frozenset(
    {
        "runners/live/checks/watchdog.py:watching",
        "runners/backtest/replay.py:run",
        "runners/live/supervisor/command.py:supervise",
        "sim/exchange/exchange.py:__init__",
        "sim/sandbox/account/simulated_account.py:__init__",
    }
)
MANY_PARAMETERS: Final = frozenset(
    {
        "adapters/bybit/market/market_stream.py:__init__",
        "adapters/bybit/transport/streams.py:__init__",
        "adapters/store/importing/importer.py:import_file",
        "adapters/store/store.py:import_file",
        "core/actors/risk.py:__init__",
        "core/actors/trade_log.py:on_fill",
        "core/risk/rules.py:carried_usd",
        "core/strategy/snapshot.py:__init__",
        "runners/actors.py:make_actors",
        "runners/backtest/engine.py:__init__",
        "runners/lifecycle/epoch_run.py:run_epoch",
        "runners/research/parity.py:_order",
        "sim/exchange/exchange.py:step",
        "sim/margin/settlement.py:settle_linear",
    }
)
"""Some of them are signatures that documents fix: ``run_epoch``, the stores' ``import_file``."""
FULL_FOLDERS: Final = {}
"""Folder -> how many files of Python it may have until it is divided."""


def found(house: House) -> dict[str, set[str]]:
    """What is larger than the measure."""
    functions = [each for each in house.functions if not each.place.startswith(("sim/kernel/", "runners/cli/"))]
    return {
        "files": {path for path, lines in house.files.items() if lines > FILE_LINES},
        "functions": {each.place for each in functions if each.lines > FUNCTION_LINES},
        "parameters": {each.place for each in functions if each.parameters > PARAMETERS},
        "folders": {folder for folder, count in house.folders.items() if count > FOLDER_FILES},
    }


def test_nothing_grows_beyond_the_measure_that_is_not_named_here_and_nothing_goes_round() -> None:
    house = measure()
    larger = found(house)
    nothing: dict[str, list[str]] = {kind: [] for kind in larger}
    allowed = {"files": LONG_FILES, "functions": LONG_FUNCTIONS, "parameters": MANY_PARAMETERS, "folders": set(FULL_FOLDERS)}
    assert {kind: sorted(names - allowed[kind]) for kind, names in larger.items()} == nothing, "make it smaller"
    assert {kind: sorted(allowed[kind] - names) for kind, names in larger.items()} == nothing, "strike it off the list"
    grown = {folder: house.folders[folder] for folder, most in FULL_FOLDERS.items() if house.folders[folder] > most}
    assert not grown, "a folder that is too full already has more files than before: make two rooms"
    assert house.circles() == [], "modules that import each other"
