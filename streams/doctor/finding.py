"""What one look found: a line of the doctor's report."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """check: what was looked at, in one word. next: what to do about it; empty where it is ok."""

    check: str
    state: State
    found: str
    next: str = ""


def ok(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)


def warn(check: str, found: str, next_: str) -> Finding:
    return Finding(check, "warn", found, next_)


def fail(check: str, found: str, next_: str) -> Finding:
    return Finding(check, "fail", found, next_)
