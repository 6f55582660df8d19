"""Panic: keeps every new order of an environment from leaving, cancels all orders of the account, and closes all its positions.

One file, on purpose: it needs Python's standard library and pybit, and imports nothing of keel, so that it works while the trader hangs,
is stopped or gone, its disk is full, its store locked, its sockets dead. It reads a key and the account, nothing else. What it does:

1. The latch: an empty file is one, and no trader of this environment on this machine sends an order that adds while it stands.
2. Cancel everything, of every category and settle coin, whoever ordered it; the exchange takes 500 at a time, so again and again.
3. Close every position with reduce-only market orders, in pieces that the exchange takes, in hedge mode both sides.
4. Look until no order rests and no position is held, twice, a second apart; the last time LAST_LOOK_S after the latch, since a request
   that was on its way then may still be executed for that long. Whatever fails is tried again, until all is done or Ctrl-C.
5. Tell what was open, what was done at which prices, and what is left; the exit code is 0 only if nothing is.

    keel panic --env demo     python -m keel.runners.safety --env demo --yes     python runners/safety.py --env sandbox --sandbox URL
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):  # noqa: PTH120
    del sys.path[0]  # what lies beside this file, such as a warnings.py, is not what Python and pybit mean by these names

import argparse
import errno
import json
import logging
import shlex
import signal
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

Fields = dict[str, Any]
Say = Callable[[str], None]
BEGUN = time.perf_counter()
URLS = {"live": "https://api.bybit.com", "demo": "https://api-demo.bybit.com", "sandbox": "http://127.0.0.1:8686"}
HOSTS = {"live": {"api.bybit.com"}, "demo": {"api-demo.bybit.com"}, "sandbox": {"127.0.0.1", "::1", "localhost"}}
"""The only hosts that may ever see a key of this environment."""
COINS = ["USDT", "USDC"]
"""Settle coins of linear contracts that are known before the exchange has listed them; of spot holdings they are cash, and not sold."""
SPOT_KINDS = ("Order", "tpslOrder", "StopOrder", "OcoOrder", "BidirectionalTpslOrder")
TIMEOUT_S = (2.0, 3.0)
"""To connect, and between two bytes of an answer; JOB_S bounds everything that one thread does in a round."""
JOB_S = 12.0
APART_S, LAST_LOOK_S = 1.0, 6.0
"""Between the two looks; and from the latch to the last one: a signed request is good for five seconds."""
BATCH = 10
"""Orders a second that the exchange takes of an ordinary account."""
PUBLIC = ("get_server_time", "get_instruments_info")
KEY_REFUSED = {401, 10003, 10004, 33004}
TRY_AGAIN = {-1, 409, 429, 10000, 10002, 10006, 10016, 10019, 110079, 170007, 170146, 170147}
NOT_CLOSED = "option positions"
"""What is listed and left to a person: an option has no market order."""
NO_SUCH_MARKET = {404, 10032}
"""Refusals of a list that say that the account has no such market: its mode has no such category; demo trading does not have it."""
HOLDINGS = "spot holdings"
NEWEST_ORDERS, NEWEST_EXECUTIONS = 50, 500
"""So many are listed in the end; of a list that is as long, it is said that there may be more."""
DUST = {170124, 170136, 170140}
FLAT, WRONG, UNSAFE, LEFT = 0, 2, 4, 5


class Refused(Exception):
    """The exchange's definite refusal, with its code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code


class Unanswered(Exception):
    """No answer, or none that says what became of the request."""


# --- 1. the latch ---


def latch_path(env: str, url: str) -> Path:
    """One per environment, in the user's state folder; the same file that the trader looks for before each order."""
    root = Path(os.environ.get("KEEL_STATE") or f"{os.environ.get('XDG_STATE_HOME') or '~/.local/state'}/keel").expanduser().absolute()
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname in HOSTS["sandbox"] else parts.hostname
    return root / "panic" / (f"{env}.latch" if env != "sandbox" else f"sandbox-{host}-{parts.port or 80}.latch")


def latch(path: Path, env: str, by: str) -> str:
    """Make the latch, and force it to the disk; returns "" or why it does not stand. One that stands is left as it is: it is evidence.
    From the opening of the file on it holds, even where nothing can be written into it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        return "" if _stands_already(path) else f"{path}: {error.strerror}"
    made, user = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), os.environ.get("USER", f"uid {os.getuid()}")
    words = {"version": 1, "environment": env, "made": made, "by": by, "process": os.getpid(), "host": os.uname().nodename, "user": user}
    try:
        os.write(descriptor, json.dumps(words).encode())
        os.fsync(descriptor)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        with suppress(OSError, ValueError):  # the log of it may lie on the same full disk
            print(f"the latch stands, empty or not forced to the disk: {error.strerror}", file=sys.stderr)
    finally:
        os.close(descriptor)
    return ""


def _stands_already(path: Path) -> bool:
    """Where no file was made: one stands under this name, or a session has laid a spare that only needs it. A link never takes the place
    of a latch that was made meanwhile; a rename could, and is for file systems without links. Returns whether a latch stands."""
    spare = path.with_suffix(".ready")
    for give_name in (os.link, os.rename):
        if os.path.lexists(path):
            return True
        with suppress(OSError):
            give_name(spare, path)
            spare.unlink()
    return os.path.lexists(path)


# --- the account, by pybit ---


def find_keys(env: str, file: Path | None) -> tuple[str, str]:
    """From BYBIT_<ENV>_KEY and _SECRET, else from a file (mode 0600) with these two lines, else from a keyring (its package need not be
    there) under keel-bybit-<env>: where the trader looks, in the same order. Raises ValueError, PermissionError."""
    names = (f"BYBIT_{env.upper()}_KEY", f"BYBIT_{env.upper()}_SECRET")
    found = {name: os.environ.get(name, "").strip() for name in names}
    if not all(found.values()) and file is not None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe that nobody writes to would be waited for
        with os.fdopen(os.open(file.expanduser(), flags), encoding="utf-8", errors="replace") as opened:
            status, name, me = os.fstat(opened.fileno()), shlex.quote(str(file.expanduser())), os.getuid()
            if not stat.S_ISREG(status.st_mode):
                raise PermissionError(f"the key file {file} must be a plain file")
            if stat.S_IMODE(status.st_mode) & 0o177 or status.st_uid != me:
                sudo = "sudo " if me and status.st_uid != me else ""
                owner = f"{sudo}chown {me} {name} && " if status.st_uid != me else ""
                raise PermissionError(f"the key file {file} is not yours alone: {owner}{sudo}chmod 600 {name}")
            lines = [line.partition("=") for line in opened.read(65_536).splitlines() if not line.lstrip().startswith("#")]
        found = {name.strip().removeprefix("export "): value.strip().strip("\"'") for name, _, value in lines}
    elif env == "sandbox" and not any(found.values()):
        found = dict(zip(names, ("sandbox-key", "sandbox-secret"), strict=True))
    elif not any(found.values()) and find_spec("keyring") is not None:
        read = import_module("keyring").get_password
        try:
            found = {name: read(f"keel-bybit-{env}", word) or "" for name, word in zip(names, ("key", "secret"), strict=True)}
        except Exception as error:
            raise ValueError(f"the keyring does not give the key ({type(error).__name__}): set {' and '.join(names)}") from error
    key, secret = found.get(names[0], ""), found.get(names[1], "")
    if not key or not secret:
        raise ValueError(
            f"no key of the {env} account: set {names[0]} and {names[1]}, or name a file of mode 0600 with --key-file, or keep"
            f' "key" and "secret" in the keyring under keel-bybit-{env}'
        )
    return key, secret


class Exchange:
    """pybit's calls, each with bounds, tried again where that is safe; any number of threads at once. It never shows its key.

    pybit alone would sleep for a rate limit (and raise where the limit's end is past), widen the window for a wrong clock, follow a
    redirect with the key in its hand, and print the secret where it is shown: all of that is switched off or done here.
    """

    def __init__(self, env: str, url: str, key: str, secret: str) -> None:
        parts = urlsplit(url)
        if parts.hostname not in HOSTS[env] or parts.scheme != ("http" if env == "sandbox" else "https"):
            raise PermissionError(f"a {env} key may not go to {url}")
        import pybit._helpers
        import pybit.unified_trading

        self._pybit, self._url, self._key, self._secret = pybit.unified_trading, url.rstrip("/"), key, secret
        self._idle: list[Any] = []
        self._ahead_ms = 0
        pybit._helpers.generate_timestamp = lambda: time.time_ns() // 1_000_000 + self._ahead_ms
        self.failures: Counter[str] = Counter()
        self.is_key_refused = self.is_banned = self.is_heard = False

    def _client(self) -> Any:
        settings: Fields = {"retry_codes": {-999_999}, "max_retries": 1, "force_retry": False, "log_requests": False}
        made = self._pybit.HTTP(api_key=self._key, api_secret=self._secret, timeout=TIMEOUT_S, **settings)
        made.endpoint = self._url
        made.client.max_redirects, made.client.trust_env = 0, False
        return made

    def ask(self, method: str, params: Fields, tries: int = 4) -> Fields:
        """The answer's envelope. Raises Refused for a definite refusal, Unanswered when every try was in vain. tries=1 for a new order."""
        for attempt in range(tries):
            client, headers = self._idle.pop() if self._idle else self._client(), Fields()
            try:
                answer = getattr(client, method)(**params)
                self.is_heard |= method not in PUBLIC
                if isinstance(answer, dict) and isinstance(answer.get("result"), dict):
                    return answer
                code, text = 409, "an answer that cannot be read"
            except Exception as error:  # noqa: BLE001 (whatever a client raises: it is counted, told, and tried again where that is safe)
                status = getattr(error, "status_code", None)
                code = status if isinstance(status, int) else 0
                text = self._hide(str(getattr(error, "message", "") or type(error).__name__))
                headers = getattr(error, "resp_headers", None) or {}
            finally:
                self._idle.append(client)
            self.failures[f"{code} {text}"[:100]] += 1
            self.is_key_refused |= code in KEY_REFUSED
            self.is_banned = code == 403
            if code and code != 403 and not 500 <= code < 600 and code not in TRY_AGAIN:
                raise Refused(code, text)
            if code == 403 or attempt + 1 == tries:
                break
            if code == 10002:
                self.look_at_clock()
            time.sleep(self._pause(code, headers, attempt))
        raise Unanswered(f"{code} {text}")

    def _pause(self, code: int, headers: Any, attempt: int) -> float:
        until = str(headers.get("X-Bapi-Limit-Reset-Timestamp", "")) if code == 10006 else ""
        wait = int(until) / 1000 - time.time() - self._ahead_ms / 1000 if until.isdecimal() else 0.1 * 2**attempt
        return min(1.1, max(0.05, wait))

    def look_at_clock(self) -> None:
        """By how much the exchange's clock is ahead of ours; this keeps a connection warm, too."""
        try:
            asked = time.time_ns()
            told = int(self.ask("get_server_time", {}, 1)["result"]["timeNano"])
            self._ahead_ms = (told - (asked + time.time_ns()) // 2) // 1_000_000
        except (Refused, Unanswered, KeyError, ValueError):
            pass  # the old one stands; what failed was counted

    def rows(self, method: str, params: Fields, pages: int = 40) -> list[Fields]:
        """All rows of a list, over its pages. Raises as ask."""
        found: list[Fields] = []
        cursor = ""
        for _ in range(pages):
            result = self.ask(method, {**params, **({"cursor": cursor} if cursor else {})})["result"]
            found += [row for row in result.get("list") or () if isinstance(row, dict)]
            before, cursor = cursor, str(result.get("nextPageCursor") or "")
            if not cursor or cursor == before:
                break
        return found

    def _hide(self, text: str) -> str:
        return text.replace(self._secret, "***").replace(self._key, "***")

    def __repr__(self) -> str:
        return f"Exchange({self._url})"


# --- 2 to 5. until nothing is open ---


class Panic:
    """One panic over one account. ``run`` returns the exit code; what was found and done stands in the public attributes."""

    def __init__(self, exchange: Exchange, say: Say, *, sell_spot: bool) -> None:
        self._exchange, self._say, self._sell_spot = exchange, say, sell_spot
        self._name, self._made = "", 0
        self._coins = list(COINS)
        self._rules: dict[str, tuple[Decimal, Decimal]] = {}
        self._rules_read = threading.Event()
        self._refusals: Counter[str] = Counter()
        self._held_now: dict[str, set[str]] = {}
        self.rounds, self.unread = 0, "its executions were not read"
        self.orders_seen, self.cancelled = dict[str, str](), dict[str, str]()
        self.positions_seen, self.closed_at = dict[str, str](), dict[str, str]()
        self.spot_holdings, self.dust = dict[str, str](), dict[str, str]()
        self.not_looked_at, self.left_out = dict[str, str](), dict[str, str]()
        self.closing_orders: list[dict[str, str]] = []
        self.left: dict[str, list[str]] = {}

    def read_rules(self) -> None:
        """Steps, largest market orders and settle coins of all contracts; without them a position is closed whole, by quantity 0. It raises
        nothing: what failed is counted."""
        for category in ("linear", "inverse"):
            self._try(partial(self._read_rules, category))
        self._rules_read.set()

    def _read_rules(self, category: str) -> None:
        for row in self._exchange.rows("get_instruments_info", {"category": category, "limit": 1000}):
            lots, coin = row["lotSizeFilter"], row.get("settleCoin")
            self._rules[row["symbol"]] = Decimal(lots["qtyStep"]), Decimal(lots["maxMktOrderQty"])
            if category == "linear" and coin and coin not in self._coins:
                self._coins.append(coin)

    def run(self, latched_at: float) -> int:
        """Until nothing is open, looked at twice; Ctrl-C breaks it off. latched_at: of time.perf_counter()."""
        self._name = f"panic-{time.time_ns() // 1000:x}{os.getpid() % 4096:03x}"  # it says when this panic began, and whose process it is
        clear_since, idle_rounds = 0.0, 0
        beside = [self._read_orders] if self._rules else [self.read_rules, self._read_orders]
        while True:
            self.rounds, done = self.rounds + 1, len(self.cancelled) + len(self.closing_orders)
            if not clear_since:
                closes = [partial(self._close, scope) for scope in self._scopes()]
                sells = [self._sell_holdings] if self._sell_spot else []
                self._together([*self._cancels(), *closes, *sells], beside if self.rounds == 1 else [])
            is_whole, now = self._look(), time.perf_counter()
            if is_whole and not any(rows for name, rows in self.left.items() if name != NOT_CLOSED):
                clear_since = clear_since or now
                if now - clear_since >= APART_S and now - latched_at >= LAST_LOOK_S:
                    self._try(self._read_prices)
                    return LEFT if self.left.get(NOT_CLOSED) or self.not_looked_at else FLAT
                time.sleep(APART_S)
                continue
            clear_since = 0.0
            self._tell_round(is_whole)
            if self._exchange.is_key_refused and not self._exchange.is_heard:
                self._say("the exchange refuses the key: nothing can be done from here; cancel and close on its website")
                return LEFT
            idle_rounds = 0 if len(self.cancelled) + len(self.closing_orders) > done else idle_rounds + 1
            time.sleep(30.0 if self._exchange.is_banned else min(10.0, 0.25 * 2**idle_rounds))

    def _together(self, jobs: list[Callable[[], None]], beside: Sequence[Callable[[], None]] = ()) -> None:
        """Each in a thread of its own, in this order; one that is not back in time is left behind, and for ``beside`` nobody waits."""
        deadline = time.perf_counter() + JOB_S
        threads = [(threading.Thread(target=self._try, args=(job,), daemon=True), job) for job in (*jobs, *beside)]
        for thread, job in threads:
            try:
                thread.start()
            except RuntimeError:  # this machine has no thread left: slower, one after the other
                self._try(job)
        for thread, _ in threads[: len(jobs)]:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.perf_counter()))

    def _try(self, job: Callable[[], None]) -> None:
        try:
            job()
        except (Refused, Unanswered):
            return  # counted where it was asked; what is still open is seen by the look
        except Exception as error:  # noqa: BLE001 (an answer of an unknown shape must not end the others' work)
            self._exchange.failures[f"an answer that cannot be read: {type(error).__name__}"] += 1

    def _scopes(self) -> list[Fields]:
        return [*({"category": "linear", "settleCoin": coin} for coin in self._coins), {"category": "inverse"}]

    # --- cancel ---

    def _cancels(self) -> list[Callable[[], None]]:
        kinds = [scope for scope in self._scopes() if "settleCoin" in scope] + [{"category": "option"}]
        kinds[1:1] = [{"category": "spot", "orderFilter": kind} for kind in SPOT_KINDS]
        listed = [scope for scope in self._scopes() if self.rounds > 2 or "settleCoin" not in scope]
        return [*(partial(self._cancel, kind) for kind in kinds), *(partial(self._cancel_listed, scope) for scope in listed)]

    def _cancel(self, kind: Fields) -> None:
        for _ in range(20):
            rows = self._exchange.ask("cancel_all_orders", dict(kind))["result"].get("list") or []
            self.cancelled.update({str(row.get("orderId")): " ".join(kind.values()) for row in rows})
            if len(rows) < 500:
                return

    def _cancel_listed(self, scope: Fields) -> None:
        """Symbol by symbol: where no settle coin covers all, or what covers all was refused."""
        for symbol in sorted({str(row["symbol"]) for row in self._exchange.rows("get_open_orders", {**scope, "limit": 50})}):
            self._cancel({"category": scope["category"], "symbol": symbol})

    # --- close ---

    def _held(self, scope: Fields) -> list[Fields]:
        rows = self._exchange.rows("get_positions", {**scope, "limit": 200})
        held = [row for row in rows if Decimal(str(row.get("size") or "0"))]
        for row in held:
            self.positions_seen.setdefault(_position_name(row), _position_text(row))
        self._held_now[" ".join(scope.values())] = {_position_name(row) for row in held}
        return held

    def _close(self, scope: Fields) -> None:
        held = self._held(scope)
        if held:
            self._rules_read.wait(2.0)
        orders = [order for row in held for order in self._pieces(row)]
        for first in range(0, len(orders), BATCH):
            if first:
                time.sleep(1.05)
            self._send(scope["category"], orders[first : first + BATCH])

    def _pieces(self, row: Fields) -> list[Fields]:
        """Reduce-only market orders; after two refusals, or without the contract's rules, one of quantity 0, which closes all of it."""
        symbol, size, idx = str(row["symbol"]), Decimal(str(row["size"])), int(row.get("positionIdx") or 0)
        step, most = self._rules.get(symbol, (Decimal(0), Decimal(0)))
        quantities: list[Decimal] = []
        if step > 0 and most >= step and self._refusals[symbol] < 2:
            size, most = size // step * step, most // step * step
            while size > 0 and len(quantities) < 2 * BATCH:
                quantities.append(min(size, most))
                size -= quantities[-1]
        order = {"symbol": symbol, "side": "Sell" if row["side"] == "Buy" else "Buy", "orderType": "Market", "positionIdx": idx}
        order |= {"reduceOnly": True} if quantities else {"reduceOnly": True, "closeOnTrigger": True}
        return [{**order, "qty": format(qty, "f"), "orderLinkId": self._next_name()} for qty in quantities or [Decimal(0)]]

    def _next_name(self) -> str:
        self._made += 1
        return f"{self._name}-{self._made}"

    def _send(self, category: str, orders: list[Fields]) -> None:
        """Once: what is not answered is seen by the next look, and a reduce-only order too many does nothing."""
        try:
            answer = self._exchange.ask("place_batch_order", {"category": category, "request": orders}, 1)
            fates = [(int(each["code"]), str(each["msg"])) for each in answer["retExtInfo"]["list"]]
        except Refused:  # no batches here
            fates = [self._send_one(category, order) for order in orders]
        except Unanswered as error:
            fates = [(-1, str(error))] * len(orders)
        for order, (code, text) in zip(orders, fates, strict=False):
            self._note_order(category, order, code, text)

    def _send_one(self, category: str, order: Fields) -> tuple[int, str]:
        try:
            self._exchange.ask("place_order", {"category": category, **order}, 1)
        except (Refused, Unanswered) as error:
            return getattr(error, "code", -1), str(error)
        return 0, "OK"

    def _note_order(self, category: str, order: Fields, code: int, text: str) -> None:
        self._refusals[order["symbol"]] += bool(code) and code not in TRY_AGAIN
        words = {name: str(order[name]) for name in ("symbol", "side", "qty", "orderLinkId")}
        self.closing_orders.append({"category": category, **words, "answer": "accepted" if code == 0 else f"{code} {text}"})

    def _sell_holdings(self) -> None:
        """Spot holdings other than cash, at market against USDT, once a round; what has no such market or is too small stays as dust."""
        rows = self._exchange.rows("get_instruments_info", {"category": "spot", "limit": 1000})
        rules = {row["symbol"]: row["lotSizeFilter"] for row in rows}
        for coin, amount in self._holdings().items():
            found = rules.get(f"{coin}USDT", {"basePrecision": "1", "maxOrderQty": "0", "minOrderQty": "1"})
            step, most = Decimal(found["basePrecision"]), found.get("maxMarketOrderQty") or found["maxOrderQty"]
            qty = min(amount, Decimal(most)) // step * step
            code, text = 170136, "no market of it against USDT, or less than the smallest order"
            if qty >= Decimal(found.get("minOrderQty") or step):
                order = {"symbol": f"{coin}USDT", "side": "Sell", "orderType": "Market", "qty": format(qty, "f"), "marketUnit": "baseCoin"}
                order["orderLinkId"] = self._next_name()
                code, text = self._send_one("spot", order)
                self._note_order("spot", order, code, text)
            if code in DUST:
                self.dust[coin] = text

    def _holdings(self) -> dict[str, Decimal]:
        accounts = self._exchange.ask("get_wallet_balance", {"accountType": "UNIFIED"})["result"].get("list") or []
        coins = {str(coin["coin"]): Decimal(coin.get("walletBalance") or "0") for account in accounts for coin in account["coin"]}
        found = {coin: amount for coin, amount in coins.items() if amount > 0 and coin not in COINS}
        self.spot_holdings = {coin: format(amount, "f") for coin, amount in found.items()}
        return found

    # --- look, and tell ---

    def _look(self) -> bool:
        """Read what rests and what is held; returns whether all of it could be read. ``left`` keeps the latest of each list."""
        seen: dict[str, list[str]] = {}
        known = tuple(f"linear {coin}" for coin in COINS)

        def see(name: str, read: Callable[[], list[str]]) -> None:
            for notes in (self.not_looked_at, self.left_out):
                notes.pop(name, None)
            try:
                seen[name] = read()
            except Refused as error:
                if not name.startswith(known):  # to wait for another answer could take for ever: the end says so
                    is_no_matter = error.code in NO_SUCH_MARKET or (name == HOLDINGS and not self._sell_spot)
                    (self.left_out if is_no_matter else self.not_looked_at)[name] = str(error)
                    seen[name] = self.left.get(name, [])

        jobs: dict[str, Callable[[], list[str]]] = {HOLDINGS: self._still_to_sell}
        for scope in [*self._scopes(), {"category": "option"}, {"category": "spot"}]:
            name = " ".join(scope.values())
            jobs[f"{name} orders"] = partial(self._resting, scope, 1)
            if name != "spot":
                jobs[f"{name} positions"] = partial(lambda scope: [_position_text(row) for row in self._held(scope)], scope)
        self._together([partial(see, name, read) for name, read in jobs.items()])
        self.left.update(seen)
        return len(seen) == len(jobs)

    def _resting(self, scope: Fields, pages: int = 40) -> list[str]:
        rows = self._exchange.rows("get_open_orders", {**scope, "limit": NEWEST_ORDERS}, pages)
        self.orders_seen.update({str(row["orderId"]): _order_text(row) for row in rows})
        return [_order_text(row) for row in rows]

    def _still_to_sell(self) -> list[str]:
        return [f"{coin} {amount:f}" for coin, amount in self._holdings().items() if self._sell_spot and coin not in self.dust]

    def _read_orders(self) -> None:
        """Evidence of what rested, read beside the first cancels; what it misses is in the answers of the cancels."""
        for scope in [*self._scopes(), {"category": "spot"}]:
            self._resting(scope)

    def _read_prices(self) -> None:
        """At which prices the closing orders were filled, as the executions say: by symbol and side of what was held."""
        sums: dict[str, list[Decimal]] = {}
        cut = []
        for category in sorted({order["category"] for order in self.closing_orders}):
            rows = self._exchange.rows("get_executions", {"category": category, "limit": 100}, NEWEST_EXECUTIONS // 100)
            cut += [f"of {category} only the newest {len(rows)} executions were read"] if len(rows) >= NEWEST_EXECUTIONS else []
            for row in rows:
                if str(row.get("orderLinkId", "")).startswith(f"{self._name}-"):
                    name = f"{row['symbol']} {'spot' if category == 'spot' else 'Buy' if row['side'] == 'Sell' else 'Sell'}"
                    total = sums.setdefault(name, [Decimal(0), Decimal(0)])
                    total[0] += Decimal(row["execQty"])
                    total[1] += Decimal(row["execQty"]) * Decimal(row["execPrice"])
        self.closed_at = {name: f"{qty.normalize():f} at {value / qty:.8g}" for name, (qty, value) in sums.items()}
        self.unread = ", ".join(cut)

    def fate(self, position: str) -> str:
        """What became of a position (``BTCUSDT Buy``), as it was seen last."""
        prices, is_held = self.closed_at.get(position), any(position in held for held in [*self._held_now.values()])
        if prices is not None:
            told = f"{'closed in PART' if is_held else 'closed'}: {prices}"
        else:
            told = "NOT closed" if is_held else "held no more, but not by an execution that this panic knows of"
        return f"{told} ({self.unread})" if self.unread else told

    def _tell_round(self, is_whole: bool) -> None:
        more = {name: "+" * (name.endswith("orders") and len(rows) >= NEWEST_ORDERS) for name, rows in self.left.items()}
        left = ", ".join(f"{len(rows)}{more[name]} {name}" for name, rows in self.left.items() if rows)
        left = left or ("nothing" if is_whole else "not known")
        failed = ", ".join(f"{text} x{count}" for text, count in self._exchange.failures.copy().most_common(3))
        done = f"{len(self.cancelled)} orders cancelled, {len(self.closing_orders)} closing orders sent"
        text = f"round {self.rounds}: {done}; seen open: {left}{'' if is_whole else ' (not all could be read)'}"
        self._say(f"{text}; failed so far: {failed}" if failed else text)

    def report(self) -> Fields:
        """Everything, as plain data of its own: a thread that was left behind may still note what it hears."""
        found = {name: value.copy() if isinstance(value, dict | list) else value for name, value in vars(self).items() if name[0] != "_"}
        found["left"] = {name: rows for name, rows in self.left.items() if rows}
        return {**found, "failed_requests": dict(self._exchange.failures)}


def _order_text(row: Fields) -> str:
    price = row.get("price") if row.get("price") not in (None, "", "0") else f"trigger {row.get('triggerPrice')}"
    return f"{row.get('symbol')} {row.get('side')} {row.get('qty')} at {price} ({row.get('orderLinkId') or row.get('orderId')})"


def _position_name(row: Fields) -> str:
    return f"{row['symbol']} {row['side']}"


def _position_text(row: Fields) -> str:
    return f"{row['symbol']} {row['side']} {row['size']} (entry {row.get('avgPrice')}, mark {row.get('markPrice')})"


# --- called ---


def break_off_once(*_: Any) -> None:
    """Ctrl-C and SIGTERM: the first ends the work; those after it (timeout, docker and people send two) do not end the report."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def say_on(stream: Any, text: str) -> None:
    """A line with its time since this program began; a terminal that is gone does not stop anything."""
    with suppress(OSError, ValueError):  # nobody reads any more: the report in the state folder says it, too
        print(f"{time.perf_counter() - BEGUN:7.3f} s  {text}", file=stream, flush=True)


def work(panic: Panic, say: Say, options: argparse.Namespace, latched_at: float) -> int:
    """Do it, keep the report beside the latch, tell it; the exit code. options: as of options_of, after make_latch."""
    problem = options.latch_problem
    try:
        code = panic.run(latched_at)
    except KeyboardInterrupt:
        stands = f"the latch does NOT stand: {problem}" if problem else "the latch stands"
        say(f"broken off: what follows is what was left at the last look; {stands}")
        code = LEFT
    is_flat, code = code == FLAT, LEFT if problem and code == FLAT else code
    told: Fields = {"environment": options.env, "latch": str(options.latch), "latch_problem": problem, "by": options.by, "exit_code": code}
    told |= {**panic.report(), "seconds": round(time.perf_counter() - latched_at, 3)}
    place = _keep_report(told, options.latch, say)
    for name, text in told["positions_seen"].items():
        say(f"position: {text}; {panic.fate(name)}")
    say(f"{len(told['cancelled'])} orders cancelled, {len(told['closing_orders'])} closing orders sent, in {told['seconds']} s")
    notes = {"spot holding": told["spot_holdings"], "dust": told["dust"], "left out": told["left_out"]}
    notes["NOT KNOWN, refused: look on the exchange's website"] = told["not_looked_at"]
    for title, found in notes.items():
        for name, text in found.items():
            say(f"{title}: {name}: {text}")
    for name, rows in told["left"].items():
        for row in rows:
            say(f"LEFT: {name}: {row}")
    if is_flat and problem:
        say(f"flat at the last look, but NOT LATCHED, so that a trader can open anew (exit code {code}): stop every trader; {problem}")
    else:
        say("FLAT: no order rests and no position is held" if code == FLAT else f"NOT FLAT, or not seen to be (exit code {code})")
    if place is not None:
        say(f"report: {place}")
    if options.json:
        with suppress(OSError, ValueError):
            print(json.dumps(told), flush=True)
    return code


def _keep_report(told: Fields, latch: Path | None, say: Say) -> Path | None:
    """Beside the latch, for its owner alone; where it is kept, if it could be."""
    try:
        if latch is None:
            raise OSError(errno.ENOENT, "no state folder")
        place = latch.with_name(f"{latch.stem}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}.report.json")
        with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(told, file, indent=1)
    except OSError as error:
        say(f"the report could not be kept ({error.strerror}): this is all there is of it")
        return None
    return place


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """What the command line says; besides: url, and latch (a Path, or None, and latch_problem says why). Signals are ours from here on."""
    parser = argparse.ArgumentParser(prog="keel panic", description="Cancel all orders and close all positions of an account.")
    parser.add_argument("--env", required=True, choices=sorted(URLS), help="whose account")
    parser.add_argument("--sandbox", metavar="URL", help=f"which sandbox [{URLS['sandbox']}]")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--sell-spot", action="store_true", help="sell spot holdings, too")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="key and secret (mode 0600); else BYBIT_<ENV>_KEY and _SECRET")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object on stdout")
    parser.add_argument("--by", default="keel panic", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.url = (options.sandbox or URLS["sandbox"]) if options.env == "sandbox" else URLS[options.env]
    if not _is_url(options.url):
        text = f"{options.url!r} is no URL of a sandbox of this machine, such as {URLS['sandbox']}; nothing was done"
        parser.error(f"argument --sandbox: {text}")
    options.latch, options.latch_problem = None, ""
    try:
        options.latch = latch_path(options.env, options.url)
    except (OSError, RuntimeError, ValueError) as error:  # no home, no such user, no current folder: what is open is closed all the same
        options.latch_problem = f"no state folder ({error}): set KEEL_STATE to the one that the trader uses"
    logging.disable(logging.CRITICAL)  # pybit's and urllib3's lines could hold a key
    for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # a job in the background stays deaf
            signal.signal(number, break_off_once)
    return options


def make_latch(options: argparse.Namespace) -> str:
    """Where there is a place for it; returns why it does not stand, or ""."""
    options.latch_problem = latch(options.latch, options.env, options.by) if options.latch is not None else options.latch_problem
    return str(options.latch_problem)


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the top of this file."""
    options = options_of(arguments)
    say, latched_at = partial(say_on, sys.stderr if options.json else sys.stdout), time.perf_counter()
    problem = make_latch(options)
    say(f"NOT LATCHED, a trader on this machine may go on: {problem}" if problem else f"the latch stands: {options.latch}")
    try:
        if not options.yes and not _is_meant(options.env):
            say("nothing was cancelled and nothing was closed: without a terminal, or without a yes, it takes --yes")
            return WRONG
        exchange = Exchange(options.env, options.url, *find_keys(options.env, options.key_file))
    except KeyboardInterrupt:
        say(f"broken off: nothing was cancelled and nothing was closed{'' if problem else '; the latch stands'}")
        return WRONG
    except (ImportError, OSError, RuntimeError, ValueError) as error:  # no pybit, no key, a key file in the home folder of nobody
        say(f"nothing was cancelled and nothing was closed: {error}")
        return UNSAFE if isinstance(error, PermissionError) else WRONG
    return work(Panic(exchange, say, sell_spot=options.sell_spot), say, options, latched_at)


def _is_url(url: str) -> bool:
    """Whether a key may go there at all; one that is mistyped is no account, and has no latch."""
    try:
        parts = urlsplit(url)
        return parts.hostname is not None and (parts.port or 80) > 0 and url.startswith(f"{parts.scheme}://{parts.netloc}")
    except ValueError:
        return False


def _is_meant(env: str) -> bool:
    """A person's word; the latch stands already."""
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    print(f"cancel every order and close every position of the {env} account? type yes: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("yes", "y")


def leave(code: int) -> NoReturn:
    """Threads whose connections hang are not waited for."""
    with suppress(Exception):  # a full disk, a terminal that is gone
        sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
