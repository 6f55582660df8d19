"""From an order to a fill: the path inside the bar, triggers, resting orders, takers, exits out of brackets."""
