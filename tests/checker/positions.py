"""I8, I9, I12: C, V and L agree, no transaction is open, nothing readable is left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.checker.evidence import CHANGELOG, META, stands_at
from tests.checker.findings import BROKEN

if TYPE_CHECKING:
    from tests.checker.evidence import Evidence
    from tests.checker.findings import Report


def no_open_transaction(report: Report, evidence: Evidence) -> None:
    """I9: with a transaction open, everything behind it is invisible, and so would a loss be."""
    for (topic, p), (lso, hw) in sorted(evidence.watermarks.items()):
        report.compared["watermarks"] += 1
        if lso != hw:
            report.add("I9", BROKEN, f"{topic}[{p}]: LSO {lso}, HW {hw}: a transaction is open")


def newest_versions(evidence: Evidence) -> dict[int, dict[str, int]]:
    """V by partition: the offsets of the newest meta row on the changelog."""
    versions = {}
    for seen in evidence.outputs[CHANGELOG]:
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


def nothing_left_to_read(report: Report, evidence: Evidence) -> None:
    """I8 at rest, and I12: no readable record lies at or above C (markers follow the last one)."""
    for topic in evidence.user_keyed:
        for seen in evidence.inputs.get(topic, ()):
            report.compared["input"] += 1
            if seen.offset >= evidence.committed.get((topic, seen.partition), 0):
                report.add("I12", BROKEN, f"{stands_at(seen)} is readable, and not below C")
