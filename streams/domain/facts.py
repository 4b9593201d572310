"""The set of facts of one user: their keys, their identities, and what counts as the same fact.

Redelivery is the normal case. A fact is known by its id (an order by id and version); the first in
log order stays, and the same id with other content is a conflict. Source: semantics.md 3, P3; 9, 28
and 29.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from streams.domain.events import (
    CancellationReported,
    CancellationWithdrawn,
    ClaimRequested,
    Fact,
    OrderCancelled,
    OrderReported,
    PoolAnswered,
    RiskVerdict,
    TaskWithdrawn,
    UserAsked,
)
from streams.domain.state import Key, packed

if TYPE_CHECKING:
    from streams.domain.state import Packed

_decode = msgspec.msgpack.Decoder(list[Fact]).decode


def unpack(facts: Packed[Fact]) -> list[Fact]:
    return _decode(facts.as_array())


def pack(facts: list[Fact]) -> Packed[Fact]:
    return packed(facts)


def key_of(fact: Fact) -> Key:
    """Return the fact's place in the walk. At one instant: claims, orders, what undoes, answers.

    A user leaves a task as they came, ahead of the orders. What they ask of a running one comes
    after them: a chance won and used at once is one.
    """
    if isinstance(fact, OrderReported):
        return Key(fact.occurred_at_ms, 1, fact.order_id, fact.version)
    if isinstance(fact, ClaimRequested | TaskWithdrawn):
        return Key(fact.occurred_at_ms, 0, fact.claim_id)
    if isinstance(fact, CancellationReported):
        return Key(fact.occurred_at_ms, 2, fact.cancellation_id)
    if isinstance(fact, PoolAnswered):
        return Key(fact.occurred_at_ms, 3, fact.request_id)
    return Key(fact.occurred_at_ms, 2, fact.claim_id)


def marks_of(fact: Fact) -> list[bytes]:
    """Return 4 bytes for each id that a later order must not share unnoticed.

    An order is found by its own id, its checkout's, and those that cancellations and claims name.
    A collision costs one refold and nothing else, so a checksum is hash enough.
    """
    if isinstance(fact, OrderReported):
        if not fact.parent_order_id:
            return [mark(fact.order_id)]
        ids = [fact.order_id, fact.parent_order_id]
    elif isinstance(fact, ClaimRequested):
        ids = [fact.claim_id, fact.trigger_order_id] if fact.trigger_order_id else [fact.claim_id]
    elif isinstance(fact, OrderCancelled):
        ids = [fact.cancellation_id, fact.order_id]
    elif isinstance(fact, CancellationWithdrawn):
        ids = [fact.cancellation_id, fact.withdraws]
    elif isinstance(fact, RiskVerdict):
        if not fact.order_id:
            return [mark(fact.cancellation_id), USER]
        ids = [fact.cancellation_id, fact.order_id]
    elif isinstance(fact, PoolAnswered):
        ids = [fact.request_id]
    else:
        ids = [fact.claim_id]
    return [mark(id_) for id_ in ids]


def may_know(seen: bytes, marks: list[bytes]) -> bool:
    """Tell whether one of the ids may be known; False is certain."""
    for mark_ in marks:  # noqa: SIM110  # nearly always one: `any` would cost more than the search
        if mark_ in seen:
            return True
    return False


def mark(id_: str) -> bytes:
    return crc32(id_.encode()).to_bytes(4, "big")


USER = mark("\x01user")
"""The mark of a verdict about the user; no id has a control character in it."""


def marks(facts: list[Fact]) -> bytes:
    return b"".join(mark_ for fact in facts for mark_ in marks_of(fact))


def identity(fact: Fact) -> tuple[str, str, int]:
    """Return what makes two records the same fact: kind, id and, for an order, its version."""
    if isinstance(fact, OrderReported):
        return "order", fact.order_id, fact.version
    if isinstance(fact, UserAsked):
        return "claim", fact.claim_id, 0
    if isinstance(fact, CancellationReported):
        return "cancel", fact.cancellation_id, 0
    return "answer", fact.request_id, 0


def same_content(one: Fact, other: Fact) -> bool:
    """Compare all but the record's own timestamp: a shop may send again much later."""
    return msgspec.structs.replace(other, recorded_at_ms=one.recorded_at_ms) == one
