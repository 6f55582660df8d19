"""A session beside the backtest of the same system over the same bars: round trips (trips), the split of a difference (parts), both sides
(sides), and the whole (whole)."""
