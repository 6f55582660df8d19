"""What came of a run: the result, the funnel from signals to trades, and what its reasons mean."""
