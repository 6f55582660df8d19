"""The last look at an order on its way out: each control, what it looks at, what it allows, what it counts."""
