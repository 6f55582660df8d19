"""What a portfolio strategy is given, and what the portfolio backtester is made of: the account's face, history up to the present."""
