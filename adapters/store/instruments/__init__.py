"""Instruments in the store: as the exchange tells them, or read off a series."""
