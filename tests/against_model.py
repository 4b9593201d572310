"""The fold held against the reference model: random cases by seed, and what differs in each.

`python -m tests.against_model FIRST LAST [FEATURE ...]` runs seeds and prints each difference with
the smallest case found. A case is (records of `campaigns`, events of one user in order of arrival).
"""

# Seeded dice, repeatable by design.
# ruff: noqa: S311, TID251

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streams.domain import state as states
from streams.domain.fold import Outcome, refold, step
from streams.domain.state import STANDING, UserState, new, unpack_ledger
from tests import builders as b
from tests.answering import answers, as_event
from tests.builders import USER
from tests.generators import campaigns as campaign_records
from tests.generators import histories
from tests.generators.minimal import smallest
from tests.given import registry
from tests.models.compaction import cause_of, misjudged, told
from tests.models.definitions import Version
from tests.models.facts import RANKS, RESULT, event_id, unique
from tests.models.ids import request_id
from tests.models.replay import Replay

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.domain.fold import Folded
    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from tests.models.users import Earned

LONG = (*("kill", "stop", "groups", "saved", "budget", "supply", "lottery"), "required", "results")
ALL = (
    *("audience", "orders_enter", "amount", "saved", "stop", "kill", "groups", "budget", "supply"),
    *("lottery", "withdrawn", "steps"),
)
WIDE = (*ALL, "ticks", "risk", "release", "collect", "required", "results")
RELEASED = ("required", "results", "release", "collect", "budget", "saved")
GROUPED = ("ticks", "over", "orders_enter", "amount", "variants", "audience", "steps", "groups")
REGAINED = ("results", "release", "saved", "steps", "ticks", "regained")
COMPARED: tuple[tuple[str, ...], ...] = (
    (),
    ("audience", "holdout", "variants", "orders_enter"),
    ("amount", "saved", "variants"),
    ("stop", "kill", "saved"),
    ("kill", "groups"),
    ("risk",),
    ("budget", "supply"),
    ("lottery",),
    ("budget", "supply", "lottery"),
    ("results",),
    ("required", "results"),
    ("release", "collect"),
    RELEASED,
    ("withdrawn",),
    ("ticks",),
    ("ticks", "stop", "kill", "amount"),
    ("ticks", "required", "results"),
    ("groups", "amount", "saved", "variants"),
    ("groups", "required", "results"),
    ("groups", "steps"),
    ("ticks", "budget"),
    ("ticks", "groups"),
    ("ticks", "kill", "stop", "groups"),
    ("groups", "budget", "supply"),
    LONG,
    (*ALL, "ticks"),
    (*ALL, "ticks", "required", "results"),
    (*ALL, "ticks", "risk", "release", "collect"),
    WIDE,
    REGAINED,
    ("ticks", "over"),
    ("ticks", "over", "stop", "amount", "saved"),
    ("ticks", "over", "required", "results"),
    ("ticks", "over", "budget"),
    ("ticks", "over", "groups"),
    ("ticks", "over", "lottery"),
    ("ticks", "over", "kill", "stop"),
    ("ticks", "over", "risk"),
    ("ticks", "over", "budget", "supply"),
    ("ticks", "over", "release", "collect"),
    ("ticks", "over", "withdrawn"),
)
"""Features of `tests.generators` which the engine has, alone and together."""

SAVED_ANEW = "a saved amount that changes is given anew, also where policy keeps what is lost"
OVER_REFUNDED = "a sub-order that gave back more than it had keeps no other history"
ONCE_DIFFERED: dict[tuple[str, ...], dict[int, str]] = {
    ("ticks", "over", "stop", "amount", "saved"): {
        58: "what came too late for a round that is compacted begins no later one",
        1274: OVER_REFUNDED,
    },
    ("ticks", "over"): {1244: "a sub-order that gave back more than it had keeps no other history"},
    ("ticks", "over", "budget"): {
        283: "a denial of more does not deny the task that its cause would begin",
        945: "what might have begun a compacted round sooner is compacted",
    },
    ("ticks", "over", "groups"): {1066: "what a history lost to another of its group stays lost"},
    ("ticks", "over", "release", "collect"): {
        379: "what is collected for a compacted reward is compacted",
        10125: "a reward may be collected after the horizon of its task, so also COMPACTED",
    },
    (*REGAINED[:2], "collect", "steps", "risk", "groups", "lottery", "budget", "supply", "ticks"): {
        159: "what is collected after its window for a compacted reward is compacted",
        20260: "what was denied asks again when an order counts, whatever that earns",
    },
    REGAINED: {
        360: "what could not be taken back, due again, sets off once more what it had",
        20041: "what a compacted task refused lets none of its rewards go",
    },
    ("ticks", "over", "withdrawn"): {38: "a compacted task is left as of then, and stays"},
    LONG: {
        40130: "a kill is said before the event that told its time",
        948: "debts of one instant are paid by their ids, not as read",
        1051: SAVED_ANEW,
    },
    ("ticks", "over", "required", "results"): {
        40169: "a round that was undone and comes back has expired and closed once",
        80210: "what began a round was not in the window of the one before, and may be undone",
    },
    GROUPED: {
        40058: "orders stay for a window that a later order may begin",
        91037: "what is COMPACTED for a round that it does not begin has its time all the same",
        90069: "an order stays with the task of its group whose history is over",
    },
    RELEASED: {683: SAVED_ANEW, 1892: SAVED_ANEW},
    ("ticks", "kill", "stop", "groups"): {48: "an order is pinned by a step that is paid"},
    ("groups", "budget", "supply"): {285: "the first denial drops a pending task"},
    ("ticks", "stop", "kill", "amount"): {
        929: "a kill is said at the first event or tick of its time",
        10002: "a tick that was read before a task tells it of no kill",
    },
    ("groups", "required", "results"): {10039: "written off and due again it is spent again"},
    ("ticks", "over", "lottery", "budget", "supply", "release", "collect", "required", "results"): {
        20063: "a user draws after the orders of that instant",
        10208: "what stands in for a reward that failed waits as that did",
    },
    (*ALL, "ticks"): {
        295: "a prize that was lost and returned is not due again",
        329: "a chance that has expired is over, also for a draw asked in time",
    },
    (*ALL, "risk", "release", "collect", "required", "results"): {
        578: "a review recorded after the horizon comes too late"
    },
    (*ALL, "ticks", "required", "results"): {
        771: "what a spent reward owes for less is owed once, also when a set-off of it is undone"
    },
    (*ALL, "ticks", "risk", "release", "collect"): {
        143: "what has waited in vain asks for no money and does not wait again",
        2092: "an order begins no task of a group that would not count it",
        2141: "a history waits for the pending tasks of its group",
    },
    (*ALL, "ticks", "over"): {
        10044: "what is COMPACTED gives no order the time at which it began a round",
        10092: "a history that is over stays so also when another of its group loses an order",
    },
    (*ALL, "ticks", "over", "required", "results"): {
        20344: "nothing stands in for what fails when its history is over"
    },
    (*ALL, "ticks", "over", "risk", "release", "collect"): {
        40186: "a verdict read when a history is over does not refuse the claim that began it",
        20239: "what lay in the window of a compacted round begins no later one",
    },
    ("ticks", "over", "risk"): {10275: "a verdict on the user may be in time for some tasks only"},
    (*WIDE, "holdout"): {
        40136: "an order that comes further when a history is over releases nothing of it"
    },
    (*WIDE, "over"): {
        40399: "what is collected ahead of its reward waits for it as a tombstone does",
        10044: "a reward may be collected after its task, so also COMPACTED",
    },
    WIDE: {
        6035: "what is taken back and due again waits as any other",
        2047: "a chance asked for, lost and regained is its draw and does not expire",
        48: "a compensation waits for no orders",
        225: "the prize of a final chance rests on every order counted",
    },
}
"""Seeds on which engine and model once disagreed, and the rule that it was about."""

HELD_TO_THE_WALK = frozenset({*RANKS, "reward.result"})
"""What the short path may take: all but ticks."""

LAST_TICK = b.at(70, "00:00").isoformat()

Rewards = dict[str, tuple[str, str, str, int]]


def case_of(seed: int, features: frozenset[str]) -> tuple[list[Any], list[Any]]:
    rng = random.Random(seed)
    records = campaign_records.records(rng, features)
    return records, histories.history(rng, features, records)


def differences(records: list[dict[str, Any]], events: list[dict[str, Any]]) -> list[str]:
    """Every way in which the engine and the model disagree about one case; empty: they agree."""
    campaigns = registry(*records)
    try:
        return differing(records, events, campaigns)
    except Exception as error:  # noqa: BLE001  step() is total: whatever it raises is a difference
        return [f"crash: {type(error).__name__}: {error}"]


def differing(
    records: list[dict[str, Any]], events: list[dict[str, Any]], campaigns: Campaigns
) -> list[str]:
    services = {
        r["campaign_id"]: r.get("results", "assumed")
        for r in records
        if r.get("results") == "required" or "debt_cap_minor" in r
    }
    run = fold(events, campaigns, services)
    refused, unheard = frozenset(run.refused), frozenset(run.unheard)
    replayed = Replay(USER, records, refused, unheard).read(run.events)
    earned = replayed.earned
    found = list(run.strayed)
    calm_ = not (services or run.asked or len(records) > 1)
    found += misjudged(USER, records, run.events, replayed.pins, refused, unheard, calm=calm_)
    found += compare("tasks", tasks_of(run.state), tasks_of_model(earned))
    plain = not services and not any(r.get("release") or r.get("collect") for r in records)
    plain = plain and not any(e.get("verdict") == "review" for e in events)
    if any(event["type"] == "tick" for event in events):
        found += compare("lives", *lives_of(run, earned))
    if run.short:
        return found  # what fell due after its release waits for pools: no matter of the model's
    if plain:  # else what failed, lapsed or waits is due, and does not stand
        found += compare("rewards", *money(run.state, earned, records))
    found += compare("balances", of_users(run.balances), of_users(replayed.books.balances()))
    found += compare("books", books_of(run.state), books_of_model(replayed))
    found += undrawn(run, earned, records)
    in_order = in_key_order(events)
    calm = fold(in_order, campaigns, services)
    if calm.asked or not plain:
        return found  # what was asked depends on arrival, and answers come later than they say
    earned = Replay(USER, records).read(in_order).earned
    refused = {
        claim_id: code
        for claim_id, (code, _task) in earned.answers.items()
        if code not in ("CLAIMED", "DRAW")
    }
    found += compare("answers", {name: calm.said.get(name) for name in refused}, refused)
    grouped = any(record.get("exclusion_group") for record in records)
    if not conflicts(events) and not grouped:
        again = fold([*in_order[::-1], *in_order], campaigns, services).state
        found += compare("L11 tasks", tasks_of(again), tasks_of(calm.state))
        found += compare("L11 rewards", money(again, earned, records)[0], earned.rewards)
    return found


def compare(what: str, engine: dict[str, Any], model: dict[str, Any]) -> list[str]:
    return [
        f"{what} {name}: engine {engine.get(name)}, model {model.get(name)}"
        for name in sorted(engine.keys() | model.keys())
        if engine.get(name) != model.get(name)
    ]


@dataclass
class Run:
    """One fold: what was read in the end, the state, what claims were told first, what was asked.

    events: those of the case and, where they were read, the pools' answers.
    """

    state: UserState
    events: list[dict[str, Any]] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    asked: list[Output] = field(default_factory=list)
    balances: Counter[str] = field(default_factory=Counter)
    strayed: list[str] = field(default_factory=list)
    lives: dict[str, str] = field(default_factory=dict)
    closed: Counter[str] = field(default_factory=Counter)
    refused: set[tuple[str, str]] = field(default_factory=set)  # as COMPACTED
    unheard: set[tuple[str, str]] = field(default_factory=set)  # read when the history was over
    known: set[str] = field(default_factory=set)
    short: bool = False  # more was asked for than what began a task

    def read(self, event: dict[str, Any]) -> None:
        """Note an event, and of which histories it comes too late to be a matter."""
        self.events.append(event)
        over = [task.task_id for task in self.state.tasks if task.frozen]
        if event["type"] == "reward.result":
            self.unheard |= {(event["result_id"], task_id) for task_id in over}
        if RANKS.get(event["type"], RESULT) == RESULT or cause_of(event) in self.known:
            return
        self.known.add(cause_of(event))
        self.unheard |= {(cause_of(event), task_id) for task_id in over}

    def live(self, output: Output) -> None:
        """What has become of a task, by the last that was said of it."""
        name = output.body.get("task_id", "")
        if output.type == "task.closed":
            self.closed[name] += 1
        elif output.type in LIVES:
            self.lives[name] = LIVES[output.type]

    def by_walk(self, event: dict[str, Any], outputs: Iterable[Output], slow: Folded) -> None:
        """The short path must say and leave what the walk does."""
        if self.state != slow.state or sorted(map(str, outputs)) != sorted(map(str, slow.outputs)):
            self.strayed.append(f"short path: another result than the walk's for {event}")


def fold(  # noqa: C901  # who reads, who answers, who refuses
    events: list[dict[str, Any]], campaigns: Campaigns, services: dict[str, str]
) -> Run:
    """Fold the events as they arrive, and what pools and rights services answer on the way."""
    run = Run(new(USER))
    kills = any(campaigns.killed_at(each.campaign_id) for each in campaigns)  # passed before a fact
    waiting: list[tuple[int, int, dict[str, Any]]] = []  # (events still to be read before it, ...)
    arriving = list(events)
    ticks = [event for event in events if event["type"] == "tick"]
    while arriving or waiting or ticks:
        if not arriving and not waiting:
            arriving, ticks = ticks[-1:], []  # once more, when all answers have been read
            arriving[0] = {**arriving[0], "at": LAST_TICK}
        waiting.sort(key=lambda each: each[:2])
        if waiting and (waiting[0][0] <= len(run.events) or not arriving):
            event = waiting.pop(0)[2]
        else:
            event = arriving.pop(0)
        before, fact = run.state, as_event(event)
        run.read(event)
        run.state, outputs, outcome = step(before, fact, campaigns)
        run.refused |= told(output.body for output in outputs)
        if _is_refused(event, outcome) and run.state.facts == before.facts:
            run.refused.add((cause_of(event), ""))  # by all, and it begins no task
        if event["type"] in HELD_TO_THE_WALK and not kills:
            run.by_walk(event, outputs, refold(before, fact, campaigns))
        for output in outputs:
            if output.type == "claim.rejected":
                run.said.setdefault(output.body["claim_id"], output.body["code"])
            run.live(output)
            for posting in output.body.get("postings", ()):
                run.balances[posting["account"]] += posting["amount_minor"]
            if output.topic == "draw-requests":
                run.asked.append(output)
                run.short = run.short or is_further(output)
            for event, later in answers(output, services):
                waiting.append((len(run.events) + later, len(waiting), event))
    return run


def _is_refused(event: dict[str, Any], outcome: Outcome) -> bool:
    """COMPACTED, or a version of an order that came after the horizon of all that is over."""
    if outcome is Outcome.IGNORED:
        return "version" in event
    return outcome is Outcome.COMPACTED


def is_further(output: Output) -> bool:
    """Whether a pool is asked for more, since what fell due after a release is short."""
    if output.type != "pool.reserve":
        return False
    body, pool_id = output.body, output.body["pool_id"]
    purpose = "more" if pool_id.startswith("budget:") else f"more:{pool_id}"
    return body["request_id"] == request_id(body["task_id"], purpose, body["cause_id"])


def undrawn(run: Run, earned: Earned, records: list[dict[str, Any]]) -> list[str]:
    """Chances that should have been drawn by now and were not asked for."""
    immediate = {
        r["campaign_id"] for r in records if r.get("lottery", {}).get("draw") == "immediate"
    }
    wanted = {
        (task["task_id"], label)
        for task in earned.tasks
        for label in task["chances"]
        if task["granted"] and task["campaign_id"] in immediate
    }
    wanted |= {
        (event["task_id"], event["step"])
        for event in in_key_order(run.events)
        if event["type"] == "draw.requested"
        and earned.answers.get(event["claim_id"], ("", None))[0] == "DRAW"
        and any(
            task["task_id"] == event["task_id"]
            and task["granted"]
            and event["step"] in task["chances"]
            for task in earned.tasks
        )
    }
    asked = {(o.body["task_id"], o.body["step"]) for o in run.asked if o.type == "draw.asked"}
    return [f"draws {name}: never asked for" for name in sorted(wanted - asked)]


def tasks_of(state: UserState) -> dict[str, Any]:
    return {
        t.task_id: (
            *(t.campaign_id, t.round, t.counted, t.start_ms, t.end_ms, t.variant),
            not t.pending,
        )
        for t in state.tasks
    }


def tasks_of_model(earned: Earned) -> dict[str, Any]:
    names = ("campaign_id", "round", "counted", "start", "end", "variant", "granted")
    return {t["task_id"]: tuple(t[name] for name in names) for t in earned.tasks}


STATES = ("issued", "revoked", "spent", "debt", "void", "reserved", "issuing", "revoking")


def of_users(balances: dict[str, int]) -> dict[str, int]:
    """What lies with users; how a budget and its reservations are split is the pools' matter."""
    return {name: n for name, n in balances.items() if n and name not in ("budget", "reserved")}


LIVES = {
    "task.claimed": "active",
    "task.reopened": "active",
    "task.revived": "active",
    "task.completed": "completed",
    "task.expired": "expired",
    "task.withdrawn": "withdrawn",
    "task.killed": "killed",
}


def lives_of(run: Run, earned: Earned) -> tuple[dict[str, Any], dict[str, Any]]:
    """(state, how often closed) of every task that was granted, when time has passed it all."""
    model = {
        task["task_id"]: (task["state"], int(task["closed"]))
        for task in earned.tasks
        if task["granted"]
    }
    return {name: (run.lives.get(name), run.closed[name]) for name in model}, model


def books_of(state: UserState) -> dict[str, Any]:
    """(state, seq, what is owed) of every reward that was ever told."""
    names = {
        getattr(states, name.upper()): name for name in STATES if hasattr(states, name.upper())
    }
    return {
        entry.reward_id: (names[entry.state], entry.seq, entry.owed)
        for entry in unpack_ledger(state.ledger).values()
        if entry.seq or names[entry.state] != "void"
    }


def books_of_model(replayed: Replay) -> dict[str, Any]:
    return {
        name: ("reserved" if reward.state == "due" else reward.state, reward.seq, reward.owed)
        for name, reward in replayed.books.rewards.items()
        if reward.seq or reward.state != "void"
    }


def money(
    state: UserState, earned: Earned, records: list[dict[str, Any]]
) -> tuple[Rewards, Rewards]:
    """Standing rewards of the engine, due ones of the model; what policy keeps is left out."""
    policies = {
        r["campaign_id"]: Version(r).policies for r in records if r["type"] == "campaign.defined"
    }
    standing = {}
    for entry in unpack_ledger(state.ledger).values():
        default = "keep" if entry.type == "physical" else ""
        kept = policies[entry.campaign_id].get(entry.type, default) == "keep"
        kept = kept or entry.type == "physical"
        if entry.state in STANDING and (entry.reward_id in earned.rewards or not kept):
            standing[entry.reward_id] = (entry.step, entry.kind, entry.right_id, entry.value)
    return standing, earned.rewards


def in_key_order(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [fact.event for fact in unique(events)]


def conflicts(events: list[dict[str, Any]]) -> bool:
    """Whether one id comes with two contents: then the order of arrival decides."""
    seen: dict[Any, Any] = {}
    for event in events:
        if event["type"] not in RANKS:
            continue
        name = (RANKS[event["type"]], event_id(RANKS[event["type"]], event))
        if seen.setdefault(name, event) != event:
            return True
    return False


def main(first: int, last: int, features: frozenset[str]) -> int:
    bad = 0
    for seed in range(first, last):
        records, events = case_of(seed, features)
        found = differences(records, events)
        if not found:
            continue
        bad += 1
        kind = found[0].split(" ")[0]
        records, events = smallest(
            records,
            events,
            lambda r, e, kind=kind: any(d.startswith(kind) for d in differences(r, e)),
        )
        print(f"seed {seed}: {kind}")
        for said in differences(records, events):
            print("   ", said)
        for row in records + events:
            print("   ", json.dumps(row, separators=(",", ":")))
    print(f"{last - first} seeds of {sorted(features)}: {bad} differ")
    return bad


if __name__ == "__main__":
    raise SystemExit(bool(main(int(sys.argv[1]), int(sys.argv[2]), frozenset(sys.argv[3:]))))
