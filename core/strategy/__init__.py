"""What a strategy sees and says: snapshots, orders by hand and for a portfolio, and what its code raised."""
