"""Arming: what must be there before a live session may send its first command, and how long that holds."""
