"""The kernel over a log, in a dict: the only part of the checker that calls the engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streams.domain.campaign import Campaigns
from streams.domain.fold import step
from streams.domain.state import canonical_state, new
from streams.errors import EventRejected
from streams.feed.ports import Record
from streams.wire import campaigns, cancellations, claims, orders, outputs, results
from streams.wire.rows import encode_row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.domain.events import Event
    from streams.domain.state import UserState
    from tests.checker.evidence import Seen

Definitions = Sequence[Path] | Campaigns
"""Campaign files, where the fold reads them from, or what it has read."""

DECODE: dict[str, Callable[[Record], Event]] = {
    "orders": orders.decode,
    "claims": claims.decode,
    "cancellations": cancellations.decode,
    "reward-results": results.decode,
}


class Fold:
    """The kernel over a log, in a dict: what the engine must look like from outside."""

    def __init__(self, definitions: Definitions) -> None:
        self.campaigns = (
            definitions
            if isinstance(definitions, Campaigns)
            else Campaigns.of(one for path in definitions for one in campaigns.read_file(path))
        )
        self.states: dict[bytes, UserState] = {}
        self.outputs: dict[str, dict[bytes, list[bytes]]] = {
            "rewards": defaultdict(list),
            "task-events": defaultdict(list),
        }

    def fold(self, log: Iterable[Seen]) -> set[bytes]:
        """Fold records in order; return the keys whose row was touched."""
        touched = set()
        for seen in log:
            record = Record(*seen[:5], list(seen.headers), seen.timestamp_ms)
            try:
                event = DECODE[seen.topic](record)
            except EventRejected:
                continue
            key = event.user_id.encode()
            before = self.states.get(key) or new(event.user_id)
            after, produced, _outcome = step(before, event, self.campaigns)
            for output in produced:
                out = outputs.encode(output, record)
                assert out.value is not None, f"{out.topic}: an output without value"
                self.outputs[out.topic][key].append(out.value)
            if after is not before:
                self.states[key] = after
                touched.add(key)
        return touched

    def row(self, key: bytes) -> bytes:
        return encode_row(self.states[key])

    def canonical(self, key: bytes) -> bytes | None:
        state = self.states.get(key)
        return None if state is None else canonical_state(state)
