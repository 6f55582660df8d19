"""The columns of a file: what each is, and its values."""
