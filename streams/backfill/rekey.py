"""Rows of one partitioning as records of another's changelog. Pure: no client, no clock.

A row's bytes say nothing of where it lies: no offset, no partition, no time of a tick. So it is
carried over as it is, to where its key hashes to; ids, rewards, draws and deadlines with it. What
is a partition's own is made new: offsets and the number of its next transaction. By which
definitions its rows are dated is left out, so the first unit of work begins that walk (D8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams import topics
from streams.domain.fold import FOLD_VERSION
from streams.domain.pool_state import is_pool_key, pool_of
from streams.errors import Refused
from streams.feed.ports import Outgoing
from streams.partitioner import partition_of
from streams.store import meta
from streams.wire.rows import ROW_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from streams.feed.ports import Offsets

BATCH = 1
"""Of the transaction that brings the rows: the first of each partition's."""


def home(key: bytes, partitions: int) -> int:
    """Return where a row lies: with its user, or with the pool that it is one of."""
    name = key.decode()
    return partition_of(pool_of(name).encode() if is_pool_key(name) else key, partitions)


def census(keys: Iterable[tuple[int, bytes]], before: int, after: int) -> list[int]:
    """Return how many rows each of ``after`` partitions gets of these, (partition, key) each.

    Raises Refused for a row that is not where its key belongs among the ``before``.
    """
    counts = [0] * after
    for p, key in keys:
        belongs = home(key, before)
        if belongs != p:
            raise Refused(
                f"the row of {key.decode()!r} is on partition {p}, its key belongs on {belongs}: a "
                "producer with another partitioner has made two users of one, and nobody can say "
                "which is right (`leidan topics check` finds that producer). Rows are not moved; "
                "take a second deployment for newcomers: deploy/runbooks/resize.md"
            )
        counts[home(key, after)] += 1
    return counts


def records(
    rows: Iterable[tuple[bytes, bytes]], origins: Sequence[meta.Resized], starts: Sequence[Offsets]
) -> Iterator[Outgoing]:
    """Yield the changelog of all partitions, one of ``origins`` and ``starts`` each.

    Of each: where its rows come from, the rows, and a meta row at the offsets of ``starts``.
    """
    after = len(origins)
    for q, origin in enumerate(origins):
        yield Outgoing(topics.CHANGELOG, meta.RESIZED, meta.encode_resized(origin), [], q)
    for key, value in rows:
        yield Outgoing(topics.CHANGELOG, key, value, [], home(key, after))
    for q, offsets in enumerate(starts):
        last = meta.Meta(dict(offsets), BATCH, FOLD_VERSION, ROW_SCHEMA)
        yield Outgoing(topics.CHANGELOG, meta.META, meta.encode_meta(last), [], q)
