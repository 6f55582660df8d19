"""The latch, the button and the key of a session's panic, how it ends then, and taking the latch away."""
