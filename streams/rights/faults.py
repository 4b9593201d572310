"""What can go wrong with a command, drawn by hash: the same seed and command have the same fate.

No state and no generator, so a service that was restarted decides as it did before.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

RATES = ("fail", "retry", "late", "twice", "spend", "expire", "down")


class Faults(NamedTuple):
    """How often each of them happens, 0 to 1, and how long it takes."""

    seed: int = 1
    fail: float = 0.0  # an issue fails for good
    retry: float = 0.0  # an issue fails once, and works the second time
    late: float = 0.0  # a command is answered late
    twice: float = 0.0  # an answer is given twice
    spend: float = 0.0  # what was issued is spent
    expire: float = 0.0  # what was issued, and can lapse, does
    down: float = 0.0  # a command finds the service down, and all that come after it wait
    late_ms: int = 3_000
    retry_ms: int = 500
    use_ms: int = 1_500  # from issued to spent or lapsed
    down_ms: int = 2_000

    def happens(self, fault: str, reward_id: str, seq: int) -> bool:
        """Tell whether a fault, one of RATES, meets a command."""
        rate: float = getattr(self, fault)
        if rate <= 0:
            return False
        lines = f"leidan/rights/1\n{self.seed}\n{fault}\n{reward_id}\n{seq}"
        drawn = int.from_bytes(sha256(lines.encode()).digest()[:8], "big")
        return drawn < rate * 2**64
