"""Alerts: what a session tells, sent to where a person looks (webhook, Telegram, Discord, e-mail, a command of the user's own).

``alerts.yaml`` of the home folder names the targets (``config``); ``events`` is the table of what can be told; ``limits`` sums up what
repeats; ``backlog`` keeps what could not be sent; ``targets`` sends; ``alerts`` puts them together; ``daily`` writes the day's summary.
"""
