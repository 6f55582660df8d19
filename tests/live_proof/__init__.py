"""What nobody can prove on a sandbox: the smallest orders at the real exchange, by somebody with keys. See docs/live.md."""
