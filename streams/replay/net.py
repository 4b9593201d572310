"""A log without a journal: folded by record time, and only what is due compared (D2).

In which order the live workers folded it is not known, so bytes may differ. What a row says of
facts, tasks and rewards that are due must not: `canonical_state`. Users who asked pools are left
out, since what they were answered belongs to what was asked in the first order; so are pools.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from streams.domain import frozen
from streams.domain.state import UserState
from streams.feed.align import rounds
from streams.feed.batch import Batch
from streams.replay.difference import Difference, at, shown
from streams.store import meta
from streams.store.overlay import Overlay, StateCache
from streams.topics import CHANGELOG, FOLDED, TICKS
from streams.wire import outputs, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from streams.domain.registry import Campaigns
    from streams.feed.ports import Record, Rows
    from streams.replay.log import Log
    from streams.store.overlay import Codec

CHUNK = 2_000
PARTS = ("user", "newest fact", "facts", "tasks", "rewards due")


class Net(NamedTuple):
    """What came of one partition: how many users were compared, how many left out."""

    difference: Difference | None
    users: int
    left_out: int
    records: int = 0


def compare(  # noqa: PLR0913 - as `Refold`
    p: int,
    kept: Rows,
    log: Log,
    codec: Codec[Any],
    campaigns: Campaigns,
    folds: Mapping[str, Callable[[Batch], None]],
    progress: Callable[[int, int, int], None] = lambda *_: None,
) -> Net:
    """Fold all that is behind the newest meta row into ``kept``, which is empty; compare."""
    end = log.bounds(CHANGELOG, p)
    newest, vector = _newest(log, p, end)
    whole, done = sum(vector.values()), 0
    cache: StateCache[Any] = StateCache()
    for number, chunk in enumerate(_chunks(log, p, vector), 1):
        overlay = Overlay(kept, codec, cache)
        for run in rounds(chunk, FOLDED):
            folds[run[0].topic](Batch(run[0].topic, p, run, overlay, campaigns, outputs.encode))
        written = {**overlay.encoded(), **overlay.spent()}
        kept.write(written, next_offsets=None, changelog=0, batch=number)
        overlay.kept()
        done += len(chunk)
        progress(done, whole, done)
    users = left_out = 0
    for record in log.records(CHANGELOG, p, *end):
        key = record.key
        if key is None or key == meta.META or newest[key] != record.offset:
            continue
        found = rows.decode(key.decode(), record.value or b"")
        wanted = codec.new(key.decode())
        (row,) = kept.get_many([key])
        if row is not None:
            wanted = codec.decode(key.decode(), row)
        if not isinstance(found, UserState) or found.asks.count or wanted.asks.count:
            left_out += 1
            continue
        users += 1
        difference = _difference(record, found, wanted)
        if difference is not None:
            return Net(difference, users, left_out, done)
    return Net(None, users, left_out, done)


def _newest(log: Log, p: int, end: tuple[int, int]) -> tuple[dict[bytes, int], dict[str, int]]:
    """Return where the newest row of each key stands, and the offsets of the newest meta row."""
    newest: dict[bytes, int] = {}
    vector: dict[str, int] = {}
    for record in log.records(CHANGELOG, p, *end):
        if record.key == meta.META:
            vector = meta.decode_meta(record.value or b"").next
        elif record.key is not None:
            newest[record.key] = record.offset
    return newest, vector


def _chunks(log: Log, p: int, vector: Mapping[str, int]) -> Iterator[list[Record]]:
    """Yield records by time; a tick is the last of its chunk, since it is for every user."""
    lanes = [
        log.records(topic, p, log.bounds(topic, p)[0], vector[topic])
        for topic in FOLDED
        if topic in vector
    ]
    chunk: list[Record] = []
    for record in heapq.merge(*lanes, key=lambda r: (r.recorded_at_ms, FOLDED.index(r.topic))):
        chunk.append(record)
        if record.topic == TICKS or len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _difference(record: Record, found: UserState, wanted: UserState) -> Difference | None:
    live, right = frozen.alike(found, wanted)
    if live == right:
        return None
    decode = msgspec.msgpack.decode
    for name, was, is_ in zip(PARTS, decode(live), decode(right), strict=True):
        if was != is_:
            return Difference(at(record), found.user_id, name, shown(was), shown(is_))
    raise AssertionError("they do not differ")
