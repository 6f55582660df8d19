"""Seeded mutations of system files and of command lines: what people, editors, shells and accidents make of right ones."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, Final

from keel.runners.tools.registry import all_tools
from keel.strategies.registry import builtin_systems

WHOLE: Final = """\
system: whole                      # every part of a system file
strategy: ema_cross
description: "a line for people"
symbols: [BTCUSDT]
category: linear
timeframe: 1h
execution_timeframe: 5m
params: {fast: 5, slow: 12}
features:
  ema_fast: {fn: EMA, timeperiod: $fast}
  trend:    {fn: EMA, timeperiod: 20, timeframe: 4h}
warmup_bars: 60
initial_equity: 10000
exits: {stop_loss: {percent: 2}, take_profit: {atr: 3, period: 14}, trailing: {percent: 1, activate_percent: 2}, max_bars: 48}
sizing: {model: percent_equity, percent: 10}
risk: {policy: rules, leverage: 3, margin_mode: isolated, max_position_usd: 50000, max_open_positions: 3, daily_loss_percent: 5}
execution:
  latency_ms: 0
  slippage_bps: 1.5
  impact: {base_bps: 1, coefficient: 0.5, window: 60}
  max_volume_share: 0.1
  limit_fill: through
  funding: {constant: 0.0001}
  gaps: error
windows:
  train: {start: 2024-01-15, end: 2024-01-20}
  test: {start: 2024-01-20, end: 2024-01-25}
promotion: {demo: ["sharpe > 1.0", "total_trades >= 100"], live: ["days >= 14"]}
benchmark: hold
demo: {margin_mode: cross}
"""

LONG: Final = "n" * 300
"""Longer than a file's name may be."""
ODD: Final = (
    "", " ", "null", "~", "true", "yes", "0", "-1", "-0", "1e400", "-1e400", ".nan", ".inf", "1_000", "012", "0x10", "0o17", "1:30",
    "1e-3", "0.1.2", "9" * 18, "9" * 19, "9" * 4301, "1" + "0" * 5000, "-" + "9" * 4301, "0." + "0" * 400 + "1", "99999999999999999",
    "18446744073709551616", "1e308", "5e-324", "\x00", "a\x00b", "\x1b[31m", "\x7f", "\ud800", "\udcff", "\ufeff", "\u2028", "\u202e",
    "é", "ß", "日本", "🚀", "Ⅷ", "٣", LONG, LONG * 40, "[", "]", "{", "}", "{}", "[]", "[[[[]]]]", "{a: {b: {c: {}}}}", "[" * 200,
    "{a: " * 100, "a: b: c", "- -", "? x", ": :", "#", "'", '"', "%", "@x", "`x`", "&a [*a]", "*a",
    "!!python/object/apply:os.system [x]", "!!binary aGk=", "!x y", "<<: {a: 1}", "|", ">", "---", "...", "\t", "\r", "\\", "/", ".",
    "..", "./", "~nobody/x", "$fast", "$", "$fast$slow", "path/to/nothing.py:Class", "nothing:Class", "ema_cross:", ":EmaCross",
    "keel.strategies.base:BaseStrategy", "os:path", "2024-01-01", "2024-02-30", "0000-00-00", "9999-12-31", "-0001-01-01",
    "2024-01-15T00:00:00+99:00", "2024-01-15T24:00", "now", "6M", "0M", "999999999Y", "99999999999999999999d", "1ms", "7h", "1s", "1M",
    "100w", "BTCUSDT", "btcusdt", "BTC-USDT", "BTC/USDT", "../../BTCUSDT", "LONG", "long", "linear", "spot", "inverse", "cross", "none",
    "None", "all", "last", "*", "?", "-", "--", "--help", "-1:1:1", "1:1000000000:1", "1:2:0", "1:2:-1", "nan:1:1", "1,2,,3", ",", "=",
    "=1", "a=", "a==b", "a.b.c=1", ".=1", "params=1", "params.fast=", "symbols=[]", "risk={}", "x" * 10_000,
)  # fmt: skip
"""What may stand anywhere: wrong kinds, huge and tiny numbers, control characters, YAML's traps, times that are none, others' words."""

LINES: Final[tuple[tuple[str, ...], ...]] = (
    ("backtest", "ema_cross", "--start", "2024-01-24", "--end", "2024-01-25", "--set", "params.fast=5", "--set", "warmup_bars=60",
     "--no-report"),
    ("backtest", "hold", "--symbol", "BTCUSDT", "--timeframe", "1h", "--execution-timeframe", "5m", "--window", "1d", "--seed", "3",
     "--no-report"),
    ("backtest", "momentum", "--start", "2024-01-24", "--end", "2024-01-25", "--bounds", "--no-report", "--json"),
    ("data", "list", "--symbol", "BTCUSDT"),
    ("data", "gaps", "--symbol", "BTCUSDT", "--timeframe", "5m", "--kind", "last", "--category", "linear"),
    ("data", "fill", "--symbol", "BTCUSDT", "--timeframe", "1h", "--kind", "last"),
    ("data", "verify", "--symbol", "BTCUSDT"),
    ("data", "import", "bars.csv", "--symbol", "BTCUSDT", "--timeframe", "1h", "--kind", "last", "--category", "linear",
     "--overwrite"),
    ("data", "import-instruments", "bars.csv", "--category", "linear"),
    ("data", "export", "BTCUSDT", "--timeframe", "1h", "--start", "2024-01-10", "--end", "2024-01-11", "--format", "csv", "--out",
     "out.csv"),
    ("data", "synth", "--symbol", "XYZUSDT", "--start", "2024-01-01", "--end", "2024-01-02", "--seed", "7"),
    ("systems", "list"),
    ("systems", "show", "ema_cross", "--set", "params.fast=10"),
    ("systems", "validate", "ema_cross", "--set", "risk.leverage=2"),
    ("systems", "new", "mine", "--from", "ema_cross", "--strategy"),
    ("systems", "schema"),
    ("sweep", "ema_cross", "--param", "fast=5:10:5", "--windows", "1d", "--search", "grid", "--trials", "2", "--limit", "3",
     "--workers", "1", "--engine", "actors", "--metric", "sharpe", "--seed", "1"),
    ("check", "lookahead", "ema_cross", "--start", "2024-01-24", "--end", "2024-01-24T06:00", "--set", "warmup_bars=60"),
    ("check", "warmup", "ema_cross", "--symbol", "BTCUSDT", "--start", "2024-01-24", "--end", "2024-01-25", "--set",
     "warmup_bars=100"),
    ("parity", "ema_cross", "--symbol", "BTCUSDT", "--start", "2024-01-24", "--end", "2024-01-25", "--set", "warmup_bars=60"),
    ("runs", "list", "--epoch", "backtest", "--strategy", "ema_cross", "--limit", "2", "--json"),
    ("runs", "show", "last"),
    ("runs", "compare", "last", "last"),
    ("runs", "report", "last"),
    ("tools", "list", "--json"),
    ("tools", "call", "backtest_list_systems", "{}"),
    ("tools", "call", "data_gaps", '{"symbol": "BTCUSDT", "timeframe": "5m"}'),
    ("tools", "call", "backtest_run", '{"system_id": "hold", "window_name": "1d", "report": false}'),
    ("demo", "ema_cross", "--sandbox", "http://127.0.0.1:1", "--symbol", "BTCUSDT", "--timeframe", "1h", "--bars", "1", "--set",
     "params.fast=5", "--grace", "5", "--key-file", "key.txt", "--no-report"),
    ("session", "status", "ema_cross"),
    ("session", "release", "ema_cross", "--symbol", "BTCUSDT", "--cause", "halted"),
    ("journal", "list"),
    ("journal", "verify", "last"),
    ("journal", "repair", "last", "--out", "whole"),
    ("sandbox", "--port", "0", "--feed", "walk", "--symbols", "BTCUSDT,ETHUSDT", "--speed", "lockstep", "--account",
     "key:secret:1000", "--profile", "demo", "--seed", "1", "--faults", "bars.csv"),
)  # fmt: skip
"""Right ones (where there are such things), of every command that ends by itself and asks nothing."""


def mutated_system(rng: random.Random) -> bytes:
    """A system file with one to three things done to it; now and then its bytes are no text."""
    texts = [WHOLE, *(text for text, _ in builtin_systems().values())]
    text = rng.choice(texts)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        text = rng.choice(_TEXT_MUTATIONS)(text, rng)
    raw = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.05:
        at = rng.randrange(len(raw) + 1)
        raw = raw[:at] + bytes(rng.randrange(256) for _ in range(rng.randint(1, 8))) + raw[at:]
    return raw


def mutated_line(rng: random.Random) -> list[str]:
    """A command line with one to three things done to its words; one in six calls some tool with odd arguments."""
    if rng.random() < 1 / 6:
        return _tool_call(rng)
    words = list(rng.choice(LINES))
    for _ in range(rng.choice((1, 1, 2, 3))):
        words = rng.choice(_WORD_MUTATIONS)(words, rng)
    return words


def _tool_call(rng: random.Random) -> list[str]:
    """Any tool that ends by itself, with an odd value in one or two of its fields."""
    name, entry = rng.choice([(name, entry) for name, entry in all_tools().items() if not name.startswith(("smoke", "backtest_sample"))])
    asked: dict[str, Any] = {field: value for field, value in _USUAL.items() if field in entry.request.__struct_fields__}
    for field in rng.sample(entry.request.__struct_fields__, min(2, len(entry.request.__struct_fields__))):
        asked[field] = rng.choice(
            (
                rng.choice(ODD),
                rng.choice(ODD),
                [rng.choice(ODD)],
                {rng.choice(ODD): rng.choice(ODD)},
                10 ** rng.randrange(400),
                -1,
                0.1,
                None,
            )
        )
    return ["tools", "call", name, json.dumps(asked)]


_USUAL: Final[dict[str, Any]] = {
    "system_id": "hold",
    "symbol": "BTCUSDT",
    "timeframe": "5m",
    "window_name": "1d",
    "report": False,
    "sandbox_url": "http://127.0.0.1:1",
    "run": "last",
    "a": "last",
    "b": "last",
    "side": "BUY",
    "qty": 1.0,
    "client_order_id": "x",
    "params": {"fast": "5:9:4"},
    "limit": 3,
    "workers": 1,
    "engine": "actors",
}


# --- what is done to a text ------------------------------------------------------------------------------------------


def _other_value(text: str, rng: random.Random) -> str:
    """An odd value behind some key."""
    lines = text.split("\n")
    at = rng.choice([row for row, line in enumerate(lines) if ":" in line] or [0])
    head, colon, _ = lines[at].partition(":")
    lines[at] = f"{head}{colon} {rng.choice(ODD)}"
    return "\n".join(lines)


def _inner_value(text: str, rng: random.Random) -> str:
    """An odd value in place of some word."""
    starts = [at for at in range(1, len(text)) if text[at - 1] in " {[:,"]
    at = rng.choice(starts or [0])
    end = at
    while end < len(text) and text[end] not in ",}]\n":
        end += 1
    return text[:at] + rng.choice(ODD) + text[end:]


def _other_key(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    head, colon, rest = lines[at].partition(":")
    return "\n".join([*lines[:at], rng.choice((rng.choice(ODD), head[:-1], head + "s", head.upper())) + colon + rest, *lines[at + 1 :]])


def _without_a_line(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    del lines[rng.randrange(len(lines))]
    return "\n".join(lines)


def _twice(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    return "\n".join([*lines, rng.choice(lines)])


def _indented(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    lines[at] = rng.choice(("  ", "\t", " ", "- ")) + lines[at]
    return "\n".join(lines)


def _a_letter(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(("", "", chr(rng.randrange(128)), chr(rng.randrange(0x2FF)), rng.choice(ODD))) + text[at + 1 :]


def _cut(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _line_ends(text: str, rng: random.Random) -> str:
    return rng.choice(("\ufeff" + text, text.replace("\n", "\r\n"), text.replace("\n", "\r"), text + "\x00", text + "\n---\n" + text))


_TEXT_MUTATIONS: Final = (
    _other_value,
    _other_value,
    _other_value,
    _inner_value,
    _inner_value,
    _inner_value,
    _other_key,
    _without_a_line,
    _twice,
    _indented,
    _a_letter,
    _a_letter,
    _cut,
    _line_ends,
)


# --- what is done to words -------------------------------------------------------------------------------------------


def _odd_word(words: Sequence[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(words))
    return [*words[:at], rng.choice(ODD), *words[at + 1 :]]


def _odd_value(words: Sequence[str], rng: random.Random) -> list[str]:
    """An odd value of an option, or part of a KEY=VALUE."""
    places = [at for at in range(1, len(words)) if words[at - 1].startswith("--")] or [len(words) - 1]
    at = rng.choice(places)
    key, equals, _ = words[at].partition("=")
    return [*words[:at], (key + equals if equals and rng.random() < 0.7 else "") + rng.choice(ODD), *words[at + 1 :]]


def _more(words: Sequence[str], rng: random.Random) -> list[str]:
    at = rng.randint(1, len(words))
    extra = rng.choice(
        (
            ["--set", rng.choice(ODD)],
            ["--set", f"params.fast={rng.choice(ODD)}"],
            ["--symbol", rng.choice(ODD)],
            ["--window", rng.choice(ODD)],
            ["--json"],
            [rng.choice(ODD)],
            ["--start", rng.choice(ODD)],
            [f"--{rng.choice(ODD)}"],
        )
    )
    return [*words[:at], *extra, *words[at:]]


def _fewer(words: Sequence[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(words))
    return [*words[:at], *words[at + 1 :]] or [""]


def _swapped(words: Sequence[str], rng: random.Random) -> list[str]:
    made = list(words)
    a, b = rng.randrange(len(made)), rng.randrange(len(made))
    made[a], made[b] = made[b], made[a]
    return made


_WORD_MUTATIONS: Final = (_odd_word, _odd_value, _odd_value, _odd_value, _more, _fewer, _swapped)
