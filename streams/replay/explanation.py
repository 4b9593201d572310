"""One user explained: each event and what it did, each task with every clause, each reward.

Pure: a row, its events and the campaigns go in, plain values of schemas/cli/explain.schema.json
come out. Nothing is taken from stored texts: the tasks are walked again from the facts by the
fold's own functions (`domain/trace.py`), and what each event did is what the fold says when it is
told the events again (`story.py`). Money is minor units; times are RFC 3339, a task's in the zone
of its campaign, all others UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from streams.domain import asks, facts, settlement
from streams.domain.announce import UTC, given
from streams.domain.beginnings import tried
from streams.domain.days import NEVER_MS
from streams.domain.events import (
    CancellationWithdrawn,
    ClaimRequested,
    DrawRequested,
    OrderCancelled,
    OrderReported,
    PoolAnswered,
    RewardCollected,
    RewardResult,
    RiskVerdict,
    TaskWithdrawn,
)
from streams.domain.orders import COUNTS
from streams.domain.records import reward_record, state_at
from streams.domain.state import unpack_ledger
from streams.domain.tasks import NO_TASK
from streams.domain.trace import traced
from streams.domain.view import task_view
from streams.domain.walk import walked
from streams.replay import story

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streams.domain.beginnings import Tried
    from streams.domain.campaign import Campaign
    from streams.domain.days import Calendar
    from streams.domain.dues import Due
    from streams.domain.registry import Campaigns
    from streams.domain.state import UserState
    from streams.domain.trace import Clause, Part, Traced, Verdict
    from streams.replay.story import Chapter, Told

Event = Any  # Fact | RewardResult


class Question(NamedTuple):
    """Whom, and as of when. row None: there is none, the events alone say it.

    told: every event of the user known, with its position where that was found. at_ms None: now,
    all that is known. ticked_ms: how far ticks have come; 0: none was ever read.
    """

    user_id: str
    row: UserState | None
    told: Sequence[Told]
    at_ms: int | None
    ticked_ms: int
    now_ms: int


def explained(question: Question, campaigns: Campaigns) -> dict[str, Any]:
    """Return the explanation of a user."""
    at_ms, ticked_ms = question.at_ms, question.ticked_ms
    told = list(question.told)
    if at_ms is not None:
        told = [one for one in told if one.event.recorded_at_ms <= at_ms]
        ticked_ms = min(ticked_ms, at_ms)
    again = story.told_again(question.user_id, told, campaigns, ticked_ms, question.row)
    row, differs = again.state, list[str]()
    if question.row is not None and at_ms is None:
        row = question.row
        differs = story.differences(row, again.state)
    shown_ms = max(row.newest.at_ms, question.now_ms) if at_ms is None else at_ms
    return {
        "v": 1,
        "user_id": row.user_id,
        "at": UTC.text(shown_ms),
        "known": bool(row.facts.count or row.frozen),
        "events": [_chapter(one) for one in again.chapters],
        "differs_from_events": differs,
        **_World(row, campaigns, shown_ms).told(),
    }


class _World:
    """A row walked again, and put into words."""

    def __init__(self, row: UserState, campaigns: Campaigns, at_ms: int) -> None:
        self._row, self._campaigns, self._at_ms = row, campaigns, at_ms
        self._facts, self._asked = facts.unpack(row.facts), asks.unpack(row.asks)
        self._walk = walked(row, self._facts, self._asked, campaigns)
        self._traced = traced(self._walk)
        self._tallies = [one.tally for one in self._traced]
        self._entries = unpack_ledger(row.ledger)
        self._dues = settlement.dues_of(self._walk, self._tallies, self._asked, self._facts)

    def told(self) -> dict[str, Any]:
        loose = self._walk.loose_orders(self._tallies)
        claims = [fact for fact in self._facts if isinstance(fact, ClaimRequested)]
        first: dict[str, OrderReported] = {}
        for fact in self._facts:
            if isinstance(fact, OrderReported):
                first.setdefault(fact.checkout_id, fact)
        causes = {claim.cause_id for claim in claims}
        causes |= {first[id_].cause_id for id_, code in loose.items() if code == NO_TASK}
        met = tried(self._row, self._facts, self._asked, self._campaigns, causes)
        return {
            "tasks": [self._task(one) for one in self._traced],
            "claims": list(self._claims(met)),
            "loose_orders": [
                {
                    "order_id": order_id,
                    "code": code,
                    "campaigns": [
                        _tried(one)
                        for one in (
                            met.get(first[order_id].cause_id, ()) if order_id in first else ()
                        )
                    ],
                }
                for order_id, code in sorted(loose.items())
            ],
            "rewards_without_task": [
                reward_record(entry)
                for entry in self._entries.values()
                if entry.task_id not in {one.task.task_id for one in self._traced}
            ],
        }

    def _claims(self, met: Mapping[str, list[Tried]]) -> Iterator[dict[str, Any]]:
        for fact in self._facts:
            if not isinstance(fact, ClaimRequested | DrawRequested):
                continue
            answer = self._walk.answers.get(fact.claim_id)
            if answer is None:
                continue
            (one,) = met.get(fact.cause_id, [None])  # a draw meets no campaign
            yield {
                "claim_id": fact.claim_id,
                "occurred_at": UTC.text(fact.occurred_at_ms),
                "campaign_id": fact.campaign_id if isinstance(fact, ClaimRequested) else None,
                "campaign_version": one.version if one else None,
                "code": answer.code or None,
                "task_id": answer.task_id or None,
                "clauses": [_clause(clause, UTC) for clause in one.clauses] if one else [],
            }

    def _task(self, one: Traced) -> dict[str, Any]:
        task, campaign = one.task, one.campaign
        text = campaign.calendar.text
        stood = next((t for t in self._row.tasks if t.task_id == task.task_id), task)
        return {
            "task_id": task.task_id,
            "campaign_id": task.campaign_id,
            "campaign_version": task.campaign_version,
            "round": task.round,
            "variant": task.variant,
            "title": campaign.title,
            "currency": campaign.currency,
            "time_zone": campaign.calendar.time_zone,
            "state": state_at(stood, campaign, self._campaigns, self._at_ms),
            "begun_by": self._walk.begun_by.get(task.task_id),
            "begun_at": text(task.begun_at_ms),
            "window": {
                "start": text(task.start_ms),
                "end": text(task.end_ms),
                "accepts_until": text(task.end_ms + campaign.grace_ms),
                "takes_back_until": text(task.end_ms + campaign.horizon_ms),
            },
            "counted": task.counted,
            "accumulated_minor": task.accumulated_minor,
            "saved_minor": task.saved_minor,
            "completed_at": text(task.completed_at_ms) if task.completed_at_ms else None,
            "target": {
                "orders": campaign.limit,
                "amount_minor": campaign.target_amount_minor,
                "match": campaign.match,
            },
            "missing": _missing(one, self._at_ms),
            "orders": [_verdict(verdict, campaign) for verdict in one.verdicts],
            "rewards": list(self._rewards(one)),
        }

    def _rewards(self, one: Traced) -> Iterator[dict[str, Any]]:
        """Yield what is due with what the ledger says of it, then what stands and is not due."""
        text = one.campaign.calendar.text
        dues = [due for due in self._dues if due.task.task_id == one.task.task_id]
        said = set()
        for due in dues:
            said.add(due.reward_id)
            entry = self._entries.get(due.reward_id)
            yield {
                "reward_id": due.reward_id,
                "step": due.step,
                "kind": due.kind,
                "due": True,
                "right": given(due.right),
                "value_minor": due.right.value_minor,
                "order_id": due.order_id or None,
                "rests_on": _rests_on(due, one),
                "waits_for": _waits(due, self._at_ms, text),
                "ledger": reward_record(entry) if entry else None,
            }
        for entry in self._entries.values():
            if entry.task_id == one.task.task_id and entry.reward_id not in said:
                yield {
                    "reward_id": entry.reward_id,
                    "step": entry.step,
                    "kind": entry.kind,
                    "due": False,
                    "right": None,
                    "value_minor": entry.value,
                    "order_id": None,
                    "rests_on": [],
                    "waits_for": [],
                    "ledger": reward_record(entry),
                }


def _rests_on(due: Due, one: Traced) -> list[str]:
    """Return the counted orders that a reward needs: all up to the one that earned it."""
    counted = one.tally.counted
    return counted[: counted.index(due.order_id) + 1] if due.order_id in counted else []


def _waits(due: Due, at_ms: int, text: Any) -> list[str]:
    found = ["a review of an order"] if due.held else []
    if due.ready_ms == NEVER_MS:
        found.append("an order to come further")
    elif due.ready_ms > at_ms:
        found.append(f"its days of hold, until {text(due.ready_ms)}")
    if due.collect_by_ms:
        found.append(f"its user to collect it, until {text(due.collect_by_ms)}")
    return found


def _missing(one: Traced, at_ms: int) -> dict[str, Any] | None:
    """Return what is still to come before the target is met; None: it is met, or time is up.

    orders_possible: how many more the cap lets count until the end; null: there is no cap.
    """
    task, campaign = one.task, one.campaign
    if task.completed_at_ms or task.ended or task.closed_ms or at_ms >= task.end_ms:
        return None
    calendar, cap = campaign.calendar, campaign.daily_cap
    possible = None
    if cap:
        today = calendar.day(max(at_ms, task.start_ms))
        days = calendar.day(task.end_ms - 1) - today + 1
        possible = days * cap - (task.last_day_count if task.last_day == today else 0)
    view = task_view(task, campaign, full=True)
    return {
        "orders": view["remaining"],
        "amount_minor": view.get("remaining_amount_minor", 0),
        "match": campaign.match if campaign.target_amount_minor else "all",
        "until": calendar.text(task.end_ms),
        "orders_possible": possible,
    }


def _verdict(verdict: Verdict, campaign: Campaign) -> dict[str, Any]:
    calendar = campaign.calendar
    failing = next((clause for clause in verdict.clauses if not clause.holds), None)
    return {
        "order_id": verdict.checkout_id,
        "at": calendar.text(verdict.at_ms),
        "day": calendar.text(calendar.begins_ms(verdict.day))[:10],
        "counts": verdict.code == COUNTS,
        "code": verdict.code or None,
        "because": failing.name if failing else None,
        "step": verdict.step or None,
        "amount_minor": verdict.amount_minor,
        "spent_minor": verdict.spent_minor,
        "accumulated_minor": verdict.accumulated_minor,
        "saved_minor": verdict.saved_minor,
        "held": verdict.held,
        "clauses": [_clause(clause, calendar) for clause in verdict.clauses],
        "parts": [_part(part, calendar) for part in verdict.parts],
    }


def _part(part: Part, calendar: Calendar) -> dict[str, Any]:
    return {
        "order_id": part.order_id,
        "version": part.version,
        "code": part.code or None,
        "amount_minor": part.amount_minor,
        "spent_minor": part.spent_minor,
        "cancellations": list(part.cancellations),
        "lines": [line._asdict() for line in part.lines],
        "clauses": [_clause(clause, calendar) for clause in part.clauses],
    }


def _tried(one: Tried) -> dict[str, Any]:
    failing = next((clause for clause in one.clauses if not clause.holds), None)
    return {
        "campaign_id": one.campaign_id,
        "campaign_version": one.version,
        "enrolment": "auto" if one.auto else "claim",
        "code": failing.code if failing else None,
        "clauses": [_clause(clause, UTC) for clause in one.clauses],
    }


def _clause(clause: Clause, calendar: Calendar) -> dict[str, Any]:
    return {
        "name": clause.name,
        "holds": clause.holds,
        "code": None if clause.holds else clause.code,
        "value": _readable(clause.value, clause.kind, calendar),
        "wanted": _readable(clause.wanted, clause.kind, calendar),
    }


def _readable(value: Any, kind: str, calendar: Calendar) -> Any:
    if kind == "time" and isinstance(value, list):
        return [_readable(one, kind, calendar) for one in value]
    return calendar.text(value) if kind == "time" and value is not None else value


def _chapter(one: Chapter) -> dict[str, Any]:
    if one.told is None:
        return {
            "topic": None,
            "partition": None,
            "offset": None,
            "type": "deadline",
            "id": None,
            "about": None,
            "occurred_at": UTC.text(one.at_ms),
            "recorded_at": UTC.text(one.at_ms),
            "outcome": one.outcome,
            "did": [_did(output) for output in one.outputs],
        }
    event, position = one.told
    type_, id_, about = named(event)
    return {
        "topic": story.topic_of(event),
        "partition": position.partition if position else None,
        "offset": position.offset if position else None,
        "type": type_,
        "id": id_,
        "about": about,
        "occurred_at": UTC.text(event.occurred_at_ms),
        "recorded_at": UTC.text(event.recorded_at_ms),
        "outcome": one.outcome,
        "did": [_did(output) for output in one.outputs],
    }


_DID = ("task_id", "campaign_id", "order_id", "claim_id", "code", "reward_id", "seq", "step",
        "amount_minor", "reason")  # fmt: skip


def _did(output: Any) -> dict[str, Any]:
    """Return what an event led to, as it was, or will be, said on `topic`."""
    body = output.body
    found = {"topic": output.topic, "type": output.type, "event_id": output.event_id}
    if "view" in body:
        found["counted"] = body["view"]["counted"]
    return found | {name: body[name] for name in _DID if name in body}


def named(event: Event) -> tuple[str, str, str]:  # noqa: C901, PLR0911  one line per type
    """Return (type on the wire, id, what it is about) of an event."""
    match event:
        case OrderReported():
            return f"order.{event.status.name.lower()}", _version(event), event.order_id
        case ClaimRequested():
            return "claim.requested", event.claim_id, event.campaign_id
        case DrawRequested():
            return "draw.requested", event.claim_id, event.task_id
        case RewardCollected():
            return "reward.collected", event.claim_id, event.reward_id
        case TaskWithdrawn():
            return "task.withdrawn", event.claim_id, event.task_id
        case OrderCancelled():
            type_ = "order.refunded" if event.lines else "order.cancelled"
            return type_, event.cancellation_id, event.order_id
        case CancellationWithdrawn():
            return "cancellation.withdrawn", event.cancellation_id, event.withdraws
        case RiskVerdict():
            return "risk.verdict", event.cancellation_id, event.order_id
        case PoolAnswered():
            return _ANSWERS[event.answer], event.request_id, event.pool_id
        case RewardResult():
            return "reward.result", event.result_id, event.reward_id
    raise AssertionError(event)


_ANSWERS = {"drawn": "draw.result", "granted": "pool.granted", "denied": "pool.denied"}


def _version(event: OrderReported) -> str:
    return f"{event.order_id}:{event.version}"
