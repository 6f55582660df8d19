"""A backtest: history in, a result that can be believed out."""
