"""What a due reward still waits for: its orders, days, a review, its user (release, collect, risk).

All of it is a function of the facts and of time, so whatever order they come in, the same rewards
wait. Time passes by ticks alone: `now_ms` is the deadline that a tick has reached, 0 at any other
event. Choices where semantics.md 2 is silent:

- "each order so far" are the counted orders up to the one that earned the reward; a checkout of
  several parts has come as far as the last part that counts. Days of `hold_days` and `collect_days`
  are 24 hours.
- `collect_days` run from the record of the order that earned the reward; taken once, a reward that
  is earned again need not be taken again.
- At the horizon of its task a reward that still waits for an order or a review is void.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.days import DAY_MS, NEVER_MS
from streams.domain.events import RewardCollected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from streams.domain.campaign import Campaign
    from streams.domain.events import Fact, OrderReported, Status
    from streams.domain.ledger import Due
    from streams.domain.registry import Campaigns
    from streams.domain.state import Task

    Parts = Sequence[Sequence[OrderReported]]


def asks(campaign: Campaign) -> bool:
    """Tell whether a reward of the campaign may have to wait for its orders or its user."""
    return campaign.release is not None or campaign.collect == "manual"


def waits_for_orders(tasks: Iterable[Task], campaigns: Campaigns) -> bool:
    """Tell whether an order that only comes further may let a reward of these tasks go."""
    return any(campaigns.of_task(task).release is not None for task in tasks)


def blocked(due: Due, now_ms: int) -> bool:
    """Tell whether something still holds a due reward back."""
    return due.held or due.ready_ms > now_ms or due.collect_by_ms > now_ms


def stuck(due: Due) -> bool:
    """Tell whether a due reward waits for its user, orders or a verdict."""
    return bool(due.collect_by_ms) or due.held or due.ready_ms == NEVER_MS


def gone(due: Due, now_ms: int) -> bool:
    """Tell whether a due reward has waited in vain."""
    if due.collect_by_ms and now_ms >= due.collect_by_ms:
        return True
    return now_ms >= _horizon_ms(due) and (due.held or due.ready_ms == NEVER_MS)


def next_wait_ms(due: Due, now_ms: int) -> int:
    """Return the next instant at which time alone ends a wait, or ends it in vain; 0: none."""
    if not blocked(due, now_ms):
        return 0
    ends = [due.collect_by_ms, due.ready_ms]
    if due.held or due.ready_ms == NEVER_MS:
        ends.append(_horizon_ms(due))
    return min((at_ms for at_ms in ends if now_ms < at_ms < NEVER_MS), default=0)


def with_waits(
    dues: Iterable[Due],
    counted: Sequence[str],
    parts_of: Callable[[str], Parts],
    taken: Mapping[str, int],
) -> list[Due]:
    """Return the dues of one task, each with what it waits for.

    counted: checkout ids by step. parts_of: of a checkout, the versions of each part that counts.
    taken: when each reward was first collected, by its id.
    """
    parts = [parts_of(checkout_id) for checkout_id in counted]
    found = []
    for due in dues:
        step = counted.index(due.order_id) + 1 if due.order_id else 0
        so_far = parts[:step]
        found.append(_collected(_released(due, so_far), so_far[-1:], taken.get(due.reward_id)))
    return found


def _released(due: Due, so_far: Iterable[Parts]) -> Due:
    release = due.campaign.release
    if release is None or due.right.value_minor <= release.instant_limit_minor:
        return due
    if not due.order_id:
        return due  # earned by no order: there is none to wait for, nor a day to count from
    horizon_ms = _horizon_ms(due)
    reached = [_reached(part, release.on, horizon_ms) for parts in so_far for part in parts]
    last_ms, days_ms = max(reached, default=0), release.hold_days * DAY_MS
    if last_ms == NEVER_MS:
        return due._replace(ready_ms=NEVER_MS)
    return due._replace(ready_ms=last_ms + days_ms) if days_ms else due


def _collected(due: Due, earned_by: Iterable[Parts], taken_ms: int | None) -> Due:
    campaign = due.campaign
    if campaign.collect != "manual":
        return due
    since = [
        min(version.recorded_at_ms for version in part if version.status >= campaign.on)
        for parts in earned_by
        for part in parts
    ]
    if not since:
        return due  # earned by no order: nothing says from when on
    by_ms = max(since) + campaign.collect_days * DAY_MS
    return due if taken_ms is not None and taken_ms < by_ms else due._replace(collect_by_ms=by_ms)


def collected(facts: Iterable[Fact]) -> dict[str, int]:
    """Return when each reward was first taken by its user, by reward id."""
    first: dict[str, int] = {}
    for fact in facts:
        if isinstance(fact, RewardCollected):
            at_ms = first.get(fact.reward_id, fact.occurred_at_ms)
            first[fact.reward_id] = min(at_ms, fact.occurred_at_ms)
    return first


def _reached(versions: Sequence[OrderReported], on: Status, horizon_ms: int) -> int:
    """Return when an order came as far as `on`, by records up to the horizon."""
    for version in versions:
        if version.status >= on and version.recorded_at_ms <= horizon_ms:
            return version.occurred_at_ms
    return NEVER_MS


def _horizon_ms(due: Due) -> int:
    return due.task.end_ms + due.campaign.horizon_ms
