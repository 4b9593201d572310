"""Traffic that goes on until it is told to stop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from streams.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streams.traffic import Sent
    from tests.kafka.harness import Topics


def dirty(seed: int, users: int = 400) -> Traffic:
    """Duplicates, late and disordered records, of a seed, and more of them than any test sends."""
    return Traffic(seed, users, 10**7, ("dup", "late", "reorder"))


class Steady:
    """A log sent at one rate until `cancel`, or until it ends."""

    def __init__(self, topics: Topics, log: Iterable[Sent], per_s: float) -> None:
        self._enough = threading.Event()
        self._sending = topics.sending(self._until_enough(log), per_s=per_s)

    def _until_enough(self, log: Iterable[Sent]) -> Iterator[Sent]:
        for record in log:
            if self._enough.is_set():
                return
            yield record

    @property
    def over(self) -> bool:
        """Say whether all there is has been sent and acknowledged."""
        return self._sending.over

    def cancel(self) -> None:
        """Send nothing more, and do not wait for what is on its way."""
        self._enough.set()

    def stop(self) -> int:
        """End it; return how many records were sent. Raises what the sending raised."""
        self.cancel()
        return self._sending.join(60)
