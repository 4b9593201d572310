"""Backfill: the log folded once more, from offsets, a time or an archive, to ends frozen before.

Read `plan.py` (what will be folded, and why it may be refused), `runner.py` (one partition, by the
feed's own loop), `order.py` (in which order), `targets.py` (where it goes), `promote.py`.
"""
