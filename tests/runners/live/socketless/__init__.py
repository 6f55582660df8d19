"""A session's books, venue, reconciler and upkeep over the sandbox's own engine: no socket, and a clock that jumps to the next timer."""
