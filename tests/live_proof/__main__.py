"""``make live-proof``: the smallest orders on an account of yours. Refuses without explicit variables; see docs/live.md.

KEEL_LIVE_PROOF       demo or live: which account
KEEL_LIVE_PROOF_UID   the account's number, as the exchange shows it
KEEL_LIVE_PROOF_COSTS for live: the text "I pay for it"
KEEL_LIVE_PROOF_SYMBOL, KEEL_LIVE_PROOF_MOST_USD  DOGEUSDT, 20

``python -m tests.live_proof --sandbox URL`` runs the same on a sandbox, without variables.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.endpoints import Environment
from keel.core.errors import KeelError, SafetyError
from keel.runners.live.panic.latch import latch_of, refuse_latched
from keel.runners.live.startup.connection import connect
from keel.runners.live.startup.lock import AccountLock
from tests.live_proof.proof import Proof

ACCEPTED = "I pay for it"


def chosen(variables: Mapping[str, str]) -> tuple[Environment, int]:
    """Which account. Raises SafetyError for anything that was not said in full."""
    name, uid = variables.get("KEEL_LIVE_PROOF", ""), variables.get("KEEL_LIVE_PROOF_UID", "")
    if name not in ("demo", "live"):
        raise SafetyError("this sends real orders to an exchange: set KEEL_LIVE_PROOF to demo or live")
    if not uid.isdecimal():
        raise SafetyError("set KEEL_LIVE_PROOF_UID to the number of the account that may be traded")
    if name == "live" and variables.get("KEEL_LIVE_PROOF_COSTS") != ACCEPTED:
        raise SafetyError(f'real money: fees and spread of the smallest order are yours. Set KEEL_LIVE_PROOF_COSTS to "{ACCEPTED}"')
    return Environment(name), int(uid)


async def prove(environment: Environment, uid: int | None, sandbox_url: str | None, symbol: str, most_usd: float) -> bool:
    """Run it. Raises KeelErrors where it cannot begin."""
    refuse_latched(latch_of(environment, sandbox_url))
    problems: list[Notice] = []
    async with connect(environment, "linear", problems.append, sandbox_url=sandbox_url) as to:
        with AccountLock(await to.account_name(checks_key=False), "live-proof"):
            number = (await to.account.key_info()).userID if uid is None else uid
            print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC  {environment.value}  {to.where.rest}  {symbol}")
            is_live = environment is Environment.LIVE
            passed = await Proof(to, symbol, number, is_live, most_usd, print).run()
    print(f"{'PASS' if passed else 'FAIL'} on {environment.value}; nothing else was proven")
    return passed


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.live_proof")
    parser.add_argument("--sandbox", metavar="URL", help="a running keel sandbox instead of an account at the exchange")
    given = parser.parse_args(arguments)
    try:
        environment, uid = (Environment.SANDBOX, None) if given.sandbox else chosen(os.environ)
        symbol = os.environ.get("KEEL_LIVE_PROOF_SYMBOL", "BTCUSDT" if given.sandbox else "DOGEUSDT")
        most = float(os.environ.get("KEEL_LIVE_PROOF_MOST_USD", "1000" if given.sandbox else "20"))
        return 0 if asyncio.run(prove(environment, uid, given.sandbox, symbol, most)) else 1
    except KeelError as error:
        print(f"NOT RUN: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
