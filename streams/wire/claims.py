"""`claims`: a user asks to take part, to draw, for a reward, or to leave.

Schema: schemas/claims.v1.schema.json.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.events import ClaimRequested, DrawRequested, RewardCollected, TaskWithdrawn
from streams.wire.envelope import Context, Fact, Id, Reader, require_id

if TYPE_CHECKING:
    from streams.feed.ports import Record


class Asked(Fact):
    """What all of them have: an id, so that asking again is the same as asking once."""

    claim_id: Id


class Claim(Asked, tag="claim.requested"):
    """A claim as it is written."""

    campaign_id: Id
    entry: Id | None = None
    trigger_order_id: Id | None = None
    context: Context | None = None


class Collected(Asked, tag="reward.collected"):
    """The user takes a reward."""

    reward_id: Id


class Withdrawn(Asked, tag="task.withdrawn"):
    """The user leaves a task."""

    task_id: Id


class Draw(Asked, tag="draw.requested"):
    """The user uses a chance; `step` is its label."""

    task_id: Id
    step: Id


READER: Reader[Claim | Collected | Draw | Withdrawn] = Reader(Claim, Collected, Draw, Withdrawn)


def decode(record: Record) -> ClaimRequested | DrawRequested | RewardCollected | TaskWithdrawn:
    """Return what was asked; raises EventRejected. A record's `ce_id`, if any, is the claim_id."""
    claim, occurred_at_ms = READER.read(record)
    if record.headers:
        require_id(record, claim.claim_id)
    said = (claim.user_id, occurred_at_ms, record.recorded_at_ms, claim.claim_id)
    if isinstance(claim, Collected):
        return RewardCollected(*said, claim.reward_id)
    if isinstance(claim, Withdrawn):
        return TaskWithdrawn(*said, claim.task_id)
    if isinstance(claim, Draw):
        return DrawRequested(*said, claim.task_id, claim.step)
    return ClaimRequested(
        *said,
        campaign_id=claim.campaign_id,
        entry=claim.entry or "",
        trigger_order_id=claim.trigger_order_id or "",
        context=None if claim.context is None else claim.context.as_fact(),
    )
