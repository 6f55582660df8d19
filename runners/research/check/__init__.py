"""Checks of a system's honesty: whether anything in it looks ahead, and how much depends on where history starts."""
