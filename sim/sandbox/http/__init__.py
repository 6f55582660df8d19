"""The sandbox's REST: routing, the checks before a request is applied, its handlers, and how answers are written."""
