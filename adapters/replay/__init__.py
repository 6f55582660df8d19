"""History for a backtest: out of the store, checked, on one time axis."""
