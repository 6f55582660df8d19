"""An exchange out of history: matching, margin, the compiled kernel, and the sandbox that serves it behind Bybit's protocol."""
