"""What became of our orders, without input or output: rows, answers and the time go in, events and queries come out."""
