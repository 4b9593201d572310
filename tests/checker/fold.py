"""The kernel over a log, in a dict: the only part of the checker that calls the engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streams.domain import facts, pools
from streams.domain.events import Tick
from streams.domain.fold import step
from streams.domain.frozen import ids_of
from streams.domain.pool_state import Row
from streams.domain.pool_state import new as new_row
from streams.domain.registry import Campaigns
from streams.domain.state import canonical_state, new
from streams.errors import EventRejected
from streams.feed.ports import Record
from streams.wire import (
    campaigns,
    cancellations,
    claims,
    draw_requests,
    draw_results,
    orders,
    outputs,
    results,
    ticks,
)
from streams.wire.rows import encode, encode_row
from tests.pooling import SEED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.domain.events import Event
    from streams.domain.outputs import Output
    from streams.domain.state import UserState
    from tests.checker.evidence import Position, Seen

Definitions = Sequence[Path] | Campaigns
"""Campaign files, where the fold reads them from, or what it has read."""

DECODE: dict[str, Callable[[Record], Event]] = {
    "orders": orders.decode,
    "claims": claims.decode,
    "cancellations": cancellations.decode,
    "reward-results": results.decode,
    "draw-results": draw_results.decode,
}
SAID = ("rewards", "task-events", "lottery-draws")
"""Outputs whose records of one key all come from one partition, so that their order is known."""


IDS = ("orders", "claims", "cancellations")
"""Topics whose events are facts, of which an id is another's only while the first is known."""


class Rows(dict[str, Row]):
    """Rows of pools; an absent one is that of which nothing is known."""

    def __missing__(self, key: str) -> Row:
        return new_row(key)


class Fold:
    """The kernel over a log, in a dict: what the engine must look like from outside.

    forgotten: records of users with a compacted history whose ids had no fact when they were read.
    Of an id that is gone other content is a duplicate, not a conflict.
    """

    def __init__(self, definitions: Definitions) -> None:
        self.campaigns = (
            definitions
            if isinstance(definitions, Campaigns)
            else Campaigns.of(one for path in definitions for one in campaigns.read_file(path))
        )
        self.states: dict[bytes, UserState] = {}
        self.pools = Rows()
        self.partitions: dict[bytes, int] = {}
        self.outputs: dict[str, dict[bytes, list[bytes]]] = defaultdict(lambda: defaultdict(list))
        self.forgotten: set[Position] = set()

    def fold(self, log: Iterable[Seen]) -> set[bytes]:
        """Fold records in order; return the keys whose row was touched."""
        touched = set()
        for seen in log:
            record = Record(*seen[:5], list(seen.headers), seen.timestamp_ms)
            if seen.topic == "draw-requests":
                touched |= self._ask(record)
                continue
            if seen.topic == "ticks":
                touched |= self.tick(seen, sorted(self.states))
                continue
            try:
                event = DECODE[seen.topic](record)
            except EventRejected:
                continue
            key = event.user_id.encode()
            self.partitions[key] = seen.partition
            if self._step(key, event, record):
                touched.add(key)
        return touched

    def tick(self, seen: Seen, keys: Iterable[bytes]) -> set[bytes]:
        """Fold a tick for those of its partition; return the keys whose row was touched."""
        record = Record(*seen[:5], list(seen.headers), seen.timestamp_ms)
        try:
            at_ms = ticks.decode(record).at_ms
        except EventRejected:
            return set()
        here = [key for key in keys if self.partitions.get(key) == seen.partition]
        return {key for key in here if self._step(key, Tick(key.decode(), at_ms), record)}

    def _step(self, key: bytes, event: Event, record: Record) -> bool:
        before = self.states.get(key) or new(event.user_id)
        if before.frozen and record.topic in IDS and not knows(before, event):
            self.forgotten.add((record.topic, record.partition, record.offset))
        after, produced, _outcome = step(before, event, self.campaigns)
        self._say(produced, record)
        if after is before:
            return False
        self.states[key] = after
        return True

    def _ask(self, record: Record) -> set[bytes]:
        """Fold what a pool is asked."""
        try:
            request = draw_requests.decode(record)
        except EventRejected:
            return set()
        pool_id = request.pool_id
        known, changes = self.campaigns.pool(pool_id), self.campaigns.pool_changes(pool_id)
        folded = pools.step(self.pools, request, known, changes, lambda _pool: SEED)
        self.pools.update(folded.rows)
        self._say(folded.outputs, record)
        return {key.encode() for key in folded.rows}

    def _say(self, produced: Iterable[Output], record: Record) -> None:
        for output in produced:
            out = outputs.encode(output, record)
            assert out.value is not None, f"{out.topic}: an output without value"
            assert out.key is not None, f"{out.topic}: an output without key"
            self.outputs[out.topic][out.key].append(out.value)

    def row(self, key: bytes) -> bytes:
        if key.startswith(b"\x01"):
            return encode(self.pools[key.decode()])
        return encode_row(self.states[key])

    def asked(self, key: bytes) -> bool:
        """Tell whether the user asked pools for anything: what is asked depends on arrival."""
        return key in self.states and self.states[key].asks.count > 0

    def answered_early(self, key: bytes) -> bool:
        """Tell whether results are known of commands that were never given, in this order."""
        return key in self.states and self.states[key].early.count > 0

    def canonical(self, key: bytes, *, by_ids: bool = False) -> bytes | None:
        state = self.states.get(key)
        if state is None:
            return None
        return canonical_state(state, ids_of(state) if by_ids else None)

    def is_compacted(self, key: bytes) -> bool:
        return key in self.states and bool(self.states[key].frozen)


def knows(state: UserState, event: Event) -> bool:
    """Tell whether a row has a fact of this id."""
    name = facts.identity(event)
    return any(facts.identity(known) == name for known in facts.unpack(state.facts))
