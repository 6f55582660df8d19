"""A sandbox of this machine: put together out of the store's history or a walk, for a command or for a block of code."""
