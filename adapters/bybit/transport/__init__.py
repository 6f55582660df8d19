"""The way to Bybit: signed REST under a budget, streams that recover, endpoints and keys."""
