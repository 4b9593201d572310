"""I7, the half without the fold: every database is a prefix of the changelog."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.checker.evidence import CHANGELOG, stands_at
from tests.checker.findings import BROKEN

if TYPE_CHECKING:
    from tests.checker.evidence import Evidence, Seen
    from tests.checker.findings import Report


def rows_are_the_changelog(report: Report, evidence: Evidence) -> None:
    """I7: each database, current or left behind by a rebalance, is a prefix of the changelog."""
    history: dict[int, list[Seen]] = defaultdict(list)
    for seen in evidence.outputs[CHANGELOG]:
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
