"""What trading is, without the world: messages, money, actors, risk, features, metrics. No files, no clock, no randomness."""
