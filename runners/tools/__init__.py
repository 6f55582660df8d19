"""The typed tools: one registry behind every command, and for orchestrators.

    from keel.runners.tools import backtest_run_tool

    answer = backtest_run_tool("ema_cross", "sample", {"params.fast": 10}, home="my-folder")
    if answer["ok"]:
        print(answer["data"]["metrics"]["sharpe"])

Each is a ``Tool`` (``runners/tools/registry.py``) and answers ``{"ok": True, "data": …}`` or ``{"ok": False, "error": …}``. They are
imported when they are first used: a command pays only for its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keel.runners.tools.alerts import alerts_test_tool
    from keel.runners.tools.backtest import (
        backtest_list_systems_tool,
        backtest_list_windows_tool,
        backtest_run_tool,
        backtest_sample_tool,
    )
    from keel.runners.tools.check import check_lookahead_tool, check_warmup_tool
    from keel.runners.tools.compare_live import session_compare_tool
    from keel.runners.tools.data import data_export_tool, data_fill_tool, data_gaps_tool, data_list_tool, data_synth_tool, data_verify_tool
    from keel.runners.tools.data_import import data_import_instruments_tool, data_import_tool
    from keel.runners.tools.data_upkeep import data_delete_tool, data_rename_tool
    from keel.runners.tools.diagnostics import doctor_tool
    from keel.runners.tools.exchange import (
        account_fund_tool,
        account_show_tool,
        market_bars_tool,
        market_instrument_tool,
        order_cancel_tool,
        order_list_tool,
        order_place_tool,
        position_close_tool,
        position_list_tool,
    )
    from keel.runners.tools.journal import journal_list_tool, journal_repair_tool, journal_verify_tool
    from keel.runners.tools.parity import parity_check_tool
    from keel.runners.tools.replay import session_replay_tool
    from keel.runners.tools.runs import runs_compare_tool, runs_list_tool, runs_report_tool, runs_show_tool
    from keel.runners.tools.smoke import smoke_backtest_tool
    from keel.runners.tools.smoke_demo import smoke_demo_tool
    from keel.runners.tools.sweep import sweep_run_tool
    from keel.runners.tools.systems import (
        systems_migrate_tool,
        systems_new_tool,
        systems_schema_tool,
        systems_show_tool,
        systems_validate_tool,
    )
    from keel.runners.tools.wire_parity import wire_parity_check_tool

_PLACES = {
    "alerts": ("alerts_test_tool",),
    "backtest": ("backtest_list_systems_tool", "backtest_list_windows_tool", "backtest_run_tool", "backtest_sample_tool"),
    "check": ("check_lookahead_tool", "check_warmup_tool"),
    "data": ("data_export_tool", "data_fill_tool", "data_gaps_tool", "data_list_tool", "data_synth_tool", "data_verify_tool"),
    "data_import": ("data_import_instruments_tool", "data_import_tool"),
    "data_upkeep": ("data_delete_tool", "data_rename_tool"),
    "diagnostics": ("doctor_tool",),
    "exchange": (
        "account_fund_tool",
        "account_show_tool",
        "market_bars_tool",
        "market_instrument_tool",
        "order_cancel_tool",
        "order_list_tool",
        "order_place_tool",
        "position_close_tool",
        "position_list_tool",
    ),
    "journal": ("journal_list_tool", "journal_repair_tool", "journal_verify_tool"),
    "parity": ("parity_check_tool",),
    "runs": ("runs_compare_tool", "runs_list_tool", "runs_report_tool", "runs_show_tool"),
    "compare_live": ("session_compare_tool",),
    "replay": ("session_replay_tool",),
    "session": ("session_list_tool", "session_release_tool", "session_status_tool"),
    "smoke": ("smoke_backtest_tool",),
    "smoke_demo": ("smoke_demo_tool",),
    "sweep": ("sweep_run_tool",),
    "wire_parity": ("wire_parity_check_tool",),
    "systems": ("systems_migrate_tool", "systems_new_tool", "systems_schema_tool", "systems_show_tool", "systems_validate_tool"),
}

__all__ = [
    "account_fund_tool",
    "account_show_tool",
    "alerts_test_tool",
    "backtest_list_systems_tool",
    "backtest_list_windows_tool",
    "backtest_run_tool",
    "backtest_sample_tool",
    "check_lookahead_tool",
    "check_warmup_tool",
    "data_delete_tool",
    "data_export_tool",
    "data_fill_tool",
    "data_gaps_tool",
    "data_import_instruments_tool",
    "data_import_tool",
    "data_list_tool",
    "data_rename_tool",
    "data_synth_tool",
    "data_verify_tool",
    "doctor_tool",
    "journal_list_tool",
    "journal_repair_tool",
    "journal_verify_tool",
    "market_bars_tool",
    "market_instrument_tool",
    "order_cancel_tool",
    "order_list_tool",
    "order_place_tool",
    "parity_check_tool",
    "position_close_tool",
    "position_list_tool",
    "runs_compare_tool",
    "runs_list_tool",
    "runs_report_tool",
    "runs_show_tool",
    "session_compare_tool",
    "session_list_tool",
    "session_release_tool",
    "session_replay_tool",
    "session_status_tool",
    "smoke_backtest_tool",
    "smoke_demo_tool",
    "sweep_run_tool",
    "systems_migrate_tool",
    "systems_new_tool",
    "systems_schema_tool",
    "systems_show_tool",
    "systems_validate_tool",
    "wire_parity_check_tool",
]


def __getattr__(name: str) -> Any:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"keel.runners.tools.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
