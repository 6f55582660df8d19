"""A running session: what reaches the actors, what leaves for the exchange, how it is shown, how it ends."""
