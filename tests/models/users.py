"""The set model of one user: what a set of events earns in the end, whatever order they came in.

Slow and obvious on purpose, written from the rules and not from the engine, and importing nothing
of it. It keeps no state: every answer is worked out again from the whole set. A decision that was
taken "as of" a moment (a claim's answer, the beginning of an automatic round) is worked out from
the facts before that moment. What depends on arrival comes in from outside: pinned orders (P5), and
the pools' answers, which are events. What we told the world is `books.py`.

In: events as on the wire, each with `recorded_at_ms` (its record's own timestamp) added, and the
records of `campaigns` as parsed JSON. Times inside are ms since the epoch, UTC; money minor units.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.models.beginnings import walk
from tests.models.chances import chances_of, expiring
from tests.models.compaction import heeded
from tests.models.counting import tally_of
from tests.models.dues import Due, dues_of
from tests.models.facts import largest_tick_ms, unique
from tests.models.lives import is_closed, state_of
from tests.models.saved import saved_by
from tests.models.world import World

if TYPE_CHECKING:
    from tests.models.compaction import Refused
    from tests.models.world import Pin


@dataclass(frozen=True)
class Earned:
    """What the set earns.

    tasks: by campaign id, then round: {task_id, campaign_id, campaign_version, variant, round,
    counted, amount (consumption counted), saved, chances (labels), granted, state, closed, start,
    end, expires ({label: when}, of chances that nobody has asked for), regains (until when what
    is lost may come back: end + grace)}.
    rewards: {reward_id: (step label, kind, right_id, value_minor)}, those due.
    answers: {claim_id: (CLAIMED, DRAW or the code of the refusal, task_id or None)}.
    dues: the rewards with all their sides; those of a pending task wait in `waiting`.
    """

    tasks: list[dict[str, Any]]
    rewards: dict[str, tuple[str, str, str, int]]
    answers: dict[str, tuple[str, str | None]]
    dues: dict[str, Due] = field(default_factory=dict, compare=False)
    waiting: dict[str, Due] = field(default_factory=dict, compare=False)


def earn(  # noqa: PLR0913  the set, and what depends on arrival
    user_id: str,
    events: list[dict[str, Any]],
    campaigns: list[dict[str, Any]],
    now_ms: int | None = None,
    pins: list[Pin] | None = None,
    over: frozenset[str] = frozenset(),
    refused: Refused = frozenset(),
    unheard: Refused = frozenset(),
    heard: dict[str, int] | None = None,
) -> Earned:
    """Work out everything from the set; `now_ms` only tells active from expired and killed.

    Without it, now is the largest tick, else the latest occurred_at: a function of the set as well.
    refused: what was read when the history of a task was over (`compaction.py`). unheard: by task,
    all that was read since, also what nobody had to refuse.
    A kill is known from the first event or tick of its time on. heard: {task: the largest tick that
    was read once it had begun}, since ticks before that told it nothing.
    """
    facts = heeded(unique(events), refused)
    latest_ms = max((fact.key[0] for fact in facts), default=0)
    tick_ms = largest_tick_ms(events)
    if now_ms is None:
        now_ms, told_ms = latest_ms if tick_ms is None else tick_ms, max(latest_ms, tick_ms or 0)
    else:
        told_ms = now_ms
    if heard is not None:
        told_ms = latest_ms
    world = World(user_id, campaigns, facts, pins, over, refused, unheard)
    begun, answers = walk(world, facts)
    tasks: list[dict[str, Any]] = []
    dues: dict[str, Due] = {}
    waiting: dict[str, Due] = {}
    for this in begun.all():
        tally = tally_of(world, facts, begun, this)
        told = max(told_ms, (heard or {}).get(this.task_id, 0))
        state = state_of(world, begun, tally, now_ms, told)
        tasks.append(
            {
                "task_id": this.task_id,
                "campaign_id": this.version.campaign_id,
                "campaign_version": this.version.version,
                "variant": this.version.variant,
                "round": this.number,
                "counted": len(tally.counted),
                "amount": tally.amount_minor,
                "saved": saved_by(tally),
                "chances": chances_of(tally),
                "granted": this.granted,
                "state": state,
                "closed": is_closed(tally, now_ms),
                "start": this.start_ms,
                "end": this.end_ms,
                "expires": expiring(world, begun, tally),
                "regains": this.end_ms + this.version.grace_ms,
            }
        )
        for due in dues_of(world, tally, state):
            (dues if this.granted else waiting)[due.reward_id] = due
    rewards = {
        name: (due.step, due.kind, due.right_id, due.value_minor) for name, due in dues.items()
    }
    return Earned(tasks, rewards, answers, dues, waiting)
