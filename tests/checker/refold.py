"""I2, I7, I11 against the fold itself: rows and outputs are what it makes of the log, to the byte.

That the rules are right the set model says; that the engine around the fold lost, repeated and
mixed nothing up, this says.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec

from streams.wire.rows import decode_row
from tests.checker.dead_letters import dead
from tests.checker.evidence import CHANGELOG, stands_at
from tests.checker.findings import BROKEN, LOST, SPURIOUS, Report
from tests.checker.fold import SAID, Fold
from tests.checker.money import compacted
from tests.checker.pools import books_agree
from tests.checker.transactions import merged, transactions

if TYPE_CHECKING:
    from streams.domain.state import UserState
    from tests.checker.evidence import Bad, Evidence, Seen
    from tests.checker.fold import Definitions
    from tests.checker.transactions import Transaction


def rows_and_outputs_are_the_fold(report: Report, evidence: Evidence, files: Definitions) -> None:
    """I7, and I2's "ledger == log model": fold the input again in the order the meta rows record.

    Every row on the changelog must be the fold's, so RocksDB is too (it equals the changelog);
    every output must be the fold's, per user in its order. And the input folded in quite another
    order, each topic to its end, must give the same canonical state of users who asked nobody.
    """
    log_model = Fold(files)
    newest: dict[bytes, Seen] = {}
    for transaction in transactions(report, evidence):
        touched = log_model.fold(merged(transaction.taken, evidence.user_keyed))
        touched |= of_a_tick_under_way(evidence, transaction, log_model)
        rows_are_the_folds(report, transaction, touched, log_model)
        newest |= transaction.written
    for key, seen in newest.items():
        report.compared["rows in the end"] += 1
        if key in log_model.partitions and seen.value != log_model.row(key):
            report.add("I7", BROKEN, f"{stands_at(seen)}: row of {key!r} is dated otherwise")
    outputs_are_the_folds(report, evidence, log_model)
    books_agree(report, evidence, log_model)
    other_order = Fold(files)
    for topic in reversed(evidence.user_keyed):
        other_order.fold(evidence.below_c(topic))
    if other_order.campaigns.dates:  # time alone ends what a definition ended meanwhile
        other_order.fold(evidence.below_c("ticks"))
    refused = compacted(evidence)
    for key in sorted(log_model.states.keys() | other_order.states.keys()):
        if refused[key.decode()]:
            report.compared["users with refusals"] += 1
            continue  # read in another order, it had come while its history stood
        asked = log_model.asked(key) or other_order.asked(key)  # compacted, they may be gone
        if asked or other_order.answered_early(key):
            continue  # the answers belong to what was asked in the first order
        report.compared["canonical states"] += 1
        gone = log_model.is_compacted(key) or other_order.is_compacted(key)
        report.compared["compacted rows"] += gone
        if log_model.canonical(key, by_ids=gone) != other_order.canonical(key, by_ids=gone):
            report.add("I7", BROKEN, f"state of {key!r} depends on the order of arrival")


def still_bad(evidence: Evidence, files: Definitions, bad: Bad) -> Bad:
    """Return the bad input less conflicts of which the first content was gone when they came.

    A tick may overtake records that lag; what it compacted is not there to be compared with.
    """
    asked = {at for at, reason in bad.items() if reason == "conflict"} - dead(evidence).keys()
    if not asked or CHANGELOG not in evidence.outputs:
        return bad
    log_model = Fold(files)
    for transaction in transactions(Report(), evidence):
        log_model.fold(merged(transaction.taken, evidence.user_keyed))
        of_a_tick_under_way(evidence, transaction, log_model)
    return {at: bad[at] for at in bad if at not in asked & log_model.forgotten}


def of_a_tick_under_way(
    evidence: Evidence, transaction: Transaction, log_model: Fold
) -> set[bytes]:
    """Fold what a transaction did of a tick that it did not take: some of its users' rows.

    Which users come first is the engine's choice; what a tick makes of each of them is not.
    """
    meta = transaction.meta
    at = json.loads(meta.value or b"null")["next"].get("ticks", 0)
    tick = min(
        (
            seen
            for seen in evidence.inputs.get("ticks", ())
            if seen.partition == meta.partition and seen.offset >= at
        ),
        key=lambda seen: seen.offset,
        default=None,
    )
    if tick is None:
        return set()
    other = [
        key
        for key, row in transaction.written.items()
        if key in log_model.states and not same_row(key, row.value, log_model)
    ]
    return log_model.tick(tick, other)


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
        elif key not in touched and not redated(key, written[key].value, log_model):
            report.add("I7", SPURIOUS, f"{stands_at(written[key])}: {key!r} was not touched")
        elif not same_row(key, written[key].value, log_model):
            report.add("I7", BROKEN, f"{stands_at(written[key])}: row of {key!r} is not the fold's")


def redated(key: bytes, row: bytes | None, log_model: Fold) -> bool:
    """Tell whether a row that nothing has touched may stand there: with other dates than before."""
    return bool(log_model.campaigns.dates) and same_row(key, row, log_model)


def same_row(key: bytes, row: bytes | None, log_model: Fold) -> bool:
    """Compare a row with the fold's, which has known all definitions from the beginning.

    Of a definition that moves deadlines a worker may not have known when it wrote the row; in the
    end all rows must be dated by it.
    """
    wanted = log_model.row(key)
    if row == wanted or not log_model.campaigns.dates or key.startswith(b"\x01"):
        return row == wanted
    return undated(key, row or b"") == undated(key, wanted)


def undated(key: bytes, row: bytes) -> UserState:
    return msgspec.structs.replace(decode_row(key.decode(), row), due_ms=0, asks_ms=0)


def outputs_are_the_folds(report: Report, evidence: Evidence, log_model: Fold) -> None:
    """I2: per user and topic the same records in the same order, values byte for byte."""
    for topic in SAID:
        found: dict[bytes, list[bytes]] = defaultdict(list)
        for seen in evidence.outputs.get(topic, ()):
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


def same_log_same_outputs(
    report: Report,
    evidence: Evidence,
    files: Definitions,
    bad: Bad,
) -> None:
    """I11: where the log alone gives the order, the outputs are a function of the log alone.

    That is so for a user all of whose records lie in one topic: folded in offset order, in one
    go, they give the same bytes in the same order, whatever batches, workers and kills there were.
    """
    told = {seen.partition for seen in evidence.inputs.get("ticks", ())}  # time is a topic too
    by_user: dict[bytes, list[Seen]] = defaultdict(list)
    for topic in evidence.user_keyed:
        for seen in evidence.below_c(topic):
            if seen.key is not None and seen.position not in bad:
                by_user[seen.key].append(seen)
    found: dict[tuple[str, bytes | None], list[bytes | None]] = defaultdict(list)
    for topic in SAID:
        for seen in evidence.outputs.get(topic, ()):
            found[topic, seen.key].append(seen.value)
    for key, records in sorted(by_user.items()):
        if len({seen.topic for seen in records}) > 1 or records[0].partition in told:
            continue
        report.compared["logs of one topic"] += 1
        alone = Fold(files)
        alone.fold(records)
        for topic in SAID:
            wanted = alone.outputs[topic]
            if found[topic, key] != wanted[key]:
                report.add("I11", BROKEN, f"{topic} of {key!r}: not what its log alone gives")
