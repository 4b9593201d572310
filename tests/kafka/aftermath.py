"""After the faults: what workers left is gathered, and the whole of `tests/checker` looks at it.

Call it when all input is folded and nothing is open: after `wait_drained` and `wait_settled`, with
the workers stopped.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from streams.partitioner import partition_of
from tests import checker
from tests.checker.journal import outputs_follow_the_journal
from tests.kafka.harness import CHANGELOG
from tests.kafka.workers import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from tests.kafka.harness import Topics
    from tests.kafka.workers import Worker

DEFINITIONS = [json.loads(SAMPLE.read_text())]
"""What every worker of `workers.py` folds by, unless its test says otherwise."""


def gathered(
    topics: Topics, *workers: Worker, followed: dict[str, list[checker.Seen]] | None = None
) -> checker.Evidence:
    """Read the log of these workers, one group, and their databases."""
    databases = [worker.databases for worker in workers]
    return checker.gather(topics, workers[0].group, state_dirs=databases, followed=followed)


def judged(
    evidence: checker.Evidence,
    *,
    bad: checker.Bad | None = None,
    files: Sequence[Path] = (SAMPLE,),
) -> checker.Report:
    """Check it all, with the fold and by the journal. files: those of the workers, pools first."""
    definitions: list[dict[str, Any]] = []
    for path in files:
        found = json.loads(path.read_text())
        definitions += found if isinstance(found, list) else [found]
    report = checker.check_with_fold(evidence, definitions, files, bad=bad)
    place = partial(partition_of, partitions=1 + max(p for _, p in evidence.watermarks))
    outputs_follow_the_journal(
        report, evidence, [files], lambda key: place(key or b""), lambda pool: place(pool.encode())
    )
    return report


def require_clean(
    evidence: checker.Evidence,
    *,
    least_due: int,
    bad: checker.Bad | None = None,
    files: Sequence[Path] = (SAMPLE,),
) -> checker.Report:
    """Judge it and say so in one line. Any finding fails; fewer rewards due than that are void."""
    report = judged(evidence, bad=bad, files=files)
    print(report.summary())
    report.require_clean()
    due = report.compared["rewards due"]
    assert due >= least_due, f"void: {due} rewards due is next to nothing"
    return report


def aborted_transactions(topics: Topics) -> int:
    """Count transactions that reached the changelog and were aborted, by partition.

    Their meta rows are there for a read_uncommitted reader only. Traffic may go on: what lies
    behind the last committed one is open still.
    """

    def metas(*, committed: bool) -> set[tuple[int, int]]:
        rows = topics.read(CHANGELOG, committed=committed)
        return {(row.partition, row.offset) for row in rows if row.key == checker.META}

    written, kept = metas(committed=False), metas(committed=True)
    last = dict(sorted(kept))
    return sum(offset < last.get(p, 0) for p, offset in written - kept)
