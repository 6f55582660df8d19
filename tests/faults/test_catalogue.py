"""What broke in other people's trading programs, as their users reported it, row by row: each with the tests that reproduce it here.

Every row is a failure that lost somebody money or orders. The tests make the trouble on the sandbox (or, where it lies inside one part, in
that part) and show what happens instead. What cannot happen here says why.
"""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest

from keel.adapters.bybit.transport.streams import ConnectBudget
from tests.runners.live.socketless.exchange import START_MS, Exchange
from tests.runners.live.socketless.trader import Trader, pass_time
from tests.virtual.loop import run_virtual

TESTS = Path(__file__).resolve().parents[1]
CATALOGUE: dict[int, tuple[str, tuple[str, ...]]] = {
    # orders, and sending them once
    1: (
        "a request that timed out is sent again, and the order is placed twice",
        (
            "faults/test_answers.py::test_creates",
            "adapters/bybit/test_venue_outcomes.py::test_an_answer_lost_after_apply_is_adopted_and_never_sent_again",
        ),
    ),
    2: (
        "the order lives, and the program was told that its id is taken",
        (
            "adapters/bybit/test_venue_outcomes.py::test_110072_says_that_it_arrived",
            "faults/test_answers.py::test_110072_on_a_retry_says_that_the_first_arrived",
        ),
    ),
    3: (
        "a server's timeout, and then a position",
        ("faults/test_answers.py::test_creates", "faults/test_answers.py::test_batches_and_amendments"),
    ),
    4: (
        "an order in flight is called rejected because no list has it yet",
        (
            "faults/test_absent.py::test_lists_that_do_not_have_it_are_not_believed_against_position_or_wallet",
            "adapters/bybit/test_venue_streams.py::test_lists_that_lag_behind_make_no_false_end",
        ),
    ),
    5: (
        "an order is being cancelled for ever",
        (
            "adapters/bybit/test_venue_outcomes.py::test_a_cancel_whose_answer_is_lost_ends_the_order_once",
            "faults/test_answers.py::test_cancels",
        ),
    ),
    6: (
        "a cancel is acknowledged, and the first query still shows the order open",
        ("faults/test_private_stream.py::test_lists_that_lag_by_five_seconds",),
    ),
    7: ("cancelled and filled", ("adapters/bybit/test_venue_outcomes.py::test_a_cancel_that_lost_the_race_looks_and_finds_the_fill",)),
    8: (
        "partly filled, then cancelled: the filled part is lost",
        (
            "adapters/bybit/test_order_tracker.py::test_any_order_of_the_news_ends_the_same",
            "adapters/bybit/test_order_tracker.py::test_a_late_fill_after_a_cancel_is_booked_and_ends_nothing_again",
        ),
    ),
    9: ("a cancel overtakes its create", ("adapters/bybit/test_venue_outcomes.py::test_a_cancel_waits_for_its_own_create_only",)),
    10: (
        "orders that were given up fill hours later",
        (
            "adapters/bybit/test_venue_outcomes.py::test_an_order_that_waits_at_the_exchange_is_not_taken_for_lost",
            "adapters/bybit/test_order_tracker.py::test_an_order_that_returns_from_the_dead_freezes_its_symbol",
        ),
    ),
    11: (
        "an amendment looks like a cancel and a new order",
        (
            "adapters/bybit/test_venue_outcomes.py::test_an_amendment_whose_answer_is_lost_is_found_out",
            "adapters/bybit/test_order_tracker.py::test_an_order_that_returns_from_the_dead_freezes_its_symbol",
        ),
    ),
    12: (
        "filled while it was replaced",
        (
            "faults/test_answers.py::test_an_order_that_is_amended_upward_fills_beyond_what_it_was",
            "adapters/bybit/test_order_tracker.py::test_an_amendment_upward_is_told_before_the_fill_that_shows_it",
        ),
    ),
    13: (
        "an old order is in no list any more",
        ("faults/test_matrix.py::test_a_cell", "adapters/bybit/test_order_tracker.py::test_what_is_written_off_holds_nothing_up"),
    ),
    14: (
        "a storm of rejections on a halted symbol",
        (
            "core/risk/test_controls.py::test_rejections_in_a_row_pause_the_symbol",
            "runners/live/test_upkeep.py::test_an_instrument_with_other_rules_is_frozen",
        ),
    ),
    # fills, positions, accounting
    15: (
        "funding is counted as a fill",
        (
            "adapters/bybit/test_order_tracker.py::test_funding_moves_money_and_no_quantity_once_per_stamp",
            "adapters/bybit/test_order_tracker.py::test_an_unknown_kind_moves_nothing_and_freezes",
        ),
    ),
    16: (
        "a fill is booked again after a restart or a reconnection",
        (
            "adapters/bybit/test_venue_streams.py::test_after_a_restart_nothing_is_lost_and_nothing_told_twice",
            "faults/test_killed_at_random.py::test_fifty_kills_of_one_history",
        ),
    ),
    17: (
        "the same fill comes once more much later",
        ("adapters/bybit/test_order_tracker.py::test_an_execution_is_counted_once_for_good_also_after_a_restart",),
    ),
    18: (
        "a fill is lost in the gap of a reconnection",
        (
            "adapters/bybit/test_venue_streams.py::test_every_fill_is_told_once_whatever_the_stream_does",
            "runners/live/test_real_time.py::test_a_socket_that_is_cut_is_made_good",
        ),
    ),
    19: (
        "filled comes before its executions, an execution before its order",
        (
            "adapters/bybit/test_order_tracker.py::test_any_order_of_the_news_ends_the_same",
            "faults/test_private_stream.py::test_the_books_are_right_whatever_the_stream_does",
        ),
    ),
    20: (
        "a position that differs is logged, and traded on",
        (
            "runners/live/test_out_of_band.py::test_it_is_found_in_time_handled_by_rule_and_ended",
            "runners/live/test_reconciliation.py::test_it_converges_or_halts_with_a_reason",
        ),
    ),
    21: (
        "a position older than the history cannot be reconciled",
        ("runners/live/test_opening.py::test_a_strangers_fills_before_the_first_start",),
    ),
    22: (
        "hedge mode: the first row is empty, the position reads flat",
        (
            "adapters/bybit/test_account.py::test_hedge_mode_is_refused_or_switched_when_told_to",
            "runners/live/test_out_of_band.py::test_it_is_found_in_time_handled_by_rule_and_ended",
        ),
    ),
    23: (
        "liquidation and auto-deleveraging are not seen",
        (
            "adapters/bybit/test_order_tracker.py::test_a_takeover_is_told_with_its_loss",
            "runners/live/test_out_of_band.py::test_it_is_found_in_time_handled_by_rule_and_ended",
        ),
    ),
    24: ("a position is closed by hand", ("runners/live/test_out_of_band.py::test_it_is_found_in_time_handled_by_rule_and_ended",)),
    25: (
        "funding and fees drift",
        (
            "runners/live/test_daily_statement.py::test_trades_funding_deleveraging_and_fees_in_another_coin_are_stated_whole",
            "adapters/bybit/test_whole_account.py::test_the_portfolio_is_the_exchange_s_ledger",
        ),
    ),
    26: (
        "a closing order goes twice, and turns the position round",
        ("faults/test_catalogue.py::test_closing_twice_never_turns_a_position_round",),
    ),
    27: ("a simulator fills more than was ordered", ("adapters/bybit/test_order_tracker.py::test_more_than_was_ordered_is_never_silent",)),
    # streams and market data
    28: (
        "the feed is silent, and the socket open",
        ("adapters/bybit/test_venue_streams.py::test_a_stream_that_answers_pings_and_tells_nothing_is_replaced",),
    ),
    29: (
        "connected again, and not subscribed",
        ("adapters/bybit/test_venue_streams.py::test_without_every_acknowledgement_nothing_is_ready_and_no_entry_leaves",),
    ),
    30: (
        "the process hangs for days",
        (
            "runners/live/test_watchdog.py::test_a_strategy_that_hangs_does_not_keep_a_session_from_ending",
            "runners/live/test_session_socket.py::test_one_whose_loop_hangs_is_said_to_hang",
        ),
    ),
    31: (
        "the feed dies of one odd message",
        ("adapters/bybit/test_venue_streams.py::test_unknown_topics_and_nonsense_are_counted_and_harm_nothing",),
    ),
    32: ("a storm of reconnections", ("faults/test_catalogue.py::test_connections_are_few_however_often_the_line_breaks",)),
    34: (
        "a candle is confirmed twice, or repainted",
        (
            "faults/test_candles.py::test_decisions_stay_the_same",
            "faults/test_candles.py::test_a_candle_that_is_pushed_again_with_other_values_is_told_and_not_acted_on",
        ),
    ),
    35: (
        "a strategy acts on the candle that is still forming",
        ("adapters/bybit/test_market.py::test_an_open_candle_is_never_heard_and_a_younger_one_says_that_its_elder_is_due",),
    ),
    36: (
        "a candle is missing or late",
        (
            "adapters/bybit/test_market.py::test_candles_come_out_once_in_order_and_without_holes",
            "runners/live/test_parts.py::test_after_the_grace_it_goes_on_without_the_late_one_which_then_comes_too_late",
        ),
    ),
    37: (
        "a nonsense number is traded on",
        ("adapters/bybit/test_fuzz.py::test_two_thousand_mutants", "faults/test_bad_input.py::test_a_frame_with_nonsense_in_it"),
    ),
    38: ("a field is gone, and the parser ends the program", ("adapters/bybit/test_fuzz.py::test_two_thousand_mutants",)),
    # account, limits, numbers
    40: ("clocks differ", ("faults/test_clock.py::test_it_jumps_and_jumps_back", "faults/test_answers.py::test_10002")),
    41: (
        "too many requests, then a ban",
        (
            "adapters/bybit/test_budget.py::test_the_budget_keeps_every_window_of_the_exchange",
            "adapters/bybit/test_rest.py::test_after_a_403_nothing_is_sent_at_all",
            "faults/test_answers.py::test_10006",
        ),
    ),
    42: ("leverage is as wanted, and that is an error", ("adapters/bybit/test_account.py::test_110043_is_a_success",)),
    43: ("the position mode does not fit", ("adapters/bybit/test_account.py::test_a_position_keeps_hedge_mode_and_the_reason_is_told",)),
    44: (
        "1e-05 is sent as a quantity",
        (
            "adapters/bybit/test_requests.py::test_numbers_on_the_wire",
            "adapters/bybit/test_requests.py::test_the_smallest_numbers_have_no_exponent",
        ),
    ),
    45: (
        "steps and minimums change while it runs; dust cannot be sold",
        (
            "runners/live/test_upkeep.py::test_an_instrument_with_other_rules_is_frozen",
            "runners/live/test_spot.py::test_a_rest_under_one_step_is_flat",
        ),
    ),
    46: (
        "leverage or risk limit refuse the order",
        (
            "adapters/bybit/test_venue_outcomes.py::test_a_definite_no_is_a_rejection_with_its_code",
            "adapters/bybit/test_account.py::test_leverage_that_is_refused_says_so",
        ),
    ),
    # process, storage, operations
    47: (
        "the kill switch does not stop orders",
        (
            "runners/live/test_latch.py::test_a_session_halts_sends_nothing_more_and_is_not_started_again",
            "runners/test_safety.py::test_everything_of_an_account_is_cancelled_and_closed",
        ),
    ),
    48: (
        "real trades in paper mode",
        (
            "adapters/bybit/test_secrets.py::test_a_private_request_goes_to_its_own_environment_or_nowhere",
            "faults/test_bad_input.py::test_a_demo_key_is_no_key_of_the_live_host",
        ),
    ),
    49: (
        "the database cannot be used after a kill",
        (
            "adapters/journal/test_kills.py::test_after_20_kills_every_acknowledged_record_is_there",
            "adapters/journal/test_damage.py::test_cut_at_every_byte_of_its_last_three_records_it_recovers_and_says_so",
        ),
    ),
    50: (
        "a restart fails, or plays fills again",
        (
            "faults/test_killed.py::test_killed",
            "faults/test_killed_at_random.py::test_fifty_kills_of_one_history",
            "faults/test_crash_loop.py::test_a_loop_of_short_lives_comes_to_an_end",
        ),
    ),
    51: ("memory grows", ("faults/test_month.py::test_a_month_holds_what_is_kept_and_no_more",)),
    52: ("the event loop is blocked", ("runners/live/test_watchdog.py::test_late_is_told_and_two_seconds_halt_until_all_is_well",)),
    53: (
        "secrets in logs",
        (
            "runners/live/test_keys_stay_hidden.py::test_every_read_that_fails",
            "adapters/bybit/test_secrets.py::test_no_error_path_tells_it",
        ),
    ),
    54: ("code from outside is run", ("runners/live/test_session_socket.py::test_nonsense_and_silence_do_not_disturb_it",)),
    55: ("any file can be read from outside", ("sim/sandbox/test_admin_guard.py::",)),
    56: ("maintenance, and a restart of the engine", ("faults/test_matrix.py::test_a_cell",)),
}
"""Number -> (what broke, what reproduces it); a file alone: all of it."""
CANNOT_HAPPEN = {
    33: "a crossed or garbled order book: no decision and no price uses one; decisions are made of closed candles",
    39: "parsing falls behind: a figure, not a rule; benchmarks/load.py measures it",
}


def test_the_catalogue_is_whole() -> None:
    assert sorted({*CATALOGUE, *CANNOT_HAPPEN}) == list(range(1, 57)) and not set(CATALOGUE) & set(CANNOT_HAPPEN)


@pytest.mark.parametrize("number", CATALOGUE)
def test_what_reproduces_it_exists(number: int) -> None:
    for name in CATALOGUE[number][1]:
        file, _, function = name.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        found = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        assert function in found if function else any(each.startswith("test_") for each in found), name


def test_closing_twice_never_turns_a_position_round() -> None:
    """Two closing orders of the whole position at once, and one by hand: all of them can only reduce."""

    async def work() -> None:
        exchange = Exchange()
        exchange.move()
        trader = Trader(exchange, [], 1)
        await trader.start()
        try:
            trader.order("BUY", 20)
            await pass_time(exchange, 3)
            trader.order("SELL", 20, reduce_only=True)
            trader.order("SELL", 20, reduce_only=True)
            exchange.by_hand("/v5/order/create", side="Sell", orderType="Market", qty="0.020", reduceOnly=True)
            await pass_time(exchange, 40)
            assert exchange.held() == 0 and trader.differences() == []
        finally:
            await trader.stop()

    run_virtual(work(), start_ms=START_MS)


def test_connections_are_few_however_often_the_line_breaks() -> None:
    """A server that closes each connection at once, for ten minutes: never more than twenty of them in five."""

    async def work() -> list[float]:
        loop, made = asyncio.get_running_loop(), list[float]()
        budget = ConnectBudget(now_ms=lambda: int(loop.time() * 1_000))
        begun = loop.time()
        while loop.time() < begun + 600:
            while wait_ms := budget.wait_ms():
                await asyncio.sleep(wait_ms / 1_000)
            budget.take()
            made.append(loop.time())
            await asyncio.sleep(0.001)
        return made

    made = run_virtual(work())
    assert len(made) >= 40 and all(sum(at <= each < at + 299.9 for each in made) <= 20 for at in made)
