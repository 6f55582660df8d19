"""A session's books, venue, reconciler and health checks over the sandbox's own engine: no socket, a clock that jumps to the next timer."""
