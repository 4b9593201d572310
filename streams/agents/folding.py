"""The synchronous body all folding agents share: decode, fold, emit, record by record.

Record by record, so that batch size changes nothing; no await, so that nothing interleaves.
Decoding comes first for the whole batch only because it depends on nothing.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

from streams.domain.fold import Outcome, step
from streams.errors import EventRejected, Reason
from streams.feed.kill_points import reach

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.domain.events import Event
    from streams.feed.batch import Batch
    from streams.feed.ports import Record

    Decode = Callable[[Record], Event]

T = TypeVar("T")
_DEAD = {Outcome.CONFLICT: Reason.CONFLICT, Outcome.ROW_FULL: Reason.ROW_FULL}
_DETAIL = {
    Outcome.CONFLICT: "the same id was reported before with another content",
    Outcome.ROW_FULL: "the user's history has reached its bound",
}


def decoded(batch: Batch, decode: Callable[[Record], T]) -> list[T | EventRejected]:
    """K1: return what each record says, or why it says nothing."""
    events: list[T | EventRejected] = []
    for record in batch.records:
        batch.at = record
        try:
            events.append(decode(record))
        except EventRejected as rejected:
            events.append(rejected)
    reach("K1")
    return events


def fold_batch(batch: Batch, decode: Decode) -> None:
    """Fold a batch into its overlay; nothing is durable before the feed commits.

    Whatever raises here is our own bug; ``batch.at`` then names the record (see `fail_stop`).
    """
    started_s = perf_counter()
    events = decoded(batch, decode)
    decoded_s = perf_counter()
    overlay = batch.overlay
    overlay.prefetch(event.user_id for event in events if not isinstance(event, EventRejected))
    read_s = perf_counter()
    campaigns, outcomes = batch.campaigns, batch.outcomes
    applied = 0
    for record, event in zip(batch.records, events, strict=True):
        batch.at = record
        if isinstance(event, EventRejected):
            batch.reject(record, event.reason, event.detail)
            outcomes["rejected"] += 1
            continue
        before = overlay[event.user_id]
        state, outputs, outcome = step(before, event, campaigns)
        if outcome in _DEAD:
            batch.reject(record, _DEAD[outcome], _DETAIL[outcome])
            outcomes["rejected"] += 1
            continue
        if state is not before:
            overlay[event.user_id] = state
        if outputs:
            batch.emit(outputs, record)
        if outcome is Outcome.APPLIED:
            applied += 1
        else:
            outcomes[outcome.value] += 1
    batch.at = None
    if applied:
        outcomes[Outcome.APPLIED.value] += applied
    batch.phases.add("decode", decoded_s - started_s)
    batch.phases.add("read", read_s - decoded_s)
    batch.phases.add("fold", perf_counter() - read_s)
