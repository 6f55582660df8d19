"""Bars of all symbols gathered into instants, and what features and portfolios read beside them."""
