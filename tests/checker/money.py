"""I2, I3, I5: the net of the ledger is what the input earns, to the minor unit.

A reward that is earned may still wait (for its orders, its user, its answer), or have failed for
good; one that is not may be kept. The ledger must then say so.

What is earned is worked out by `tests/models/users.py`, which shares no code with the fold.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.checker.findings import BROKEN, LOST, SPURIOUS
from tests.models.compaction import told, turned_away
from tests.models.facts import instant_ms
from tests.models.ids import draw_id
from tests.models.users import earn
from tests.pooling import SEED
from tests.second_verifier import Wrong, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.checker.evidence import Bad, Entry, Evidence
    from tests.checker.findings import Report
    from tests.models.compaction import Refused
    from tests.models.users import Earned


INSIDE = "draw-requests"
"""What we ask of pools: the model is told what happened and what was answered, not that."""


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
    returned: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for topic in evidence.user_keyed:
        if topic == "ticks":
            continue  # time alone earns nothing
        for seen in evidence.below_c(topic):
            if seen.position in bad:
                continue
            event = json.loads(seen.value or b"null")
            event["recorded_at_ms"] = seen.timestamp_ms
            if topic != INSIDE:
                by_user[event["user_id"]].append(event)
            elif event["type"] == "unit.returned":
                returned[event["user_id"]].append(event)
    due = {}
    refused = compacted(evidence)
    for user_id, events in by_user.items():
        earned = earn(user_id, events, list(definitions), refused=refused[user_id])
        over = back_in_stock(returned[user_id], earned)
        if over:
            earned = earn(user_id, events, list(definitions), over=over, refused=refused[user_id])
        for reward_id, (_step, _kind, _right_id, value_minor) in earned.rewards.items():
            due[reward_id] = Right(user_id, value_minor)
    return due


def back_in_stock(returned: Iterable[dict[str, Any]], earned: Earned) -> frozenset[str]:
    """The draws whose prize was lost and went back, at end + grace: it is not due again.

    When it was lost depends on arrival, so it is read off the return; not before its time.
    """
    regains = {task["task_id"]: task["regains"] for task in earned.tasks}
    return frozenset(
        draw_id(event["task_id"], event["step"])
        for event in returned
        if event["task_id"] in regains
        and instant_ms(event["occurred_at"]) >= regains[event["task_id"]]
    )


def compacted(evidence: Evidence) -> dict[str, Refused]:
    """By user, which events came in time and were read when a history of the user was over."""
    by_user: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for seen in evidence.outputs.get("task-events", ()):
        body = json.loads(seen.value or b"{}")
        by_user[body["user_id"]].append(body)
    found: dict[str, Refused] = defaultdict(frozenset)
    for user_id, bodies in by_user.items():
        found[user_id] = told(bodies) | turned_away(bodies)
    return found


class Held:
    """What the ledger says one reward is, from its records in their order."""

    def __init__(self) -> None:
        self.issue: Entry | None = None  # the newest
        self.paid = 0  # of that issue, until it is taken back
        self.offset = 0  # and of it, what paid off older debts
        self.value = 0  # what its user has of it: paid and set off, less what is owed
        self.given = False
        self.says = ""  # why it is not, or no longer only that: the newest record's word

    def take(self, entry: Entry) -> None:
        body = entry.body
        self.says = body.get("reason") or "issued"
        moved: Counter[str] = Counter()
        for posting in body["postings"]:
            moved[posting.get("account", "")] += posting["amount_minor"]
        if body["type"] == "reward.issued":
            self.issue, self.paid, self.given = entry, body["amount_minor"], True
            self.offset = body["offset_minor"]
            self.value = body["amount_minor"] + self.offset
        elif body["type"] == "reward.revoked":
            self.says = "returning" if moved["returning"] else "revoked"
            self.paid, self.offset, self.value, self.given = 0, 0, 0, False
        elif self.says == "failed":
            self.paid, self.offset, self.value, self.given = 0, 0, 0, False
        elif self.says == "spent" and body["seq"] % 2 == 0:  # it was not taken back after all
            self.value, self.given = moved["spent"], True
        elif self.says in ("owed", "restored"):
            self.value += moved["spent"]
            self.given = self.value > 0


def held(ledger: Iterable[Entry]) -> dict[str, Held]:
    """What becomes of each reward; a repeated record is one finding (I1), and counts once."""
    found: dict[str, Held] = {}
    known: set[str] = set()
    for entry in ledger:
        if entry.event_id not in known and "reward_id" in entry.body:
            known.add(entry.event_id)
            found.setdefault(entry.body["reward_id"], Held()).take(entry)
    return found


def standing(ledger: Iterable[Entry]) -> dict[str, Entry]:
    """Rewards that their users have, each with its newest issue: the net of the ledger."""
    return {id_: one.issue for id_, one in held(ledger).items() if one.given and one.issue}


# What the ledger may say of a reward that is earned and not given. What it says must be so: that is
# held against the fold, record for record (`refold.py`), and against its laws in its own tests.
WAITS = frozenset({"reserved", "released", "failed", "returning"})
OWES = frozenset({"owed", "written_off"})
"""Spent, and worth nothing now: all that was paid is owed, and the reward is due all the same."""


class Terms:
    """What the definitions let a user keep that is not earned: by policy, or in another's stead."""

    def __init__(self, definitions: Sequence[dict[str, Any]]) -> None:
        self.policies: dict[tuple[str, str], str] = {}
        self.fallbacks: set[str] = set()
        for definition in definitions:
            if "campaign_id" not in definition:
                continue
            for type_, policy in definition.get("clawback", {}).items():
                self.policies[definition["campaign_id"], type_] = policy
            self._fallbacks_in(definition)

    def _fallbacks_in(self, value: Any) -> None:
        if isinstance(value, dict):
            if value.get("fallback"):
                self.fallbacks.add(value["fallback"]["right_id"])
            for inner in value.values():
                self._fallbacks_in(inner)
        elif isinstance(value, list):
            for inner in value:
                self._fallbacks_in(inner)

    def keeps(self, one: Held) -> bool:
        """Tell whether a reward that is not earned may stand all the same."""
        assert one.issue is not None, "only what was issued stands"
        if one.says == "lapsed":
            return True  # nobody has it: there is nothing to take back (semantics.md 7)
        right, policy = one.issue.body["right"], self.policy(one.issue)
        if policy == "keep" or right["right_id"] in self.fallbacks:
            return True
        return policy == "until_issued" or (policy != "debt" and one.says == "spent")

    def policy(self, issue: Entry) -> str:
        """Return what becomes of a reward that is lost: its campaign's word, or its type's."""
        type_ = issue.body["right"]["type"]
        debt = type_ in ("red_packet", "cash", "points")
        default = "debt" if debt else "until_issued" if type_ == "physical" else "revoke"
        return self.policies.get((issue.body["campaign_id"], type_), default)


def net_equals_the_set_model(
    report: Report,
    ledger: Iterable[Entry],
    due: Mapping[str, Right],
    definitions: Sequence[dict[str, Any]] = (),
) -> None:
    """I2: nothing missing, nothing extra. A test that counts only duplicates is blind to loss."""
    have, terms = held(ledger), Terms(definitions)
    report.compared["rewards due"] += len(due)
    for reward_id, right in sorted(due.items()):
        one = have.get(reward_id)
        owes_all = one is not None and one.says in OWES and not right.value_minor
        if one is None or not (one.given or one.says in WAITS or owes_all):
            report.add("I2", LOST, f"{reward_id} of {right.user_id}: earned, not in the ledger")
    for reward_id, one in sorted(have.items()):
        if one.given and reward_id not in due and not terms.keeps(one):
            report.add("I2", SPURIOUS, f"{one.issue}: stands, but the input does not earn it")


def money_is_conserved(
    report: Report,
    ledger: Iterable[Entry],
    due: Mapping[str, Right],
    definitions: Sequence[dict[str, Any]] = (),
) -> None:
    """I3: what users have of what they earned is its value, to the minor unit; and `books_balance`.

    Spent at a lower value than is due now, nothing is added, and at a higher one the rest is
    forgiven where nothing is owed (semantics.md 5, rule 5); what lapsed is never issued again,
    whatever it would be worth now (7).
    """
    entries, terms = list(ledger), Terms(definitions)
    books_balance(report, entries)
    have = held(entries)
    net: Counter[str] = Counter()
    model: Counter[str] = Counter()
    set_off: Counter[str] = Counter()
    for one in have.values():
        if one.issue is not None:
            set_off[one.issue.body["user_id"]] += one.offset
    for reward_id, right in due.items():
        one = have.get(reward_id)
        if one is not None and one.given:
            net[right.user_id] += one.value
            worth, paid_off = worth_of(one, right, terms, set_off[right.user_id])
            set_off[right.user_id] -= paid_off
            model[right.user_id] += worth
        elif one is None or one.says not in WAITS:
            model[right.user_id] += right.value_minor
    for user_id in sorted(net.keys() | model.keys()):
        report.compared["users' money"] += 1
        if net[user_id] != model[user_id]:
            text = f"{user_id}: {net[user_id]} minor units net, {model[user_id]} earned"
            report.add("I3", BROKEN, text)


def worth_of(one: Held, right: Right, terms: Terms, set_off: int) -> tuple[int, int]:
    """Return what its user should have of a reward that is earned and given, and has paid off.

    set_off: what this user's rewards have paid off of older debts.
    """
    assert one.issue is not None, "only what was issued is given"
    if one.says == "lapsed":
        return one.value, 0
    if one.says in ("spent", "restored"):
        owed = terms.policy(one.issue) == "debt"
        return min(right.value_minor, one.value) if owed else one.value, 0
    if one.says == "owed":
        # A debt that a later reward paid off, for good, is not paid out again when regained.
        paid_off = max(0, min(right.value_minor - one.value, set_off))
        return right.value_minor - paid_off, paid_off
    return right.value_minor, 0


# Accounts that cannot be overdrawn, whatever was read so far of a user; and `reserved`, of a task.
SOLVENT = ("issued", "returning", "spent", "debt", "breakage", "written_off")


def books_balance(report: Report, ledger: Iterable[Entry]) -> None:
    """I3: postings sum to zero, no account is overdrawn, what is revoked was issued: any prefix.

    Counted on each event once, so that a repeated record is one finding (I1) and not many.
    """
    accounts: dict[str, Counter[str]] = defaultdict(Counter)
    rewards: dict[str, Held] = defaultdict(Held)
    reserved: dict[str, Reserved] = defaultdict(Reserved)
    known: set[str] = set()
    for entry in ledger:
        body = entry.body
        if sum(posting["amount_minor"] for posting in body["postings"]):
            report.add("I3", BROKEN, f"{entry}: postings {body['postings']} do not sum to zero")
        if entry.event_id in known:
            continue
        known.add(entry.event_id)
        reserved[body["task_id"]].take(report, entry)
        _post(report, entry, accounts[body["user_id"]])
        if "reward_id" not in body:
            continue
        one = rewards[body["reward_id"]]
        if body["type"] == "reward.revoked" and one.paid != body["amount_minor"]:
            text = f"{entry}: revokes {body['amount_minor']}, standing was {one.paid}"
            report.add("I3", BROKEN, text)
        one.take(entry)
    released_is_empty(report, reserved)


def released_is_empty(report: Report, reserved: Mapping[str, Reserved]) -> None:
    """I3: nothing stays reserved for a task that gave back, but for rewards that wait."""
    for task_id, of_task in reserved.items():
        report.compared["tasks' reservations"] += 1
        if of_task.released and of_task.left != sum(of_task.waiting.values()):
            text = f"{task_id}: {of_task.left} reserved after its release, for {of_task.waiting}"
            report.add("I3", BROKEN, text)


def _post(report: Report, entry: Entry, of_user: Counter[str]) -> None:
    for posting in entry.body["postings"]:
        of_user[posting.get("account", "")] += posting["amount_minor"]
    for account in SOLVENT:
        if of_user[account] < 0:
            text = f"{entry}: overdraws {account} of its user by {-of_user[account]}"
            report.add("I3", BROKEN, text)


class Reserved:
    """The account `reserved` of one task: never overdrawn, and empty once it was released.

    But for what its rewards that wait (for their orders, or to be collected) still hold.
    """

    def __init__(self) -> None:
        self.left = 0
        self.released = False  # the newest record of the task itself gave back
        self.waiting: dict[str, int] = {}  # by reward id

    def take(self, report: Report, entry: Entry) -> None:
        body = entry.body
        for posting in body["postings"]:
            if posting.get("account") == "reserved":
                self.left += posting["amount_minor"]
        if self.left < 0:
            report.add("I3", BROKEN, f"{entry}: overdraws reserved of its task by {-self.left}")
        if "reward_id" not in body:
            self.released = body["reason"] == "released"
        elif body.get("reason") == "reserved":
            self.waiting[body["reward_id"]] = body["amount_minor"]
        else:
            self.waiting.pop(body["reward_id"], None)


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
