"""What a person starts, and the places where parts are put together."""
