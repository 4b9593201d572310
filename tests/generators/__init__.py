"""Random campaigns and histories of the whole mechanism, fast and by seed; small, so edges meet.

`campaigns.py` writes records of the `campaigns` topic, valid by the Refused table of section 2;
`histories.py` writes events of one user; `minimal.py` makes a failing case small. FEATURES names
what may be switched on.
"""

from __future__ import annotations

FEATURES = (
    "audience",
    "holdout",
    "variants",
    "groups",
    "amount",
    "saved",
    "stop",
    "kill",
    "withdrawn",
    "risk",
    "orders_enter",  # orders name an entry and a context, by which automatic tasks are judged
    "budget",
    "supply",
    "lottery",
    "release",
    "collect",
    "required",
    "results",
    "ticks",
    "reminders",
)
