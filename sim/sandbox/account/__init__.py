"""An account of the sandbox: orders, positions, margins and statements in the exchange's words."""
