# Everything a newcomer needs: `make run`, `make test`. Only Python 3.11 or newer and make are asked for.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SEEDS  ?= 200
FROM   ?= 0
REAL_DATA ?= $(if $(KEEL_REAL_DATA),$(KEEL_REAL_DATA),$(wildcard ../shared/data))

.PHONY: help run test test-all check bench clients chaos format lock wheel clean live-proof panic-proof

help:
	@echo "make run       set up, and run a backtest over a sample history: artifacts and a report"
	@echo "make test      set up, and run the tests (a few minutes)"
	@echo "make check     lint, types, import arrows, dependencies"
	@echo "make test-all  everything: long properties, faults, and real data where KEEL_REAL_DATA names its folder"
	@echo "make bench     keel beside backtesting.py, vectorbt and a bare loop, and beside itself: many symbols, two workers; the sandbox's answers beside bare ones; a session under load"
	@echo "make clients   ccxt, ccxt.pro, freqtrade and NautilusTrader, unmodified, against a sandbox (CLIENTS=\"ccxt\" for some of them)"
	@echo "make chaos     sessions with several faults at once (SEEDS=200 FROM=0): the first rule that breaks, and the fewest faults that break it"
	@echo "make panic-proof  panic over 1,200 orders and 20 positions, at 200 random instants, and with the trader broken"
	@echo "make live-proof  the smallest orders on an account of yours at Bybit, step by step; PROOF=\"--sandbox URL\" rehearses it"
	@echo "make lock      resolve the dependencies anew;  make wheel: build it;  make clean: remove what make made"

$(VENV)/.run: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "keel needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

$(VENV)/.bench: requirements-bench.lock $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.lock
	@touch $@

run: $(VENV)/.run
	$(BIN)/keel run

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not long and not real_data"

test-all: $(VENV)/.dev
	KEEL_REAL_DATA="$(REAL_DATA)" HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -n auto --dist worksteal

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.peers $(BENCH)
	$(BIN)/python -m benchmarks.whole_process $(WHOLE)
	$(BIN)/python -m benchmarks.store
	$(BIN)/python -m benchmarks.many_symbols $(MANY)
	$(BIN)/python -m benchmarks.kernel $(KERNEL)
	$(BIN)/python -m benchmarks.ray_workers $(RAY)
	$(BIN)/python -m benchmarks.sandbox_rates $(RATES)
	$(BIN)/python -m benchmarks.load $(LOAD)

# The smallest orders on an account of yours at Bybit. Refuses without KEEL_LIVE_PROOF and its like: docs/live.md. PROOF="--sandbox URL" rehearses it.
live-proof: $(VENV)/.dev
	$(BIN)/python -m tests.live_proof $(PROOF)

# Other people's bots against a sandbox, each in an environment of its own (CLIENTS="ccxt ccxt.pro"; without: all, about ten minutes).
clients: $(VENV)/.dev
	$(BIN)/python -m tests.clients $(CLIENTS)

chaos: $(VENV)/.dev
	$(BIN)/python -m tests.faults.chaos --seeds $(SEEDS) --from $(FROM)

panic-proof: $(VENV)/.dev
	$(BIN)/python -m benchmarks.panic_proof $(PANIC)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:
	uv lock
	uv export --quiet --no-hashes --no-emit-project --no-default-groups -o requirements.lock
	uv export --quiet --no-hashes --no-emit-project --group dev -o requirements-dev.lock
	uv export --quiet --no-hashes --no-emit-project --group dev --group bench -o requirements-bench.lock

wheel: $(VENV)/.dev
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
