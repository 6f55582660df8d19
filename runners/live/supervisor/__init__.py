"""The supervisor: a small parent that watches a session from outside, and shares no state with it.

``command`` is what ``keel demo`` and ``keel live`` call; ``supervisor`` drives: it starts the trader (``trader``), hears its heartbeats
(``heartbeat``, ``listening``; sent by ``sending`` inside the trader), judges them (``rules``), and acts (``decisions``): it alerts, asks
for an end in order, ends by force, flattens by the panic path (``flatten``), restarts. ``systemd`` tells the machine's own supervisor.
"""
