"""Tasks: when one begins (a claim, or a first order), what its window admits, when it is over.

Claims are judged as of their own time: rounds that began stay begun, whatever is cancelled later.
Source: semantics.md 3 C1 to C8, P4; 5 rule 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.domain import audience, ids
from streams.domain.state import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.campaign import Campaign
    from streams.domain.counting import Offer
    from streams.domain.events import ClaimRequested, OrderReported
    from streams.domain.registry import Campaigns

NO_TASK = "NO_TASK"


class Answer(NamedTuple):
    """What a claim was told: `code` empty and the task it began, or why not."""

    code: str
    task_id: str


def judge_claim(
    user_id: str,
    claim: ClaimRequested,
    campaigns: Campaigns,
    rounds: Sequence[Task],
    *,
    blocked: bool,
) -> Task | Answer:
    """Return the task the claim begins, or the answer that refuses it.

    rounds: this user's tasks of that campaign so far, as they stood when the claim was made.
    blocked: the risk service's word on the user at that time.
    """
    at_ms = claim.occurred_at_ms
    campaign = campaigns.in_force(claim.campaign_id, at_ms)
    if campaign is None:
        # One answer for unknown and not yet in force: a live worker may not have read yet what a
        # replay has (D9), and the two must say the same.
        return Answer("CAMPAIGN_UNKNOWN", "")
    variant = audience.variant_of(campaign, claim.context)
    campaign = campaign.with_variant(variant)
    code = closed_code(campaign, campaigns, at_ms)
    if code:
        return Answer(code, "")
    if campaign.auto:
        return Answer("RULE_ENROLMENT", "")
    last = rounds[-1] if rounds else None
    if last is not None and runs(last, at_ms):
        return Answer("ALREADY_ACTIVE", last.task_id)
    code = audience.refusal(campaign, user_id, claim.entry, claim.context)
    code = code or next_round_code(campaign, last, at_ms)
    if not code and blocked:
        code = "RULE_RISK"
    if code:
        return Answer(code, "")
    task = begin(user_id, campaign, last, at_ms, at_ms, claim.trigger_order_id)
    return msgspec.structs.replace(task, variant=variant) if variant else task


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


def begin_auto(  # noqa: PLR0913  # a claim's facts, and the order that stands for one
    user_id: str,
    fact: OrderReported,
    campaign: Campaign,
    campaigns: Campaigns,
    last: Task | None,
    at_ms: int,
    order_id: str,
) -> Task | None:
    """Return the task that an order which would count begins by itself, or None.

    fact: what says entry and context, as a claim would; (at_ms, order_id): the order, as the
    campaign dates it. The first round counts from the start of the order's day, as if claimed then;
    a later one from the order itself, since rounds never share an order.
    """
    variant = audience.variant_of(campaign, fact.context)
    campaign = campaign.with_variant(variant)
    if closed_code(campaign, campaigns, at_ms):
        return None
    if audience.refusal(campaign, user_id, fact.entry or None, fact.context):
        return None
    if last is None:
        first_day = campaign.first_day
        day = campaign.calendar.day(at_ms) if first_day is None else first_day
        task = begin(user_id, campaign, None, at_ms, campaign.calendar.begins_ms(day))
        if at_ms < task.start_ms:
            return None
    elif at_ms < over_ms(last) or next_round_code(campaign, last, at_ms):
        return None
    else:
        task = begin(user_id, campaign, last, at_ms, at_ms, start_order_id=order_id)
    return msgspec.structs.replace(task, variant=variant) if variant else task


def closed_by(last: Task, task: Task) -> Task:
    """Return a round as it stands once the next one began."""
    return msgspec.structs.replace(
        last, closed_ms=task.begun_at_ms, closed_order_id=task.start_order_id
    )


def runs(task: Task, at_ms: int) -> bool:
    """Tell whether the task is active at that time: not over, not completed."""
    if task.completed_at_ms or at_ms >= task.end_ms:
        return False
    return not task.ended_ms or at_ms < task.ended_ms


def ended(task: Task, how: str, from_ms: int) -> Task:
    """Return a task that ends before its time: nothing from `from_ms` on counts."""
    return msgspec.structs.replace(task, ended=how, ended_ms=from_ms)


def over_ms(task: Task) -> int:
    """Return when a task was over: completed, ended before its time, or out of time."""
    return task.completed_at_ms or task.ended_ms or task.end_ms


def next_round_code(campaign: Campaign, last: Task | None, at_ms: int) -> str:
    """Return why no further round may begin now, or the empty text."""
    if last is None:
        return ""
    if last.round >= campaign.rounds_max:
        return "ROUNDS_USED"
    calendar = campaign.calendar
    # The day of completion, or of the end, is day 1 of the cool-down, as a claim's is of a window.
    over_day = calendar.day(over_ms(last))
    free_ms = calendar.begins_ms(over_day + campaign.cool_down_days)
    return "COOL_DOWN" if at_ms < free_ms else ""


def admits(task: Task, at_ms: int, order_id: str) -> bool:
    """Tell whether an order lies in the window, and before any later round began."""
    if not (task.start_ms <= at_ms < task.end_ms):
        return False
    if task.ended_ms and at_ms >= task.ended_ms:
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


def closed_code(campaign: Campaign, campaigns: Campaigns, at_ms: int) -> str:
    """Return why nobody can begin a task then, or the empty text."""
    if campaign.opens_at_ms is not None and at_ms < campaign.opens_at_ms:
        return "CAMPAIGN_NOT_OPEN"
    if campaign.closes_at_ms is not None and at_ms >= campaign.closes_at_ms:
        return "CAMPAIGN_ENDED"
    if campaign.first_day is not None and at_ms >= campaign.calendar.begins_ms(
        campaign.first_day + campaign.days
    ):
        return "CAMPAIGN_ENDED"
    stopped_ms = campaigns.stopped_at(campaign.campaign_id)
    return "CAMPAIGN_STOPPED" if stopped_ms is not None and at_ms >= stopped_ms else ""
