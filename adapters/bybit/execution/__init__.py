"""Orders at Bybit: sending, tracking, finding out what became of them, and the account that they are of."""
