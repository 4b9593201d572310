"""Facts that come in: what shops, users and the rights service say happened.

Events are past tense and immutable. **Rows hold them as they stand here** (msgspec arrays, by
position): a field added, moved or retyped is a new ROW_SCHEMA and an upcaster in `wire/rows.py`.
Money is integer minor units; times are ms since the epoch, UTC. Source: semantics.md 4.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec


class Status(IntEnum):
    """How far an order has come; an order qualifies at the first event at or past the rule's."""

    AMENDED = 0  # new content, no progress
    PLACED = 1
    PAID = 2
    FULFILLED = 3
    SETTLED = 4


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One line of an order: ``quantity`` units of ``unit_minor`` each."""

    line_id: str
    quantity: int
    unit_minor: int
    category: str = ""


class Discount(msgspec.Struct, frozen=True, array_like=True):
    """One discount on the whole order; `recompute` loses it when goods fall below the threshold."""

    amount_minor: int
    threshold_minor: int = 0


class Context(msgspec.Struct, frozen=True, array_like=True):
    """What the shop knew of the user when the event was written; None: not said."""

    segments: tuple[str, ...] | None = None
    orders_30d: int | None = None


class Reported(msgspec.Struct, frozen=True, array_like=True):
    """What every event says first: of whom, when it happened, when its record was written."""

    user_id: str
    occurred_at_ms: int
    recorded_at_ms: int


class UserAsked(Reported, frozen=True):
    """What a user asks for, on `claims`; asked again, the id is the same."""

    claim_id: str

    @property
    def cause_id(self) -> str:
        return f"claim:{self.claim_id}"


class CancellationReported(Reported, frozen=True):
    """What takes something of an order back, or gives it back, on `cancellations`."""

    cancellation_id: str

    @property
    def cause_id(self) -> str:
        return f"cancel:{self.cancellation_id}"


class OrderReported(Reported, frozen=True, tag=1):
    """order.placed, .paid, .fulfilled, .settled, .amended: one version of one order."""

    order_id: str
    version: int
    status: Status
    currency: str
    goods_minor: int
    consumption_minor: int
    lines: tuple[Line, ...]
    discounts: tuple[Discount, ...] = ()
    channel: str = ""
    store_id: str = ""
    parent_order_id: str = ""
    entry: str = ""
    context: Context | None = None

    @property
    def cause_id(self) -> str:
        return f"order:{self.order_id}:{self.version}"

    @property
    def checkout_id(self) -> str:
        """The checkout that it is a part of; its own id when it stands alone."""
        return self.parent_order_id or self.order_id


class ClaimRequested(UserAsked, frozen=True, tag=2):
    """claim.requested: a user asks to take part in a campaign."""

    campaign_id: str
    entry: str = ""
    trigger_order_id: str = ""
    context: Context | None = None


class Returned(msgspec.Struct, frozen=True, array_like=True):
    """Units of one line that came back."""

    line_id: str
    quantity: int


class OrderCancelled(CancellationReported, frozen=True, tag=3):
    """order.cancelled (``lines`` empty: the whole order) or order.refunded (some units of it)."""

    order_id: str
    lines: tuple[Returned, ...] = ()


class CancellationWithdrawn(CancellationReported, frozen=True, tag=4):
    """cancellation.withdrawn: the only way an order comes back to life."""

    withdraws: str


class DrawRequested(UserAsked, frozen=True, tag=6):
    """draw.requested: a user uses one chance of a task; `step` is the chance's label."""

    task_id: str
    step: str


class RewardCollected(UserAsked, frozen=True, tag=7):
    """reward.collected: a user takes a due reward of a campaign that asks for it."""

    reward_id: str


class TaskWithdrawn(UserAsked, frozen=True, tag=8):
    """task.withdrawn: a user leaves a task; what was issued stays theirs."""

    task_id: str


class RiskVerdict(CancellationReported, frozen=True, tag=9):
    """risk.verdict: review holds, block cancels, clear undoes both; the latest one acts."""

    verdict: str
    order_id: str = ""  # empty: the user


class PoolAnswered(Reported, frozen=True, tag=10):
    """draw.result, pool.granted, pool.denied: what a pool said to one of our requests.

    A prize comes as (prize_id, right) in the JSON that the pool published, or not at all.
    """

    request_id: str
    pool_id: str
    answer: str  # drawn, granted, denied
    outcome: str = ""  # of a draw: won, nothing, no_stock, ...
    prize_id: str = ""
    right: bytes = b""  # canonical JSON of the right given; empty: none

    @property
    def cause_id(self) -> str:
        return f"result:{self.request_id}"


class RewardResult(Reported, frozen=True, tag=5):
    """reward.result: what the rights service did with one ledger command (reward_id, seq)."""

    result_id: str
    reward_id: str
    seq: int
    outcome: str  # issued, failed, spent, revoked, revoke_failed, expired
    retryable: bool = False

    @property
    def cause_id(self) -> str:
        return f"result:{self.result_id}"


class Tick(msgspec.Struct, frozen=True):
    """A tick as it meets one user: time has reached `at_ms`. Never a fact, so never in a row."""

    user_id: str
    at_ms: int


Fact = (
    OrderReported
    | ClaimRequested
    | OrderCancelled
    | CancellationWithdrawn
    | DrawRequested
    | RewardCollected
    | TaskWithdrawn
    | RiskVerdict
    | PoolAnswered
)
"""What a row's history holds; a result goes into the ledger instead."""

Event = Fact | RewardResult | Tick
