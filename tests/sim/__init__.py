"""T1: the shipped feed loop on a simulated log, store and clock. One seed, one schedule.

`python -m tests.sim --help`; what it proves and what it cannot is in reliability.md 7.
"""
