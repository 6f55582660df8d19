"""One suite that every client of the exchange passes. What a newcomer needs to know is here.

Who takes it (``clients.CLIENTS``): pybit, unmodified, by REST and WebSocket against the sandbox; our own adapter against the sandbox,
through the bus and the actors of a session; the simulated exchange in this process, through the same bus and actors, as a backtest has it.
pybit and the adapter enter their orders by REST; what is about orders and their refusals they take again by the trade WebSocket.

What they are asked (``words``): acts in the words of trading, and what is then seen, as decimal text. A case (an entry of the tables in
``*_cases``) is a scripted list of bars in lock-step, so that all see the same prices, and a script of acts and expectations, whose
numbers were worked out by hand. An act between two steps meets the next bar at its open.

How to read the numbers: a buy at 90 pays 90.01 (one tick of slippage), its fee is 0.055 % of the value, rounded up to 1e-8; a maker pays
his limit and 0.02 %. The balance begins with 100,000 USDT; it changes by realised PnL less fees and funding, never by a position's value.

When clients differ: either it is a bug, and is fixed; or it is the protocol's, and then ``cases.DIFFERENCES`` says so in a sentence, and
the case states what each of them sees. What only the protocol has (shapes, pages, topics) is in ``test_protocol``, for pybit alone.

A new case is one more entry of a table. A new client (another exchange, another adapter) is a class with ``act``, ``ask``, ``look`` and
``close``, and one more line in CLIENTS: write ``act`` for the acts of ``words``, run this file, and read the differences.
"""

from __future__ import annotations

import pytest

from tests.conformance.cases import DIFFERENCES, FLAT_100, IN_CLIENTS, Ask, Case, Then
from tests.conformance.clients import CLIENTS, kind
from tests.conformance.exit_cases import EXITS
from tests.conformance.order_cases import ORDERS
from tests.conformance.position_cases import POSITIONS
from tests.conformance.question_cases import QUESTIONS
from tests.conformance.refusal_cases import REFUSALS
from tests.conformance.spot_cases import SPOT
from tests.conformance.words import Account, Client, Refused

CASES = (*POSITIONS, *ORDERS, *EXITS, *REFUSALS, *SPOT, *QUESTIONS)
TURNS = [
    pytest.param(case, name, id=f"{name}: {case.account.category}: {case.name}")
    for name in CLIENTS
    for case in ((*ORDERS, *REFUSALS) if "stream" in name else CASES)
]


def play(case: Case, client: Client, of: str) -> None:
    """The script; each expectation is compared as a whole, so that a failure shows everything that differs."""
    for number, line in enumerate(case.script):
        if isinstance(line, Then):
            expected, seen = line.of(of), client.look()
            assert {name: getattr(seen, name) for name in expected} == expected, f"line {number} of {case.name!r}"
        elif isinstance(line, Ask):
            assert client.ask(line.question) == list(line.answer), f"line {number} of {case.name!r}"
        else:
            client.act(line)


@pytest.mark.parametrize(("case", "name"), TURNS)
def test_the_account_is_as_the_table_says(case: Case, name: str) -> None:
    if kind(name) in case.cannot:
        pytest.skip(DIFFERENCES[case.cannot[kind(name)]])
    client = CLIENTS[name](case.market, case.account)
    try:
        play(case, client, kind(name))
    finally:
        client.close()


@pytest.mark.parametrize("name", [name for name in CLIENTS if "stream" not in name])
def test_a_leverage_that_the_instrument_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        CLIENTS[name](FLAT_100, Account(leverage="1000"))


def test_every_difference_is_stated_and_used() -> None:
    used = {reason for case in CASES for reason in case.cannot.values()}
    used |= {reason for case in CASES for line in case.script if isinstance(line, Then) for reason, _ in line.others.values()}
    assert used | set(IN_CLIENTS) == set(DIFFERENCES)
    assert used.isdisjoint(IN_CLIENTS)


def test_names_of_cases_are_their_own() -> None:
    names = [(case.account.category, case.name) for case in CASES]
    assert len(set(names)) == len(names)
