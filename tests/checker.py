"""The invariants of reliability.md 6, checked on what a reader can see: one module for every tier.

Nothing here asks the engine. The logs are read read_committed, RocksDB is opened read-only, what a
user should have is worked out by `tests/models/users.py`, which shares no code with the fold. Only
I7 calls the fold on purpose: it asks whether rows and ledger are what the fold makes of the log.

    evidence = gather(topics, group, state_dirs)     # after wait_drained and wait_settled
    report = check(evidence, definitions)
    report.require_clean()

What is checked: I1 no event twice, seq 1, 2, 3; I2 net of the ledger == set model, ledger == log
model record for record; I3 money; I4 causes; I7 rows; I8 offsets; I9 no open transaction; I10 dead
letters; I12's part: nothing readable is left. With the fold (checker_fold.py) I6 versions count
events, and I11 the same log gives the same outputs. I5 has no subject yet.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.models.users import earn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from streams.domain.campaign import Campaigns
    from tests.kafka.harness import Topics

LOST, TWICE, SPURIOUS, BROKEN = "lost", "twice", "spurious", "broken"
"""Kinds. The first three are about rewards (and, by I10, dead letters); BROKEN is all else."""

META, NEXT, CHANGELOG_AT = b"\0meta", b"\0next", b"\0changelog"
"""Keys that are not a user's: the changelog's meta row, and L and its offset inside RocksDB."""

ADDED_HEADERS = ("dl-", "__streams.errors.")
"""What a dead letter has beyond the record's own headers."""


At = tuple[str, int]
"""(topic without prefix, partition)."""


class Seen(NamedTuple):
    """One record as a reader gets it."""

    topic: str  # without prefix
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int


# -- what is found ---------------------------------------------------------------------------------


class Finding(NamedTuple):
    """One violation: which invariant, of which kind, in words with ids and positions."""

    invariant: str
    kind: str
    text: str


@dataclass
class Report:
    """All findings of one check, and how much was compared (a check of nothing proves nothing)."""

    findings: list[Finding] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)

    def add(self, invariant: str, kind: str, text: str) -> None:
        self.findings.append(Finding(invariant, kind, text))

    def count(self, kind: str) -> int:
        return sum(finding.kind == kind for finding in self.findings)

    @property
    def lost(self) -> int:
        """Rewards that the input earned and the ledger does not have, or not any more."""
        return self.count(LOST)

    @property
    def twice(self) -> int:
        """Ledger entries that a reader gets once too often."""
        return self.count(TWICE)

    @property
    def spurious(self) -> int:
        """Rewards that stand in the ledger and that the input did not earn."""
        return self.count(SPURIOUS)

    def summary(self) -> str:
        """One line: the four counts, and what was compared."""
        counts = ", ".join(f"{self.count(kind)} {kind}" for kind in (LOST, TWICE, SPURIOUS, BROKEN))
        compared = ", ".join(f"{number} {what}" for what, number in sorted(self.compared.items()))
        return f"{counts} (compared: {compared})"

    def __str__(self) -> str:
        lines = [self.summary()]
        by_kind: dict[tuple[str, str], list[Finding]] = defaultdict(list)
        for finding in self.findings:
            by_kind[finding.invariant, finding.kind].append(finding)
        for (invariant, kind), found in sorted(by_kind.items()):
            lines.append(f"  {invariant} {kind}: {len(found)}, first: {found[0].text}")
        return "\n".join(lines)

    def require_clean(self) -> None:
        """Raise AssertionError with counts and first examples, unless nothing was found."""
        assert not self.findings, str(self)


# -- what is looked at -----------------------------------------------------------------------------


@dataclass
class Evidence:
    """What one run left behind. Topics without prefix; lists in offset order per partition."""

    inputs: dict[str, list[Seen]]
    outputs: dict[str, list[Seen]]  # rewards, task-events, dead-letters, user-tasks-changelog
    committed: dict[At, int]  # C
    watermarks: dict[At, tuple[int, int]]  # (LSO, HW) of every topic
    databases: list[Database] = field(default_factory=list)
    followed: dict[str, list[Seen]] = field(default_factory=dict)  # read while the faults happened
    user_keyed: tuple[str, ...] = ()

    def below_c(self, topic: str) -> list[Seen]:
        """The input that counts: what lies below the committed offset."""
        return [
            seen
            for seen in self.inputs.get(topic, ())
            if seen.offset < self.committed.get((topic, seen.partition), 0)
        ]


class Database(NamedTuple):
    """One RocksDB of one worker, as it stands."""

    path: Path
    partition: int
    rows: dict[bytes, bytes]
    next: dict[str, int] | None  # L
    changelog: int  # changelog offset its rows are a prefix up to


def gather(  # noqa: PLR0913 - what the control lacks is left out by name
    topics: Topics,
    group: str,
    *,
    ledger: str = "rewards",
    task_events: str | None = "task-events",
    changelog: str | None = "user-tasks-changelog",
    state_dirs: Iterable[Path] = (),
    followed: Mapping[str, list[Seen]] | None = None,
) -> Evidence:
    """Read everything. Stop the workers first: a live RocksDB is read as of its last flush."""
    from tests.kafka.harness import USER_KEYED  # noqa: PLC0415 - needs confluent-kafka

    names = {"rewards": ledger, "dead-letters": "dead-letters"}
    if task_events is not None:
        names["task-events"] = task_events
    if changelog is not None:
        names["user-tasks-changelog"] = changelog
    every = (*USER_KEYED, *names.values())
    # LSO first: a transaction that ends between the two calls must not look open.
    lso, hw = topics.ends(every, committed=True), topics.ends(every)
    return Evidence(
        inputs={topic: topics.read(topic) for topic in USER_KEYED},
        outputs={name: topics.read(topic) for name, topic in names.items()},
        committed=topics.committed(group),
        watermarks={at: (lso[at], hw[at]) for at in hw},
        databases=[database for path in state_dirs for database in open_databases(path)],
        followed=dict(followed or {}),
        user_keyed=USER_KEYED,
    )


def open_databases(directory: Path) -> list[Database]:
    """Read every partition's RocksDB below one worker's directory, without taking its LOCK."""
    import rocksdict  # noqa: PLC0415 - the pure tiers need none

    found = []
    for path in sorted(directory.glob("*/CURRENT")):
        db = rocksdict.Rdict(
            str(path.parent),
            rocksdict.Options(raw_mode=True),
            access_type=rocksdict.AccessType.read_only(False),  # noqa: FBT003 - a WAL is no error
        )
        rows = dict(db.items())
        db.close()
        following = rows.get(NEXT)
        found.append(
            Database(
                path.parent,
                int(path.parent.name),
                {key: value for key, value in rows.items() if not key.startswith(b"\0")},
                None if following is None else json.loads(following),
                int(rows.get(CHANGELOG_AT, b"0")),
            )
        )
    return found


# -- the check -------------------------------------------------------------------------------------


def check(
    evidence: Evidence,
    definitions: Sequence[dict[str, Any]],
    *,
    bad: Mapping[tuple[str, int, int], str] | None = None,
) -> Report:
    """Check what any engine must hold: I1 to I4, I9, I10; with a changelog I7 and I8 too.

    definitions: parsed campaign definitions, in force as written.
    bad: (topic, partition, offset) -> reason of inputs that must be dead letters; no other may.
    """
    bad = dict(bad or {})
    report = Report()
    ledger = [Entry.of(seen) for seen in evidence.outputs["rewards"]]
    said = [Entry.of(seen) for seen in evidence.outputs.get("task-events", ())]
    no_open_transaction(report, evidence)
    nothing_unseen(report, evidence)
    each_event_once(report, [*ledger, *said])
    seq_without_gap(report, ledger)
    due = expected(evidence, definitions, bad)
    net_equals_the_set_model(report, ledger, due)
    money_is_conserved(report, ledger, due)
    causes_exist(report, evidence, [*ledger, *said])
    dead_letters_are_the_bad_ones(report, evidence, bad)
    if "user-tasks-changelog" in evidence.outputs:
        offsets_agree(report, evidence)
        rows_are_the_changelog(report, evidence)
        nothing_left_to_read(report, evidence)
    stock_is_never_oversold(report, evidence)
    return report


class Entry(NamedTuple):
    """One output record with its value parsed."""

    seen: Seen
    body: dict[str, Any]

    @classmethod
    def of(cls, seen: Seen) -> Entry:
        return cls(seen, json.loads(seen.value or b"null"))

    @property
    def event_id(self) -> str:
        return self.body["event_id"]

    def __str__(self) -> str:
        body = self.body
        what = f"{body['type']} {body.get('reward_id') or body.get('task_id', '')}"
        return f"{what} of {body['user_id']} at {stands_at(self.seen)}"


def stands_at(seen: Seen) -> str:
    return f"{seen.topic}[{seen.partition}]@{seen.offset}"


# -- I9, and what a reader saw meanwhile -----------------------------------------------------------


def no_open_transaction(report: Report, evidence: Evidence) -> None:
    """I9: with a transaction open, everything behind it is invisible, and so would a loss be."""
    for (topic, p), (lso, hw) in sorted(evidence.watermarks.items()):
        report.compared["watermarks"] += 1
        if lso != hw:
            report.add("I9", BROKEN, f"{topic}[{p}]: LSO {lso}, HW {hw}: a transaction is open")


def nothing_unseen(report: Report, evidence: Evidence) -> None:
    """What a read_committed reader was given during the faults is still there, unchanged."""
    for topic, followed in evidence.followed.items():
        final = {(s.partition, s.offset): s for s in evidence.outputs.get(topic, ())}
        for seen in followed:
            report.compared["followed"] += 1
            if final.get((seen.partition, seen.offset)) != seen:
                report.add("I1", BROKEN, f"{stands_at(seen)} was readable once and is not any more")


# -- I1 --------------------------------------------------------------------------------------------


def each_event_once(report: Report, entries: Iterable[Entry]) -> None:
    """I1: no event id twice; downstream dedupes by it, but must never have to."""
    first: dict[str, Entry] = {}
    for entry in entries:
        report.compared["events"] += 1
        before = first.setdefault(entry.event_id, entry)
        if before is not entry:
            same = "the same bytes" if before.seen.value == entry.seen.value else "OTHER bytes"
            text = f"{entry}: {entry.event_id} stands at {stands_at(before.seen)} already, {same}"
            report.add("I1", TWICE if entry.body["type"].startswith("reward.") else BROKEN, text)


def seq_without_gap(report: Report, ledger: Iterable[Entry]) -> None:
    """I1: per reward issued, revoked, issued ..., seq 1, 2, 3; what repeats is counted above."""
    by_reward: dict[str, list[Entry]] = defaultdict(list)
    known: set[str] = set()
    for entry in ledger:
        if entry.body["type"] != "reward.adjusted" and entry.event_id not in known:
            known.add(entry.event_id)
            by_reward[entry.body["reward_id"]].append(entry)
    for reward_id, entries in by_reward.items():
        report.compared["rewards"] += 1
        found = [(entry.body["seq"], entry.body["type"]) for entry in entries]
        wanted = [
            (seq, "reward.issued" if seq % 2 else "reward.revoked")
            for seq in range(1, len(found) + 1)
        ]
        if found != wanted:
            report.add("I1", BROKEN, f"{reward_id}: {found}, first {entries[0]}")


# -- I2, I3 ----------------------------------------------------------------------------------------


class Right(NamedTuple):
    """What the set model says a reward is worth, and whose it is."""

    user_id: str
    value_minor: int


def expected(
    evidence: Evidence,
    definitions: Sequence[dict[str, Any]],
    bad: Mapping[tuple[str, int, int], str],
) -> dict[str, Right]:
    """What the input below C earns, by reward id, blind to arrival: `tests/models/users.py`."""
    by_user: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for topic in evidence.user_keyed:
        for seen in evidence.below_c(topic):
            if (topic, seen.partition, seen.offset) not in bad:
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


# -- I4, I10 ---------------------------------------------------------------------------------------


def causes_exist(report: Report, evidence: Evidence, entries: Iterable[Entry]) -> None:
    """I4: the record an output names as its cause exists, lies below C and is that very event."""
    inputs = {
        (seen.topic, seen.partition, seen.offset): seen
        for topic in evidence.user_keyed
        for seen in evidence.below_c(topic)
    }
    for entry in entries:
        at = cause_at(report, entry)
        if at is not None:
            cause_is(report, entry, at, inputs.get(at))


def cause_at(report: Report, entry: Entry) -> tuple[str, int, int] | None:
    """I4: the position an output names as its cause, None (and a finding) if it names none."""
    report.compared["causes"] += 1
    headers = dict(entry.seen.headers)
    try:
        topic = headers["cause-topic"].decode()
        return topic, int(headers["cause-partition"]), int(headers["cause-offset"])
    except (KeyError, ValueError) as error:
        report.add("I4", BROKEN, f"{entry}: cause headers are missing or unreadable ({error})")
        return None


def cause_is(report: Report, entry: Entry, at: tuple[str, int, int], cause: Seen | None) -> None:
    """I4: what stands at that position is the event this output says it comes from."""
    if cause is None:
        report.add("I4", BROKEN, f"{entry}: its cause {at} is not in the input below C")
    elif cause.key != entry.seen.key or cause_id(cause) != entry.body["cause_id"]:
        text = f"{entry}: says {entry.body['cause_id']}, but {at} is {cause_id(cause)}"
        report.add("I4", BROKEN, text)


def cause_id(seen: Seen) -> str:
    """The id that semantics.md 4 gives to this input event as a cause."""
    event = json.loads(seen.value or b"null")
    match seen.topic:
        case "orders":
            return f"order:{event['order_id']}:{event['version']}"
        case "claims":
            return f"claim:{event['claim_id']}"
        case "cancellations":
            return f"cancel:{event['cancellation_id']}"
        case _:
            return f"result:{event['result_id']}"


def dead_letters_are_the_bad_ones(
    report: Report, evidence: Evidence, bad: Mapping[tuple[str, int, int], str]
) -> None:
    """I10: bad inputs == dead letters, once each, bytes equal, right coordinates and reason."""
    inputs = {
        (topic, seen.partition, seen.offset): seen
        for topic in evidence.user_keyed
        for seen in evidence.below_c(topic)
    }
    found: dict[tuple[str, int, int], Seen] = {}
    for letter in evidence.outputs["dead-letters"]:
        report.compared["dead letters"] += 1
        headers = dict(letter.headers)
        name = f"dead letter {stands_at(letter)}"
        try:
            topic = headers["dl-topic"].decode()
            at = topic, int(headers["dl-partition"]), int(headers["dl-offset"])
            reason = headers["dl-reason"].decode()
        except (KeyError, ValueError) as error:
            report.add("I10", BROKEN, f"{name}: headers are missing or unreadable ({error})")
            continue
        if at in found:
            report.add("I10", TWICE, f"{name}: {at} is dead at {stands_at(found[at])} already")
            continue
        found[at] = letter
        record = inputs.get(at)
        if record is None:
            report.add("I10", SPURIOUS, f"{name}: {at} is not in the input below C")
            continue
        if at not in bad:
            report.add("I10", SPURIOUS, f"{name}: {at} is a good record, set aside as {reason}")
        elif reason != bad[at]:
            report.add("I10", BROKEN, f"{name}: {at} is {bad[at]}, set aside as {reason}")
        own = tuple(h for h in letter.headers if not h[0].startswith(ADDED_HEADERS))
        if (letter.key, letter.value, own) != (record.key, record.value, record.headers):
            report.add("I10", BROKEN, f"{name}: other bytes than {at}")
    for at in sorted(bad.keys() - found.keys()):
        if at in inputs:
            report.add("I10", LOST, f"{at}: {bad[at]}, and no dead letter has it")


# -- I7, I8 ----------------------------------------------------------------------------------------


def newest_versions(evidence: Evidence) -> dict[int, dict[str, int]]:
    """V by partition: the offsets of the newest meta row on the changelog."""
    versions = {}
    for seen in evidence.outputs["user-tasks-changelog"]:
        if seen.key == META:
            versions[seen.partition] = json.loads(seen.value or b"null")["next"]
    return versions


def offsets_agree(report: Report, evidence: Evidence) -> None:
    """I8 at rest: C == V for every partition; L <= C always, and one database has L == C."""
    versions = newest_versions(evidence)
    for (topic, p), c in sorted(evidence.committed.items()):
        report.compared["offsets"] += 1
        v = versions.get(p, {}).get(topic)
        if v != c:
            report.add("I8", BROKEN, f"{topic}[{p}]: C {c}, V {v}")
        for database in evidence.databases:
            if database.partition == p and database.next is not None:
                at = database.next.get(topic, 0)
                if at > c:
                    report.add("I8", BROKEN, f"{database.path}: L {topic}@{at} is ahead of C {c}")
    if not evidence.databases:
        return
    for p, version in sorted(versions.items()):
        if not any(db.partition == p and db.next == version for db in evidence.databases):
            known = [(str(db.path), db.next) for db in evidence.databases if db.partition == p]
            report.add("I8", BROKEN, f"partition {p}: no database is at V {version}: {known}")


def rows_are_the_changelog(report: Report, evidence: Evidence) -> None:
    """I7: each database, current or left behind by a rebalance, is a prefix of the changelog."""
    history: dict[int, list[Seen]] = defaultdict(list)
    for seen in evidence.outputs["user-tasks-changelog"]:
        history[seen.partition].append(seen)
    for database in evidence.databases:
        rebuilt: dict[bytes, bytes] = {}
        for seen in history[database.partition]:
            if seen.offset >= database.changelog:
                break
            assert seen.key is not None, f"{stands_at(seen)}: a changelog row without key"
            if seen.key.startswith(b"\0"):
                continue
            if seen.value is None:
                rebuilt.pop(seen.key, None)
            else:
                rebuilt[seen.key] = seen.value
        report.compared["rows"] += len(rebuilt)
        for key in sorted(database.rows.keys() | rebuilt.keys()):
            if database.rows.get(key) != rebuilt.get(key):
                missing = "missing in RocksDB" if key not in database.rows else "other bytes"
                missing = "not in the changelog" if key not in rebuilt else missing
                report.add("I7", BROKEN, f"{database.path}: row of {key!r}: {missing}")


# -- I2 and I7 against the fold itself -------------------------------------------------------------


def check_with_fold(
    evidence: Evidence,
    definitions: Sequence[dict[str, Any]],
    files: Sequence[Path] | Campaigns,
    *,
    bad: Mapping[tuple[str, int, int], str] | None = None,
) -> Report:
    """`check`, and that rows and outputs are what the fold makes of the log, byte for byte.

    files: the definitions again, where the fold reads them from, or as it has read them. The set
    model says that the rules are right; this says that the engine around the fold lost, repeated
    and mixed nothing up.
    """
    from tests import checker_fold  # noqa: PLC0415 - it imports this module

    report = check(evidence, definitions, bad=bad)
    checker_fold.rows_and_outputs_are_the_fold(report, evidence, files)
    checker_fold.versions_count_events(report, evidence)
    checker_fold.same_log_same_outputs(report, evidence, files, bad or {})
    return report


# -- I5, I12 ---------------------------------------------------------------------------------------


def stock_is_never_oversold(report: Report, evidence: Evidence) -> None:
    """I5: there are no pools yet. Whoever adds them adds their model here, or every check fails."""
    for topic in ("draws", "pools"):
        if evidence.outputs.get(topic):
            report.add("I5", BROKEN, f"{topic}: has records, and stock has no model here")


def nothing_left_to_read(report: Report, evidence: Evidence) -> None:
    """I8 at rest, and I12: no readable record lies at or above C (markers follow the last one)."""
    for topic in evidence.user_keyed:
        for seen in evidence.inputs.get(topic, ()):
            report.compared["input"] += 1
            if seen.offset >= evidence.committed.get((topic, seen.partition), 0):
                report.add("I12", BROKEN, f"{stands_at(seen)} is readable, and not below C")
