"""What is looked at while a session trades: books against the exchange, protection, journal, loop and health."""
