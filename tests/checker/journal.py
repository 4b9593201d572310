"""The fold journal: folded again in its order, the source topics give every output byte for byte.

In order per source partition, value, key and headers; and every row of every transaction. The
replaying code is what ships (streams/replay/refold.py); what it is compared with is the log.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from streams.agents.folds import ALL, folds
from streams.feed.ports import Record
from streams.replay.refold import NotThere, Refold
from streams.store import meta, states
from streams.topics import DEAD_LETTERS, DRAW_REQUESTS, DRAW_RESULTS
from streams.wire import journal
from tests.checker.evidence import stands_at
from tests.checker.findings import BROKEN, Report
from tests.checker.fold import Fold
from tests.checker.transactions import transactions
from tests.feed.memory import MemoryRows
from tests.pooling import SEED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.checker.evidence import Evidence, Seen
    from tests.checker.fold import Definitions

    Place = Callable[[bytes | None], int]
    Said = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]

JOURNAL = "fold-journal"
WRITTEN = ("rewards", "task-events", "notifications", "lottery-draws", DEAD_LETTERS)


def outputs_follow_the_journal(
    report: Report,
    evidence: Evidence,
    known: Sequence[Definitions],
    place: Place,
    home: Callable[[str], int] = lambda _pool_id: -1,
) -> None:
    """Add a J finding for the first difference of each partition.

    known: definitions by how far the topic `campaigns` had been read; the last ones are all there
    are. place: the partition of an output's key. home: that of a pool; by default ticks reach none.
    """
    registries = [Fold(definitions).campaigns for definitions in known]
    by_p: dict[int, list[Seen]] = defaultdict(list)
    for seen in evidence.outputs[JOURNAL]:
        by_p[seen.partition].append(seen)
    committed: dict[tuple[int, int], dict[bytes, Any]] = {}
    for found in transactions(Report(), evidence):
        at = found.meta.partition, _batch_of(found.meta)
        committed[at] = {key: seen.value for key, seen in found.written.items()}
    if len(committed) != len(evidence.outputs[JOURNAL]):
        report.add("J", BROKEN, f"{len(committed)} transactions, {len(by_p)} journal records")
    said = outputs_by_source(evidence)
    for p, written in sorted(by_p.items()):
        told: dict[tuple[str, int], list[Said]] = defaultdict(list)
        disk: dict[str, Any] = {"rows": {}, "hints": set(), "next": None, "changelog": 0}
        refold = Refold(
            p,
            MemoryRows(disk | {"batch": 0}),
            states.CODEC,
            lambda folded: registries[min(folded.campaigns, len(registries) - 1)],
            folds(home, lambda _pool: SEED, ALL),
        )
        source = _source(evidence, p)
        for seen in written:
            try:
                again = refold.fold(journal.decode(seen.value or b""), source)
            except NotThere as gone:
                report.add("J", BROKEN, f"{stands_at(seen)} names {gone}, which nobody can read")
                break
            refold.keep(again)
            report.compared["journal records"] += 1
            report.compared["rows of the journal"] += len(again.rows)
            folded = {key: row for key, row in again.rows.items() if key != meta.DATED}
            if folded != committed.get((p, again.batch)):
                report.add("J", BROKEN, f"{stands_at(seen)}: rows are not those of its transaction")
                break
            for out in again.outgoing:
                where = place(out.key) if out.partition is None else out.partition
                told[out.topic, where].append((out.key, out.value, tuple(out.headers)))
        _compare(report, p, told, said[p])


def outputs_by_source(
    evidence: Evidence,
) -> dict[int, dict[tuple[str, int], list[Seen]]]:
    """Return the outputs by source partition, then by where they stand, in offset order."""
    found: dict[int, dict[tuple[str, int], list[Seen]]] = defaultdict(lambda: defaultdict(list))
    every = {topic: evidence.outputs.get(topic, []) for topic in WRITTEN}
    every |= {topic: evidence.inputs.get(topic, []) for topic in (DRAW_REQUESTS, DRAW_RESULTS)}
    for topic, records in every.items():
        source = "dl-partition" if topic == DEAD_LETTERS else "cause-partition"
        for seen in records:
            of = dict(seen.headers).get(source)
            if of is not None:  # else nobody of ours wrote it: a test's client asks pools too
                found[int(of)][topic, seen.partition].append(seen)
    return found


def _compare(
    report: Report,
    p: int,
    told: dict[tuple[str, int], list[Said]],
    said: dict[tuple[str, int], list[Seen]],
) -> None:
    for at in sorted(told.keys() | said.keys()):
        report.compared["outputs of the journal"] += len(told[at])
        for n, seen in enumerate(said[at]):
            if n >= len(told[at]) or told[at][n] != (seen.key, seen.value, seen.headers):
                report.add("J", BROKEN, f"{stands_at(seen)}: not what the journal of p{p} gives")
                break
        else:
            if len(told[at]) > len(said[at]):
                missing = told[at][len(said[at])]
                report.add("J", BROKEN, f"{at} lacks {missing!r:.300} of p{p}")


def _batch_of(meta: Seen) -> int:
    return int(json.loads(meta.value or b"null")["batch"])


def _source(evidence: Evidence, p: int) -> Callable[[str, int, int], Sequence[Record]]:
    log: dict[str, dict[int, Record]] = {
        topic: {
            seen.offset: Record(*seen[:5], list(seen.headers), seen.timestamp_ms)
            for seen in records
            if seen.partition == p
        }
        for topic, records in evidence.inputs.items()
    }

    def source(topic: str, first: int, following: int) -> list[Record]:
        of = log.get(topic, {})
        return [of[offset] for offset in range(first, following) if offset in of]

    return source
