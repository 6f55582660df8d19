"""Bybit's market data: candles, prices, funding, instruments, and history for the store."""
