"""Other people's clients, unmodified, against a sandbox: ``python -m tests.clients`` (``make clients``)."""
