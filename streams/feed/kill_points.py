"""LEIDAN_KILL=K6:17 ends this process with SIGKILL at its 17th pass of K6; off unless set.

K6:17:stop stops it there instead (SIGSTOP): a zombie, once somebody lets it go on. A test of the
commit protocol needs the process dead or asleep at a named line, not nearby. Points: K0 to K9
(feed/unit_of_work.py), R1 to R6 (store/restore.py), REVOKE (feed/loop.py), LOAD (store/rows.py).
"""

from __future__ import annotations

import os
import re
import signal

from streams.errors import UsageError
from streams.settings import KILL

POINTS = frozenset(
    {*(f"K{n}" for n in range(10)), *(f"R{n}" for n in range(1, 7)), "REVOKE", "LOAD"}
)


def parse(text: str) -> tuple[str, int, signal.Signals]:
    """Return (point, pass, signal) of ``K6:17``. UsageError: a misspelt fault never lands."""
    match = re.fullmatch(r"([A-Z]+\d?):([1-9]\d*)(:stop)?", text)
    if match is None or match[1] not in POINTS:
        known = ", ".join(sorted(POINTS))
        raise UsageError(
            f"LEIDAN_KILL={text}: write POINT:PASS, for example K6:17; points: {known}"
        )
    return match[1], int(match[2]), signal.SIGSTOP if match[3] else signal.SIGKILL


_point, _passes, _signal = parse(KILL) if KILL else ("", 0, signal.SIGKILL)


def armed() -> bool:
    """Say whether this process is going to kill itself."""
    return bool(_point)


def reach(point: str) -> None:
    """Pass a named line of the protocol; at the armed pass, die or stop here without a trace."""
    global _passes  # noqa: PLW0603 - one process, one counter
    if point != _point:
        return
    _passes -= 1
    if _passes == 0:
        os.kill(os.getpid(), _signal)
