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
    from keel.runners.tools.research.backtest import (
        backtest_list_systems_tool,
        backtest_list_windows_tool,
        backtest_run_tool,
        backtest_sample_tool,
    )
    from keel.runners.tools.research.check import check_lookahead_tool, check_warmup_tool
    from keel.runners.tools.research.data import (
        data_export_tool,
        data_fill_tool,
        data_gaps_tool,
        data_list_tool,
        data_synth_tool,
        data_verify_tool,
    )
    from keel.runners.tools.research.data_import import data_import_instruments_tool, data_import_tool
    from keel.runners.tools.research.data_maintenance import data_delete_tool, data_rename_tool
    from keel.runners.tools.research.diagnostics import doctor_tool
    from keel.runners.tools.research.parity import parity_check_tool
    from keel.runners.tools.research.runs import runs_compare_tool, runs_list_tool, runs_report_tool, runs_show_tool
    from keel.runners.tools.research.sweep import sweep_run_tool
    from keel.runners.tools.research.systems import (
        systems_migrate_tool,
        systems_new_tool,
        systems_schema_tool,
        systems_show_tool,
        systems_validate_tool,
    )
    from keel.runners.tools.trading.alerts import alerts_test_tool
    from keel.runners.tools.trading.compare_live import session_compare_tool
    from keel.runners.tools.trading.exchange import (
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
    from keel.runners.tools.trading.journal import journal_list_tool, journal_repair_tool, journal_verify_tool
    from keel.runners.tools.trading.replay import session_replay_tool
    from keel.runners.tools.trading.smoke import smoke_backtest_tool
    from keel.runners.tools.trading.smoke_demo import smoke_demo_tool
    from keel.runners.tools.trading.wire_parity import wire_parity_check_tool

_PLACES = {
    "trading.alerts": ("alerts_test_tool",),
    "research.backtest": ("backtest_list_systems_tool", "backtest_list_windows_tool", "backtest_run_tool", "backtest_sample_tool"),
    "research.check": ("check_lookahead_tool", "check_warmup_tool"),
    "research.data": ("data_export_tool", "data_fill_tool", "data_gaps_tool", "data_list_tool", "data_synth_tool", "data_verify_tool"),
    "research.data_import": ("data_import_instruments_tool", "data_import_tool"),
    "research.data_maintenance": ("data_delete_tool", "data_rename_tool"),
    "research.diagnostics": ("doctor_tool",),
    "trading.exchange": (
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
    "trading.journal": ("journal_list_tool", "journal_repair_tool", "journal_verify_tool"),
    "research.parity": ("parity_check_tool",),
    "research.runs": ("runs_compare_tool", "runs_list_tool", "runs_report_tool", "runs_show_tool"),
    "trading.compare_live": ("session_compare_tool",),
    "trading.replay": ("session_replay_tool",),
    "trading.session": ("session_list_tool", "session_release_tool", "session_status_tool"),
    "trading.smoke": ("smoke_backtest_tool",),
    "trading.smoke_demo": ("smoke_demo_tool",),
    "research.sweep": ("sweep_run_tool",),
    "trading.wire_parity": ("wire_parity_check_tool",),
    "research.systems": ("systems_migrate_tool", "systems_new_tool", "systems_schema_tool", "systems_show_tool", "systems_validate_tool"),
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
