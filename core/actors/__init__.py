"""The five actors: market data, strategy, risk, executor, portfolio. Each is a state machine that gets messages and emits messages."""
