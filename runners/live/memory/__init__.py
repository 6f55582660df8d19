"""What a session remembers: its journal heard again, snapshots, what is kept for its artifacts."""
