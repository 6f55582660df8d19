"""Functions about sessions that answer with plain data."""
