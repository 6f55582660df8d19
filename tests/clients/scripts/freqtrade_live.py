"""freqtrade, live, not as a dry run: entries, the stop on the exchange, exits, its profit beside the sandbox's executions, and a restart on
the same database. ``python freqtrade_live.py URL [SECONDS]``"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from ccxt_options import options
from freqtrade.configuration import Configuration
from freqtrade.enums import State
from freqtrade.persistence import Trade
from freqtrade.worker import Worker
from said import Report

PAIRS = ["BTC/USDT:USDT", "ETH/USDT:USDT"]
STRATEGY = '''
from datetime import datetime, timezone

from freqtrade.strategy import IStrategy


class EveryCandle(IStrategy):
    """In and out all the time, in both directions: it tests the road, not the market."""

    INTERFACE_VERSION = 3
    can_short = True
    timeframe = "1m"
    stoploss = -0.2
    minimal_roi = {"0": 10.0}
    startup_candle_count = 30
    process_only_new_candles = False
    order_types = {
        "entry": "market", "exit": "market", "emergency_exit": "market", "force_exit": "market", "force_entry": "market",
        "stoploss": "market", "stoploss_on_exchange": True, "stoploss_on_exchange_interval": 5,
    }

    def leverage(self, pair, current_time, current_rate, proposed_leverage, max_leverage, entry_tag, side, **kwargs):
        return 3.0

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        side = "enter_long" if metadata["pair"].startswith("BTC") else "enter_short"
        dataframe[side] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe

    def custom_exit(self, pair, trade, current_time, current_rate, current_profit, **kwargs):
        age = (datetime.now(timezone.utc) - trade.open_date_utc).total_seconds()
        return "old enough" if age > 25 and trade.has_open_sl_orders else None
'''


def configuration(url: str, folder: Path) -> dict[str, Any]:
    """freqtrade's own, read the way it reads it. The only thing of ours in it are the URLs."""
    (folder / "strategies").mkdir()
    (folder / "strategies" / "every_candle.py").write_text(STRATEGY)
    given = options(url, "swap")
    urls = {"urls": given["urls"]}
    text = {
        "bot_name": "referee",
        "dry_run": False,
        "max_open_trades": 2,
        "stake_currency": "USDT",
        "stake_amount": 500,
        "trading_mode": "futures",
        "margin_mode": "isolated",
        "db_url": f"sqlite:///{folder / 'trades.sqlite'}",
        "user_data_dir": str(folder),
        "strategy": "EveryCandle",
        "entry_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
        "exit_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
        "exchange": {
            "name": "bybit",
            "key": given["apiKey"],
            "secret": given["secret"],
            "ccxt_config": urls,
            "pair_whitelist": PAIRS,
            "pair_blacklist": [],
        },
        "pairlists": [{"method": "StaticPairList"}],
        "internals": {"process_throttle_secs": 2},
        "unfilledtimeout": {"entry": 10, "exit": 10, "exit_timeout_count": 0, "unit": "minutes"},
    }
    file = folder / "config.json"
    file.write_text(json.dumps(text))
    return {"config": [str(file)], "strategy_path": str(folder / "strategies"), "user_data_dir": str(folder)}


class Log(logging.Handler):
    """What freqtrade logs as a warning or worse, and what of it is worse: an error, or a call that it repeats because it failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{record.name}: {record.getMessage()}"
        self.lines.append(line)
        if record.levelno >= logging.ERROR or "Exception" in line or "retrying" in line.lower():
            self.errors.append(line)


class Bot:
    """One life of the bot, in this process."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.worker = Worker(args=arguments, config=Configuration(arguments, None).get_config())
        self.worker.freqtrade.startup()

    def run(self, seconds: float) -> None:
        """Its own loop's body, again and again."""
        freqtrade = self.worker.freqtrade
        freqtrade.state = State.RUNNING
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            freqtrade.process()
            time.sleep(1.0)

    def close_all(self) -> None:
        """Force-exit every open trade, as its user would."""
        from freqtrade.rpc import RPC

        self.worker.freqtrade.strategy.order_types["entry"] = "market"
        self.worker.freqtrade.config["max_open_trades"] = 0
        rpc = RPC(self.worker.freqtrade)
        if Trade.get_open_trades():
            rpc._rpc_force_exit("all")
        end = time.monotonic() + 60
        while Trade.get_open_trades() and time.monotonic() < end:
            self.worker.freqtrade.exit_positions(Trade.get_open_trades())
            self.worker.freqtrade.manage_open_orders()
            time.sleep(1.0)

    def leave(self) -> None:
        """The end of a life: the database stays."""
        Trade.commit()
        self.worker.freqtrade.exchange.close()


def truth(url: str) -> dict[str, Any]:
    """What the sandbox knows of the account."""
    with urlopen(f"{url}/admin/truth") as answer:
        return dict(json.load(answer)["accounts"]["sandbox-key"])


def main(url: str, seconds: float) -> int:
    """How many things failed."""
    report, folder, log = Report("futures"), Path(tempfile.mkdtemp(prefix="freqtrade-")), Log()
    logging.getLogger().addHandler(log)
    try:
        arguments = configuration(url, folder)
        bot = report.tried("it starts", lambda: Bot(arguments))
        if bot is None:
            return report.failed
        report.tried(f"it runs for {seconds:g} s", lambda: bot.run(seconds))
        trades = Trade.get_trades([]).all()
        stops = [order for trade in trades for order in trade.orders if order.ft_order_side == "stoploss"]
        report.check("it entered both pairs", {trade.pair for trade in trades} == set(PAIRS), f"{len(trades)} trades")
        there = {row["orderId"] for row in truth(url)["orders"] if row["stopOrderType"]}
        report.check(
            "its stops are on the exchange", bool(stops) and {stop.order_id for stop in stops} <= there, f"{len(stops)} stop orders"
        )
        report.check("it left trades", any(not trade.is_open for trade in trades), f"{sum(not trade.is_open for trade in trades)} closed")
        before = {trade.id: (trade.pair, trade.amount, trade.is_open) for trade in trades}
        bot.leave()
        again = report.tried("it starts again on the same database", lambda: Bot(arguments))
        if again is not None:
            report.tried("it goes on", lambda: again.run(15))
            known = {trade.id: trade.pair for trade in Trade.get_trades([]).all()}
            report.check("it has all trades of before", all(known.get(number) == row[0] for number, row in before.items()))
            report.tried("it closes everything", again.close_all)
            compare(report, url)
            again.leave()
        report.check("it logged no error", not log.errors, " | ".join(log.errors[:5]))
        report.say("warnings it logged", "ok", f"{len(log.lines)}: " + " | ".join(sorted(set(log.lines))[:6]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return report.failed


def compare(report: Report, url: str) -> None:
    """freqtrade's sum of profits beside what the sandbox's executions amount to."""
    known = truth(url)
    report.check("nothing is open", not Trade.get_open_trades())
    differences = []
    for trade in Trade.get_trades([Trade.is_open.is_(False)]).all():
        orders = {order.order_id for order in trade.orders}
        rows = [row for row in known["executions"] if row["orderId"] in orders]
        theirs = sum(float(row["execPnl"]) - float(row["execFee"]) for row in rows)
        differences.append(abs(trade.close_profit_abs - theirs) - 1e-8 * len(rows))  # each fee is rounded up to 1e-8
    report.check(
        "each trade's profit is its executions', to 1e-8 for each", bool(differences) and max(differences) < 1e-9, f"{differences}"
    )
    report.check("the sandbox's books hold", known["problems"] == [], f"{known['problems']}")


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 300.0)))
