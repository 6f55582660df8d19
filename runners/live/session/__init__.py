"""A running session: what reaches the actors, what leaves for the exchange, how it goes on and how it ends."""
