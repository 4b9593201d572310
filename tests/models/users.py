"""The set model of one user: what a set of events earns in the end, whatever order they came in.

Slow and obvious on purpose, written from the rules and not from the engine, and importing nothing
of it. It keeps no state: every answer is worked out again from the whole set. A decision that was
taken "as of" a moment (a claim's answer, the beginning of an automatic round) is worked out from
the facts before that moment.

Not modelled: the ledger's seq, set-off, debts, and rewards kept by a clawback of `keep`; here a
reward stands exactly while it is due.

In: events as on the wire, each with `recorded_at_ms` (its record's own timestamp) added, and
campaign definitions as parsed JSON. Times inside are ms since the epoch, UTC; money minor units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.models.beginnings import begin_rounds
from tests.models.counting import counted_orders
from tests.models.definitions import Version
from tests.models.facts import CLAIM, unique
from tests.models.rewards import rewards_of


@dataclass(frozen=True)
class Earned:
    """What the set earns.

    tasks: by campaign id, then round: {task_id, campaign_id, campaign_version, round, counted,
    state (active, completed, expired), start, end}.
    rewards: {reward_id: (step label, kind, right_id, value_minor)}, those due.
    answers: {claim_id: (CLAIMED or the code of the refusal, task_id or None)}.
    """

    tasks: list[dict[str, Any]]
    rewards: dict[str, tuple[str, str, str, int]]
    answers: dict[str, tuple[str, str | None]]


def earn(
    user_id: str,
    events: list[dict[str, Any]],
    campaigns: list[dict[str, Any]],
    now_ms: int | None = None,
) -> Earned:
    """Work out everything from the set; `now_ms` only tells active from expired.

    Without it, now is the latest occurred_at in the set: a function of the set as well.
    """
    facts = unique(events)
    if now_ms is None:
        now_ms = max((fact.key[0] for fact in facts), default=0)
    known = [Version(definition) for definition in campaigns]
    ids = sorted({version.campaign_id for version in known})
    tasks: list[dict[str, Any]] = []
    rewards: dict[str, tuple[str, str, str, int]] = {}
    answers: dict[str, tuple[str, str | None]] = {}
    for fact in facts:
        if fact.rank == CLAIM and fact["campaign_id"] not in ids:
            answers[fact["claim_id"]] = ("CAMPAIGN_UNKNOWN", None)
    for campaign_id in ids:
        versions = [version for version in known if version.campaign_id == campaign_id]
        rounds = begin_rounds(user_id, campaign_id, facts, versions, answers)
        for index, this in enumerate(rounds):
            counted = counted_orders(facts, rounds, index)
            over = index + 1 < len(rounds) or now_ms >= this.end_ms
            tasks.append(
                {
                    "task_id": this.task_id,
                    "campaign_id": campaign_id,
                    "campaign_version": this.version.version,
                    "round": this.number,
                    "counted": len(counted),
                    "state": "completed"
                    if len(counted) == this.version.target
                    else ("expired" if over else "active"),
                    "start": this.start_ms,
                    "end": this.end_ms,
                }
            )
            rewards.update(rewards_of(this, len(counted)))
    return Earned(tasks, rewards, answers)
