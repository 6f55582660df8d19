"""What a session shows and tells: on the screen, in the log, to who asks, and as the outcome of its run."""
