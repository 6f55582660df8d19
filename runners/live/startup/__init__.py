"""From a plan to a session that is READY: the account, the bars before the first decision, the lock."""
