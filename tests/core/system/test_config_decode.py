"""A system file is decoded strictly: what is wrong is said with file, line, key and the nearest valid name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.errors import ConfigError
from keel.core.system.config import Distance, ExitsConfig, ImpactConfig, SystemConfig, Window
from keel.core.system.file import decode_system, locate_key

BASE = """\
system: sample
strategy: ema_cross
symbols: [BTCUSDT]
timeframe: 1h
"""

FULL = """\
# every kind of value
system: ema_cross
strategy: pkg.module:Class
symbols: [BTCUSDT, ETHUSDT]
category: linear
timeframe: 1h
execution_timeframe: 5m
params: {fast: 20, ratio: 0.5, name: "no", when: 2025-01-01, rate: 1.0e-3, big: 1_000, many: [1, 2]}
features:
  trend: {fn: EMA, timeperiod: $fast, timeframe: 4h}
warmup_bars: 500
initial_equity: 10000
exits: {stop_loss: {percent: 2}, take_profit: {atr: 3, period: 10}, trailing: {percent: 1, activate_percent: 2}, max_bars: 48}
sizing: {model: fixed_qty, qty: 1}
execution: {impact: {coefficient: 0.5}, max_volume_share: 0.1, funding: {constant: 0.0001}}
windows:
  train: {start: 2025-01-01, end: 2025-07-01}
  hour: {start: 2025-01-01T08:00:00Z, end: "2025-01-01 09:00"}
promotion: {demo: ["sharpe > 1.0"]}
"""


def test_values_of_a_whole_file() -> None:
    config = decode_system(FULL, "s.yaml")
    assert config.params == {
        "fast": 20,
        "ratio": 0.5,
        "name": "no",
        "when": "2025-01-01",
        "rate": 0.001,
        "big": 1000,
        "many": [1, 2],
    }
    assert config.initial_equity == 10_000.0 and isinstance(config.initial_equity, float)
    assert config.exits == ExitsConfig(
        stop_loss=Distance(percent=2.0),
        take_profit=Distance(atr=3.0, period=10),
        trailing=Distance(percent=1.0, activate_percent=2.0),
        max_bars=48,
    )
    assert config.execution.impact == ImpactConfig(coefficient=0.5)
    assert config.windows["train"] == Window(start="2025-01-01", end="2025-07-01")
    assert config.windows["hour"] == Window(start="2025-01-01T08:00:00Z", end="2025-01-01 09:00")


def test_what_is_not_given_keeps_its_default() -> None:
    expected = SystemConfig(system="sample", strategy="ema_cross", symbols=["BTCUSDT"], timeframe="1h")
    assert decode_system(BASE, "s.yaml") == expected


# (text appended to BASE, whose lines are 1 to 4; the error's beginning; what else it says)
ERRORS = [
    # unknown and missing keys
    ("exit: {}", "s.yaml:5: exit: unknown key", "did you mean exits?"),
    ("exits:\n  stop_loss:\n    percnt: 2", "s.yaml:7: exits.stop_loss.percnt: unknown key", "did you mean percent?"),
    ("execution:\n  Slippage_BPS: 2", "s.yaml:6: execution.Slippage_BPS: unknown key", "did you mean slippage_bps?"),
    ("risk:\n  leverage: 1\n  zzz: 2", "s.yaml:7: risk.zzz: unknown key", "known are policy, leverage"),
    ("windows:\n  a: {start: 2025-01-01, ende: 2025-02-01}", "s.yaml:6: windows.a.ende: unknown key", "did you mean end?"),
    ("windows:\n  a: {start: 2025-01-01}", "s.yaml:6: windows.a: the key end is missing", ""),
    ("execution:\n  impact: {coef: 1}", "s.yaml:6: execution.impact.coef: unknown key", "base_bps, coefficient, window"),
    ("execution: {funding: {}}", "s.yaml:5: execution.funding: the key constant is missing", ""),
    ("leverage: 3", "s.yaml:5: leverage: unknown key: it belongs into a section: risk.leverage", ""),
    ("slippage_bps: 3", "s.yaml:5: slippage_bps: unknown key: it belongs into a section: execution.slippage_bps", ""),
    ("margin_mode: cross", "s.yaml:5: margin_mode: unknown key: it belongs into a section: risk.margin_mode or demo.margin_mode", ""),
    ("leverge: 3", "s.yaml:5: leverge: unknown key: did you mean risk.leverage?", ""),
    ("daily_loss: 3", "s.yaml:5: daily_loss: unknown key: did you mean risk.daily_loss_percent?", ""),
    ("qqqq: 3", "s.yaml:5: qqqq: unknown key: known are system, strategy, symbols", ""),
    # kinds and bounds
    ("initial_equity: -5", "s.yaml:5: initial_equity: must be a number above 0, not -5", ""),
    ("initial_equity: '5'", "s.yaml:5: initial_equity: must be a number above 0, not the text '5'", ""),
    ("warmup_bars: true", "s.yaml:5: warmup_bars: must be a whole number of at least 0, not true", ""),
    ("warmup_bars: 1.5", "s.yaml:5: warmup_bars: must be a whole number of at least 0, not 1.5", ""),
    ("params:", "s.yaml:5: params: must be a mapping, not empty", ""),
    ("exits: {stop_loss: 2}", "s.yaml:5: exits.stop_loss: must be a mapping, not 2", ""),
    ("sizing: {model: fixed_usdt}", "s.yaml:5: sizing.model: must be one of", "did you mean fixed_usd?"),
    ("execution: {max_volume_share: 2}", "s.yaml:5: execution.max_volume_share: must be a number above 0 and at most 1, or none", ""),
    ("execution: {impact: nne}", "s.yaml:5: execution.impact: must be a mapping, or none", "did you mean none?"),
    ("windows: {a: {start: 20250101, end: 2025-02-01}}", "s.yaml:5: windows.a.start: must be text, not 20250101", ""),
    ("promotion: {demo: sharpe > 1}", "s.yaml:5: promotion.demo: must be a list", "write [sharpe > 1]"),
    # YAML's traps
    ("execution: {slippage_bps: 1e-3}", "s.yaml:5: execution.slippage_bps: YAML reads 1e-3 as text", "write 0.001 or 1.0e-3"),
    ("params:\n  tol: 5E10", "s.yaml:6: params.tol: YAML reads 5E10 as text", "write 5.0e+10"),
    ("params: {at: 10:30}", "s.yaml:5: params.at: YAML reads 10:30 as a number to the base 60", 'write "10:30" in quotes'),
    ("warmup_bars: 012", "s.yaml:5: warmup_bars: YAML reads 012 as an octal number", "write 12"),
    ("params: {mode: 0o17}", "s.yaml:5: params.mode: YAML reads 0o17 as text", "write 15"),
    ("params: {flip: no}", "s.yaml:5: params.flip: YAML reads no as false", "write false"),
    ("params: {flip: Yes}", "s.yaml:5: params.flip: YAML reads Yes as true", "write true"),
    ("params: {on: 1}", "s.yaml:5: params: the key on is not text", "quotes"),
    ("params: {? [a] : 1}", "s.yaml:5: params: a key is text", ""),
    ("params: {x: .inf}", "s.yaml:5: params.x: .inf is not a finite number", ""),
    ("params: {x: 1.0e+999}", "s.yaml:5: params.x: 1.0e+999 is not a finite number", ""),
    (f"params: {{x: {'9' * 5000}}}", "s.yaml:5: params.x: a whole number has at most 18 characters", ""),
    ("params: {}\n\nparams: {}", "s.yaml:7: params: stands twice, first on line 5", ""),
    ("params: &p {}\nlive: *p", "s.yaml:6: anchors and aliases are not taken", ""),
    ("params: !!python/name:os.system {}", "s.yaml:5: params: tags such as !!python/name:os.system", ""),
    ("params: {x: !secret 1}", "s.yaml:5: params.x: tags such as !secret", ""),
    # YAML that is none
    ("params: {fast: 1", "s.yaml:6: not valid YAML", ""),
    ("params: a: b", "s.yaml:5: not valid YAML: mapping values are not allowed", ""),
    ("params:\n\tfast: 1", "s.yaml:6: not valid YAML", "indent with spaces"),
    ("---\nsystem: two", "s.yaml:5: not valid YAML", "another document"),
    ("params: {a: é\x07}", "s.yaml:5: the character '\\x07'", ""),
    pytest.param("params: " + "[" * 100_000, "s.yaml:5: values are nested more than 32 deep", "", id="deep"),
    # rules between keys
    ("execution_timeframe: 7m", "s.yaml:5: execution_timeframe: unknown timeframe '7m'", "1m, 3m, 5m"),
    ("execution_timeframe: 4h", "s.yaml:5: execution_timeframe: 4h must be finer than the timeframe 1h", ""),
    ("features:\n  t: {fn: EMA, timeframe: 30m}", "s.yaml:6: features.t.timeframe: 30m is not a multiple", ""),
    ("features:\n  t: {fn: EMA, timeframe: 9h}", "s.yaml:6: features.t.timeframe: unknown timeframe '9h'", ""),
    ("features:\n  t: {timeperiod: 3}", "s.yaml:6: features.t: needs fn", ""),
    ("features:\n  a-b: {fn: EMA}", "s.yaml:6: features.a-b: 'a-b' is not a name", ""),
    ("initial_equity: 1.0e+10", "s.yaml:5: initial_equity: 1e+10 is outside what the ledger holds", ""),
    ("exits:\n  stop_loss: {percent: 1, atr: 2}", "s.yaml:6: exits.stop_loss: needs exactly one of percent and atr, and has both", ""),
    ("exits:\n  trailing: {period: 9}", "s.yaml:6: exits.trailing: needs exactly one of percent and atr, and has neither", ""),
    ("exits:\n  stop_loss: {percent: 100}", "s.yaml:6: exits.stop_loss.percent: 100 % of the price", ""),
    ("exits:\n  stop_loss:\n    atr: 1\n    activate_percent: 2", "s.yaml:8: exits.stop_loss.activate_percent: belongs to trailing", ""),
    ("sizing: {model: fixed_qty}", "s.yaml:5: sizing: the model fixed_qty needs qty", ""),
    ("sizing: {model: fixed_usd}", "s.yaml:5: sizing: the model fixed_usd needs usd", ""),
    ("sizing:\n  usd: 5", "s.yaml:6: sizing.usd: belongs to the model fixed_usd, and the model is percent_equity", ""),
    (
        "sizing: {model: fixed_usd, usd: 5, percent: 10}",
        "s.yaml:5: sizing.percent: is read by the models percent_equity and risk_per_trade only, and the model is fixed_usd",
        "leave it out",
    ),
    ("sizing:\n  model: inverse_vol\n  percent: 50", "s.yaml:7: sizing.percent: is read by", "the model is inverse_vol"),
    ("sizing: {lookback_bars: 99}", "s.yaml:5: sizing.lookback_bars: is read by the model inverse_vol only", "percent_equity"),
    ("execution: {taker_fee: 0.055}", "s.yaml:5: execution.taker_fee: 0.055 is 5.5 %", "fractions"),
    ("execution: {slippage_bps: 10000}", "s.yaml:5: execution.slippage_bps: must be below 10000", ""),
    ("category: spot\nrisk:\n  leverage: 2", "s.yaml:7: risk.leverage: spot has no leverage", "--set risk.leverage=1"),
    ("category: spot\nrisk: {margin_mode: cross}", "s.yaml:6: risk.margin_mode: spot has no margin", ""),
    ("category: spot\ndemo: {margin_mode: cross}", "s.yaml:6: demo.margin_mode: spot has no margin", ""),
    ("demo:\n  leverage: 3", "s.yaml:6: demo.leverage: unknown key", "margin_mode"),
    ("demo:\n  margin_mod: cross", "s.yaml:6: demo.margin_mod: unknown key", "did you mean margin_mode?"),
    ("demo: {margin_mode: crossed}", "s.yaml:5: demo.margin_mode: must be one of", "did you mean cross?"),
    ("demo: cross", "s.yaml:5: demo: must be a mapping", ""),
    ("category: spot\nexecution: {funding: {constant: 0.1}}", "s.yaml:6: execution.funding: spot pays no funding", ""),
    ("category: spot\nexits: {trigger: mark}", "s.yaml:6: exits.trigger: spot has no mark price", ""),
    ("windows:\n  a: {start: 2025-02-01, end: 2025-01-01}", "s.yaml:6: windows.a: the window is empty", ""),
    ("windows:\n  a:\n    start: 2025-01-01\n    end: soon", "s.yaml:8: windows.a.end: 'soon' is not a time", ""),
    ("windows:\n  a: {start: 2025-01-32, end: 2026-01-01}", "s.yaml:6: windows.a.start: '2025-01-32' is not a time", ""),
    ("promotion:\n  live:\n    - sharpe > 1\n    - sharpe => 1", "s.yaml:8: promotion.live[1]: 'sharpe => 1' is not a rule", ""),
    ("promotion: {dmeo: []}", "s.yaml:5: promotion.dmeo: no promotion opens dmeo", "did you mean demo?"),
    ("promotion: {backtest: []}", "s.yaml:5: promotion.backtest: rules are written under the epoch that they open", "write demo in place"),
    ("live: {max_leverage: 26}", "s.yaml:5: live.max_leverage: must be a number of at least 0.01 and at most 25", ""),
]


@pytest.mark.parametrize(("appended", "beginning", "advice"), ERRORS)
def test_what_is_wrong_is_said_with_its_line(appended: str, beginning: str, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_system(BASE + appended + "\n", "s.yaml")
    assert str(caught.value).startswith(beginning)
    assert advice in str(caught.value)


WHOLE = [
    ("", "s.yaml:1: the text is empty"),
    ("# only a comment\n", "s.yaml:1: the text is empty"),
    ("- a\n- b\n", "s.yaml:1: a system file is a mapping"),
    (BASE.replace("timeframe: 1h\n", ""), "s.yaml:1: the key timeframe is missing"),
    (BASE.replace("[BTCUSDT]", "BTCUSDT"), "s.yaml:3: symbols: must be a list, not the text 'BTCUSDT': write [BTCUSDT]"),
    (BASE.replace("[BTCUSDT]", "[]"), "s.yaml:3: symbols: must not be an empty list"),
    (BASE.replace("[BTCUSDT]", "\n  - BTCUSDT\n  - btc-usdt"), "s.yaml:5: symbols[1]: 'btc-usdt' is not a symbol"),
    (BASE.replace("[BTCUSDT]", "\n  - BTCUSDT\n  - BTCUSDT"), "s.yaml:5: symbols[1]: BTCUSDT stands twice"),
    (BASE.replace("1h", "1H"), "s.yaml:4: timeframe: unknown timeframe '1H'"),
    (BASE.replace("sample", "../sample"), "s.yaml:1: system: '../sample' cannot name files"),
    (BASE.replace("ema_cross", '" "'), "s.yaml:2: strategy: must name a strategy"),
]


@pytest.mark.parametrize(("text", "beginning"), WHOLE)
def test_what_is_wrong_with_required_keys(text: str, beginning: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_system(text, "s.yaml")
    assert str(caught.value).startswith(beginning)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        decode_system(BASE + "exit: {}\ninitial_equity: 0\nrisk: {leverage: 0}\n", "s.yaml")
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["5", "6", "7"]


def test_a_key_is_located_for_errors_found_later() -> None:
    assert locate_key(FULL, "s.yaml", ("features", "trend", "fn")) == "s.yaml:10"
    assert locate_key(FULL, "s.yaml", ("symbols", 1)) == "s.yaml:4"
    assert locate_key(FULL, "s.yaml", ("risk", "leverage")) == "s.yaml:1"  # not in the text: the mapping around it


@given(st.text(max_size=40), st.integers(0, len(FULL)), st.integers(0, 12))
def test_damaged_text_is_decoded_or_refused_and_nothing_else(inserted: str, at: int, dropped: int) -> None:
    text = FULL[:at] + inserted + FULL[at + dropped :]
    try:
        decode_system(text, "s.yaml")
    except ConfigError as error:
        assert all(line.startswith("s.yaml:") or not line for line in str(error).splitlines()[:1])
