"""A session at a real exchange, demo or live: one path for the first start and for every restart.

``start`` reads and reconciles until the account is understood, ``inbox`` is the only way in for what happens outside, the engine
(``keel.core.engine``) takes it out, ``order_gateway`` stands with its controls in front of the venue, ``session`` keeps everything going
until it is told to stop. What the actors heard is in the journal, in the order in which they heard it: a restart hears it again.
"""
