"""Is a result more than luck, and is live what the backtest said: sweeps, checks, permutation, parity, comparison."""
