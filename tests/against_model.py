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
from typing import TYPE_CHECKING, Any

from streams.domain.fold import step
from streams.domain.state import STANDING, UserState, new, unpack_ledger
from tests.builders import USER, decoded
from tests.generators import campaigns as campaign_records
from tests.generators import histories
from tests.generators.minimal import smallest
from tests.given import registry
from tests.models import users
from tests.models.definitions import Version
from tests.models.facts import RANKS, event_id, unique

if TYPE_CHECKING:
    from streams.domain.campaign import Campaigns

ON: frozenset[str] = frozenset()
"""The features which the engine has; the others are switched on as they are built."""

Rewards = dict[str, tuple[str, str, str, int]]


def case_of(seed: int, features: frozenset[str]) -> tuple[list[Any], list[Any]]:
    rng = random.Random(seed)
    records = campaign_records.records(rng, features)
    return records, histories.history(rng, features, records)


def differences(records: list[dict[str, Any]], events: list[dict[str, Any]]) -> list[str]:
    """Every way in which the engine and the model disagree about one case; empty: they agree."""
    campaigns = registry(*records)
    state, _said = fold(events, campaigns)
    earned = users.earn(USER, events, records)
    found = compare("tasks", tasks_of(state), tasks_of_model(earned))
    found += compare("rewards", *money(state, earned, records))
    in_order = in_key_order(events)
    calm, said = fold(in_order, campaigns)
    earned = users.earn(USER, in_order, records)
    refused = {
        claim_id: code
        for claim_id, (code, _task) in earned.answers.items()
        if code not in ("CLAIMED", "DRAW")
    }
    found += compare("answers", {name: said.get(name) for name in refused}, refused)
    if len(in_order) == len(unique(events)) and not conflicts(events):
        again, _said = fold([*in_order[::-1], *in_order], campaigns)
        found += compare("L11 tasks", tasks_of(again), tasks_of(calm))
        found += compare("L11 rewards", money(again, earned, records)[0], earned.rewards)
    return found


def compare(what: str, engine: dict[str, Any], model: dict[str, Any]) -> list[str]:
    return [
        f"{what} {name}: engine {engine.get(name)}, model {model.get(name)}"
        for name in sorted(engine.keys() | model.keys())
        if engine.get(name) != model.get(name)
    ]


def fold(events: list[dict[str, Any]], campaigns: Campaigns) -> tuple[UserState, dict[str, str]]:
    """The state after all events, and what each claim was told first."""
    state, said = new(USER), {}
    for event in events:
        state, outputs, _ = step(state, decoded(event), campaigns)
        for output in outputs:
            if output.type == "claim.rejected":
                said.setdefault(output.body["claim_id"], output.body["code"])
    return state, said


def tasks_of(state: UserState) -> dict[str, Any]:
    return {
        t.task_id: (t.campaign_id, t.round, t.counted, t.start_ms, t.end_ms, t.variant)
        for t in state.tasks
    }


def tasks_of_model(earned: users.Earned) -> dict[str, Any]:
    names = ("campaign_id", "round", "counted", "start", "end", "variant")
    return {t["task_id"]: tuple(t[name] for name in names) for t in earned.tasks}


def money(
    state: UserState, earned: users.Earned, records: list[dict[str, Any]]
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
