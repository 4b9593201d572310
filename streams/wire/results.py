"""`reward-results`: what the rights service did. Schema: schemas/reward-results.v1.schema.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from streams.domain.events import RewardResult
from streams.wire.envelope import Count, Fact, Id, Reader, require_id

if TYPE_CHECKING:
    from streams.feed.ports import Record


class Result(Fact, tag="reward.result"):
    """A result as it is written."""

    result_id: Id
    reward_id: Id
    seq: Count
    outcome: Literal["issued", "failed", "spent", "revoked", "revoke_failed", "expired"]
    retryable: bool | None = None


READER = Reader(Result)


def decode(record: Record) -> RewardResult:
    """Return the result; raises EventRejected. The record's `ce_id`, if any, is the result_id."""
    result, occurred_at_ms = READER.read(record)
    if record.headers:
        require_id(record, result.result_id)
    return RewardResult(
        user_id=result.user_id,
        occurred_at_ms=occurred_at_ms,
        recorded_at_ms=record.recorded_at_ms,
        result_id=result.result_id,
        reward_id=result.reward_id,
        seq=result.seq,
        outcome=result.outcome,
        retryable=bool(result.retryable),
    )
