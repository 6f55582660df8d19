"""What a sweep holds where nobody says otherwise. Nothing is imported here: a command's help shows it."""

MIN_TRADES = 10
"""Closed trades without which a setting has no score: of fewer no figure says anything."""
LIMIT = 20_000
"""Points that a sweep may have where nobody raises it."""
