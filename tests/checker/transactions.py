"""The changelog cut into transactions: what each took from the input, and the rows it wrote."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from tests.checker.evidence import CHANGELOG, META, Seen, stands_at
from tests.checker.findings import BROKEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.checker.evidence import Evidence
    from tests.checker.findings import Report


class Transaction(NamedTuple):
    """One partition's part of one transaction, as the changelog has it."""

    meta: Seen
    taken: list[list[Seen]]  # by topic: from the last meta row's offsets to this one's
    written: dict[bytes, Seen]  # rows by key


def transactions(report: Report, evidence: Evidence) -> Iterable[Transaction]:
    """Cut the changelog at its meta rows, each of which closes one."""
    inputs = evidence.all_input()
    written: dict[int, dict[bytes, Seen]] = defaultdict(dict)
    reached: dict[int, dict[str, int]] = defaultdict(dict)
    for row in evidence.outputs[CHANGELOG]:
        p = row.partition
        assert row.key is not None, f"{stands_at(row)}: a changelog row without key"
        if row.key != META:
            if row.key.startswith(b"\0"):
                continue  # the engine's own: how far its rows are dated
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
            run = (inputs.get((topic, p, offset)) for offset in range(begin, end))
            taken.append([seen for seen in run if seen is not None])  # a marker is no record
        reached[p] = following
        yield Transaction(row, taken, written.pop(p, {}))
    for rows in written.values():
        for key, seen in rows.items():
            report.add(
                "I7", BROKEN, f"{stands_at(seen)}: row of {key!r} without a meta row after it"
            )


def merged(taken: Sequence[Sequence[Seen]], topics: Sequence[str]) -> Iterable[Seen]:
    """Merge topics, each in its offset order, by record time; ties in the order of `topics`.

    Ticks are the last of their transaction, whatever their time.
    """
    queues = [list(reversed(seen)) for seen in taken if seen and seen[0].topic != "ticks"]
    while queues := [queue for queue in queues if queue]:
        yield min(
            queues, key=lambda queue: (queue[-1].timestamp_ms, topics.index(queue[-1].topic))
        ).pop()
    yield from (tick for seen in taken for tick in seen if tick.topic == "ticks")
