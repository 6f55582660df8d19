"""The market that the sandbox shows: where prices come from, candles, trades, the book."""
