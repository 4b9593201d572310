"""What all folding agents share: answer each batch; decode, fold, emit, record by record.

Record by record, so that batch size changes nothing; no await, so that nothing interleaves.
Decoding comes first for the whole batch only because it depends on nothing.

With the compiled short path (streams/native) a batch of orders goes through that, and what it hands
back, record by record, through here: the same bytes come out.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from streams.domain.fold import Outcome, step
from streams.errors import EventRejected, Reason
from streams.feed.batch import fail_stop
from streams.feed.kill_points import reach

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.domain.events import Event
    from streams.feed.batch import Batch
    from streams.feed.ports import Record
    from streams.native.plan import Plans

    Decode = Callable[[Record], Event]

AT_ONCE = 128
"""Records in one call of the compiled path: it holds the interpreter's lock for some 0.5 ms then,
and the thread that commits, or answers somebody, gets its turn between two calls."""

T = TypeVar("T")
_DEAD = {Outcome.CONFLICT: Reason.CONFLICT, Outcome.ROW_FULL: Reason.ROW_FULL}
_DETAIL = {
    Outcome.CONFLICT: "the same id was reported before with another content",
    Outcome.ROW_FULL: "the user's history has reached its bound",
}


async def each_batch(batches: Any, fold: Callable[[Batch], None]) -> None:
    """Be an agent: fold what comes, answer the feed; an error of ours ends the process."""
    async for batch in batches:
        with fail_stop(batch):
            fold(batch)
        batch.done.set_result(None)


def decoded(batch: Batch, decode: Callable[[Record], T]) -> list[T | EventRejected]:
    """K1: return what each record says, or why it says nothing."""
    events: list[T | EventRejected] = []
    for record in batch.records:
        batch.at = record
        events.append(_decoded(record, decode))
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
    applied = 0
    for record, event in zip(batch.records, events, strict=True):
        batch.at = record
        applied += _fold(batch, record, event)
    batch.at = None
    _count_applied(batch, applied)
    batch.phases.add("decode", decoded_s - started_s)
    batch.phases.add("read", read_s - decoded_s)
    batch.phases.add("fold", perf_counter() - read_s)


def fold_compiled(batch: Batch, decode: Decode, plans: Plans) -> None:
    """As `fold_batch`, the compiled short path first: equal to it in every row and output."""
    started_s = perf_counter()
    decoding_s = 0.0
    records, overlay = batch.records, batch.overlay
    batch.at = records[0]
    reach("K1")
    touched, read = overlay.as_rows(records, plans.look_up)
    read_s = perf_counter()
    plan = plans.of(batch.campaigns, records[0].recorded_at_ms)
    applied = at = 0
    while at < len(records):
        batch.at = records[at]  # it fails at this one, or at one of those behind it
        begun, stop = at, min(at + AT_ONCE, len(records))
        at = plan.fold(records, begun, stop, touched, read, batch.outgoing, batch.packed)
        applied += at - begun
        if at == stop:
            continue
        record = batch.at = records[at]
        one_s = perf_counter()
        event = _decoded(record, decode)
        decoding_s += perf_counter() - one_s
        applied += _fold(batch, record, event)
        if record.key is not None:
            overlay.as_row(record.key)  # bytes again, for this user's next record
        at += 1
    batch.count_plain(*plans.counted(plan))
    batch.at = None
    _count_applied(batch, applied)
    batch.phases.add("decode", decoding_s)
    batch.phases.add("read", read_s - started_s)
    batch.phases.add("fold", perf_counter() - read_s - decoding_s)


def _decoded(record: Record, decode: Callable[[Record], T]) -> T | EventRejected:
    try:
        return decode(record)
    except EventRejected as rejected:
        return rejected


def _fold(batch: Batch, record: Record, event: Event | EventRejected) -> bool:
    """Fold one record, count what became of it; True: applied, which the caller counts."""
    if isinstance(event, EventRejected):
        batch.reject(record, event.reason, event.detail)
        return False
    overlay = batch.overlay
    before = overlay[event.user_id]
    state, outputs, outcome = step(before, event, batch.campaigns)
    if outcome in _DEAD:
        batch.reject(record, _DEAD[outcome], _DETAIL[outcome])
        return False
    if state is not before:
        overlay[event.user_id] = state
    if outputs:
        batch.emit(outputs, record)
    if outcome is Outcome.APPLIED:
        return True
    batch.outcomes[outcome.value] += 1
    return False


def _count_applied(batch: Batch, applied: int) -> None:
    if applied:
        batch.outcomes[Outcome.APPLIED.value] += applied
