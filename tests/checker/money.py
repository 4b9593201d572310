"""I2, I3, I5: the net of the ledger is what the input earns, to the minor unit.

What is earned is worked out by `tests/models/users.py`, which shares no code with the fold.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.checker.findings import BROKEN, LOST, SPURIOUS
from tests.models.users import earn
from tests.pooling import SEED
from tests.second_verifier import Wrong, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.checker.evidence import Bad, Entry, Evidence
    from tests.checker.findings import Report


INSIDE = ("draw-requests", "draw-results")
"""Topics we write ourselves: the model is told what happened, not what we said of it."""


class Right(NamedTuple):
    """What the set model says a reward is worth, and whose it is."""

    user_id: str
    value_minor: int


def expected(
    evidence: Evidence,
    definitions: Sequence[dict[str, Any]],
    bad: Bad,
) -> dict[str, Right]:
    """What the input below C earns, by reward id, blind to arrival: `tests/models/users.py`."""
    by_user: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for topic in evidence.user_keyed:
        for seen in evidence.below_c(topic):
            if seen.position not in bad and topic not in INSIDE:
                event = json.loads(seen.value or b"null")
                event["recorded_at_ms"] = seen.timestamp_ms
                by_user[event["user_id"]].append(event)
    due = {}
    for user_id, events in by_user.items():
        earned = earn(user_id, events, list(definitions)).rewards
        for reward_id, (_step, _kind, _right_id, value_minor) in earned.items():
            due[reward_id] = Right(user_id, value_minor)
    return due


def standing(ledger: Iterable[Entry]) -> dict[str, Entry]:
    """Rewards whose newest entry, by seq, is an issue: the net of the ledger."""
    newest: dict[str, Entry] = {}
    for entry in ledger:
        if entry.body["type"] == "reward.adjusted":
            continue
        known = newest.get(entry.body["reward_id"])
        if known is None or entry.body["seq"] > known.body["seq"]:
            newest[entry.body["reward_id"]] = entry
    return {
        reward_id: entry
        for reward_id, entry in newest.items()
        if entry.body["type"] == "reward.issued"
    }


def net_equals_the_set_model(
    report: Report, ledger: Iterable[Entry], due: Mapping[str, Right]
) -> None:
    """I2: nothing missing, nothing extra. A test that counts only duplicates is blind to loss."""
    stands = standing(ledger)
    report.compared["rewards due"] += len(due)
    for reward_id in sorted(due.keys() - stands.keys()):
        report.add(
            "I2", LOST, f"{reward_id} of {due[reward_id].user_id}: earned, not in the ledger"
        )
    for reward_id in sorted(stands.keys() - due.keys()):
        report.add("I2", SPURIOUS, f"{stands[reward_id]}: stands, but the input does not earn it")


def money_is_conserved(report: Report, ledger: Iterable[Entry], due: Mapping[str, Right]) -> None:
    """I3: issued - revoked == model per user; and `books_balance`."""
    net = books_balance(report, ledger)
    model: Counter[str] = Counter()
    for right in due.values():
        model[right.user_id] += right.value_minor
    for user_id in sorted(net.keys() | model.keys()):
        report.compared["users' money"] += 1
        if net[user_id] != model[user_id]:
            text = f"{user_id}: {net[user_id]} minor units net, {model[user_id]} earned"
            report.add("I3", BROKEN, text)


def books_balance(report: Report, ledger: Iterable[Entry]) -> Counter[str]:
    """I3: postings sum to zero, what is revoked was issued; holds for any prefix. Net by user.

    Counted on each event once, so that a repeated record is one finding (I1) and not many.
    """
    net: Counter[str] = Counter()
    paid: dict[str, int] = {}
    known: set[str] = set()
    for entry in ledger:
        body = entry.body
        if sum(posting["amount_minor"] for posting in body["postings"]):
            report.add("I3", BROKEN, f"{entry}: postings {body['postings']} do not sum to zero")
        if entry.event_id in known or body["type"] == "reward.adjusted":
            continue
        known.add(entry.event_id)
        if body["type"] == "reward.issued":
            paid[body["reward_id"]] = body["amount_minor"]
            net[body["user_id"]] += body["amount_minor"] + body["offset_minor"]
        else:
            issued = paid.pop(body["reward_id"], None)
            if issued != body["amount_minor"]:
                text = f"{entry}: revokes {body['amount_minor']}, standing was {issued}"
                report.add("I3", BROKEN, text)
            net[body["user_id"]] -= body["amount_minor"]
    return net


def stock_is_never_oversold(report: Report, evidence: Evidence) -> None:
    """I5: each lottery's public records, judged from the text of the rules alone."""
    by_pool: dict[bytes | None, list[bytes]] = {}
    for seen in evidence.outputs.get("lottery-draws", ()):
        by_pool.setdefault(seen.key, []).append(seen.value or b"")
    for pool_id, lines in sorted(by_pool.items(), key=str):
        try:
            report.compared["draws"] += judge(lines, SEED)
        except Wrong as wrong:
            report.add("I5", BROKEN, f"pool {pool_id!r}: {wrong}")
