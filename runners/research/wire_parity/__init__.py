"""A session over HTTP and WebSocket against the backtest of the same bars: both are run (sides), brought into rows, and compared."""
