"""May this symbol trade now, and why not: causes, what ends each, and the conditions of the moment."""
