"""Bybit's JSON: the shapes of its messages, how they become core messages, how commands become bodies, what codes mean."""
