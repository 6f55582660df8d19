"""Functions of research that answer with plain data."""
