"""How commands leave: their order, the bytes, the answers, and what is sent again."""
