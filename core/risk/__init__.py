"""Whether an order may be, and how large: limits, rules, sizing, exits, controls of single orders, and the gate."""
