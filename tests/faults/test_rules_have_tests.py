"""Rules that came of failures, each with the tests that hold it: docs/chaos.md shows the same tables, and what they name exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.faults.matrix.moments import MOMENTS
from tests.faults.matrix.table import MEANINGLESS, lines

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "chaos.md"
RULES: dict[str, tuple[str, ...]] = {
    "A freeze ends: every cause names what ends it, and nothing that cannot trade is called ACTIVE": (
        "faults/test_causes.py::test_each_is_raised_forbids_ends_and_then_it_trades_again",
        "faults/test_checker.py::test_a_broken_rule_is_named",
    ),
    "Settings that drift are found within 30 s; what lies in other symbols is said once, never touched": (
        "runners/live/test_upkeep.py::test_a_setting_that_drifts_is_found_within_30_seconds_and_ends",
        "runners/live/test_upkeep.py::test_what_lies_in_other_symbols_is_told_once_and_never_touched",
    ),
    "The end is told whatever broke": (
        "runners/live/test_endings.py::test_what_broke_and_what_stays_are_told",
        "runners/live/test_endings.py::test_a_statement_that_cannot_be_read_is_no_end_in_order",
    ),
    "The opening contains what came before it": (
        "runners/live/test_opening.py::test_a_strangers_fills_before_the_first_start",
        "runners/live/test_opening.py::test_own_fills_before_another_journal",
        "runners/live/test_opening.py::test_a_payment_right_before_the_start",
    ),
    "Absence needs all witnesses": (
        "faults/test_absent.py::test_lists_that_do_not_have_it_are_not_believed_against_position_or_wallet",
        "faults/test_absent.py::test_an_entry_has_ended_and_is_never_sent_again",
    ),
    "A late fill is a fill": ("faults/test_late_fills.py::test_a_fill_that_is_found_after_younger_ones",),
    "An unprotected position is no mere notice": (
        "faults/test_unprotected.py::test_a_refused_stop_closes_the_position_and_then_it_trades_again",
        "faults/test_unprotected.py::test_it_is_done_within_five_seconds",
    ),
    "A loop that lags and a strategy that hangs are seen from outside, and do not keep a session from ending": (
        "runners/live/test_watchdog.py::test_late_is_told_and_two_seconds_halt_until_all_is_well",
        "runners/live/test_watchdog.py::test_a_strategy_that_hangs_does_not_keep_a_session_from_ending",
    ),
    "One session per account": (
        "runners/live/test_lock.py::test_one_holder_per_account", "runners/live/test_lock.py::test_it_does_not_lie_in_tmpdir",
        "runners/live/test_lock.py::test_a_file_that_another_took_meanwhile_is_told",
        "runners/live/test_session_socket.py::test_another_keel_sessions_order_is_told_from_a_persons",
    ),
    "Keys, too, are secrets; what is written is for its owner alone": (
        "runners/live/test_keys_stay_hidden.py::test_refused_orders_and_nonsense_on_the_stream",
        "runners/live/test_endings.py::test_what_a_session_writes_is_for_its_owner_alone",
        "faults/test_checker.py::test_a_secret_is_found",
    ),
    "Reading never runs code": ("runners/test_reading_runs_no_code.py",),
    "The journal is watched; logs turn over; memory grows by what is kept alone": (
        "faults/test_journal_watched.py::test_trading_halts", "adapters/journal/test_watching.py",
        "adapters/test_logging.py::test_a_log_file_turns_over_and_only_its_owner_reads_it",
        "faults/test_month.py::test_a_month_holds_what_is_kept_and_no_more",
    ),
    "Every endpoint of ours checks who asks, and bounds what is asked": (
        "sim/sandbox/test_admin_guard.py::test_a_foreign_host_or_origin_is_refused",
        "sim/sandbox/test_admin_guard.py::test_bodies_are_bounded_in_size_and_depth",
        "runners/live/test_session_socket.py::test_only_this_user_can_open_it",
    ),
    "Restarts under odd conditions are in order": (
        "runners/live/test_left_out.py::test_the_refusal_names_symbol_reason_holdings_and_the_way_on",
        "faults/test_crash_loop.py::test_a_loop_of_short_lives_comes_to_an_end",
        "runners/live/test_demo_command.py::test_a_terminal_that_is_closed_ends_it_in_order", "runners/live/test_failed_starts.py",
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_what_holds_a_rule_exists(rule: str) -> None:
    for place in RULES[rule]:
        file, _, name = place.partition("::")
        path = TESTS / file
        assert path.exists(), place
        found = {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in found if name else any(each.startswith("test_") for each in found), place


def test_the_page_shows_the_matrix() -> None:
    page = PAGE.read_text()
    assert "\n".join(lines()) in page
    for cell, why in MEANINGLESS.items():
        assert f"{cell.text}: {why}" in page
    for moment in MOMENTS.values():
        assert f"M{moment.number} {moment.name}" in page


def test_the_page_shows_them() -> None:
    page = PAGE.read_text()
    missing = [rule for rule in RULES if rule not in page]
    missing += [place for places in RULES.values() for place in places if f"`tests/{place}`" not in page]
    assert missing == []
