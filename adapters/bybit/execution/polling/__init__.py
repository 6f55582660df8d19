"""Reading the account: by stream, by list, on a cadence, and when the tracker asks."""
