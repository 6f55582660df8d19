"""The simulated exchange: order entry, its books, its events, and a bar that may be walked twice."""
