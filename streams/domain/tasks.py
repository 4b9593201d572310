"""Tasks: when one begins (a claim, or a first order), what its window admits, what it counts.

Claims are judged as of their own time: rounds that began stay begun, whatever is cancelled later.
Orders are tallied afresh from those that survive, so a spare steps in by itself and nothing is ever
decremented. Source: semantics.md 3 C1 to C8, P4 to P7; 5 rules 1 and 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.domain import ids
from streams.domain.orders import COUNTS
from streams.domain.state import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.domain.campaign import Campaign, Campaigns
    from streams.domain.events import ClaimRequested
    from streams.domain.orders import Weighed

SPARE = "SPARE"
NO_TASK = "NO_TASK"


class Answer(NamedTuple):
    """What a claim was told: `code` empty and the task it began, or why not."""

    code: str
    task_id: str


class Offer(NamedTuple):
    """One checkout offered to a task; sorts by (time, order id), the order of the tally.

    order_id: the part that gives it its time; checkout_id: what it is called outside; names: what
    a claim may call it.
    """

    at_ms: int
    order_id: str
    checkout_id: str
    code: str
    names: tuple[str, ...]


class Tally(NamedTuple):
    """A task after counting: `counted` are order ids by step, `codes` what became of each order.

    completed_by: (time, order id) of the order that met the whole target, if one did.
    """

    task: Task
    completed_by: tuple[int, str] | None
    counted: list[str]
    codes: dict[str, str]  # order id -> COUNTS, SPARE, CANCELLED or the code of `order.ignored`


def judge_claim(  # noqa: PLR0911  # C2 to C4 in their order, one code each
    user_id: str, claim: ClaimRequested, campaigns: Campaigns, rounds: Sequence[Task]
) -> Task | Answer:
    """Return the task the claim begins, or the answer that refuses it.

    rounds: this user's tasks of that campaign so far, as they stood when the claim was made.
    """
    at_ms = claim.occurred_at_ms
    campaign = campaigns.in_force(claim.campaign_id, at_ms)
    if campaign is None:
        # One answer for unknown and not yet in force: a live worker may not have read yet what a
        # replay has (D9), and the two must say the same.
        return Answer("CAMPAIGN_UNKNOWN", "")
    code = _closed_code(campaign, at_ms)
    if code:
        return Answer(code, "")
    if campaign.auto:
        return Answer("RULE_ENROLMENT", "")
    last = rounds[-1] if rounds else None
    if last is not None and runs(last, at_ms):
        return Answer("ALREADY_ACTIVE", last.task_id)
    if campaign.entries and claim.entry not in campaign.entries:
        return Answer("RULE_ENTRY", "")
    code = next_round_code(campaign, last, at_ms)
    if code:
        return Answer(code, "")
    return begin(user_id, campaign, last, at_ms, at_ms, claim.trigger_order_id)


def begin(  # noqa: PLR0913  # the six facts a task is born with
    user_id: str,
    campaign: Campaign,
    last: Task | None,
    at_ms: int,
    start_ms: int,
    trigger_order_id: str = "",
    start_order_id: str = "",
) -> Task:
    """Return the campaign's next round; its window comes from `at_ms`, the claim or the order."""
    if campaign.first_day is None:
        end_ms = campaign.calendar.begins_ms(campaign.calendar.day(at_ms) + campaign.days)
    else:
        end_ms = campaign.calendar.begins_ms(campaign.first_day + campaign.days)
        start_ms = max(start_ms, campaign.calendar.begins_ms(campaign.first_day))
    round_ = last.round + 1 if last else 1
    return Task(
        task_id=ids.task_id(user_id, campaign.campaign_id, round_),
        campaign_id=campaign.campaign_id,
        campaign_version=campaign.version,
        round=round_,
        begun_at_ms=at_ms,
        start_ms=start_ms,
        end_ms=end_ms,
        trigger_order_id=trigger_order_id,
        start_order_id=start_order_id,
    )


def begin_auto(
    user_id: str, campaign: Campaign, last: Task | None, at_ms: int, order_id: str
) -> Task | None:
    """Return the task that an order which would count begins by itself, or None.

    The first round counts from the start of the order's day, as if claimed then; a later one from
    the order itself, since rounds never share an order.
    """
    if _closed_code(campaign, at_ms):
        return None
    if last is None:
        first_day = campaign.first_day
        day = campaign.calendar.day(at_ms) if first_day is None else first_day
        task = begin(user_id, campaign, None, at_ms, campaign.calendar.begins_ms(day))
        return task if at_ms >= task.start_ms else None
    over_ms = last.completed_at_ms or last.end_ms
    if at_ms < over_ms or next_round_code(campaign, last, at_ms):
        return None
    return begin(user_id, campaign, last, at_ms, at_ms, start_order_id=order_id)


def closed_by(last: Task, task: Task) -> Task:
    """Return a round as it stands once the next one began."""
    return msgspec.structs.replace(
        last, closed_ms=task.begun_at_ms, closed_order_id=task.start_order_id
    )


def runs(task: Task, at_ms: int) -> bool:
    """Tell whether the task is active at that time: not over, not completed."""
    return at_ms < task.end_ms and not task.completed_at_ms


def next_round_code(campaign: Campaign, last: Task | None, at_ms: int) -> str:
    """Return why no further round may begin now, or the empty text."""
    if last is None:
        return ""
    if last.round >= campaign.rounds_max:
        return "ROUNDS_USED"
    calendar = campaign.calendar
    # The day of completion, or of the end, is day 1 of the cool-down, as a claim's is of a window.
    over_day = calendar.day(last.completed_at_ms or last.end_ms)
    free_ms = calendar.begins_ms(over_day + campaign.cool_down_days)
    return "COOL_DOWN" if at_ms < free_ms else ""


def admits(task: Task, at_ms: int, order_id: str) -> bool:
    """Tell whether an order lies in the window, and before any later round began."""
    if not (task.start_ms <= at_ms < task.end_ms):
        return False
    if at_ms == task.start_ms and order_id < task.start_order_id:
        return False
    return not task.closed_ms or (at_ms, order_id) < (task.closed_ms, task.closed_order_id)


def looks_back_to(task: Task, campaign: Campaign, offer: Offer) -> bool:
    """Tell whether an order before the claim counts all the same (`window.lookback`)."""
    if campaign.lookback == "none" or campaign.auto or offer.at_ms >= task.begun_at_ms:
        return False
    if campaign.lookback == "trigger_order" and task.trigger_order_id not in offer.names:
        return False
    calendar = campaign.calendar
    same_day = calendar.day(offer.at_ms) == calendar.day(task.begun_at_ms)
    return same_day and (
        campaign.first_day is None or offer.at_ms >= calendar.begins_ms(campaign.first_day)
    )


def count(task: Task, campaign: Campaign, offers: Iterable[Offer]) -> Tally:
    """Count the offers from nothing: each counts, is a spare, or says why it does not count."""
    task = msgspec.structs.replace(
        task, counted=0, completed_at_ms=0, last_day=-1, last_day_count=0
    )
    per_day: dict[int, int] = {}
    counted: list[str] = []
    codes: dict[str, str] = {}
    completed_by, day = None, -1
    for offer in sorted(offers):
        code = offer.code
        if code == COUNTS:
            this_day = campaign.calendar.day(offer.at_ms)
            full = 0 < campaign.daily_cap <= per_day.get(this_day, 0)
            if full or len(counted) == campaign.limit:
                code = SPARE
            else:
                day = this_day
                per_day[day] = per_day.get(day, 0) + 1
                counted.append(offer.checkout_id)
                if len(counted) == campaign.limit:
                    completed_by = (offer.at_ms, offer.order_id)
        codes[offer.checkout_id] = code
    task = msgspec.structs.replace(
        task,
        counted=len(counted),
        completed_at_ms=completed_by[0] if completed_by else 0,
        last_day=day,
        last_day_count=per_day.get(day, 0),
    )
    return Tally(task, completed_by, counted, codes)


def count_next(task: Task, campaign: Campaign, at_ms: int, code: str) -> tuple[Task, str]:
    """Count one more order, later than all before it: the fast path of `count`, equal to it."""
    if code != COUNTS:
        return task, code
    day = campaign.calendar.day(at_ms)
    today = task.last_day_count if task.last_day == day else 0
    limit = campaign.limit
    if 0 < campaign.daily_cap <= today or task.counted == limit:
        return task, SPARE
    counted = task.counted + 1
    task = msgspec.structs.replace(
        task,
        counted=counted,
        completed_at_ms=at_ms if counted == limit else 0,
        last_day=day,
        last_day_count=today + 1,
    )
    return task, COUNTS


def offered(weighed: Weighed, checkout_id: str, names: tuple[str, ...]) -> Offer:
    return Offer(weighed.at_ms, weighed.order_id, checkout_id, weighed.code, names)


def _closed_code(campaign: Campaign, at_ms: int) -> str:
    if campaign.opens_at_ms is not None and at_ms < campaign.opens_at_ms:
        return "CAMPAIGN_NOT_OPEN"
    if campaign.closes_at_ms is not None and at_ms >= campaign.closes_at_ms:
        return "CAMPAIGN_ENDED"
    if campaign.first_day is not None and at_ms >= campaign.calendar.begins_ms(
        campaign.first_day + campaign.days
    ):
        return "CAMPAIGN_ENDED"
    return ""
