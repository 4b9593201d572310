"""The part of `tests/checker.py` that calls the fold on purpose: is this what it makes of the log?

That the rules are right the set model says; that the engine around the fold lost, repeated and
mixed nothing up, this says.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tests.checker import BROKEN, LOST, META, SPURIOUS, Evidence, Report, Seen, stands_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from streams.domain.campaign import Campaigns


def rows_and_outputs_are_the_fold(
    report: Report, evidence: Evidence, files: Sequence[Path] | Campaigns
) -> None:
    """I7, and I2's "ledger == log model": fold the input again in the order the meta rows record.

    Every row on the changelog must be the fold's, so RocksDB is too (it equals the changelog);
    every output must be the fold's, per user in its order. And the input folded in quite another
    order, each topic to its end, must give the same canonical state.
    """
    log_model = Fold(files)
    for transaction in transactions(report, evidence):
        touched = log_model.fold(merged(transaction.taken, evidence.user_keyed))
        rows_are_the_folds(report, transaction, touched, log_model)
    outputs_are_the_folds(report, evidence, log_model)
    other_order = Fold(files)
    for topic in reversed(evidence.user_keyed):
        other_order.fold(evidence.below_c(topic))
    for key in sorted(log_model.states.keys() | other_order.states.keys()):
        report.compared["canonical states"] += 1
        if log_model.canonical(key) != other_order.canonical(key):
            report.add("I7", BROKEN, f"state of {key!r} depends on the order of arrival")


class Transaction(NamedTuple):
    """One partition's part of one transaction, as the changelog has it."""

    meta: Seen
    taken: list[list[Seen]]  # by topic: from the last meta row's offsets to this one's
    written: dict[bytes, Seen]  # rows by key


def transactions(report: Report, evidence: Evidence) -> Iterable[Transaction]:
    """Cut the changelog at its meta rows, each of which closes one."""
    by_position = {
        (topic, seen.partition, seen.offset): seen
        for topic in evidence.user_keyed
        for seen in evidence.inputs[topic]
    }
    written: dict[int, dict[bytes, Seen]] = defaultdict(dict)
    reached: dict[int, dict[str, int]] = defaultdict(dict)
    for row in evidence.outputs["user-tasks-changelog"]:
        p = row.partition
        assert row.key is not None, f"{stands_at(row)}: a changelog row without key"
        if row.key != META:
            written[p][row.key] = row
            continue
        following = json.loads(row.value or b"null")["next"]
        taken = []
        for topic, end in following.items():
            begin = reached[p].get(topic, 0)
            if end < begin:
                report.add(
                    "I7", BROKEN, f"{stands_at(row)}: {topic} goes back from {begin} to {end}"
                )
            run = (by_position.get((topic, p, offset)) for offset in range(begin, end))
            taken.append([seen for seen in run if seen is not None])  # a marker is no record
        reached[p] = following
        yield Transaction(row, taken, written.pop(p, {}))
    for rows in written.values():
        for key, seen in rows.items():
            report.add(
                "I7", BROKEN, f"{stands_at(seen)}: row of {key!r} without a meta row after it"
            )


def rows_are_the_folds(
    report: Report, transaction: Transaction, touched: set[bytes], log_model: Fold
) -> None:
    """I7: one row for each user whom the fold touched, and no other, byte for byte."""
    meta, _taken, written = transaction
    for key in sorted(touched | written.keys()):
        report.compared["rows refolded"] += 1
        if key not in written:
            report.add(
                "I7", LOST, f"{stands_at(meta)}: {key!r} was touched, but no row is before it"
            )
        elif key not in touched:
            report.add("I7", SPURIOUS, f"{stands_at(written[key])}: {key!r} was not touched")
        elif written[key].value != log_model.row(key):
            report.add("I7", BROKEN, f"{stands_at(written[key])}: row of {key!r} is not the fold's")


def merged(taken: Sequence[Sequence[Seen]], topics: Sequence[str]) -> Iterable[Seen]:
    """Merge topics, each in its offset order, by record time; ties in the order of `topics`."""
    queues = [list(reversed(seen)) for seen in taken]
    while queues := [queue for queue in queues if queue]:
        yield min(
            queues, key=lambda queue: (queue[-1].timestamp_ms, topics.index(queue[-1].topic))
        ).pop()


def outputs_are_the_folds(report: Report, evidence: Evidence, log_model: Fold) -> None:
    """I2: per user and topic the same records in the same order, values byte for byte."""
    for topic in ("rewards", "task-events"):
        found: dict[bytes, list[bytes]] = defaultdict(list)
        for seen in evidence.outputs[topic]:
            assert seen.key is not None, f"{stands_at(seen)}: an output without key"
            assert seen.value is not None, f"{stands_at(seen)}: an output without value"
            found[seen.key].append(seen.value)
        wanted = log_model.outputs[topic]
        for key in sorted(found.keys() | wanted.keys()):
            report.compared[f"{topic} refolded"] += len(wanted[key])
            missing = Counter(wanted[key])
            missing.subtract(found[key])
            for value, times in missing.items():
                kind, said = (LOST, "missing") if times > 0 else (SPURIOUS, "too much")
                kind = kind if topic == "rewards" else BROKEN
                for _ in range(abs(times)):
                    report.add("I2", kind, f"{topic}: {said} by the log model: {value[:300]!r}")
            if not +missing and not -missing and wanted[key] != found[key]:
                report.add(
                    "I2", BROKEN, f"{topic}: records of {key!r} in another order than folded"
                )


class Fold:
    """The kernel over a log, in a dict: what the engine must look like from outside."""

    def __init__(self, files: Sequence[Path] | Campaigns) -> None:
        from streams.domain.campaign import Campaigns  # noqa: PLC0415 - only this part may
        from streams.wire import campaigns  # noqa: PLC0415

        self.campaigns = (
            files
            if isinstance(files, Campaigns)
            else Campaigns.of(one for path in files for one in campaigns.read_file(path))
        )
        self.states: dict[bytes, Any] = {}
        self.outputs: dict[str, dict[bytes, list[bytes]]] = {
            "rewards": defaultdict(list),
            "task-events": defaultdict(list),
        }

    def fold(self, log: Iterable[Seen]) -> set[bytes]:
        """Fold records in order; return the keys whose row was touched."""
        from streams.domain.fold import step  # noqa: PLC0415
        from streams.domain.state import new  # noqa: PLC0415
        from streams.errors import EventRejected  # noqa: PLC0415
        from streams.feed.ports import Record  # noqa: PLC0415
        from streams.wire import cancellations, claims, orders, outputs, results  # noqa: PLC0415

        decode = {
            "orders": orders.decode,
            "claims": claims.decode,
            "cancellations": cancellations.decode,
            "reward-results": results.decode,
        }
        touched = set()
        for seen in log:
            record = Record(*seen[:5], list(seen.headers), seen.timestamp_ms)
            try:
                event = decode[seen.topic](record)
            except EventRejected:
                continue
            key = event.user_id.encode()
            before = self.states.get(key) or new(event.user_id)
            after, produced, _outcome = step(before, event, self.campaigns)
            for output in produced:
                out = outputs.encode(output, record)
                self.outputs[out.topic][key].append(out.value)
            if after is not before:
                self.states[key] = after
                touched.add(key)
        return touched

    def row(self, key: bytes) -> bytes:
        from streams.wire.rows import encode_row  # noqa: PLC0415

        return encode_row(self.states[key])

    def canonical(self, key: bytes) -> bytes | None:
        from streams.domain.state import canonical_state  # noqa: PLC0415

        state = self.states.get(key)
        return None if state is None else canonical_state(state)


# -- I6, I11 ---------------------------------------------------------------------------------------


def versions_count_events(report: Report, evidence: Evidence) -> None:
    """I6: a row's version grows with each of its changelog rows, by events and never by batches.

    By at most the records of that user which its transaction took. A task that goes back names a
    cause that can do that: a cancellation, or a record that came late.
    """
    known: Counter[bytes] = Counter()
    for meta, taken, written in transactions(report, evidence):
        events = Counter(seen.key for topic in taken for seen in topic)
        for key, seen in written.items():
            report.compared["versions"] += 1
            version = version_of(seen.value or b"")
            grown = version - known[key]
            if not 1 <= grown <= events[key]:
                text = f"{stands_at(seen)}: version {version} of {key!r} after {known[key]}"
                report.add(
                    "I6", BROKEN, f"{text}, with {events[key]} events up to {stands_at(meta)}"
                )
            known[key] = version
    steps_back_are_caused(report, evidence)


def version_of(row: bytes) -> int:
    """A row is its schema's byte, then an array that begins with the version; -1: it is not."""
    try:
        parts = msgspec.msgpack.decode(row[1:])
    except msgspec.DecodeError:
        return -1
    return parts[0] if isinstance(parts, list) else -1


def steps_back_are_caused(report: Report, evidence: Evidence) -> None:
    inputs = {
        (topic, seen.partition, seen.offset): seen
        for topic in evidence.user_keyed
        for seen in evidence.inputs[topic]
    }
    of_user: dict[bytes | None, list[Seen]] = defaultdict(list)
    for seen in inputs.values():
        of_user[seen.key].append(seen)
    for seen in evidence.outputs.get("task-events", ()):
        if json.loads(seen.value or b"null")["type"] != "task.regressed":
            continue
        report.compared["steps back"] += 1
        headers = dict(seen.headers)
        place = int(headers["cause-partition"]), int(headers["cause-offset"])
        cause = inputs.get((headers["cause-topic"].decode(), *place))
        if cause is None:
            continue  # I4 has said so
        event = json.loads(cause.value or b"null")
        late = any(occurred(other) > occurred(cause) for other in of_user[cause.key])
        if cause.topic != "cancellations" and not late and event.get("version", 1) < 2:
            report.add(
                "I6", BROKEN, f"{stands_at(seen)}: a task goes back because of {stands_at(cause)}"
            )


def occurred(seen: Seen) -> datetime:
    try:
        return datetime.fromisoformat(json.loads(seen.value or b"null")["occurred_at"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return datetime.min.replace(tzinfo=UTC)  # it cannot be read, so nothing is late by it


def same_log_same_outputs(
    report: Report,
    evidence: Evidence,
    files: Sequence[Path] | Campaigns,
    bad: Mapping[tuple[str, int, int], str],
) -> None:
    """I11: where the log alone gives the order, the outputs are a function of the log alone.

    That is so for a user all of whose records lie in one topic: folded in offset order, in one
    go, they give the same bytes in the same order, whatever batches, workers and kills there were.
    """
    by_user: dict[bytes, list[Seen]] = defaultdict(list)
    for topic in evidence.user_keyed:
        for seen in evidence.below_c(topic):
            if seen.key is not None and (topic, seen.partition, seen.offset) not in bad:
                by_user[seen.key].append(seen)
    found: dict[tuple[str, bytes | None], list[bytes | None]] = defaultdict(list)
    for topic in ("rewards", "task-events"):
        for seen in evidence.outputs[topic]:
            found[topic, seen.key].append(seen.value)
    for key, records in sorted(by_user.items()):
        if len({seen.topic for seen in records}) > 1:
            continue
        report.compared["logs of one topic"] += 1
        alone = Fold(files)
        alone.fold(records)
        for topic, wanted in alone.outputs.items():
            if found[topic, key] != wanted[key]:
                report.add("I11", BROKEN, f"{topic} of {key!r}: not what its log alone gives")
