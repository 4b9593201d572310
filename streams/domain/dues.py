"""A due reward, and what is due in fact: by step, and what stands in for a right that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streams.domain import ids
from streams.domain.holding import stuck
from streams.domain.rights import NOTHING
from streams.domain.state import RESERVED, REVOKED, VOID, Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.domain.campaign import Campaign, Right
    from streams.domain.rights import Postings
    from streams.domain.state import Task


class Due(NamedTuple):
    """A reward that the fold says is owed to a task at a step, and what it still waits for."""

    task: Task
    campaign: Campaign
    step: str
    kind: str
    right: Right
    order_id: str
    held: bool = False  # a risk review holds it
    ready_ms: int = 0  # until when `release` holds it; NEVER_MS: an order has not come so far yet
    collect_by_ms: int = 0  # until when its user may take it; 0: taken, or nobody asks
    draw_id: str = ""

    @property
    def reward_id(self) -> str:
        return ids.reward_id(self.task.task_id, self.step, self.kind, self.right.right_id)


class Change(NamedTuple):
    """One ledger record to go out. reason: empty for `reward.issued`."""

    type: str
    entry: Entry  # as it stands after the change
    amount: int
    reason: str
    postings: Postings
    due: Due | None = None
    # As they stood after this change: a later one of the same cause may have moved on.
    seq: int = 0
    offset: int = 0


def with_fallbacks(entries: Mapping[str, Entry], dues: list[Due]) -> list[Due]:
    """Return what is due in fact: for a reward that failed for good, its fallback if it has one."""
    found = []
    for due in dues:
        while due.right.fallback is not None and _failed(entries.get(due.reward_id)):
            due = due._replace(right=due.right.fallback)  # noqa: PLW2901
        found.append(due)
    return found


def with_all_fallbacks(dues: list[Due]) -> list[Due]:
    """Return the dues with every fallback that may stand in for one of them."""
    found = []
    for due in dues:
        found.append(due)
        while due.right.fallback is not None:
            due = due._replace(right=due.right.fallback)  # noqa: PLW2901
            found.append(due)
    return found


def may_be_given(entry: Entry | None, due: Due) -> bool:
    """Tell whether a due reward may be given: it never was, was taken back, or waits for that.

    What has waited in vain does not wait once more for the same; it is given when nothing holds it.
    """
    if entry is None or entry.state in (NOTHING, RESERVED, REVOKED):
        return True
    if entry.state != VOID:
        return False
    return entry.why == "released" or (entry.why == "uncollected" and not stuck(due))


def _failed(entry: Entry | None) -> bool:
    return entry is not None and entry.state == VOID and entry.why == "failed"


def new_entry(due: Due) -> Entry:
    task, right = due.task, due.right
    return Entry(
        reward_id=due.reward_id,
        task_id=task.task_id,
        campaign_id=task.campaign_id,
        campaign_version=task.campaign_version,
        round=task.round,
        step=due.step,
        kind=due.kind,
        right_id=right.right_id,
        type=right.type,
        currency=due.campaign.currency,
        value=right.value_minor,
    )
