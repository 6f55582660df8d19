"""What each endpoint of the sandbox's REST answers: the market, the account, the side endpoints, and their rows as text."""
