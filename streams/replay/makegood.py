"""What was issued against what the rules give: the difference, as records that would mend it.

After a bug in the rules was put right, the log is folded again and its rewards are held against the
topic `rewards`. What is missing is proposed as the `reward.issued` that the fold says, what is in
excess as the `reward.revoked` that takes it back, each with the next seq of its reward. So the ids
are those that a worker with the right rules gives the same command (D5): emitted twice, or by a
worker too, it is one command to whoever applies each (reward_id, seq) once.

Facts of the log stay facts: draws and grants are those that pools gave (`draw-results`), answers
those of the rights service, ticks those that were told. What the right rules would ask of a pool
that nobody asked then has no answer; it is counted, and rewards that wait for it are not proposed.

Kept in memory: rows and rewards of one partition, and the pools' answers to its users.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from streams import topics
from streams.domain import ids
from streams.domain.campaign import Right
from streams.domain.days import DAY_MS, instant_ms
from streams.domain.events import RewardResult
from streams.domain.pool_requests import DrawAsked, Reserved
from streams.domain.rights import home_of
from streams.domain.state import REVOKING, unpack_ledger
from streams.errors import EventRejected, UsageError
from streams.position import Position
from streams.replay.standings import GONE, ISSUED, SPENT, Standing, Standings
from streams.replay.world import World
from streams.wire import cancellations, claims, draw_results, orders, results, ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from streams.domain.events import Event, PoolAnswered
    from streams.domain.outputs import Output
    from streams.domain.pool_requests import Request
    from streams.domain.registry import Campaigns
    from streams.domain.state import Task
    from streams.feed.ports import Record
    from streams.replay.past import KafkaPast

READ = (*topics.USER_KEYED, topics.TICKS)
DECODE: dict[str, Callable[[Record], Event]] = {
    topics.ORDERS: orders.decode,
    topics.CLAIMS: claims.decode,
    topics.CANCELLATIONS: cancellations.decode,
    topics.REWARD_RESULTS: results.decode,
}
ISSUE, REVOKE, NONE = "issue", "revoke", "none"
KEEP = "keep"


class Proposal(msgspec.Struct, frozen=True):
    """One line for the reviewer. `record`: what would be emitted; nothing: it is only told."""

    action: str
    reason: str
    user_id: str
    reward_id: str
    minor: int
    currency: str
    cause: str = ""  # position of the input behind it, "" where there is none
    record: dict[str, Any] | None = None


class Found(msgspec.Struct):
    """What a comparison came to, beside its lines."""

    records: int = 0
    rewards: int = 0  # that were compared
    unanswered: int = 0  # requests that only the right rules make


def propose(past: KafkaPast, campaigns: Campaigns, now_ms: int, found: Found) -> Iterator[Proposal]:
    """Yield what is missing and what is in excess, partition by partition, in order of reward id.

    now_ms: from when on a right that is issued now is valid. found: filled in on the way.
    Raises UsageError when the ledger speaks of a campaign that is not among these.
    """
    answers = _by_partition(past)
    for p in past.partitions:
        told = Standings()
        for record in past.whole(topics.REWARDS, p):
            body = orjson.loads(record.value or b"null")
            _require_defined(campaigns, body)
            told.take(body, Position(record.topic, record.partition, record.offset))
        refold = _Refold(campaigns, answers.pop(p, {}))
        for record in past.records([p]):
            refold.take(record)
            found.records += 1
        refold.close()
        found.unanswered += refold.unanswered
        every = sorted({*told.rewards, *refold.gives.rewards})
        found.rewards += len(every)
        for reward_id in every:
            yield from _Mending(refold, told, now_ms).of(reward_id)


def _require_defined(campaigns: Campaigns, body: Any) -> None:
    """Refuse a log whose ledger speaks of rules nobody gave us: all of it would be in excess."""
    campaign_id, version = body.get("campaign_id"), body.get("campaign_version")
    if campaign_id is None or version is None:
        return
    try:
        campaigns.pinned(campaign_id, version)
    except LookupError:
        raise UsageError(
            f"the ledger has rewards of {campaign_id} version {version}, which neither the topic "
            "campaigns nor a file defines; give --campaigns as the workers have it"
        ) from None


def _by_partition(past: KafkaPast) -> dict[int, dict[str, PoolAnswered]]:
    """Return by partition and request what pools have answered: the first answer, as they do."""
    found: dict[int, dict[str, PoolAnswered]] = defaultdict(dict)
    for record in past.whole(topics.DRAW_RESULTS):
        try:
            answer = draw_results.decode(record)
        except EventRejected:
            continue
        found[record.partition].setdefault(answer.request_id, answer)
    return found


class _Refold:
    """One partition under the right rules. `gives`: where its rewards stand."""

    def __init__(self, campaigns: Campaigns, answers: dict[str, PoolAnswered]) -> None:
        self.gives = Standings()
        self.unanswered = 0
        self.answered: set[tuple[str, int]] = set()
        """Commands that the rights service has carried out or refused: (reward_id, seq)."""
        self._known = answers
        self._at = Position("", 0, 0)
        self.world = World(campaigns, self._hear, self._answers)

    def take(self, record: Record) -> None:
        self._at = Position(record.topic, record.partition, record.offset)
        try:
            if record.topic == topics.TICKS:
                self.world.pass_time(ticks.decode(record).at_ms)
                return
            event = DECODE[record.topic](record)
        except EventRejected:
            return
        if isinstance(event, RewardResult) and not event.retryable:
            self.answered.add((event.reward_id, event.seq))
        self.world.take(event)

    def close(self) -> None:
        """Count as given what is due and only waits for the answer to a command of the fold's own.

        Records came to the workers in another order than here, so they may never have given it,
        and nobody will answer.
        """
        for state in self.world.users.values():
            for entry in unpack_ledger(state.ledger).values():
                if entry.state == REVOKING and entry.due:
                    self.gives.rewards[entry.reward_id].state = ISSUED

    def task(self, user_id: str, task_id: str) -> Task | None:
        state = self.world.users.get(user_id)
        tasks = state.tasks if state else ()
        return next((task for task in tasks if task.task_id == task_id), None)

    def _hear(self, output: Output) -> None:
        if output.topic == topics.REWARDS:
            self.gives.take(output.body, self._at)

    def _answers(self, request: Request) -> Iterable[PoolAnswered]:
        answer = self._known.get(request.request_id)
        if answer is None and isinstance(request, DrawAsked | Reserved):
            self.unanswered += 1
        return () if answer is None else (answer,)


class _Mending:
    """Says of one reward what would mend it."""

    def __init__(self, refold: _Refold, told: Standings, now_ms: int) -> None:
        self._refold, self._told, self._now_ms = refold, told, now_ms
        self._campaigns = refold.world.campaigns

    def of(self, reward_id: str) -> Iterator[Proposal]:
        gives = self._refold.gives.rewards.get(reward_id, Standing())
        told = self._told.rewards.get(reward_id, Standing())
        due, given = gives.state != GONE, told.state != GONE
        same = due == given and (not due or gives.value_minor == told.value_minor)
        if same:
            return
        if self._in_flight(told):
            why = "not as the rules say, but its last command has no answer yet"
            yield self._only_told(told, why)
        elif due and not given:
            if told.why:
                why = f"missing, but it was {told.why}: not to be given again"
                yield self._only_told(gives, why)
            else:
                yield self._issue(gives, told.seq + 1, "missing: the rules give it")
        elif given and not due:
            yield self._excess(told)
        else:
            said = f"was {told.value_minor}, the rules give {gives.value_minor}"
            if told.state == SPENT:
                yield self._only_told(told, f"other value: {said}; it is spent")
                return
            yield self._revoke(told, f"other value: {said}", "value_changed")
            if not self._answers(told):  # else once that is answered: the next make-good
                yield self._issue(gives, told.seq + 2, f"other value: {said}")

    def _in_flight(self, told: Standing) -> bool:
        """Tell whether the rights service owes an answer: one command of a reward at a time."""
        if not told.body:
            return False
        answered = (told.body["reward_id"], told.seq) in self._refold.answered
        return self._answers(told) and not answered

    def _answers(self, told: Standing) -> bool:
        """Tell whether the rights service answers the commands of a reward."""
        campaign_id, version = told.body["campaign_id"], told.body["campaign_version"]
        return self._campaigns.pinned(campaign_id, version).results == "required"

    def _issue(self, gives: Standing, seq: int, why: str) -> Proposal:
        body = gives.body
        campaign = self._campaigns.pinned(body["campaign_id"], body["campaign_version"])
        right = msgspec.convert(body["right"], Right)  # what it leaves out is as it mostly is
        valid_ms = self._now_ms + right.valid_days * DAY_MS
        record = {
            **body,
            "seq": seq,
            "event_id": ids.ledger_event_id(body["reward_id"], "reward.issued", seq),
            "postings": self._paid_from(body),
            "valid_until": max(
                body["valid_until"], campaign.calendar.text(valid_ms), key=instant_ms
            ),
        }
        order = f" for order {body['order_id']}" if "order_id" in body else ""
        return self._proposal(ISSUE, f"{why}{order}", record, body["amount_minor"], gives.position)

    def _paid_from(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the postings: from the budget where the task's reservation has been given back."""
        taken = -sum(
            one["amount_minor"] for one in body["postings"] if one["account"] == "reserved"
        )
        if taken <= 0 or self._told.reserved_minor[body["task_id"]] >= taken:
            self._told.reserved_minor[body["task_id"]] -= max(taken, 0)
            return list(body["postings"])
        sums: defaultdict[str, int] = defaultdict(int)
        for one in body["postings"]:
            account = "budget" if one["account"] == "reserved" else one["account"]
            sums[account] += one["amount_minor"]
        return [{"account": a, "amount_minor": minor} for a, minor in sums.items() if minor]

    def _excess(self, told: Standing) -> Proposal:
        body = told.body
        campaign = self._campaigns.pinned(body["campaign_id"], body["campaign_version"])
        policy = campaign.policies.get(body["right"]["type"], "")
        task = self._refold.task(body["user_id"], body["task_id"])
        stands = "there is no such task" if task is None else f"its task counts {task.counted}"
        why = f"excess: the rules do not give it, {stands} of {campaign.limit}"
        if told.state == SPENT:
            return self._only_told(told, f"{why}; it is spent: the worker decides about a debt")
        if policy == KEEP:
            kept = body["right"]["type"]
            return self._only_told(told, f"{why}; the campaign lets users keep a {kept}")
        return self._revoke(told, why, "not_due")

    def _revoke(self, told: Standing, why: str, reason: str) -> Proposal:
        body, seq = told.body, told.seq + 1
        assert told.state == ISSUED, "what is spent is not taken back here"
        campaign = self._campaigns.pinned(body["campaign_id"], body["campaign_version"])
        task = self._refold.task(body["user_id"], body["task_id"])
        over = task is not None and task.end_ms + campaign.grace_ms <= self._now_ms
        home = home_of(campaign, body["kind"], over=over)
        back = home if campaign.results == "assumed" else "returning"
        paid, offset = body["amount_minor"], body["offset_minor"]
        moved = (("issued", -paid), (back, paid), ("spent", -offset), ("debt", offset))
        same = ("v", "user_id", "occurred_at", "reward_id", "task_id", "campaign_id",
                "campaign_version", "round", "step", "kind", "currency", "cause_id")  # fmt: skip
        record = {
            **{name: body[name] for name in same},
            "type": "reward.revoked",
            "event_id": ids.ledger_event_id(body["reward_id"], "reward.revoked", seq),
            "seq": seq,
            "right_id": body["right"]["right_id"],
            "amount_minor": paid,
            "reason": reason,
            "postings": [{"account": a, "amount_minor": m} for a, m in moved if m],
        }
        return self._proposal(REVOKE, why, record, -paid, told.position)

    def _only_told(self, standing: Standing, why: str) -> Proposal:
        body = standing.body
        return Proposal(
            NONE, why, body["user_id"], body["reward_id"], 0, body["currency"],
            str(standing.position),
        )  # fmt: skip

    def _proposal(
        self, action: str, why: str, record: dict[str, Any], minor: int, at: Position | None
    ) -> Proposal:
        return Proposal(
            action, why, record["user_id"], record["reward_id"], minor, record["currency"],
            str(at), record,
        )  # fmt: skip
